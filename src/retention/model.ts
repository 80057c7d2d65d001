/** What is kept for how long, and what a run of it comes to. */
import type * as Duration from "effect/Duration"
import * as Schema from "effect/Schema"
import { tenantStream } from "../definitions/tenant.ts"
import { lasting as lastingOf } from "../internal/lasting.ts"

/**
 * Keeps so many versions behind the newest snapshot of a stream.
 *
 * @category policies
 * @since 0.2.0
 */
export interface BehindSnapshot {
  readonly _tag: "BehindSnapshot"
  readonly versions: number
}

/**
 * Keeps each event for so long, whether its stream goes on or not.
 *
 * @category policies
 * @since 0.2.0
 */
export interface EachFor {
  readonly _tag: "EachFor"
  readonly duration: Duration.Duration
}

/**
 * What is kept of the streams of a category.
 *
 * @category policies
 * @since 0.2.0
 */
export interface Policy {
  /**
   * `"for ever"`; or how long a stream is kept that nothing is appended to any more: it goes as a whole, when its newest event is older than that;
   * or {@link behindSnapshot}, or {@link eachFor}.
   */
  readonly keep: "for ever" | Duration.Input | BehindSnapshot | EachFor
  /** What becomes of the rest: `"tombstone"` removes it for good, `"archive"` moves it to the `Archive` first. Default: `"tombstone"`. */
  readonly afterwards?: "tombstone" | "archive" | undefined
}

/** What stands in categories of which nothing is ever removed. */
const lasting: Readonly<Record<string, string>> = {
  $erasure: "it says who is forgotten, and is what keys that come back from a backup are forgotten by again",
  [tenantStream]: "it is what nobody appends to a place by that its tenant has left"
}

/** Why nothing of a category may be removed; `undefined` where it may. */
export const lastingFault = (category: string): string | undefined =>
  Object.hasOwn(lasting, category) ? `kept for ever: ${lasting[category]}` : undefined

/**
 * Keeps the last `versions` events of a stream that are folded into its snapshot, and what came after them: the rest goes, so with 0 all that is folded into it. Where a stream has several
 * snapshots (of several fingerprints), the oldest counts, because a release before this one may still run, or come back. One that another has taken the place of
 * counts for 30 days more (60 from when it was saved), and for as long as one of its fingerprint is saved, of whatever stream, every 30 days; a run drops it
 * then. A stream without one is kept.
 *
 * ```ts
 * import { Retention } from "eventfold"
 *
 * Retention.behindSnapshot(100).versions // => 100
 * ```
 *
 * @category policies
 * @since 0.2.0
 */
export const behindSnapshot = (versions: number): BehindSnapshot => {
  if (!Number.isSafeInteger(versions) || versions < 0) {
    throw new RangeError(`Retention.behindSnapshot takes a whole number from 0, not ${versions}`)
  }
  return { _tag: "BehindSnapshot", versions }
}

/**
 * Keeps each event for so long, whether its stream goes on or not: for streams that nobody folds, such as logs of what was done.
 *
 * ```ts
 * import { Duration } from "effect"
 * import { Retention } from "eventfold"
 *
 * Duration.toDays(Retention.eachFor("90 days").duration) // => 90
 * ```
 *
 * @category policies
 * @since 0.2.0
 */
export const eachFor = (duration: Duration.Input): EachFor => ({
  _tag: "EachFor",
  duration: lastingOf("Retention.eachFor", duration)
})

/**
 * What a policy would remove of a category now.
 *
 * @category models
 * @since 0.2.0
 */
export interface Planned {
  readonly category: string
  readonly afterwards: "tombstone" | "archive"
  readonly streams: number
  readonly events: number
  /** Who has not yet seen all of that: nothing of the category is removed until they have. Names of checkpoints, and of followers with parked events. */
  readonly blockedBy: ReadonlyArray<string>
}

/**
 * How far a run is, or the last one was.
 *
 * @category models
 * @since 0.2.0
 */
export interface Status {
  readonly running: boolean
  /** The category that is being dealt with. */
  readonly category: string | undefined
  /** How many events have been removed in this run, and how many there are to be removed in it, as far as that is known. */
  readonly removed: number
  readonly planned: number
  /** What the last run failed with. */
  readonly error: RetentionError | undefined
}

/**
 * Something would be removed that a follower has not yet seen. Nothing of that was removed.
 *
 * @category errors
 * @since 0.2.0
 */
export class RetentionRefused extends Schema.TaggedError<RetentionRefused>("eventfold/Retention/RetentionRefused")(
  "RetentionRefused",
  {
    /** The categories, or the stream, that something would be removed of. */
    of: Schema.Array(Schema.String),
    /** Who is behind. */
    by: Schema.Array(Schema.String)
  }
) {
  override get message(): string {
    return `Nothing was removed of ${this.of.join(", ")}: ${this.by.join(", ")} would miss it. Let them come up with the log, or remove those that nobody runs any more`
  }
}

/**
 * A policy, or the store, asks for something that is not there.
 *
 * @category errors
 * @since 0.2.0
 */
export class RetentionFailed extends Schema.TaggedError<RetentionFailed>("eventfold/Retention/RetentionFailed")(
  "RetentionFailed",
  {
    problem: Schema.String,
    cause: Schema.optional(Schema.Defect())
  }
) {
  override get message(): string {
    return `Retention failed: ${this.problem}`
  }
}

/**
 * All that a run can fail with.
 *
 * @category errors
 * @since 0.2.0
 */
export type RetentionError = RetentionRefused | RetentionFailed
