/**
 * The event store: an append-only log of events, grouped in streams.
 *
 * What every store promises, whatever it is built on (the conformance suite in `eventfold/testing` asserts each line):
 *
 * 1. Versions are 1-based and dense per stream; an absent stream has version 0.
 * 2. Positions are 1-based, dense and in commit order: no gap ever, also after rollbacks and crashes. A reader that has seen
 *    position n has seen all below n.
 * 3. An append is all or nothing, across streams too. Of two appends that expect the same version exactly one wins.
 *    `ExpectedVersion.Any` never conflicts.
 * 4. An append whose every id already stands, in this order, in this stream succeeds and writes nothing, so a retry after a
 *    lost answer is safe. Any other reuse of an id is a `DuplicateEventError`.
 * 5. An append of no events is a no-op that reports the current version. A failed append writes nothing.
 * 6. Acknowledged means durable, for the stores that are durable.
 * 7. Bad input gets a typed error that says what is wrong and where.
 * 8. An append condition is checked under the same lock as the append.
 * 9. Interruption at any point leaks nothing and leaves the store usable.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Digest from "effect/crypto/Digest"
import * as DateTime from "effect/DateTime"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type * as SqlClient from "effect/sql/SqlClient"
import * as Stream from "effect/Stream"
import { inject, isDelay, makeFaults } from "./internal/faults.ts"
import { makeIds } from "./internal/ids.ts"
import { jsonFault, textFault } from "./internal/json.ts"
import { byCodePoint } from "./internal/order.ts"
import { type Page, paginate } from "./internal/pages.ts"
import { canonicalRow, makeRowDigest, type RowDigest } from "./internal/rowDigest.ts"
import { makeSignal } from "./internal/signal.ts"

// -----------------------------------------------------------------------------
// models
// -----------------------------------------------------------------------------

/**
 * What an append expects of its stream before it writes.
 *
 * A number is the exact version of the last event (0 means: no stream). The default of every append is `ExpectedVersion.Any`.
 *
 * @category models
 * @since 0.1.0
 */
export type ExpectedVersion = number | ExpectedVersion.Any | ExpectedVersion.NoStream | ExpectedVersion.Exists

/**
 * @category models
 * @since 0.1.0
 */
export const ExpectedVersion = {
  /** No check: the append never conflicts, whatever the concurrency. */
  Any: "any",
  /** The stream must not exist; the same as expecting version 0. */
  NoStream: "no-stream",
  /** The stream must have at least one event. */
  Exists: "exists"
} as const

/**
 * @category models
 * @since 0.1.0
 */
export declare namespace ExpectedVersion {
  /** No check at all. */
  export type Any = "any"
  /** The stream must not exist. */
  export type NoStream = "no-stream"
  /** The stream must have at least one event. */
  export type Exists = "exists"
}

/**
 * What is known about an event beside its payload. Ids are free text; anything JSON may be added under other keys.
 *
 * @category models
 * @since 0.1.0
 */
export interface Metadata {
  /** Names the whole conversation that the event belongs to. */
  readonly correlationId?: string
  /** The id of the message that caused the event. */
  readonly causationId?: string
  readonly [key: string]: Schema.Json | undefined
}

/**
 * An event to append: its payload is JSON already (`Repository` and `Event.encode` make it from a typed event).
 *
 * @category models
 * @since 0.1.0
 */
export interface NewEvent {
  /** The event's type, 1 to 255 characters. Part of the storage format. */
  readonly type: string
  /** At most {@link limits}`.payloadBytes` as JSON text. */
  readonly payload: Schema.Json
  /** Unique in the whole store; a retry with the same ids writes nothing twice. Default: a new UUIDv7. */
  readonly id?: string
  /** The version of the payload's schema, from 1. Default: 1. */
  readonly schemaVersion?: number
  /** Whether the event leaves the process through a transport. Default: `false`. */
  readonly published?: boolean
  /** For queries and append conditions, such as `course:42`. Repetitions are dropped. Default: none. */
  readonly tags?: ReadonlyArray<string>
  /** Default: empty. */
  readonly metadata?: Metadata
  /** When the event was recorded, to the millisecond, in the years 1 to 9999; for imports. Default: the current time of the fiber's `Clock`. */
  readonly recordedAt?: DateTime.Utc
}

/**
 * An event as it stands in the store.
 *
 * @category models
 * @since 0.1.0
 */
export interface RecordedEvent extends Required<NewEvent> {
  readonly stream: string
  /** Place in the stream: 1, 2, 3, … without gaps. */
  readonly version: number
  /** Place in the whole store: 1, 2, 3, … without gaps, in commit order. */
  readonly position: number
}

/**
 * One stream's part of an `appendAll`.
 *
 * A stream may come more than once: each part sees the versions that the parts before it made.
 *
 * @category models
 * @since 0.1.0
 */
export interface StreamAppend {
  readonly stream: string
  readonly events: ReadonlyArray<NewEvent>
  /** Default: `ExpectedVersion.Any`. */
  readonly expected?: ExpectedVersion
}

/**
 * What an append did to one stream.
 *
 * @category models
 * @since 0.1.0
 */
export interface AppendResult {
  readonly stream: string
  /** The version of the last event of the append; of the stream when the append was empty. */
  readonly version: number
  /** The position of that event, 0 when the stream is empty. */
  readonly position: number
  /** Whether the very same events stood in the stream already, so that nothing was written. */
  readonly deduplicated: boolean
}

/**
 * Which events: all given keys must hold (AND).
 *
 * @category models
 * @since 0.1.0
 */
export interface Query {
  /** Any of these stream categories. */
  readonly categories?: ReadonlyArray<string>
  /** Any of these event types. */
  readonly types?: ReadonlyArray<string>
  /** All of these tags. */
  readonly tags?: ReadonlyArray<string>
  readonly published?: boolean
  readonly correlationId?: string
}

/**
 * One query, or several of which any must hold (OR).
 *
 * @category models
 * @since 0.1.0
 */
export type Filter = Query | ReadonlyArray<Query>

/**
 * A dynamic consistency boundary: the append fails if any event newer than `after` matches.
 *
 * @category models
 * @since 0.1.0
 */
export interface AppendCondition {
  readonly filter: Filter
  /** The newest position that the decision has seen. Default: 0, nothing at all. */
  readonly after?: number
}

/**
 * A stream that exists.
 *
 * @category models
 * @since 0.1.0
 */
export interface StreamInfo {
  readonly stream: string
  /** The part of the name before the first `-`. */
  readonly category: string
  /** The version of the newest event. */
  readonly version: number
  /** The position of the newest event. */
  readonly position: number
}

/**
 * What a read of one stream returns: everything, from the first event on, unless told otherwise.
 *
 * A read returns what stands in the store when it begins, so it ends even if its consumer appends.
 *
 * @category models
 * @since 0.1.0
 */
export interface ReadOptions {
  /** The lowest version to return (inclusive). */
  readonly from?: number | undefined
  /** The highest version to return (inclusive). */
  readonly to?: number | undefined
  /**
   * The stream as it was at that instant: its events up to the last one recorded by then. Order is by version, never by time:
   * where a clock went backwards the result still is a prefix of the stream.
   */
  readonly until?: DateTime.Utc | undefined
  /** `"backward"` returns the newest event first. Default: `"forward"`. */
  readonly direction?: "forward" | "backward" | undefined
  /** The most events to return. */
  readonly limit?: number | undefined
}

/**
 * What a read of the whole store returns: everything in position order, unless told otherwise.
 *
 * A read returns what stands in the store when it begins, so it ends even if its consumer appends.
 *
 * @category models
 * @since 0.1.0
 */
export interface ReadAllOptions {
  /** Only events beyond this position; read backward, only events before it. */
  readonly after?: number | undefined
  readonly filter?: Filter | undefined
  /** `"backward"` returns the newest event first. Default: `"forward"`. */
  readonly direction?: "forward" | "backward" | undefined
  /** The most events to return: what passed the filter is counted. */
  readonly limit?: number | undefined
}

/**
 * @category models
 * @since 0.1.0
 */
export interface SubscribeOptions {
  /** Start after this position, or at the present `"end"`. Default: 0, the whole history first. */
  readonly after?: number | "end" | undefined
  readonly filter?: Filter | undefined
}

