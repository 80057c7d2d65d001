import type * as Duration from "effect/Duration"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import { subscriptionCheckpoint } from "../following/names.ts"
import * as progress from "../following/progress.ts"
import { findFollower, statusNow } from "../following/engine.ts"
import type * as Subscription from "../following/Subscription.ts"
import { lasting } from "../internal/lasting.ts"
import type { CheckpointAheadError, CheckpointContradictedError, CheckpointError, Checkpoints } from "../store/Checkpoints.ts"
import { EventStore, type EventStoreError } from "../store/EventStore.ts"
import { NotCaughtUpError, type Projection } from "./model.ts"
import { runsInline } from "./registry.ts"

/**
 * Waits until the view of this version holds all events up to `position`, such as that of an append (read-your-writes). Wakes at once
 * where this process runs the projection; where another does, it looks for the checkpoint, at most 250 milliseconds apart.
 *
 * When the time has passed it fails with a `NotCaughtUpError`, which also says why the version has halted, where it has in this process.
 *
 * Whoever reads a table by its name reads the active version: after a switch, wait for that one. Where the checkpoint is not one of this
 * log, as after a restore of the store alone, it fails with what the projection halts with.
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
): Effect.Effect<void, NotCaughtUpError | CheckpointError | EventStoreError | OtherLogError, EventStore | Checkpoints> =>
  Effect.gen(function* () {
    let reached = 0
    const { name, version } = projection
    yield* positions(projection, position).pipe(
      Stream.runForEach((position) => Effect.sync(() => (reached = position))),
      Effect.timeoutOrElse({
        duration: lasting("Projection.awaitPosition: timeout", options.timeout ?? "5 seconds"),
        orElse: () =>
          Effect.flatMap(haltedBy(projection), (cause) =>
            Effect.fail(
              new NotCaughtUpError({
                projection: name,
                version,
                position: reached,
                target: position,
                ...(cause !== undefined && { cause })
              })
            )
          )
      })
    )
  })

/** Why a version has halted in this process, if it has. */
const haltedBy = <R, D>({ subscription }: Projection<R, D>) =>
  Effect.map(findFollower(subscriptionCheckpoint(subscription)), (found): unknown => {
    const status = found && statusNow(found)
    return status?.state === "halted" ? Option.match(status.cause, { onNone: () => "halted", onSome: Cause.squash }) : undefined
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
): Effect.Effect<void, NotCaughtUpError | CheckpointError | EventStoreError | OtherLogError, EventStore | Checkpoints> =>
  Effect.flatMap(
    EventStore.use((store) => store.head),
    (head) => awaitPosition(projection, head, options)
  )

/** How far the view is, now and whenever that changes, until it has reached `target`. */
export const positions = <R, D>(
  projection: Projection<R, D>,
  target: number,
  here: Effect.Effect<Status | undefined> = Effect.map(
    findFollower(subscriptionCheckpoint(projection.subscription)),
    (found) => found?.status
  )
): Stream.Stream<number, CheckpointError | EventStoreError | OtherLogError, EventStore | Checkpoints> =>
  progress.positions(progressTo(projection, target), target, here)

type OtherLogError = CheckpointAheadError | CheckpointContradictedError
type Status = Subscription.Controls["status"]

/** How far the view is, and whether it holds all events up to `target`. */
export const progressTo = Effect.fnUntraced(function* <R, D>(projection: Projection<R, D>, target: number) {
  const reached = yield* progress.reached(subscriptionCheckpoint(projection.subscription), target, projection.filter)
  if (reached.done || !(yield* runsInline(projection))) return reached
  const head = yield* EventStore.use((store) => store.head)
  return { position: head < target ? reached.position : head, done: head >= target }
})
