import type * as Effect from "effect/Effect"
import type { CheckpointError, CheckpointFencedError, Lease, SeenEvent } from "./lease.ts"

/**
 * A deadline of a process manager that is set and has not come.
 *
 * @category models
 * @since 0.2.0
 */
export interface KeptDeadline {
  /** The stream of the process. */
  readonly stream: string
  /** The type of the event that is recorded when it comes: a stream has one deadline of a type at a time. */
  readonly type: string
  /** When it is due, in milliseconds since the epoch. */
  readonly due: number
  /** The position of the event that has set it, from which it is read when it comes. */
  readonly position: number
  /** The id of the event that is recorded when it comes. */
  readonly id: string
}

/**
 * What becomes of the deadline of a type in a stream.
 *
 * @category models
 * @since 0.2.0
 */
export interface DeadlineChange {
  readonly stream: string
  /** The type under all names that it has had: what is kept under any of them is dropped. */
  readonly types: ReadonlyArray<string>
  /** Nothing else is dropped than those with these ids. Absent: whatever is kept. */
  readonly onlyIds: ReadonlyArray<string> | undefined
  /** What is kept in its place, if anything. */
  readonly set: KeptDeadline | undefined
}

/**
 * The deadlines that are set, kept beside the checkpoint of the watch over them, so that a restart reads those alone that are due.
 *
 * @category models
 * @since 0.2.0
 */
export interface KeptDeadlines {
  /**
   * Moves a checkpoint as `Checkpoints.advance` does, and in the same transaction changes what is kept: then that is all that stands at the
   * position, and leases say so ({@link Lease.deadlines}).
   */
  readonly advance: (
    lease: Lease,
    position: number,
    seen: SeenEvent | undefined,
    changes: ReadonlyArray<DeadlineChange>
  ) => Effect.Effect<Lease, CheckpointFencedError | CheckpointError>
  /** Moves a checkpoint to 0 and drops what is kept, so that all is read anew. */
  readonly restart: (lease: Lease) => Effect.Effect<Lease, CheckpointFencedError | CheckpointError>
  /** Those of a checkpoint that are due up to a time and come behind a place, in the order of times and then of positions: so many at most. */
  readonly due: (
    checkpoint: string,
    options: {
      /** The time (inclusive), in milliseconds since the epoch. */
      readonly upTo: number
      /** The place, which is not part of the answer. */
      readonly after: Pick<KeptDeadline, "due" | "position">
      /** The most of them. */
      readonly limit: number
    }
  ) => Effect.Effect<ReadonlyArray<KeptDeadline>, CheckpointError>
}