/**
 * @category models
 * @since 0.1.0
 */
export interface StreamsOptions {
  /** Only streams of this category. */
  readonly category?: string | undefined
  /** Only streams whose name sorts after this one (by code point). */
  readonly after?: string | undefined
  readonly limit?: number | undefined
}

/**
 * The bounds that every store enforces alike.
 *
 * @category models
 * @since 0.1.0
 */
export const limits = {
  /** Characters (UTF-16 code units) of a stream's name, an event's id, a type or a tag. */
  nameLength: 255,
  /** Bytes (UTF-8) of a payload as JSON text. */
  payloadBytes: 8 * 1024 * 1024,
  /** Bytes (UTF-8) of the metadata as JSON text. */
  metadataBytes: 1024 * 1024,
  /** Bytes (UTF-8) of all payloads and metadata of one append. */
  appendBytes: 256 * 1024 * 1024,
  /** Tags of one event. */
  tags: 64
} as const

// -----------------------------------------------------------------------------
// errors
// -----------------------------------------------------------------------------

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
 * An event that the append's condition excludes stands in the store already. Nothing was written.
 *
 * @category errors
 * @since 0.1.0
 */
export class AppendConditionError extends Schema.TaggedError<AppendConditionError>("eventfold/EventStore/AppendConditionError")(
  "AppendConditionError",
  {
    /** The position of the newest event that matches the condition's filter. */
    position: Schema.Number
  }
) {
  override get message(): string {
    return `An event at position ${this.position} matches the append condition: read the matching events again and decide anew`
  }
}

/**
 * The id of an event is in use, and the append is not a repetition of the one that used it. Nothing was written.
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
    return `Append to stream ${JSON.stringify(clip(this.stream))} refused: ${this.field} ${this.problem}`
  }
}

const clip = (text: string): string => (text.length > 60 ? `${text.slice(0, 60)}…` : text)

const reasonFields = {
  /** What was being done: `append`, `read`, … */
  operation: Schema.String,
  detail: Schema.String,
  cause: Schema.optional(Schema.Defect())
}

/**
 * The store could not be reached, or was too busy. Nothing was written; trying again later may succeed.
 *
 * @category errors
 * @since 0.1.0
 */
export class StoreUnavailable extends Schema.TaggedError<StoreUnavailable>("eventfold/EventStore/StoreUnavailable")(
  "StoreUnavailable",
  reasonFields
) {}

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
) {}

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
) {}

/**
 * What is stored contradicts itself, for example after restoring half a backup. The store refuses to write until it is repaired.
 *
 * @category errors
 * @since 0.1.0
 */
export class StoreCorrupted extends Schema.TaggedError<StoreCorrupted>("eventfold/EventStore/StoreCorrupted")(
  "StoreCorrupted",
  reasonFields
) {}

/**
 * A read was asked for something that makes no sense, such as a negative version.
 *
 * @category errors
 * @since 0.1.0
 */
export class InvalidRead extends Schema.TaggedError<InvalidRead>("eventfold/EventStore/InvalidRead")(
  "InvalidRead",
  reasonFields
) {}

/**
 * Anything else that the storage reported: no space left, no permission, … Nothing was written.
 *
 * @category errors
 * @since 0.1.0
 */
export class StoreFailure extends Schema.TaggedError<StoreFailure>("eventfold/EventStore/StoreFailure")(
  "StoreFailure",
  reasonFields
) {}

/**
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
    reason: Schema.Union([StoreUnavailable, OutcomeUnknown, TransactionConflict, StoreCorrupted, InvalidRead, StoreFailure])
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

// -----------------------------------------------------------------------------
// service
// -----------------------------------------------------------------------------

/**
 * The event store service. Every operation also exists as a function of this module that requires the service.
 *
 * ```ts
 * import { Effect, Stream } from "effect"
 * import { EventStore } from "eventfold"
 *
 * const program = Effect.gen(function* () {
 *   yield* EventStore.append("Account-1", [{ type: "AccountOpened", payload: { owner: "Ada" } }], {
 *     expected: EventStore.ExpectedVersion.NoStream
 *   })
 *   const events = yield* Stream.runCollect(EventStore.read("Account-1"))
 *   return events.map((event) => [event.version, event.type])
 * })
 *
 * await Effect.runPromise(Effect.provide(program, EventStore.layerMemory)) // => [[1, "AccountOpened"]]
 * ```
 *
 * @category services
 * @since 0.1.0
 */
export class EventStore extends Context.Service<
  EventStore,
  {
    /** Appends `events` to `stream`, all or nothing. Durable when it succeeds. */
    append(
      stream: string,
      events: ReadonlyArray<NewEvent>,
      options?: { readonly expected?: ExpectedVersion | undefined }
    ): Effect.Effect<AppendResult, AppendError>
    /** Appends to several streams, all or nothing; the results are in the order of `appends`. */
    appendAll(
      appends: ReadonlyArray<StreamAppend>,
      options?: { readonly unless?: AppendCondition | undefined }
    ): Effect.Effect<ReadonlyArray<AppendResult>, AppendError>
    /** The events of one stream. An absent stream is empty. */
    read(stream: string, options?: ReadOptions): Stream.Stream<RecordedEvent, EventStoreError>
    /** The events of all streams, by position. */
    readAll(options?: ReadAllOptions): Stream.Stream<RecordedEvent, EventStoreError>
    /** History, then live, one seamless sequence by position. Never ends. */
    subscribe(options?: SubscribeOptions): Stream.Stream<RecordedEvent, EventStoreError>
    /** The version of the newest event of `stream`, 0 when it does not exist. */
    version(stream: string): Effect.Effect<number, EventStoreError>
    exists(stream: string): Effect.Effect<boolean, EventStoreError>
    /** The position of the newest event, 0 when the store is empty. */
    readonly head: Effect.Effect<number, EventStoreError>
    /**
     * Present where the store lives in a SQL database: appends inside a transaction of the client with this transaction service
     * are part of that transaction.
     */
    readonly transactionService?: SqlClient.SqlClient["transactionService"]
    /** The streams that exist, by name (in code point order). */
    streams(options?: StreamsOptions): Stream.Stream<StreamInfo, EventStoreError>
  }
>()("eventfold/EventStore") {}

// -----------------------------------------------------------------------------
// accessors
// -----------------------------------------------------------------------------

/**
 * The name of the stream of one thing: `streamName("Account", "42")` is `Account-42`.
 *
 * The category ends at the first `-`, so it must not contain one. Names that begin with `$` belong to eventfold.
 *
 * @category accessors
 * @since 0.1.0
 */
export const streamName = (category: string, id: string): string => `${category}-${id}`

/**
 * The category of a stream: its name up to the first `-`, the whole name when there is none.
 *
 * @category accessors
 * @since 0.1.0
 */
export const categoryOf = (stream: string): string => {
  const dash = stream.indexOf("-")
  return dash === -1 ? stream : stream.slice(0, dash)
}

/**
 * Appends events to one stream, all or nothing.
 *
 * @category accessors
 * @since 0.1.0
 */
export const append = (
  stream: string,
  events: ReadonlyArray<NewEvent>,
  options?: { readonly expected?: ExpectedVersion | undefined }
): Effect.Effect<AppendResult, AppendError, EventStore> => EventStore.use((store) => store.append(stream, events, options))

/**
 * Appends events to several streams, all or nothing.
 *
 * With `unless` the append also fails if an event stands in the store that the decision has not seen:
 *
 * ```ts
 * import { Effect } from "effect"
 * import { EventStore } from "eventfold"
 *
 * const enrol = (student: string) =>
 *   EventStore.appendAll(
 *     [{ stream: `Student-${student}`, events: [{ type: "Enrolled", payload: {}, tags: ["course:1"] }] }],
 *     { unless: { filter: { tags: ["course:1"] }, after: 0 } } // the decision saw an empty course
 *   )
 *
 * const program = Effect.gen(function* () {
 *   yield* enrol("ada")
 *   return yield* Effect.flip(enrol("ben"))
 * })
 *
 * const error = await Effect.runPromise(Effect.provide(program, EventStore.layerMemory))
 * error._tag // => "AppendConditionError"
 * ```
 *
 * @category accessors
 * @since 0.1.0
 */
