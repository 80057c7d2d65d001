/**
 * How far whatever follows the log has come: whether anything is left before the newest event, how many positions a checkpoint is
 * behind, and waiting until a position has been reached.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import * as SubscriptionRef from "effect/SubscriptionRef"
import type { RecordedEvent } from "../definitions/stored.ts"
import { makeTogether } from "../internal/together.ts"
import {
  type Checkpoint,
  CheckpointAheadError,
  CheckpointContradictedError,
  type CheckpointError,
  Checkpoints,
  type SeenEvent
} from "../store/Checkpoints.ts"
import { EventStore, type EventStoreError, type Filter } from "../store/EventStore.ts"
import { parseCheckpoint, projectionName, subscriptionCheckpoint } from "./names.ts"

/** What {@link lookAhead} has found. */
export interface Ahead {
  /** The position of the newest event. */
  readonly head: number
  /** Up to where nothing is left. The position that was asked about, when something comes next or there is no more. */
  readonly clear: number
}

/**
 * Whether a follower with this filter has anything left beyond a position. Reads one event at most. It may end before the head, where it
 * has found nothing for a while: then `clear` is beyond the position, and who asks again goes on from there.
 */
export const lookAhead = (
  store: EventStore["Service"],
  from: { readonly after: number; readonly filter?: Filter | undefined }
): Effect.Effect<Ahead, EventStoreError> =>
  Effect.map(store.readPage({ ...from, size: 1 }), ({ events, head, position }) => ({
    head,
    clear: events.length === 0 ? position : from.after
  }))

/** The log as a follower sees it. */
export interface Log {
  readonly store: EventStore["Service"]
  readonly filter: Filter | undefined
  /** Of what the filter lets through, what is the follower's own. Default: all. */
  readonly isOwn?: ((event: RecordedEvent) => boolean) | undefined
  /** What becomes of the follower where something of its own was removed beyond its checkpoint. Default: `"halt"`. */
  readonly removed?: "halt" | "skip" | undefined
}

/** The event at a position, and the head. */
const eventAt = ({ store }: Pick<Log, "store">, position: number) =>
  Effect.map(store.readPage({ after: position - 1, upTo: position, size: 1 }), ({ events, head }) => ({
    head,
    event: Option.fromUndefinedOr(events.find((event) => event.position === position))
  }))

type Found = Effect.Success<ReturnType<typeof eventAt>>

const looking = new WeakMap<EventStore["Service"], (position: number) => Effect.Effect<Found, EventStoreError>>()

/** {@link eventAt}, once for all who ask for it at about the same time, as those do who have been told of one event. */
export const eventAtTogether = ({ store }: Pick<Log, "store">, position: number): Effect.Effect<Found, EventStoreError> => {
  const call = Effect.fnUntraced(function* (positions: ReadonlyArray<number>) {
    const found = new Map<number, Exit.Exit<Found, EventStoreError>>()
    for (const one of new Set(positions)) found.set(one, yield* Effect.exit(eventAt({ store }, one)))
    return positions.map((one) => found.get(one) as Exit.Exit<Found, EventStoreError>)
  })
  const ask = looking.get(store) ?? makeTogether<number, Found, EventStoreError>({ most: 1000, call })
  looking.set(store, ask)
  return ask(position)
}

/** The event at a position, as one that has been seen; none where there is none. */
export const seeAt = (log: Pick<Log, "store">, position: number): Effect.Effect<SeenEvent | undefined, EventStoreError> =>
  position === 0
    ? Effect.undefined
    : Effect.map(eventAt(log, position), ({ event }) => Option.getOrUndefined(Option.map(event, seenOf)))

/** An event, as one that has been seen. */
export const seenOf = ({ id, position }: SeenEvent): SeenEvent => ({ position, id })

/**
 * Fails where the log is not the one that a checkpoint was taken from, as far as it tells what had been seen: another event stands there,
 * or there is one of the follower's own between that and the checkpoint. Reads one event, and where others had been passed over, what is
 * left of the filter.
 */
