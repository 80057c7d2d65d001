import * as Context from "effect/Context"
import type * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type * as SqlClient from "effect/sql/SqlClient"
import { describeOwn } from "../sql/errors.ts"
import type { KeptDeadlines } from "./deadlines.ts"
import type { ProjectionVersions } from "./versions.ts"

/**
 * An event that a follower has seen, kept beside its checkpoint: by it a log that is not the one it followed is told apart.
 *
 * @category models
 * @since 0.2.0
 */
export interface SeenEvent {
  /** The position of the event in the log, from 1. */
  readonly position: number
  /** The id of the event. */
  readonly id: string
}

/**
 * What is known of a name.
 *
 * @category models
 * @since 0.1.0
 */
export interface Checkpoint {
  readonly name: string
  /** The position up to which all work is done. */
  readonly position: number
  /**
   * The newest event that its owner had seen when the position was last moved: at that position where the follower handles all events,
   * below it where the last ones did not concern it, beyond it where it stays before something that is still to come. Absent where it
   * is unknown: before the first move, after a reset, and where the name was last moved by eventfold 0.1.
   */
  readonly seen?: SeenEvent | undefined
  /** How often the name has been claimed or reset. */
  readonly epoch: number
  /** Who holds it; none when it has been released or reset. A lease that has run out is still shown until it is claimed anew. */
  readonly owner: Option.Option<string>
  /** Whether whoever holds the name is to begin nothing: see `Checkpoints.pause`. Absent: no. */
  readonly paused?: true | undefined
  /** When the lease runs out. */
  readonly expiresAt: DateTime.Utc
  /** When the position was last advanced, or the name claimed or reset. */
  readonly updatedAt: DateTime.Utc
}

/**
 * The right to advance a checkpoint.
 *
 * @category models
 * @since 0.1.0
 */
export interface Lease {
  readonly name: string
  readonly owner: string
  readonly epoch: number
  readonly position: number
  /** See {@link Checkpoint}: the newest event that was seen. Absent where it is unknown. */
  readonly seen?: SeenEvent | undefined
  /** Whether all deadlines that stand at the position are kept beside it. Absent: no. */
  readonly deadlines?: true | undefined
  /** Whether the name was paused when it was claimed. Absent: no. */
  readonly paused?: true | undefined
  /** How long it lasts after each claim, renewal and advance. */
  readonly ttl: Duration.Duration
}

/**
 * Somebody else holds the name. Try again when the lease has run out.
 *
 * @category errors
 * @since 0.1.0
 */
export class CheckpointHeldError extends Schema.TaggedError<CheckpointHeldError>("eventfold/Checkpoints/CheckpointHeldError")(
  "CheckpointHeldError",
  { checkpoint: Schema.String, owner: Schema.String }
) {
  override get message(): string {
    return `The checkpoint "${this.checkpoint}" is held by "${this.owner}"`
  }
}

/**
 * The lease has been superseded: the name has been claimed anew, released, reset or removed, or the checkpoint is no longer at the lease's
 * position. Nothing was written, and nothing more may be done for it.
 *
 * @category errors
 * @since 0.1.0
 */
export class CheckpointFencedError extends Schema.TaggedError<CheckpointFencedError>(
  "eventfold/Checkpoints/CheckpointFencedError"
)("CheckpointFencedError", { checkpoint: Schema.String, epoch: Schema.Number }) {
  override get message(): string {
    return `The lease ${this.epoch} of the checkpoint "${this.checkpoint}" has been superseded`
  }
}

/**
 * The log ends before the checkpoint, as when the store was restored from a backup and the checkpoints were not. What is appended up
 * to there would pass for handled, so a subscription or a relay halts. Nothing was handled. Restore the checkpoints, too, or go on
 * under a new name: a subscription `from` the position up to which its handlers know the log as it is, a relay from the beginning,
 * for a message that is published again bears the same id; a projection is rebuilt.
 *
 * @category errors
 * @since 0.1.0
 */
export class CheckpointAheadError extends Schema.TaggedError<CheckpointAheadError>("eventfold/Checkpoints/CheckpointAheadError")(
  "CheckpointAheadError",
  {
    /** The name of the checkpoint. */
    checkpoint: Schema.String,
    /** The checkpoint. */
    position: Schema.Number,
    /** The position of the newest event. */
    head: Schema.Number
  }
) {
  override get message(): string {
    return `The checkpoint "${this.checkpoint}" is at position ${this.position}, and the log ends at ${this.head}`
  }
}