export const appendAll = (
  appends: ReadonlyArray<StreamAppend>,
  options?: { readonly unless?: AppendCondition | undefined }
): Effect.Effect<ReadonlyArray<AppendResult>, AppendError, EventStore> =>
  EventStore.use((store) => store.appendAll(appends, options))

/**
 * The events of one stream.
 *
 * @category accessors
 * @since 0.1.0
 */
export const read = (stream: string, options?: ReadOptions): Stream.Stream<RecordedEvent, EventStoreError, EventStore> =>
  Stream.unwrap(EventStore.useSync((store) => store.read(stream, options)))

/**
 * The events of all streams, by position.
 *
 * @category accessors
 * @since 0.1.0
 */
export const readAll = (options?: ReadAllOptions): Stream.Stream<RecordedEvent, EventStoreError, EventStore> =>
  Stream.unwrap(EventStore.useSync((store) => store.readAll(options)))

/**
 * History, then live, one seamless sequence by position. Never ends.
 *
 * @category accessors
 * @since 0.1.0
 */
export const subscribe = (options?: SubscribeOptions): Stream.Stream<RecordedEvent, EventStoreError, EventStore> =>
  Stream.unwrap(EventStore.useSync((store) => store.subscribe(options)))

/**
 * The version of a stream, 0 when it does not exist.
 *
 * @category accessors
 * @since 0.1.0
 */
export const version = (stream: string): Effect.Effect<number, EventStoreError, EventStore> =>
  EventStore.use((store) => store.version(stream))

/**
 * @category accessors
 * @since 0.1.0
 */
export const exists = (stream: string): Effect.Effect<boolean, EventStoreError, EventStore> =>
  EventStore.use((store) => store.exists(stream))

/**
 * The position of the newest event, 0 when the store is empty.
 *
 * @category accessors
 * @since 0.1.0
 */
export const head: Effect.Effect<number, EventStoreError, EventStore> = EventStore.use((store) => store.head)

/**
 * The streams that exist, by name.
 *
 * @category accessors
 * @since 0.1.0
 */
export const streams = (options?: StreamsOptions): Stream.Stream<StreamInfo, EventStoreError, EventStore> =>
  Stream.unwrap(EventStore.useSync((store) => store.streams(options)))

// -----------------------------------------------------------------------------
// moving between stores
// -----------------------------------------------------------------------------

/**
 * How far a {@link copy} is.
 *
 * @category copying
 * @since 0.1.0
 */
export interface CopyProgress {
  /** `"comparing"` what stands in the target already, `"copying"` the rest, `"verifying"` what was copied. */
  readonly phase: "comparing" | "copying" | "verifying"
  /** The position that the phase has reached. */
  readonly position: number
  /** The position that the copy ends with. */
  readonly head: number
}

/**
 * What a {@link copy} has done.
 *
 * @category copying
 * @since 0.1.0
 */
export interface CopyResult {
  /** How many events both stores hold, up to the position where the copy ended. */
  readonly events: number
  /** How many of them this copy wrote; the others stood in the target already. */
  readonly copied: number
  /** A SHA-256 over all of them, with everything that they carry: equal contents have equal digests, in any store. */
  readonly digest: string
}

/**
 * The target does not hold what the source holds, and cannot be made to.
 *
 * @category errors
 * @since 0.1.0
 */
export class CopyError extends Schema.TaggedError<CopyError>("eventfold/EventStore/CopyError")("CopyError", {
  /** The position up to which the target holds what the source holds, as far as that is known. */
  position: Schema.Number,
  problem: Schema.String
}) {
  override get message(): string {
    return `Copy stopped after position ${this.position}: ${this.problem}`
  }
}

/**
 * Copies everything that stands in one store into another: streams, versions, positions, ids, times, tags, metadata and payloads
 * stay what they are.
 *
 * The target must be empty, or hold the beginning of the source and nothing else: a copy that was cut short goes on where it
 * stopped when it is started again. Events that are appended to the source meanwhile are left for the next copy. Nobody else
 * may write to the target. At the end the target is read again and compared with the source, by number and by digest.
 *
 * ```ts
 * import { Context, Effect, Layer } from "effect"
 * import { EventStore } from "eventfold"
 *
 * // Each store in a scope of its own: two Layers of one program would give the same service.
 * const open = (layer: typeof EventStore.layerMemory) =>
 *   Effect.map(Layer.build(Layer.fresh(layer)), Context.get(EventStore.EventStore))
 *
 * const program = Effect.gen(function* () {
 *   const from = yield* open(EventStore.layerMemory)
 *   const to = yield* open(EventStore.layerMemory)
 *   yield* from.append("Account-1", [{ type: "AccountOpened", payload: { owner: "Ada" } }])
 *   return yield* EventStore.copy(from, to)
 * })
 *
 * const result = await Effect.runPromise(Effect.scoped(program))
 * result.copied // => 1
 * ```
 *
 * @category copying
 * @since 0.1.0
 */
export const copy = <E = never, R = never>(
  from: EventStore["Service"],
  to: EventStore["Service"],
  options?: {
    /** The most events of one append to the target; it is all or nothing. Default: 1000. */
    readonly batchSize?: number | undefined
    /** Called after each batch. */
    readonly onProgress?: ((progress: CopyProgress) => Effect.Effect<void, E, R>) | undefined
  }
): Effect.Effect<CopyResult, CopyError | EventStoreError | E, R> =>
  Effect.gen(function* () {
    const batchSize = Math.max(1, options?.batchSize ?? 1000)
    const onProgress = options?.onProgress ?? (() => Effect.void)
    const head = yield* from.head
    const standing = yield* to.head
    if (standing > head) {
      return yield* new CopyError({
        position: 0,
        problem: `the target holds ${standing} events, more than the ${head} of the source`
      })
    }
    const source = yield* makeRowDigest
    const target = yield* makeRowDigest

    /** Goes through the events of a store with a position in `(after, upTo]`, a batch at a time. */
    const walk = <E2, R2>(
      store: EventStore["Service"],
      phase: CopyProgress["phase"],
      after: number,
      upTo: number,
      digest: RowDigest,
      each: (events: ReadonlyArray<RecordedEvent>) => Effect.Effect<void, E2, R2>
    ) =>
      Effect.gen(function* () {
        let position = after
        if (upTo > after) {
          yield* Stream.runForEachArray(
            store.readAll({ after, limit: upTo - after }),
            Effect.fnUntraced(function* (events) {
              for (const { batch, rows } of copyBatches(events, batchSize)) {
                yield* digest.add(rows)
                yield* each(batch)
                position += batch.length
                yield* onProgress({ phase, position, head })
              }
            })
          )
        }
        if (position === upTo) return
        return yield* new CopyError({ position: after, problem: `there are ${upTo - position} events less than positions` })
      })

    const same = Effect.fnUntraced(function* (position: number, problem: string) {
      if ((yield* source.value) !== (yield* target.value)) return yield* new CopyError({ position, problem })
    })

    yield* walk(from, "comparing", 0, standing, source, () => Effect.void)
    yield* walk(to, "comparing", 0, standing, target, () => Effect.void)
    yield* same(0, `the ${standing} events of the target are not the first ${standing} of the source`)

    yield* walk(from, "copying", standing, head, source, (events) => appendCopies(to, events))
    yield* walk(to, "verifying", standing, head, target, () => Effect.void)
    yield* same(standing, "what was written to the target reads differently from the source")
    const reached = yield* to.head
    if (reached !== head) {
      return yield* new CopyError({ position: head, problem: `the target is at position ${reached}: somebody else writes to it` })
    }
    return { events: head, copied: head - standing, digest: yield* source.value }
  }).pipe(Effect.provide(Digest.layerWebCrypto))

/** About how many characters of JSON one append of a copy may have. */
const copyBatchLength = 4 * 1024 * 1024

const copyBatches = function* (events: ReadonlyArray<RecordedEvent>, size: number) {
  let batch: Array<RecordedEvent> = []
  let rows: Array<string> = []
  let length = 0
  for (const event of events) {
    const row = canonicalRow(event)
    if (batch.length === size || (batch.length > 0 && length + row.length > copyBatchLength)) {
      yield { batch, rows }
      batch = []
      rows = []
      length = 0
    }
    batch.push(event)
    rows.push(row)
    length += row.length
  }
  if (batch.length > 0) yield { batch, rows }
}