export const compare = Effect.fnUntraced(function* (
  log: Log,
  { name: checkpoint, position, seen }: Pick<Checkpoint, "name" | "position" | "seen">,
  look: typeof eventAt = eventAt
): Effect.fn.Return<void, EventStoreError | CheckpointAheadError | CheckpointContradictedError> {
  if (seen === undefined) {
    const head = position === 0 ? 0 : yield* log.store.head
    return head < position ? yield* new CheckpointAheadError({ checkpoint, position, head }) : undefined
  }
  const { event, head } = yield* look(log, seen.position)
  if (head < position) return yield* new CheckpointAheadError({ checkpoint, position, head })
  const differs = { checkpoint, position, at: seen.position, seen: Option.some(seen.id) }
  if (!Option.exists(event, ({ id }) => id === seen.id)) {
    return yield* new CheckpointContradictedError({ ...differs, found: Option.map(event, ({ id }) => id) })
  }
  const missed = yield* firstBetween(log, seen.position, position)
  if (missed === undefined) return
  const { id, position: at } = missed
  return yield* new CheckpointContradictedError({ checkpoint, position, at, seen: Option.none(), found: Option.some(id) })
})

/** The first event of the follower's own beyond a position, up to another. */
const firstBetween = Effect.fnUntraced(function* ({ filter, isOwn, store }: Log, after: number, upTo: number) {
  let from = after
  while (from < upTo) {
    const { events, position } = yield* store.readPage({ after: from, upTo, filter, size: isOwn === undefined ? 1 : 64 })
    const own = isOwn === undefined ? events[0] : events.find(isOwn)
    if (own !== undefined) return own
    if (position <= from) return undefined
    from = position
  }
  return undefined
})

/** How far somebody has come on the way to a position. */
export interface Reached {
  /** The checkpoint, 0 when there is none. */
  readonly position: number
  /** Whether all up to the position that was asked about has been dealt with. */
  readonly done: boolean
}

/** The checkpoint is of another log. */
export type OtherLogError = CheckpointAheadError | CheckpointContradictedError

/** The epochs in which checkpoints have been compared with a log, by instances of the one and the other. */
const proved = new WeakMap<Checkpoints["Service"], WeakMap<EventStore["Service"], Map<string, number>>>()

const provedOf = (checkpoints: Checkpoints["Service"], store: EventStore["Service"]): Map<string, number> => {
  const stores = proved.get(checkpoints) ?? new WeakMap<EventStore["Service"], Map<string, number>>()
  const epochs = stores.get(store) ?? new Map<string, number>()
  proved.set(checkpoints, stores.set(store, epochs))
  return epochs
}

/** Compares a checkpoint with the log, once for each time that it was claimed. */
const prove = Effect.fnUntraced(function* (log: Log, checkpoint: Checkpoint) {
  const epochs = provedOf(yield* Checkpoints, log.store)
  if (epochs.get(checkpoint.name) === checkpoint.epoch) return
  yield* compare(log, checkpoint)
  epochs.set(checkpoint.name, checkpoint.epoch)
})

/** Whether the follower of this checkpoint, here or elsewhere, has dealt with all that its filter lets through up to `target`. */
export const reached = (
  checkpoint: string,
  target: number,
  filter?: Filter
): Effect.Effect<Reached, CheckpointError | EventStoreError | OtherLogError, EventStore | Checkpoints> => {
  /** Up to where nothing is left for the follower, as far as has been seen so far. */
  let clear = 0
  return Effect.gen(function* () {
    const known = yield* Checkpoints.use(({ get }) => get(checkpoint))
    const position = Option.match(known, { onNone: () => 0, onSome: ({ position }) => position })
    const store = yield* EventStore
    if (Option.isSome(known)) yield* prove({ store, filter }, known.value)
    if (position >= target) return { position, done: true }
    const after = Math.min(target, Math.max(position, clear))
    const page = yield* store.readPage({ after, upTo: target, filter, size: 1 })
    if (page.events.length === 0) clear = page.position
    return { position, done: page.events.length === 0 && page.position >= target && page.head >= target }
  })
}

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
 * How many positions each checkpoint is behind the newest event. That of a watch over deadlines stays before the oldest that is set: what
 * counts is how far it has seen the log. What is behind no event is left out: seats, and the checkpoints of projection versions that run
 * inline or have been dropped.
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
      if (parseCheckpoint(name)._tag === "Seat") return false
      const mode = modes.get(name)
      return mode !== "inline" && !(mode === "dropped" && position === 0)
    }
    const lagOf = ({ name, position, seen }: Checkpoint): Lag => {
      const upTo = parseCheckpoint(name)._tag === "Deadlines" ? Math.max(position, seen?.position ?? 0) : position
      return { checkpoint: name, position, lag: Math.max(0, head - upTo) }
    }
    return all.filter(follows).map(lagOf)
  }
)
