import * as Schema from "effect/Schema"

/**
 * The stream is not at the version that the append expected: somebody else was first. Nothing was written.
 *
 * Reload the stream and decide again; `UnitOfWork.retryConflicts` does just that.
 *
 * @category errors
 * @since 0.1.0
 */
export class OptimisticLockError extends Schema.TaggedError<OptimisticLockError>("eventfold/EventStore/OptimisticLockError")(
  "OptimisticLockError",
  {
    stream: Schema.String,
    expected: Schema.Union([Schema.Number, Schema.Literals(["any", "no-stream", "exists"])]),
    /** The version the stream is really at, 0 when it does not exist. */
    actual: Schema.Number
  }
) {
  override get message(): string {
    return `Stream "${this.stream}" is at version ${this.actual}, not at the expected ${this.expected}: reload it and decide again`
  }
}

/**
 * An event that a condition of the append excludes stands in the store already. Nothing was written.
 *
 * @category errors
 * @since 0.1.0
 */
export class AppendConditionError extends Schema.TaggedError<AppendConditionError>("eventfold/EventStore/AppendConditionError")(
  "AppendConditionError",
  {
    /**
     * The position of the newest event that matches a condition's filter; that of `after`, where another event stands there than `afterId` says;
     * 0 where the unit of work has itself staged such an event, or dropped it again, since it was read.
     */
    position: Schema.Number,
    /** The condition that it matches. */
    condition: Schema.optionalKey(
      Schema.Struct({
        filter: Schema.Array(
          Schema.Struct({
            categories: Schema.optionalKey(Schema.Array(Schema.String)),
            types: Schema.optionalKey(Schema.Array(Schema.String)),
            tags: Schema.optionalKey(Schema.Array(Schema.String)),
            published: Schema.optionalKey(Schema.Boolean),
            correlationId: Schema.optionalKey(Schema.String)
          })
        ),
        after: Schema.Number,
        afterId: Schema.optionalKey(Schema.String)
      })
    )
  }
) {
  override get message(): string {
    const { condition, position } = this
    const which =
      condition === undefined ? "" : ` (beyond position ${condition.after}: ${clip(JSON.stringify(condition.filter), 300)})`
    if (condition?.afterId !== undefined && position === condition.after) {
      return `The event ${JSON.stringify(condition.afterId)}, which an append condition was made on, does not stand at position ${position}${which}: it is another log now, so read the matching events again and decide anew`
    }
    const event =
      position === 0
        ? "An event that this unit of work has itself staged, or dropped, meanwhile"
        : `An event at position ${position}`
    return `${event} matches the append condition${which}: read the matching events again and decide anew`
  }
}

/**
 * The id of an event is in use, and the append is not a repetition of the one that used it: another stream, another order, another type
 * or another payload. Nothing was written.
 *
 * @category errors
 * @since 0.1.0
 */
export class DuplicateEventError extends Schema.TaggedError<DuplicateEventError>("eventfold/EventStore/DuplicateEventError")(
  "DuplicateEventError",
  {
    /** The stream that the refused append was for. */
    stream: Schema.String,
    id: Schema.String
  }
) {
  override get message(): string {
    return `Event id "${this.id}", appended to stream "${this.stream}", is already in use: give the event an id of its own, or repeat the whole first append unchanged`
  }
}

/**
 * The append can never succeed as it is: a name, a version, an id or a payload is not acceptable. Nothing was written.
 *
 * @category errors
 * @since 0.1.0
 */
export class InvalidAppendError extends Schema.TaggedError<InvalidAppendError>("eventfold/EventStore/InvalidAppendError")(
  "InvalidAppendError",
  {
    stream: Schema.String,
    /** What is wrong, as a path: `stream`, `expected`, `events[2].payload.items[0].name`. */
    field: Schema.String,
    problem: Schema.String
  }
) {
  override get message(): string {
    return `Append to stream ${JSON.stringify(clip(this.stream))} refused: ${clipMiddle(this.field)} ${this.problem}`
  }
}

const clip = (text: string, most = 60): string => (text.length > most ? `${text.slice(0, most)}…` : text)

/** Both ends of a path: where it begins, and what it leads to. */
const clipMiddle = (path: string, most = 160): string =>
  path.length > most ? `${path.slice(0, most - 60)}…${path.slice(-60)}` : path

const reasonFields = {
  /** What was being done: `append`, `read`, … */
  operation: Schema.String,
  detail: Schema.String,
  cause: Schema.optional(Schema.Defect())
}

/**
 * The store could not be reached, was too busy, or takes no writes for now, as during a failover. Nothing was written; trying again
 * later may succeed.
 *
 * @category errors
 * @since 0.1.0
 */
export class StoreUnavailable extends Schema.TaggedError<StoreUnavailable>("eventfold/EventStore/StoreUnavailable")(
  "StoreUnavailable",
  reasonFields
) {
  override get message(): string {
    return `The store was not available during ${this.operation}: ${this.detail}. Nothing was written: try again later`
  }
}

/**
 * The connection was lost after the append was sent and before the answer came: it may or may not have been written.
 *
 * Repeat it **with the same event ids**: if it had been written, the repetition succeeds with `deduplicated: true`. A unit of work
 * that is simply run again makes new ids, unless its events were given theirs: look first whether it took effect.
 *
 * @category errors
 * @since 0.1.0
 */