const appendCopies = (
  to: EventStore["Service"],
  events: ReadonlyArray<RecordedEvent>
): Effect.Effect<void, CopyError | EventStoreError> => {
  const appends: Array<{ readonly stream: string; readonly events: Array<NewEvent>; readonly expected: number }> = []
  for (const { position: _, stream, version, ...event } of events) {
    const last = appends.at(-1)
    if (last?.stream === stream) last.events.push(event)
    else appends.push({ stream, events: [event], expected: version - 1 })
  }
  const before = (events[0] as RecordedEvent).position - 1
  const stopped = (problem: string) => new CopyError({ position: before, problem })
  return to.appendAll(appends).pipe(
    Effect.mapError((error) => (error._tag === "EventStoreError" ? error : stopped(error.message))),
    Effect.flatMap((results) =>
      results.at(-1)?.position === before + events.length
        ? Effect.void
        : Effect.fail(stopped("the target gave the events other positions: somebody else writes to it"))
    )
  )
}

// -----------------------------------------------------------------------------
// for those who write a store
// -----------------------------------------------------------------------------

/**
 * A {@link NewEvent} that has passed all checks, its JSON written out: what a store keeps.
 *
 * @category adapters
 * @since 0.1.0
 */
export interface PreparedEvent {
  readonly id: string
  /** The id was made for this append, so it stands nowhere yet, and the store need not look for it. */
  readonly fresh: boolean
  readonly type: string
  readonly schemaVersion: number
  readonly published: boolean
  readonly tags: ReadonlyArray<string>
  /** JSON text. */
  readonly payload: string
  /** JSON text of an object. */
  readonly metadata: string
  /** Milliseconds since the epoch. */
  readonly recordedAt: number
}

/**
 * One append that has passed all checks. Nothing in it can make a store fail, save what stands in the store.
 *
 * @category adapters
 * @since 0.1.0
 */
export interface PreparedAppend {
  readonly appends: ReadonlyArray<{
    readonly stream: string
    readonly expected: ExpectedVersion
    readonly events: ReadonlyArray<PreparedEvent>
  }>
  readonly unless: { readonly filter: ReadonlyArray<Query>; readonly after: number } | undefined
  /** How many events in all. */
  readonly count: number
  /** About how many bytes in all. */
  readonly bytes: number
}

/**
 * Checks an append and writes out its JSON: the one gate to every store, so that all are equally strict.
 *
 * @category adapters
 * @since 0.1.0
 */
export const prepare = (
  appends: ReadonlyArray<StreamAppend>,
  unless?: AppendCondition | undefined
): Effect.Effect<PreparedAppend, InvalidAppendError | DuplicateEventError> =>
  Effect.withFiber((fiber) => {
    let anonymous = 0
    for (const { events } of appends) for (const event of events) if (event.id === undefined) anonymous++
    const withIds = (ids: ReadonlyArray<string>) => {
      const result = prepareWith(appends, unless, ids, fiber.getRef(Clock.Clock).currentTimeMillisUnsafe())
      return "appends" in result ? Effect.succeed(result) : Effect.fail(result)
    }
    return anonymous === 0 ? withIds(noIds) : Effect.flatMap(makeIds(anonymous), withIds)
  })

const noIds: ReadonlyArray<string> = []

const prepareWith = (
  appends: ReadonlyArray<StreamAppend>,
  unless: AppendCondition | undefined,
  ids: ReadonlyArray<string>,
  now: number
): PreparedAppend | InvalidAppendError | DuplicateEventError => {
  const seen = new Set<string>()
  let nextId = 0
  let count = 0
  let bytes = 0
  const prepared: Array<PreparedAppend["appends"][number]> = []
  for (const { events, expected = ExpectedVersion.Any, stream } of appends) {
    const refuse = (field: string, problem: string) => new InvalidAppendError({ stream: String(stream), field, problem })
    const nameProblem = nameFault(stream)
    if (nameProblem !== undefined) return refuse("stream", nameProblem)
    const expectedProblem = expectedFault(expected)
    if (expectedProblem !== undefined) return refuse("expected", expectedProblem)
    const written: Array<PreparedEvent> = []
    for (let index = 0; index < events.length; index++) {
      const event = events[index] as NewEvent
      const id = event.id ?? (ids[nextId++] as string)
      const at = (field: string, problem: string) => refuse(`events[${index}].${field}`, problem)
      const schemaVersion = event.schemaVersion ?? 1
      const tags = event.tags === undefined || event.tags.length === 0 ? noTags : Array.from(new Set(event.tags))
      const metadata = event.metadata ?? noMetadata
      const recordedAt = event.recordedAt === undefined ? now : event.recordedAt.epochMilliseconds
      const idProblem = event.id === undefined ? undefined : nameFault(id)
      if (idProblem !== undefined) return at("id", idProblem)
      if (event.id !== undefined) {
        if (seen.has(id)) return new DuplicateEventError({ stream, id })
        seen.add(id)
      }
      const typeProblem = nameFault(event.type)
      if (typeProblem !== undefined) return at("type", typeProblem)
      if (!Number.isSafeInteger(schemaVersion) || schemaVersion < 1 || schemaVersion > 2_147_483_647) {
        return at("schemaVersion", `must be a whole number from 1 to 2147483647, not ${schemaVersion}`)
      }
      if (event.published !== undefined && typeof event.published !== "boolean") return at("published", "must be a boolean")
      if (tags.length > limits.tags) return at("tags", `has ${tags.length} entries, more than ${limits.tags}`)
      for (const tag of tags) {
        const tagProblem = nameFault(tag)
        if (tagProblem !== undefined) return at("tags", `has an entry that ${tagProblem}`)
      }
      if (!(recordedAt >= earliest && recordedAt <= latest)) return at("recordedAt", "must be an instant of the years 1 to 9999")
      const payloadFault = jsonFault(event.payload)
      if (payloadFault !== undefined) return at(`payload${payloadFault.path}`, payloadFault.problem)
      const metadataProblem = metadataFault(metadata)
      if (metadataProblem !== undefined) return at(`metadata${metadataProblem.path}`, metadataProblem.problem)
      const payload = JSON.stringify(event.payload)
      const metadataText = metadata === noMetadata ? "{}" : JSON.stringify(metadata)
      const payloadBytes = utf8Bytes(payload)
      const metadataBytes = utf8Bytes(metadataText)
      if (payloadBytes > limits.payloadBytes) {
        return at("payload", `is ${payloadBytes} bytes of JSON, more than ${limits.payloadBytes}: store a reference instead`)
      }
      if (metadataBytes > limits.metadataBytes) {
        return at("metadata", `is ${metadataBytes} bytes of JSON, more than ${limits.metadataBytes}`)
      }
      bytes += payloadBytes + metadataBytes
      if (bytes > limits.appendBytes) {
        return at("payload", `takes the append beyond ${limits.appendBytes} bytes: split it`)
      }
      written.push({
        id,
        fresh: event.id === undefined,
        type: event.type,
        schemaVersion,
        published: event.published === true,
        tags,
        payload,
        metadata: metadataText,
        recordedAt
      })
    }
    count += written.length
    prepared.push({ stream, expected, events: written })
  }
  if (unless === undefined) return { appends: prepared, unless, count, bytes }
  const after = unless.after ?? 0
  if (!isCount(after)) {
    return new InvalidAppendError({
      stream: prepared[0]?.stream ?? "",
      field: "unless.after",
      problem: `must be a position, not ${after}`
    })
  }
  const filter = normalizeFilter(unless.filter)
  if (typeof filter === "string") {
    return new InvalidAppendError({ stream: prepared[0]?.stream ?? "", field: "unless.filter", problem: filter })
  }
  return { appends: prepared, unless: { filter, after }, count, bytes }
}

const noTags: ReadonlyArray<string> = Object.freeze([])
const noMetadata: Metadata = Object.freeze({})

/** The years that every database's timestamps and every ISO 8601 text can carry. */
const earliest = Date.parse("0001-01-01T00:00:00.000Z")
const latest = Date.parse("9999-12-31T23:59:59.999Z")