/**
 * The log is not the one that the checkpoint was taken from: another event stands where its owner has seen one, or none does, or there
 * is an event of its own before the checkpoint that it has not seen. So it is when the store was restored from a backup, has grown past
 * the checkpoint since, and the checkpoints were not restored. What stands up to the checkpoint would pass for handled, so whatever
 * follows halts. Nothing was handled.
 *
 * Restore the checkpoints, too; or set the checkpoint to the position up to which the log is known to be the same,
 * `Checkpoints.reset(checkpoint, position)`, and resume: a relay may be set to 0, for a message that is published again bears the same
 * id. A projection is rebuilt.
 *
 * @category errors
 * @since 0.2.0
 */
export class CheckpointContradictedError extends Schema.TaggedError<CheckpointContradictedError>(
  "eventfold/Checkpoints/CheckpointContradictedError"
)("CheckpointContradictedError", {
  /** The name of the checkpoint. */
  checkpoint: Schema.String,
  /** The checkpoint. */
  position: Schema.Number,
  /** The position at which the log contradicts it. */
  at: Schema.Number,
  /** The id of the event that had been seen there; none where none of the follower's own had. */
  seen: Schema.Option(Schema.String),
  /** The id of the event that stands there; none where the log ends before. */
  found: Schema.Option(Schema.String)
}) {
  override get message(): string {
    const found = Option.match(this.found, { onNone: () => "no event", onSome: (id) => `the event "${id}"` })
    const why = Option.match(this.seen, {
      onNone: () => `at position ${this.at} stands ${found}, which it has not seen`,
      onSome: (seen) => `at position ${this.at} it has seen the event "${seen}", and there stands ${found}`
    })
    return `The checkpoint "${this.checkpoint}" at position ${this.position} is not of this log: ${why}. Restore the checkpoints with the store; or set this one to where both logs are the same, with Checkpoints.reset, and resume; a projection is rebuilt`
  }
}

/**
 * The storage of the checkpoints failed, or refused what makes no sense, such as an empty name; `cause` says which. Nothing was
 * written, unless the connection was lost on the way.
 *
 * @category errors
 * @since 0.1.0
 */
export class CheckpointError extends Schema.TaggedError<CheckpointError>("eventfold/Checkpoints/CheckpointError")(
  "CheckpointError",
  {
    operation: Schema.String,
    /** The name of the checkpoint. */
    checkpoint: Schema.String,
    cause: Schema.Defect()
  }
) {
  override get message(): string {
    return `The checkpoint "${this.checkpoint}" failed to ${this.operation}: ${describeOwn(this.cause)}`
  }
}

/**
 * The checkpoints service.
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Checkpoints } from "eventfold"
 *
 * const program = Effect.gen(function* () {
 *   const checkpoints = yield* Checkpoints.Checkpoints
 *   const lease = yield* checkpoints.claim("emails", { owner: "a", ttl: "10 seconds" })
 *   yield* checkpoints.advance(lease, 42)
 *   const other = yield* Effect.flip(checkpoints.claim("emails", { owner: "b", ttl: "10 seconds" }))
 *   return [other._tag, (yield* checkpoints.list).map(({ name, position }) => [name, position])]
 * })
 *
 * await Effect.runPromise(Effect.provide(program, Checkpoints.layerMemory)) // => ["CheckpointHeldError", [["emails", 42]]]
 * ```
 *
 * @category services
 * @since 0.1.0
 */
