/**
 * How far whatever follows the log has come: whether anything is left before the newest event, how many positions a checkpoint is
 * behind, and waiting until a position has been reached.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import * as SubscriptionRef from "effect/SubscriptionRef"
import { type Checkpoint, type CheckpointError, Checkpoints } from "../store/Checkpoints.ts"
import { EventStore, type EventStoreError, type Filter } from "../store/EventStore.ts"
import { parseCheckpoint, projectionName, subscriptionCheckpoint } from "./names.ts"

/** What {@link lookAhead} has found. */
export interface Ahead {
  /** The position of the newest event. */
  readonly head: number
  /** Up to where nothing is left: the head when there is nothing, otherwise the position that was asked about. */
  readonly clear: number
}

/** Whether a follower with this filter has anything left beyond a position. Reads one event at most. */
export const lookAhead = (
  store: EventStore["Service"],
  from: { readonly after: number; readonly filter?: Filter | undefined }
): Effect.Effect<Ahead, EventStoreError> =>
  Effect.map(store.readPage({ ...from, size: 1 }), ({ events, head, position }) => ({
    head,
    clear: events.length === 0 ? position : from.after
  }))

/** How far somebody has come on the way to a position. */
export interface Reached {
  /** The checkpoint, 0 when there is none. */
  readonly position: number
  /** Whether all up to the position that was asked about has been dealt with. */
  readonly done: boolean
}

/** Whether the follower of this checkpoint, here or elsewhere, has dealt with all that its filter lets through up to `target`. */
export const reached = (
  checkpoint: string,
  target: number,
  filter?: Filter
): Effect.Effect<Reached, CheckpointError | EventStoreError, EventStore | Checkpoints> =>
  Effect.gen(function* () {
    const known = yield* Checkpoints.use(({ get }) => get(checkpoint))
    const position = Option.match(known, { onNone: () => 0, onSome: ({ position }) => position })
    if (position >= target) return { position, done: true }
    const store = yield* EventStore
    const { events, head } = yield* store.readPage({ after: position, upTo: target, filter, size: 1 })
    return { position, done: events.length === 0 && head >= target }
  })

/**
 * How far somebody is, now and whenever that changes, until `target` is reached. Looks at once where the follower of this process has
 * moved, and otherwise at the latest when the longest time has passed since it looked before.
 */
export const positions = <S extends { readonly position: number }, E, R>(
  reached: Effect.Effect<Reached, E, R>,
  target: number,
  /** The status of the follower of this process, if there is one. */
  here: Effect.Effect<SubscriptionRef.SubscriptionRef<S> | undefined>,
  /** The longest time between two looks, in milliseconds. */
  longest = 250
): Stream.Stream<number, E, R> => {
  /** Until the follower of this process has moved; for ever where there is none. */
  const moved = (status: SubscriptionRef.SubscriptionRef<S> | undefined, before: number) =>
    status === undefined
      ? Effect.never
      : SubscriptionRef.changes(status).pipe(
          Stream.filter(({ position }) => position !== before),
          Stream.take(1),
          Stream.runDrain
        )
  const local = Effect.map(here, (status) => ({
    status,
    position: status === undefined ? 0 : SubscriptionRef.getUnsafe(status).position
  }))
  return Stream.unwrap(
    Effect.map(local, (first) =>
      Stream.paginate(
        { wait: 0, seen: -1, before: first },
        Effect.fnUntraced(function* ({ before, seen, wait }) {
          if (wait > 0) yield* Effect.raceFirst(Effect.sleep(Duration.millis(wait)), moved(before.status, before.position))
          const now = yield* local
          const { done, position } = yield* reached
          const at = done ? Math.max(position, target) : position
          const next = { wait: Math.min(longest, Math.max(10, wait * 2)), seen: at, before: now }
          return [at === seen ? [] : [at], done ? Option.none() : Option.some(next)] as const
        })
      )
    )
  )
}

/** How far a checkpoint is behind the newest event. */
export interface Lag {
  readonly checkpoint: string
  readonly position: number
  readonly lag: number
}

/**
 * How many positions each checkpoint is behind the newest event. What is behind no event is left out: seats, the checkpoints of
 * projection versions that run inline or have been dropped, and those of watches over deadlines.
 */
export const lag: Effect.Effect<ReadonlyArray<Lag>, CheckpointError | EventStoreError, Checkpoints | EventStore> = Effect.gen(
  function* () {
    const checkpoints = yield* Checkpoints
    const all = yield* checkpoints.list
    const versions = yield* checkpoints.versions.list()
    const modes = new Map(
      versions.map(({ mode, projection, version }) => [subscriptionCheckpoint(projectionName(projection, version)), mode])
    )
    const head = yield* EventStore.use((store) => store.head)
    const follows = ({ name, position }: Checkpoint) => {
      const { _tag } = parseCheckpoint(name)
      if (_tag === "Seat" || _tag === "Deadlines") return false
      const mode = modes.get(name)
      return mode !== "inline" && !(mode === "dropped" && position === 0)
    }
    return all.filter(follows).map(({ name, position }) => ({ checkpoint: name, position, lag: Math.max(0, head - position) }))
  }
)