const isCount = (value: number): boolean => Number.isSafeInteger(value) && value >= 0

const nameFault = (name: string): string | undefined => {
  if (typeof name !== "string") return `must be a string, not ${typeof name}`
  if (name.length === 0) return "must not be empty"
  if (name.length > limits.nameLength) return `has ${name.length} characters, more than ${limits.nameLength}`
  return textFault(name)
}

const expectedFault = (expected: ExpectedVersion): string | undefined =>
  typeof expected === "number"
    ? isCount(expected)
      ? undefined
      : `must be a whole number from 0 to 2^53 - 1, not ${expected}`
    : expected === "any" || expected === "no-stream" || expected === "exists"
      ? undefined
      : `must be a version, "any", "no-stream" or "exists", not ${JSON.stringify(expected)}`

const metadataFault = (metadata: Metadata): { readonly path: string; readonly problem: string } | undefined => {
  if (metadata === noMetadata) return undefined
  if (typeof metadata !== "object" || metadata === null || Array.isArray(metadata))
    return { path: "", problem: "must be an object" }
  for (const key of ["correlationId", "causationId"] as const) {
    const id = metadata[key]
    if (id === undefined && !(key in metadata)) continue
    const problem = nameFault(id as string)
    if (problem !== undefined) return { path: `.${key}`, problem }
  }
  return jsonFault(metadata)
}

const utf8Bytes = (text: string): number => {
  // A UTF-16 code unit takes at most three bytes: small texts need no exact count.
  if (text.length * 3 <= limits.payloadBytes) return text.length
  return new TextEncoder().encode(text).byteLength
}

/** The filter as a list of queries, or what is wrong with it. */
const normalizeFilter = (filter: Filter): ReadonlyArray<Query> | string => {
  const queries = Array.isArray(filter) ? (filter as ReadonlyArray<Query>) : [filter as Query]
  for (const query of queries) {
    for (const key of ["categories", "types", "tags"] as const) {
      for (const name of query[key] ?? []) {
        const problem = nameFault(name)
        if (problem !== undefined) return `has an entry in ${key} that ${problem}`
      }
    }
    if (query.published !== undefined && typeof query.published !== "boolean") return "has a published that is not a boolean"
    if (query.correlationId !== undefined) {
      const problem = nameFault(query.correlationId)
      if (problem !== undefined) return `has a correlationId that ${problem}`
    }
  }
  return queries
}

const everything: ReadonlyArray<Query> = [{}]

/**
 * Checked options of a read, with all defaults filled in.
 *
 * @category adapters
 * @since 0.1.0
 */
export interface PreparedRead {
  /** The lowest version. */
  readonly from: number
  /** The highest version. */
  readonly to: number
  /** Milliseconds since the epoch, `undefined` for no bound. */
  readonly until: number | undefined
  readonly backward: boolean
  readonly limit: number
}

/**
 * @category adapters
 * @since 0.1.0
 */
export const prepareRead = (stream: string, options: ReadOptions = {}): Effect.Effect<PreparedRead, EventStoreError> => {
  const { direction = "forward", from = 1, limit = Number.MAX_SAFE_INTEGER, to = Number.MAX_SAFE_INTEGER, until } = options
  const nameProblem = nameFault(stream)
  if (nameProblem !== undefined) return invalidRead("read", `stream ${nameProblem}`)
  const problem = countFault("from", from) ?? countFault("to", to) ?? countFault("limit", limit) ?? directionFault(direction)
  if (problem !== undefined) return invalidRead("read", problem)
  return Effect.succeed({
    from: Math.max(1, from),
    to,
    until: until?.epochMilliseconds,
    backward: direction === "backward",
    limit
  })
}

/**
 * Checked options of a read of the whole store, with all defaults filled in.
 *
 * @category adapters
 * @since 0.1.0
 */
export interface PreparedReadAll {
  /** Exclusive: the lower bound of a forward read, the upper bound of a backward one (`undefined`: from the newest). */
  readonly after: number | undefined
  readonly filter: ReadonlyArray<Query>
  readonly backward: boolean
  readonly limit: number
}

/**
 * @category adapters
 * @since 0.1.0
 */
export const prepareReadAll = (options: ReadAllOptions = {}): Effect.Effect<PreparedReadAll, EventStoreError> => {
  const { after, direction = "forward", filter, limit = Number.MAX_SAFE_INTEGER } = options
  const problem =
    (after === undefined ? undefined : countFault("after", after)) ?? countFault("limit", limit) ?? directionFault(direction)
  if (problem !== undefined) return invalidRead("readAll", problem)
  const queries = filter === undefined ? everything : normalizeFilter(filter)
  if (typeof queries === "string") return invalidRead("readAll", `filter ${queries}`)
  return Effect.succeed({ after, filter: queries, backward: direction === "backward", limit })
}

/**
 * @category adapters
 * @since 0.1.0
 */
export const prepareStreams = (
  options: StreamsOptions = {}
): Effect.Effect<{ readonly category: string | undefined; readonly after: string; readonly limit: number }, EventStoreError> => {
  const { after = "", category, limit = Number.MAX_SAFE_INTEGER } = options
  const problem =
    countFault("limit", limit) ??
    (after === "" ? undefined : prefixed("after", nameFault(after))) ??
    (category === undefined ? undefined : prefixed("category", nameFault(category)))
  return problem === undefined ? Effect.succeed({ category, after, limit }) : invalidRead("streams", problem)
}

/**
 * @category adapters
 * @since 0.1.0
 */
export const prepareName = (operation: string, stream: string): Effect.Effect<string, EventStoreError> => {
  const problem = nameFault(stream)
  return problem === undefined ? Effect.succeed(stream) : invalidRead(operation, `stream ${problem}`)
}

const prefixed = (field: string, problem: string | undefined) => (problem === undefined ? undefined : `${field} ${problem}`)

const countFault = (field: string, value: number): string | undefined =>
  isCount(value) ? undefined : `${field} must be a whole number from 0 to 2^53 - 1, not ${value}`

const directionFault = (direction: string): string | undefined =>
  direction === "forward" || direction === "backward"
    ? undefined
    : `direction must be "forward" or "backward", not ${JSON.stringify(direction)}`

const invalidRead = (operation: string, detail: string): Effect.Effect<never, EventStoreError> =>
  Effect.fail(new EventStoreError({ reason: new InvalidRead({ operation, detail }) }))

/**
 * What a filter looks at.
 *
 * @category adapters
 * @since 0.1.0
 */
export interface Matchable {
  readonly stream: string
  readonly type: string
  readonly tags: ReadonlyArray<string>
  readonly published: boolean
  readonly metadata: Metadata
}

/**
 * Whether an event passes a filter: the meaning that every store gives it.
 *
 * @category adapters
 * @since 0.1.0
 */
export const matches = (filter: Filter, event: Matchable): boolean =>
  Array.isArray(filter)
    ? (filter as ReadonlyArray<Query>).some((query) => matchesQuery(query, event))
    : matchesQuery(filter as Query, event)

const matchesQuery = (query: Query, event: Matchable): boolean =>
  (query.types === undefined || query.types.includes(event.type)) &&
  (query.categories === undefined || query.categories.includes(categoryOf(event.stream))) &&
  (query.published === undefined || query.published === event.published) &&
  (query.tags === undefined || query.tags.every((tag) => event.tags.includes(tag))) &&
  (query.correlationId === undefined || query.correlationId === event.metadata.correlationId)

/**
 * {@link matches} for an event whose metadata is JSON text, parsed only where a query asks for what is in it.
 *
 * @category adapters
 * @since 0.1.0
 */
export const matchesPrepared = (
  filter: ReadonlyArray<Query>,
  event: Omit<Matchable, "metadata"> & { readonly metadata: string }
): boolean => {
  const correlated = filter.some((query) => query.correlationId !== undefined)
  return matches(filter, { ...event, metadata: correlated ? (JSON.parse(event.metadata) as Metadata) : noMetadata })
}

/**
 * What {@link decide} must know of what stands in the store. All of it is asked under the store's write lock.
 *
 * @category adapters
 * @since 0.1.0
 */