export class OutcomeUnknown extends Schema.TaggedError<OutcomeUnknown>("eventfold/EventStore/OutcomeUnknown")(
  "OutcomeUnknown",
  reasonFields
) {
  override get message(): string {
    return `The answer was lost during ${this.operation}: ${this.detail}. It may have been written, or not: repeat it with the same event ids, or look first`
  }
}

/**
 * The database ended the transaction in favour of another (serialization failure, deadlock, lock time-out). Nothing was
 * written; running the whole transaction again may succeed.
 *
 * @category errors
 * @since 0.1.0
 */
export class TransactionConflict extends Schema.TaggedError<TransactionConflict>("eventfold/EventStore/TransactionConflict")(
  "TransactionConflict",
  reasonFields
) {
  override get message(): string {
    return `The database ended the transaction in favour of another during ${this.operation}: ${this.detail}. Nothing was written: run the whole transaction again`
  }
}

/**
 * What is stored contradicts itself, for example after restoring half a backup. The store refuses to write until it is repaired.
 *
 * @category errors
 * @since 0.1.0
 */
export class StoreCorrupted extends Schema.TaggedError<StoreCorrupted>("eventfold/EventStore/StoreCorrupted")(
  "StoreCorrupted",
  reasonFields
) {
  override get message(): string {
    return `What is stored contradicts itself, as was seen during ${this.operation}: ${this.detail}. The store refuses to write until that is repaired`
  }
}

/**
 * A read was asked for something that makes no sense, such as a negative version.
 *
 * @category errors
 * @since 0.1.0
 */
export class InvalidRead extends Schema.TaggedError<InvalidRead>("eventfold/EventStore/InvalidRead")(
  "InvalidRead",
  reasonFields
) {
  override get message(): string {
    return `What was asked for makes no sense, during ${this.operation}: ${this.detail}. Mend the caller`
  }
}

/**
 * Anything else that the storage reported: no space left, no permission, … Nothing was written.
 *
 * @category errors
 * @since 0.1.0
 */
export class StoreFailure extends Schema.TaggedError<StoreFailure>("eventfold/EventStore/StoreFailure")(
  "StoreFailure",
  reasonFields
) {
  override get message(): string {
    return `The storage failed during ${this.operation}: ${this.detail}. Nothing was written: mend what the storage complains of`
  }
}

/**
 * An event that the reader cannot do without was removed: a tombstone stands in its place, and nobody has it any more. The stream exists: its
 * version stands, and an append that expects no stream is refused.
 *
 * @category errors
 * @since 0.2.0
 */
export class EventsRemoved extends Schema.TaggedError<EventsRemoved>("eventfold/EventStore/EventsRemoved")("EventsRemoved", {
  ...reasonFields,
  stream: Schema.String,
  version: Schema.Number,
  position: Schema.Number
}) {
  override get message(): string {
    return `What is needed during ${this.operation} is gone: ${this.detail}. Begin a new stream, or read from a snapshot that was made before`
  }
}

/**
 * An event that the reader cannot do without was moved to an archive, which is not provided here.
 *
 * @category errors
 * @since 0.2.0
 */
export class EventsArchived extends Schema.TaggedError<EventsArchived>("eventfold/EventStore/EventsArchived")("EventsArchived", {
  ...reasonFields,
  stream: Schema.String,
  version: Schema.Number,
  position: Schema.Number,
  /** The name of the archive. */
  archive: Schema.String
}) {
  override get message(): string {
    return `What is needed during ${this.operation} is in an archive: ${this.detail}. Provide that archive and read through it: Archive.layer`
  }
}

/**
 * How the storage failed.
 *
 * @category errors
 * @since 0.1.0
 */
export type EventStoreErrorReason =
  | StoreUnavailable
  | OutcomeUnknown
  | TransactionConflict
  | StoreCorrupted
  | InvalidRead
  | StoreFailure
  | EventsRemoved
  | EventsArchived

/**
 * The storage beneath the store failed. `reason` says how, and `Effect.catchReason` catches one kind:
 *
 * ```ts
 * import { Effect } from "effect"
 * import { EventStore } from "eventfold"
 *
 * const head = EventStore.head.pipe(
 *   Effect.catchReason("EventStoreError", "StoreUnavailable", () => Effect.succeed(-1))
 * )
 *
 * await Effect.runPromise(Effect.provide(head, EventStore.layerMemory)) // => 0
 * ```
 *
 * @category errors
 * @since 0.1.0
 */
export class EventStoreError extends Schema.TaggedError<EventStoreError>("eventfold/EventStore/EventStoreError")(
  "EventStoreError",
  {
    reason: Schema.Union([
      StoreUnavailable,
      OutcomeUnknown,
      TransactionConflict,
      StoreCorrupted,
      InvalidRead,
      StoreFailure,
      EventsRemoved,
      EventsArchived
    ])
  }
) {
  override readonly cause: EventStoreErrorReason = this.reason

  override get message(): string {
    return `${this.reason._tag} during ${this.reason.operation}: ${this.reason.detail}`
  }

  /**
   * Whether doing the very same again may succeed, and is safe. `OutcomeUnknown` is not retryable in this sense: only a
   * repetition with the same event ids is safe.
   */
  get isRetryable(): boolean {
    return this.reason._tag === "StoreUnavailable" || this.reason._tag === "TransactionConflict"
  }
}

/**
 * All that an append can fail with.
 *
 * @category errors
 * @since 0.1.0
 */
export type AppendError = OptimisticLockError | AppendConditionError | DuplicateEventError | InvalidAppendError | EventStoreError