export class Checkpoints extends Context.Service<
  Checkpoints,
  {
    /**
     * Takes the lease of `name`, if it is free, has run out, or is the owner's own.
     *
     * A name has 1 to 255 characters; `ttl` is finite and longer than nothing.
     */
    readonly claim: (
      name: string,
      options: {
        /** Who claims: the same owner may claim again. */
        readonly owner: string
        /** How long the lease lasts, unless it is renewed. */
        readonly ttl: Duration.Input
        /** Where a new name begins. Default: 0, before the first event. */
        readonly from?: number | undefined
      }
    ) => Effect.Effect<Lease, CheckpointHeldError | CheckpointError>
    /** Makes the lease last for its whole time from now. A lease that has run out is still good until another claims the name. */
    readonly renew: (lease: Lease) => Effect.Effect<void, CheckpointFencedError | CheckpointError>
    /**
     * Keeps the lease as long as it runs, and fails when the lease is superseded. When it is interrupted the lease has its whole time
     * from then on. Present where all owners live in one process, which knows without a clock that they are alive; elsewhere the lease
     * has to be renewed.
     */
    readonly keep?: ((lease: Lease) => Effect.Effect<never, CheckpointFencedError | CheckpointError>) | undefined
    /**
     * Moves the checkpoint from the lease's position to `position`, which must not be lower, and renews the lease. What it
     * returns takes the lease's place: advancing twice from the same one is fenced. Position 0 says that all work is to be done
     * anew, and may always be taken.
     *
     * `seen` is the newest event that whoever advances has seen, and is kept with the position. Without it, and at position 0, none
     * is kept.
     */
    readonly advance: (
      lease: Lease,
      position: number,
      seen?: SeenEvent
    ) => Effect.Effect<Lease, CheckpointFencedError | CheckpointError>
    /** Gives the name back, so that another may claim it at once. Does nothing when the lease has been superseded or released. */
    readonly release: (lease: Lease) => Effect.Effect<void, CheckpointError>
    /**
     * Takes `name` from whoever holds it, sets its position, and leaves it free; what was seen is forgotten. Gives what was known of it before: none when it was
     * not known.
     *
     * This is the one way to move a checkpoint backwards. The superseded owner is fenced: it can commit nothing more, and it may
     * claim the name anew, like anybody else.
     *
     * A handler of a subscription may set that one's own checkpoint: what it has done stands, and the subscription goes on from there.
     * In a transaction both commit together.
     */
    readonly reset: (name: string, position: number) => Effect.Effect<Option.Option<Checkpoint>, CheckpointError>
    /**
     * Forgets `name` for good: it is neither listed nor found any more, and begins anew when it is claimed again. Whether it was
     * known.
     *
     * A name that somebody holds is refused with {@link CheckpointHeldError}; `force` takes it all the same. A lease from before is
     * fenced for ever, whoever claims the name later.
     */
    readonly remove: (
      name: string,
      options?: {
        /** Whether to take the name from whoever holds it. Default: `false`. */
        readonly force?: boolean | undefined
      }
    ) => Effect.Effect<boolean, CheckpointHeldError | CheckpointError>
    /**
     * Says that whoever holds `name` is to begin nothing (`true`), or may go on (`false`), also after a restart, and whoever claims it next.
     * It tells nobody who holds it now: that is for whoever asks. Whether the name is known; one that is not cannot be paused.
     */
    readonly pause: (name: string, paused: boolean) => Effect.Effect<boolean, CheckpointError>
    /** What is known of `name`; none when it has never been claimed or reset, or was removed. */
    readonly get: (name: string) => Effect.Effect<Option.Option<Checkpoint>, CheckpointError>
    /** All names, in code point order. */
    readonly list: Effect.Effect<ReadonlyArray<Checkpoint>, CheckpointError>
    /** The versions of projections, which are kept beside the checkpoints. */
    readonly versions: ProjectionVersions
    /**
     * The deadlines that are set, where they are kept: in a SQL database. Elsewhere the watch over them has them in memory, and reads the
     * log from before the oldest.
     */
    readonly deadlines?: KeptDeadlines | undefined
    /**
     * Present where they are kept in a SQL database: inside a transaction of the client with this transaction service, what is
     * done is part of that transaction.
     */
    readonly transactionService?: SqlClient.SqlClient["transactionService"]
  }
>()("eventfold/Checkpoints") {}

/**
 * Holds a name while `work` runs: claims it, keeps the lease or renews it three times in the time that it lasts, and gives it back at
 * the end. When the lease turns out to be lost, `work` is interrupted.
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Checkpoints } from "eventfold"
 *
 * const program = Checkpoints.withLease("emails", { owner: "a", ttl: "15 seconds" }, (lease) =>
 *   Effect.succeed(`from ${lease.position} on, nobody but ${lease.owner}`)
 * )
 *
 * await Effect.runPromise(Effect.provide(program, Checkpoints.layerMemory)) // => "from 0 on, nobody but a"
 * ```
 *
 * @category accessors
 * @since 0.1.0
 */
export const withLease = <A, E, R>(
  name: string,
  options: Parameters<Checkpoints["Service"]["claim"]>[1],
  work: (lease: Lease) => Effect.Effect<A, E, R>
): Effect.Effect<A, E | CheckpointHeldError | CheckpointFencedError | CheckpointError, R | Checkpoints> =>
  Checkpoints.use((checkpoints) =>
    Effect.acquireUseRelease(
      checkpoints.claim(name, options),
      (lease) => {
        const kept =
          checkpoints.keep?.(lease) ?? Effect.forever(Effect.andThen(Effect.sleep(beat(lease.ttl)), checkpoints.renew(lease)))
        // Whoever finds first that the lease is lost ends the other.
        return Effect.raceFirst(work(lease), kept)
      },
      (lease) => Effect.ignore(checkpoints.release(lease))
    )
  )

/**
 * A third of a lease's time: how often {@link withLease} renews it, and how often others may ask for it.
 *
 * @category accessors
 * @since 0.1.0
 */
export const beat = (ttl: Duration.Input): Duration.Duration => Duration.times(Duration.fromInputUnsafe(ttl), 1 / 3)