export interface Standing {
  /** Version and position of the newest event of a stream, zeros when it does not exist. */
  readonly newest: (stream: string) => { readonly version: number; readonly position: number }
  /** Where the event with this id stands. */
  readonly locate: (id: string) => { readonly stream: string; readonly version: number; readonly position: number } | undefined
  /** The position of the newest event beyond `after` that passes the filter. */
  readonly newestMatch: (filter: ReadonlyArray<Query>, after: number) => number | undefined
  /** The newest position of the store. */
  readonly head: number
}

/**
 * The verdict on one append, given what stands in the store: its results and where its events go, or why it is refused.
 *
 * `writes` is empty when nothing is to be written. This function is the one definition of what an append means; a store that
 * decides elsewhere (Postgres does, in the database) is held to it by the conformance suite.
 *
 * @category adapters
 * @since 0.1.0
 */
export const decide = (
  append: PreparedAppend,
  standing: Standing
): Result.Result<
  {
    readonly results: ReadonlyArray<AppendResult>
    readonly writes: ReadonlyArray<{
      readonly stream: string
      readonly version: number
      readonly position: number
      readonly event: PreparedEvent
    }>
  },
  OptimisticLockError | AppendConditionError | DuplicateEventError
> => {
  const repeated = decideIds(append, standing)
  if (repeated !== undefined)
    return repeated instanceof DuplicateEventError ? Result.fail(repeated) : Result.succeed({ results: repeated, writes: [] })
  const versions = new Map<string, number>()
  const writes: Array<{
    readonly stream: string
    readonly version: number
    readonly position: number
    readonly event: PreparedEvent
  }> = []
  const results: Array<AppendResult> = []
  let position = standing.head
  for (const { events, expected, stream } of append.appends) {
    const newest = standing.newest(stream)
    const current = versions.get(stream) ?? newest.version
    if (events.length === 0) {
      const own = writes.findLast((write) => write.stream === stream)
      results.push({ stream, version: current, position: own?.position ?? newest.position, deduplicated: false })
      continue
    }
    if (!meets(expected, current)) return Result.fail(new OptimisticLockError({ stream, expected, actual: newest.version }))
    let version = current
    for (const event of events) writes.push({ stream, version: ++version, position: ++position, event })
    versions.set(stream, version)
    results.push({ stream, version, position, deduplicated: false })
  }
  if (append.unless !== undefined && writes.length > 0) {
    const match = standing.newestMatch(append.unless.filter, append.unless.after)
    if (match !== undefined) return Result.fail(new AppendConditionError({ position: match }))
  }
  return Result.succeed({ results, writes })
}

/**
 * An accepted event and its place, as {@link decide} gives it.
 *
 * @category adapters
 * @since 0.1.0
 */
export type Write = Result.Result.Success<ReturnType<typeof decide>>["writes"][number]

/**
 * Decides the appends of a batch one after the other: each sees what stands in the store and what the accepted ones before it
 * are about to write.
 *
 * @category adapters
 * @since 0.1.0
 */
export const makeBatch = (
  base: Standing
): {
  /** What is to be written, in position order. */
  readonly writes: ReadonlyArray<Write>
  /** Decides the next append: the answer to it, and what it adds to `writes`. */
  readonly decide: (append: PreparedAppend) => Exit.Exit<ReadonlyArray<AppendResult>, AppendError>
} => {
  const writes: Array<Write> = []
  const byStream = new Map<string, Write>()
  const byId = new Map<string, Write>()
  const standing: Standing = {
    newest: (stream) => byStream.get(stream) ?? base.newest(stream),
    locate: (id) => byId.get(id) ?? base.locate(id),
    newestMatch: (filter, after) =>
      writes.findLast(({ event, position, stream }) => position > after && matchesPrepared(filter, { ...event, stream }))
        ?.position ?? base.newestMatch(filter, after),
    get head() {
      return base.head + writes.length
    }
  }
  return {
    writes,
    decide: (append) => {
      const verdict = decide(append, standing)
      if (Result.isFailure(verdict)) return Exit.fail(verdict.failure)
      for (const write of verdict.success.writes) {
        writes.push(write)
        byStream.set(write.stream, write)
        byId.set(write.event.id, write)
      }
      return Exit.succeed(verdict.success.results)
    }
  }
}

const meets = (expected: ExpectedVersion, version: number): boolean =>
  expected === "any"
    ? true
    : expected === "exists"
      ? version > 0
      : expected === "no-stream"
        ? version === 0
        : version === expected

/** The answer to an append that repeats ids: results if it repeats a whole append, an error if not, `undefined` if no id stands. */
const decideIds = (append: PreparedAppend, standing: Standing): ReadonlyArray<AppendResult> | DuplicateEventError | undefined => {
  let firstStanding: DuplicateEventError | undefined
  for (const { events, stream } of append.appends) {
    for (const { fresh, id } of events) {
      if (fresh || standing.locate(id) === undefined) continue
      firstStanding ??= new DuplicateEventError({ stream, id })
    }
  }
  if (firstStanding === undefined) return undefined
  const results: Array<AppendResult> = []
  for (const { events, stream } of append.appends) {
    let last = standing.newest(stream)
    for (let index = 0; index < events.length; index++) {
      const { fresh, id } = events[index] as PreparedEvent
      const place = fresh ? undefined : standing.locate(id)
      if (place?.stream !== stream || (index > 0 && place.version !== last.version + 1)) return firstStanding
      last = place
    }
    results.push({ stream, version: last.version, position: last.position, deduplicated: events.length > 0 })
  }
  return results
}

/**
 * Makes `read`, `readAll`, `subscribe` and `streams` of a store out of the pages that it can fetch.
 *
 * @category adapters
 * @since 0.1.0
 */
export interface Pages {
  /** Events of a stream with a version in `[from, to]`, at most `size`. */
  readonly stream: (request: {
    readonly stream: string
    readonly from: number
    readonly to: number
    readonly backward: boolean
    readonly size: number
  }) => Effect.Effect<EventPage, EventStoreError>
  /** The version of the last event of a stream that was recorded by an instant (milliseconds), 0 when there is none. */
  readonly versionAt: (stream: string, until: number) => Effect.Effect<number, EventStoreError>
  /** Events with a position in `(after, upTo]` that pass the filter, at most `size`, lowest or (backward) highest first. */
  readonly all: (request: {
    readonly after: number
    readonly upTo: number
    readonly filter: ReadonlyArray<Query>
    readonly backward: boolean
    readonly size: number
  }) => Effect.Effect<EventPage, EventStoreError>
  /** Streams whose name sorts after `after`, at most `size`. */
  readonly streams: (request: {
    readonly category: string | undefined
    readonly after: string
    readonly size: number
  }) => Effect.Effect<ReadonlyArray<StreamInfo>, EventStoreError>
  readonly head: Effect.Effect<number, EventStoreError>
  /** Succeeds with the newest position known, as soon as one beyond `position` is. */
  readonly awaitBeyond: (position: number) => Effect.Effect<number, EventStoreError>
}

/**
 * @category adapters
 * @since 0.1.0
 */
export interface EventPage {
  readonly items: ReadonlyArray<RecordedEvent>
  /** How many bytes their payloads took: what the size of the next page is reckoned from. */
  readonly bytes: number
}

/**
 * @category adapters
 * @since 0.1.0
 */
