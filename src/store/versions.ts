import type * as DateTime from "effect/DateTime"
import type * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type { CheckpointError } from "./lease.ts"

/**
 * A version of a projection, as it stands in the registry.
 *
 * @category models
 * @since 0.2.0
 */
export interface ProjectionVersion {
  /** The name of the projection. */
  readonly projection: string
  /** A whole number from 1. */
  readonly version: number
  /**
   * How it is run: `async` by a subscription, `inline` in the units of work. A version that was `dropped` has no view any more; its
   * row stays, so that whoever still runs it is told.
   */
  readonly mode: "async" | "inline" | "dropped"
  /** Whether readers see this version. At most one version of a projection is active, and never one that was dropped. */
  readonly active: boolean
  /** The position up to which it was last to be built or rebuilt. While its checkpoint stands before it, a rebuild goes on. */
  readonly target: Option.Option<number>
  /** The world beyond the view has heard of all events up to this position: their side effects are not done again. */
  readonly heard: number
  /** How often the row has been written: what {@link ProjectionVersions.put} compares. */
  readonly revision: number
  /** When the row was last written. */
  readonly updatedAt: DateTime.Utc
}

/**
 * The registry says something else than whoever wrote to it had read: another process was faster. Nothing was written. Read again,
 * and decide anew.
 *
 * @category errors
 * @since 0.2.0
 */
export class ProjectionVersionChangedError extends Schema.TaggedError<ProjectionVersionChangedError>(
  "eventfold/Checkpoints/ProjectionVersionChangedError"
)("ProjectionVersionChangedError", { projection: Schema.String, version: Schema.Number }) {
  override get message(): string {
    return `Another process has changed what is known of version ${this.version} of the projection "${this.projection}"`
  }
}

/**
 * The registry of the versions of projections, beside the checkpoints: in the same database, file or memory, and in the same
 * transaction. `Projection` keeps it; others only read it.
 *
 * @category models
 * @since 0.2.0
 */
export interface ProjectionVersions {
  /** What is known of a version; none when nobody has written it. */
  readonly get: (projection: string, version: number) => Effect.Effect<Option.Option<ProjectionVersion>, CheckpointError>
  /** The versions of one projection, or of all: by name in code point order, then by number. */
  readonly list: (projection?: string) => Effect.Effect<ReadonlyArray<ProjectionVersion>, CheckpointError>
  /**
   * Writes how a version is run, its target and what has been heard of: compare-and-set. `revision` is that of the row that the
   * caller has read, 0 where there was none. A version that is dropped is not active any more; otherwise this is left as it is.
   */
  readonly put: (
    version: Omit<ProjectionVersion, "active" | "updatedAt">
  ) => Effect.Effect<void, ProjectionVersionChangedError | CheckpointError>
  /**
   * Makes a version the active one `instead` of the one that the caller has seen active (none: there was none): compare-and-set. A
   * version that nobody has written begins as `async`, and so does one that was dropped.
   */
  readonly activate: (
    projection: string,
    version: number,
    instead: Option.Option<number>
  ) => Effect.Effect<void, ProjectionVersionChangedError | CheckpointError>
}
