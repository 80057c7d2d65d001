import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import * as SubscriptionRef from "effect/SubscriptionRef"
import { findFollower, type RemoveOptions, retire, type Status as FollowerStatus } from "../following/engine.ts"
import { deadlinesCheckpoint, processName, subscriptionCheckpoint } from "../following/names.ts"
import * as Subscription from "../following/Subscription.ts"
import type { CheckpointError, Checkpoints } from "../store/Checkpoints.ts"
import type { ParkedEventsError } from "../store/ParkedEvents.ts"
import type { Any } from "./definition.ts"

/**
 * What is known of a process manager in this process.
 *
 * @category models
 * @since 0.2.0
 */
export interface Status {
  /** Its subscription, called `process:<name>`. */
  readonly reacting: Subscription.Status
  /**
   * The watch over its deadlines, if it has any. Where checkpoints are not in a SQL database, its position stays before the oldest deadline
   * that is set; its lag is what it has not seen of the log.
   */
  readonly deadlines: Option.Option<FollowerStatus>
}

const watchOf = (process: Any) => findFollower(deadlinesCheckpoint(process.name))

/**
 * How a process manager of this process is doing.
 *
 * @category observing
 * @since 0.2.0
 */
export const status = (process: Any): Effect.Effect<Status, Subscription.UnknownSubscriptionError> =>
  Effect.gen(function* () {
    const reacting = yield* Subscription.status(processName(process.name))
    const watch = yield* watchOf(process)
    const deadlines = watch === undefined ? undefined : SubscriptionRef.getUnsafe<FollowerStatus>(watch.status)
    return { reacting, deadlines: Option.fromUndefinedOr(deadlines) }
  })

/**
 * How a process manager of this process is doing, now and whenever it changes. Never ends.
 *
 * @category observing
 * @since 0.2.0
 */
export const changes = (process: Any): Stream.Stream<Status, Subscription.UnknownSubscriptionError> =>
  Stream.unwrap(
    Effect.map(watchOf(process), (watch) => {
      const reacting = Subscription.changes(processName(process.name))
      const either: Stream.Stream<unknown, Subscription.UnknownSubscriptionError> =
        watch === undefined ? reacting : Stream.merge(reacting, SubscriptionRef.changes<FollowerStatus>(watch.status))
      return Stream.mapEffect(either, () => status(process))
    })
  )

/**
 * Pauses a process manager of this process: it reacts to nothing, and records no deadline. Succeeds when the event in hand is done.
 *
 * @category steering
 * @since 0.2.0
 */
export const pause = (process: Any): Effect.Effect<void, Subscription.UnknownSubscriptionError> =>
  Effect.andThen(
    Effect.flatMap(watchOf(process), (watch) => watch?.pause ?? Effect.void),
    Subscription.pause(processName(process.name))
  )

/**
 * Lets a process manager of this process go on that is paused or halted.
 *
 * @category steering
 * @since 0.2.0
 */
export const resume = (process: Any): Effect.Effect<void, Subscription.UnknownSubscriptionError> =>
  Effect.andThen(
    Subscription.resume(processName(process.name)),
    Effect.flatMap(watchOf(process), (watch) => watch?.resume ?? Effect.void)
  )

/**
 * Retires a process manager that nobody runs any more: the checkpoints of its subscription and of the watch over its deadlines are
 * forgotten, and what it has parked; deadlines that are set do not come any more. Whether it was known. Refused with
 * `Subscription.StillRunningError` as `Subscription.remove` is.
 *
 * The streams of its instances stay, for they are part of the log. Run again, it begins at the first event, reacts to those alone that it
 * has not reacted to, and finds the deadlines that are still set.
 *
 * @category steering
 * @since 0.2.0
 */
export const remove = (
  process: Pick<Any, "name">,
  options?: RemoveOptions
): Effect.Effect<boolean, Subscription.StillRunningError | CheckpointError | ParkedEventsError, Checkpoints> => {
  const name = processName(process.name)
  const both = [subscriptionCheckpoint(name), deadlinesCheckpoint(process.name)]
  return retire({ here: both, isOf: (checkpoint) => both.includes(checkpoint), parkedUnder: name }, options)
}