export const readsFromPages = (pages: Pages): Pick<EventStore["Service"], "read" | "readAll" | "subscribe" | "streams"> => {
  const read: EventStore["Service"]["read"] = (stream, options) =>
    Stream.unwrap(
      Effect.gen(function* () {
        const { backward, from, limit, to, until } = yield* prepareRead(stream, options)
        const last = until === undefined ? to : Math.min(to, yield* pages.versionAt(stream, until))
        const newest = Effect.map(
          pages.stream({ stream, from: 1, to: Number.MAX_SAFE_INTEGER, backward: true, size: 1 }),
          ({ items }) => items[0]?.version ?? 0
        )
        // A forward read that takes more than one page is bounded by what stood at its first: its consumer may append.
        const start = { from, to: last, left: limit, bounded: backward || until !== undefined }
        return paginate(start, ({ bounded, from, left, to }, size) => {
          const wanted = Math.min(size, left, to - from + 1)
          if (wanted <= 0) return Effect.succeed({ items: [], bytes: 0, next: undefined })
          return Effect.flatMap(pages.stream({ stream, from, to, backward, size: wanted }), ({ bytes, items }) => {
            const end = items.at(-1)
            const ended =
              end === undefined || items.length < wanted || items.length === left || end.version === (backward ? from : to)
            return Effect.map(ended || bounded ? Effect.succeed(to) : newest, (newest): Page<RecordedEvent, typeof start> => {
              if (ended) return { items, bytes, next: undefined }
              const bounds = backward ? { from, to: end.version - 1 } : { from: end.version + 1, to: Math.min(to, newest) }
              return { items, bytes, next: { ...bounds, left: left - items.length, bounded: true } }
            })
          })
        })
      })
    )

  const readAll: EventStore["Service"]["readAll"] = (options) =>
    Stream.unwrap(
      Effect.gen(function* () {
        const { after, backward, filter, limit } = yield* prepareReadAll(options)
        const start = backward
          ? { after: 0, upTo: after === undefined ? Number.MAX_SAFE_INTEGER : after - 1, left: limit, bounded: true }
          : { after: after ?? 0, upTo: Number.MAX_SAFE_INTEGER, left: limit, bounded: false }
        return paginate(start, ({ after, bounded, left, upTo }, size) => {
          const wanted = Math.min(size, left)
          if (wanted <= 0 || upTo <= after) return Effect.succeed({ items: [], bytes: 0, next: undefined })
          return Effect.flatMap(pages.all({ after, upTo, filter, backward, size: wanted }), ({ bytes, items }) => {
            const end = items.at(-1)
            const ended = end === undefined || items.length < wanted || items.length === left
            return Effect.map(ended || bounded ? Effect.succeed(upTo) : pages.head, (upTo): Page<RecordedEvent, typeof start> => {
              if (ended) return { items, bytes, next: undefined }
              const bounds = backward ? { after, upTo: end.position - 1 } : { after: end.position, upTo }
              return { items, bytes, next: { ...bounds, left: left - items.length, bounded: true } }
            })
          })
        })
      })
    )

  const subscribe: EventStore["Service"]["subscribe"] = (options = {}) =>
    Stream.unwrap(
      Effect.gen(function* () {
        const { filter } = yield* prepareReadAll({ filter: options.filter, after: options.after === "end" ? 0 : options.after })
        const after = options.after === "end" ? yield* pages.head : (options.after ?? 0)
        // `upTo` bounds a page, so that what the filter drops is passed over once and not scanned again.
        return paginate({ after, upTo: yield* pages.head }, function loop({ after, upTo }, size): Effect.Effect<
          Page<RecordedEvent, { readonly after: number; readonly upTo: number }>,
          EventStoreError
        > {
          if (upTo <= after) {
            return Effect.flatMap(pages.awaitBeyond(after), (upTo) => loop({ after, upTo }, size))
          }
          return Effect.flatMap(pages.all({ after, upTo, filter, backward: false, size }), ({ bytes, items }) => {
            const end = items.at(-1)
            if (end === undefined) return loop({ after: upTo, upTo }, size)
            return Effect.succeed({ items, bytes, next: { after: items.length < size ? upTo : end.position, upTo } })
          })
        })
      })
    )

  const streams: EventStore["Service"]["streams"] = (options) =>
    Stream.unwrap(
      Effect.map(prepareStreams(options), ({ after, category, limit }) =>
        paginate({ after, left: limit }, ({ after, left }, size) => {
          const wanted = Math.min(size, left)
          if (wanted <= 0) return Effect.succeed({ items: [], bytes: 0, next: undefined })
          return Effect.map(pages.streams({ category, after, size: wanted }), (items) => {
            const end = items.at(-1)
            return {
              items,
              bytes: 0,
              next: end === undefined || items.length < wanted ? undefined : { after: end.stream, left: left - items.length }
            } satisfies Page<StreamInfo, unknown>
          })
        })
      )
    )

  return { read, readAll, subscribe, streams }
}

/**
 * What {@link makeIndex} must know of an event.
 *
 * @category adapters
 * @since 0.1.0
 */
export interface Indexable {
  readonly stream: string
  readonly version: number
  readonly position: number
  readonly id: string
  readonly tags: ReadonlyArray<string>
  /** Milliseconds since the epoch. */
  readonly recordedAt: number
}

/**
 * A log in memory with all that a store looks up in it: the whole of the memory store, and the index of one that keeps its
 * events elsewhere.
 *
 * @category adapters
 * @since 0.1.0
 */
export interface Index<Row extends Indexable> {
  readonly standing: Standing
  /** Adds the event at the next position. */
  readonly add: (row: Row) => void
  /** The rows of a page of {@link Pages}`.stream`. */
  readonly stream: (request: Parameters<Pages["stream"]>[0]) => ReadonlyArray<Row>
  /** The rows of a page of {@link Pages}`.all`. */
  readonly all: (request: Parameters<Pages["all"]>[0]) => ReadonlyArray<Row>
  readonly versionAt: (stream: string, until: number) => number
  readonly streams: (request: Parameters<Pages["streams"]>[0]) => ReadonlyArray<StreamInfo>
}

/**
 * @category adapters
 * @since 0.1.0
 */
export const makeIndex = <Row extends Indexable>(passes: (filter: ReadonlyArray<Query>, row: Row) => boolean): Index<Row> => {
  const log: Array<Row> = [] // the event at position p is log[p - 1]
  const byStream = new Map<string, Array<Row>>() // the event at version v is rows[v - 1]
  const byId = new Map<string, Row>()
  const byTag = new Map<string, Array<Row>>()
  const noRows: ReadonlyArray<Row> = []
  let names: ReadonlyArray<string> | undefined // the streams in order, made when asked for

  const newest: Standing["newest"] = (stream) => byStream.get(stream)?.at(-1) ?? { version: 0, position: 0 }

  return {
    standing: {
      newest,
      locate: (id) => byId.get(id),
      newestMatch: (filter, after) => {
        let found = after
        for (const query of filter) {
          const candidates = (query.tags ?? []).map((tag) => byTag.get(tag) ?? noRows)
          const rows = candidates.reduce<ReadonlyArray<Row>>((best, rows) => (rows.length < best.length ? rows : best), log)
          found = Math.max(found, rows.findLast((row) => row.position <= found || passes([query], row))?.position ?? 0)
        }
        return found === after ? undefined : found
      },
      get head() {
        return log.length
      }
    },
    add: (row) => {
      log.push(row)
      byId.set(row.id, row)
      const rows = byStream.get(row.stream)
      if (rows === undefined) {
        byStream.set(row.stream, [row])
        names = undefined
      } else rows.push(row)
      for (const tag of row.tags) {
        const tagged = byTag.get(tag)
        if (tagged === undefined) byTag.set(tag, [row])
        else tagged.push(row)
      }
    },
    stream: ({ backward, from, size, stream, to }) => {
      const rows = byStream.get(stream) ?? noRows
      const last = Math.min(to, rows.length)
      return backward
        ? rows.slice(Math.max(from - 1, last - size), Math.max(from - 1, last)).reverse()
        : rows.slice(from - 1, Math.min(last, from - 1 + size))
    },
    versionAt: (stream, until) => (byStream.get(stream) ?? noRows).findLast((row) => row.recordedAt <= until)?.version ?? 0,
    all: ({ after, backward, filter, size, upTo }) => {
      const found: Array<Row> = []
      const last = Math.min(upTo, log.length)
      for (let step = 0; step < last - after && found.length < size; step++) {
        const row = log[backward ? last - 1 - step : after + step] as Row
        if (passes(filter, row)) found.push(row)
      }
      return found
    },
    streams: ({ after, category, size }) => {
      names ??= Array.from(byStream.keys()).sort(byCodePoint)
      const found: Array<StreamInfo> = []
      for (const stream of names) {
        if (found.length === size) break
        if (byCodePoint(stream, after) <= 0 || (category !== undefined && categoryOf(stream) !== category)) continue
        const { position, version } = newest(stream)
        found.push({ stream, category: categoryOf(stream), version, position })
      }
      return found
    }
  }
}

// -----------------------------------------------------------------------------
// layers
// -----------------------------------------------------------------------------

interface Row extends PreparedEvent {
  readonly stream: string
  readonly version: number
  readonly position: number
}

