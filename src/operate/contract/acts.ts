import * as Schema from "effect/Schema"
import { Time } from "./page.ts"

/**
 * What an operator can do. A `follower` is the `name` of a `Follower`, for `Retry` and `Discard` that under which the event is parked.
 *
 * @category schemas
 * @since 0.2.0
 */
export const Act = Schema.Union([
  /** Stops a follower after the event in hand. It stays so until it is resumed, also where another process takes over, or all start anew. */
  Schema.TaggedStruct("Pause", { follower: Schema.String }),
  /** Lets a follower go on that is paused or has halted. */
  Schema.TaggedStruct("Resume", { follower: Schema.String }),
  /** Hands a parked event to its handler once more, and forgets it if that succeeds. */
  Schema.TaggedStruct("Retry", { follower: Schema.String, position: Schema.Int }),
  /** Forgets a parked event. */
  Schema.TaggedStruct("Discard", { follower: Schema.String, position: Schema.Int }),
  /** Hands a dead letter to its handler once more, and forgets it if that succeeds. */
  Schema.TaggedStruct("RetryLetter", { group: Schema.String, id: Schema.String }),
  /** Forgets a dead letter. */
  Schema.TaggedStruct("DiscardLetter", { group: Schema.String, id: Schema.String }),
  /** Builds the view of a version anew, from the beginning of the log. */
  Schema.TaggedStruct("Rebuild", { projection: Schema.String, version: Schema.Int }),
  /** Makes a version the one that readers see. */
  Schema.TaggedStruct("Switch", { projection: Schema.String, version: Schema.Int }),
  /** Drops the tables of a version, and all that is known of it. */
  Schema.TaggedStruct("Drop", { projection: Schema.String, version: Schema.Int }),
  /** Forgets the checkpoint of a follower that nobody runs, and what it has parked. */
  Schema.TaggedStruct("RemoveFollower", { follower: Schema.String }),
  /** Publishes the events of a relay from one position to another (both inclusive) once more, under the ids that they had. */
  Schema.TaggedStruct("RelayAgain", { relay: Schema.String, from: Schema.Int, to: Schema.Int })
])

/**
 * What an operator can do.
 *
 * @category models
 * @since 0.2.0
 */
export type Act = typeof Act.Type

/**
 * What becomes of an act: asked, taken by a process, perhaps how far it is, and done. The stream ends with `Done`, or fails.
 *
 * @category schemas
 * @since 0.2.0
 */
export const ActStep = Schema.Union([
  Schema.TaggedStruct("Asked", { id: Schema.String }),
  Schema.TaggedStruct("Taken", { id: Schema.String, owner: Schema.String }),
  Schema.TaggedStruct("Progress", { id: Schema.String, position: Schema.Int, target: Schema.Int }),
  /** What came of it, in one sentence. */
  Schema.TaggedStruct("Done", { id: Schema.String, outcome: Schema.String })
])

/**
 * What becomes of an act.
 *
 * @category models
 * @since 0.2.0
 */
export type ActStep = typeof ActStep.Type

/**
 * What an operator has asked for, as it is recorded.
 *
 * @category schemas
 * @since 0.2.0
 */
export const AskedRow = Schema.Struct({
  id: Schema.String,
  act: Act,
  by: Schema.String,
  reason: Schema.NullOr(Schema.String),
  /** When it was done or refused; of one that is under way, when it was asked. */
  at: Time,
  /**
   * `"silent"`: a process has taken it, and has not been heard of for some seconds. Another goes on with it where one can; after a minute it is
   * refused.
   */
  state: Schema.Literals(["waiting", "under-way", "silent", "done", "refused"]),
  /** The process that took it. */
  owner: Schema.NullOr(Schema.String),
  progress: Schema.NullOr(Schema.Struct({ position: Schema.Int, target: Schema.Int })),
  /** What came of it, or why it was refused. */
  outcome: Schema.NullOr(Schema.String)
})

/**
 * What an operator has asked for, as it is recorded.
 *
 * @category models
 * @since 0.2.0
 */
export type AskedRow = typeof AskedRow.Type
