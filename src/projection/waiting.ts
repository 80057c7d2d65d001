import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import * as SubscriptionRef from "effect/SubscriptionRef"
import * as Subscription from "../following/Subscription.ts"
import type { CheckpointError, Checkpoints } from "../store/Checkpoints.ts"
import { EventStore, type EventStoreError } from "../store/EventStore.ts"
import { NotCaughtUpError, type Projection } from "./model.ts"
import { positionOf, runsInline } from "./registry.ts"

/**
 * Waits until the view of this version holds all events up to `position`, such as that of an append (read-your-writes). Wakes at once
 * where this process runs the projection; where another does, it looks for the checkpoint, at most 250 milliseconds apart.
 *
 * Whoever reads a table by its name reads the active version: after a switch, wait for that one.
 *
 * @category waiting
 * @since 0.1.0
 */
export const awaitPosition = <R, D>(
  projection: Projection<R, D>,
  position: number,
  options: {
    /** After how long it fails. Default: 5 seconds. */
    readonly timeout?: Duration.Input | undefined
  } = {}
): Effect.Effect<void, NotCaughtUpError | CheckpointError | EventStoreError, EventStore | Checkpoints> =>
  Effect.gen(function* () {
    let reached = 0
    const { name, version } = projection
    yield* positions(projection, position, yield* Subscription.Registry).pipe(
      Stream.runForEach((position) => Effect.sync(() => (reached = position))),
      Effect.timeoutOrElse({
        duration: options.timeout ?? "5 seconds",
        orElse: () =>
          Effect.suspend(() =>
            Effect.fail(new NotCaughtUpError({ projection: name, version, position: reached, target: position }))
          )
      })
    )
  })

/**
 * Waits until the view of this version holds all events that stand in the store when it is called.
 *
 * @category waiting
 * @since 0.1.0
 */
export const whenCaughtUp = <R, D>(
  projection: Projection<R, D>,
  options?: Parameters<typeof awaitPosition>[2]
): Effect.Effect<void, NotCaughtUpError | CheckpointError | EventStoreError, EventStore | Checkpoints> =>
  Effect.flatMap(
    EventStore.use((store) => store.head),
    (head) => awaitPosition(projection, head, options)
  )

/** How far the view is, now and whenever that changes, until it has reached `target`. */
export const positions = <R, D>(
  projection: Projection<R, D>,
  target: number,
  registry: ReadonlyMap<string, Subscription.Controls>
): Stream.Stream<number, CheckpointError | EventStoreError, EventStore | Checkpoints> => {
  const local = () => {
    const status = registry.get(projection.subscription)?.status
    return status && { status, position: SubscriptionRef.getUnsafe(status).position }
  }
  /** Until the subscription of this process, if there is one, has moved. */
  const moved = (before: ReturnType<typeof local>) =>
    before === undefined
      ? Effect.never
      : SubscriptionRef.changes(before.status).pipe(
          Stream.filter(({ position }) => position !== before.position),
          Stream.take(1),
          Stream.runDrain
        )
  return Stream.paginate(
    { wait: 0, seen: -1, before: local() },
    Effect.fnUntraced(function* ({ before, seen, wait }) {
      if (wait > 0) yield* Effect.raceFirst(Effect.sleep(Duration.millis(wait)), moved(before))
      const now = local()
      const { done, position } = yield* standing(projection, target)
      const reached = done ? Math.max(position, target) : position
      const next = { wait: Math.min(250, Math.max(10, wait * 2)), seen: reached, before: now }
      return [reached === seen ? [] : [reached], done ? Option.none() : Option.some(next)] as const
    })
  )
}

/** How far the view is, and whether it holds all events up to `target`. */
export const standing = Effect.fnUntraced(function* <R, D>(projection: Projection<R, D>, target: number) {
  const position = yield* positionOf(projection)
  if (position >= target) return { position, done: true }
  const store = yield* EventStore
  const head = yield* store.head
  if (head < target) return { position, done: false }
  if (yield* runsInline(projection)) return { position: head, done: true }
  const [next] = yield* Stream.runCollect(store.readAll({ after: position, filter: projection.filter, limit: 1 }))
  return { position, done: next === undefined || next.position > target }
})