const recordedEvent = (row: Row): RecordedEvent => ({
  stream: row.stream,
  version: row.version,
  position: row.position,
  id: row.id,
  type: row.type,
  schemaVersion: row.schemaVersion,
  published: row.published,
  tags: row.tags.slice(),
  payload: JSON.parse(row.payload) as Schema.Json,
  metadata: JSON.parse(row.metadata) as Metadata,
  recordedAt: DateTime.makeUnsafe(row.recordedAt)
})

/**
 * A store in memory, for tests and as the smallest example of a store: as strict as any other, and gone with its Layer.
 *
 * Payloads go through the same JSON text as everywhere, and each read makes new objects, so nothing can be changed from outside.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerMemory: Layer.Layer<EventStore> = Layer.effect(
  EventStore,
  Effect.sync(() => {
    const index = makeIndex<Row>(matchesPrepared)
    const signal = makeSignal()

    const appendAll: EventStore["Service"]["appendAll"] = (appends, options) =>
      Effect.flatMap(prepare(appends, options?.unless), (append) => {
        const verdict = decide(append, index.standing)
        if (Result.isFailure(verdict)) return Effect.fail(verdict.failure)
        for (const { event, position, stream, version } of verdict.success.writes)
          index.add({ ...event, stream, version, position })
        signal.notify(index.standing.head)
        return Effect.succeed(verdict.success.results)
      })

    const page = (rows: ReadonlyArray<Row>): EventPage => ({
      items: rows.map(recordedEvent),
      bytes: rows.reduce((sum, row) => sum + row.payload.length, 0)
    })

    const pages: Pages = {
      stream: (request) => Effect.sync(() => page(index.stream(request))),
      versionAt: (stream, until) => Effect.sync(() => index.versionAt(stream, until)),
      all: (request) => Effect.sync(() => page(index.all(request))),
      streams: (request) => Effect.sync(() => index.streams(request)),
      head: Effect.sync(() => index.standing.head),
      awaitBeyond: (position) => signal.beyond(position)
    }

    return EventStore.of({
      ...readsFromPages(pages),
      appendAll,
      append: (stream, events, options) =>
        Effect.map(
          appendAll([{ stream, events, expected: options?.expected ?? ExpectedVersion.Any }]),
          (results) => results[0] as AppendResult
        ),
      version: (stream) => Effect.map(prepareName("version", stream), (stream) => index.standing.newest(stream).version),
      exists: (stream) => Effect.map(prepareName("exists", stream), (stream) => index.standing.newest(stream).version > 0),
      head: pages.head
    })
  })
)

/**
 * A store that checks what it is given, and forgets it: for programs whose events nobody reads.
 *
 * Appends succeed whatever version they expect; every stream stays empty.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerSinkhole: Layer.Layer<EventStore> = Layer.succeed(
  EventStore,
  EventStore.of({
    append: (stream, events, options) =>
      Effect.map(prepare([{ stream, events, expected: options?.expected ?? ExpectedVersion.Any }]), () =>
        swallowed(stream, events.length)
      ),
    appendAll: (appends, options) =>
      Effect.map(prepare(appends, options?.unless), () => appends.map(({ events, stream }) => swallowed(stream, events.length))),
    read: (stream, options) => Stream.unwrap(Effect.as(prepareRead(stream, options), Stream.empty)),
    readAll: (options) => Stream.unwrap(Effect.as(prepareReadAll(options), Stream.empty)),
    subscribe: (options) =>
      Stream.unwrap(
        Effect.as(prepareReadAll({ filter: options?.filter, after: options?.after === "end" ? 0 : options?.after }), Stream.never)
      ),
    version: (stream) => Effect.as(prepareName("version", stream), 0),
    exists: (stream) => Effect.as(prepareName("exists", stream), false),
    head: Effect.succeed(0),
    streams: (options) => Stream.unwrap(Effect.as(prepareStreams(options), Stream.empty))
  })
)

const swallowed = (stream: string, version: number): AppendResult => ({ stream, version, position: 0, deduplicated: false })

/**
 * What {@link layerFaulty} does to one call.
 *
 * - `"none"`: nothing;
 * - `"unavailable"`: the call is not made, and fails with `StoreUnavailable`;
 * - `"lost"`: the call is made and its answer is lost. An append stands, and fails with `OutcomeUnknown`; a read ends after its first
 *   event at the latest, with `StoreUnavailable`;
 * - `{ delay }`: the call is made that much later, by the `Clock`; after `Infinity` it never is;
 * - an error: the call is not made, and fails with it.
 *
 * @category models
 * @since 0.1.0
 */
export type Fault = "none" | "unavailable" | "lost" | { readonly delay: Duration.Input } | EventStoreError

/**
 * A store that fails as it is told, over any other: for tests of what a program does then.
 *
 * The n-th call gets the n-th fault of its list; when a list is through, calls go through unharmed. An `Iterable` may be endless
 * (`Faults.seeded` of `eventfold/testing` draws faults at random, reproducibly). Each build of the Layer begins anew.
 *
 * ```ts
 * import { Effect, Layer } from "effect"
 * import { EventStore } from "eventfold"
 *
 * const Store = EventStore.layerFaulty({ append: ["lost"] }).pipe(Layer.provide(EventStore.layerMemory))
 *
 * const program = Effect.gen(function* () {
 *   const append = EventStore.append("Account-1", [{ type: "AccountOpened", payload: {}, id: "1" }])
 *   const error = yield* Effect.flip(append)
 *   const { deduplicated, version } = yield* append // the same id again
 *   return [error._tag === "EventStoreError" && error.reason._tag, version, deduplicated]
 * })
 *
 * await Effect.runPromise(Effect.provide(program, Store)) // => ["OutcomeUnknown", 1, true]
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layerFaulty = (faults: {
  /** Of `append` and `appendAll`. */
  readonly append?: Iterable<Fault> | undefined
  /** Of all else. A stream takes its fault when it is run. */
  readonly read?: Iterable<Fault> | undefined
}): Layer.Layer<EventStore, never, EventStore> =>
  Layer.effect(
    EventStore,
    EventStore.useSync((store) => {
      const nextOfAppend = makeFaults(faults.append)
      const nextOfRead = makeFaults(faults.read)
      const injected = (operation: string) => ({ operation, detail: "a fault was injected" })
      const unavailable = (operation: string) => new EventStoreError({ reason: new StoreUnavailable(injected(operation)) })

      const appending = <A>(call: Effect.Effect<A, AppendError>): Effect.Effect<A, AppendError> =>
        Effect.flatMap(nextOfAppend, (fault) =>
          inject(fault, call, {
            unavailable: unavailable("append"),
            lost: new EventStoreError({ reason: new OutcomeUnknown(injected("append")) })
          })
        )
      const asking = <A>(operation: string, call: Effect.Effect<A, EventStoreError>): Effect.Effect<A, EventStoreError> =>
        Effect.flatMap(nextOfRead, (fault) =>
          inject(fault, call, { unavailable: unavailable(operation), lost: unavailable(operation) })
        )
      const reading = <A>(operation: string, stream: Stream.Stream<A, EventStoreError>): Stream.Stream<A, EventStoreError> =>
        Stream.unwrap(
          Effect.map(nextOfRead, (fault) => {
            if (fault === "none") return stream
            if (fault === "lost") return Stream.concat(Stream.take(stream, 1), Stream.fail(unavailable(operation)))
            if (isDelay(fault)) return Stream.unwrap(Effect.as(Effect.sleep(fault.delay), stream))
            return Stream.fail(fault === "unavailable" ? unavailable(operation) : fault)
          })
        )

      return EventStore.of({
        append: (stream, events, options) => appending(store.append(stream, events, options)),
        appendAll: (appends, options) => appending(store.appendAll(appends, options)),
        read: (stream, options) => reading("read", store.read(stream, options)),
        readAll: (options) => reading("readAll", store.readAll(options)),
        subscribe: (options) => reading("subscribe", store.subscribe(options)),
        streams: (options) => reading("streams", store.streams(options)),
        version: (stream) => asking("version", store.version(stream)),
        exists: (stream) => asking("exists", store.exists(stream)),
        head: asking("head", store.head),
        ...(store.transactionService === undefined ? {} : { transactionService: store.transactionService })
      })
    })
  )
