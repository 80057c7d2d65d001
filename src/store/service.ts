import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import type * as SqlClient from "effect/sql/SqlClient"
import * as Stream from "effect/Stream"
import type { NewEvent, RecordedEvent } from "../definitions/stored.ts"
import type { AppendError, EventStoreError } from "./errors.ts"
import type { Maintenance } from "./maintenance.ts"
import type {
  AppendCondition,
  AppendResult,
  Boundary,
  BoundaryQuery,
  ExpectedVersion,
  Page,
  ReadBoundaryOptions,
  ReadAllOptions,
  ReadOptions,
  ReadPageOptions,
  StreamAppend,
  StreamInfo,
  StreamsOptions,
  SubscribeOptions
} from "./model.ts"

/**
 * Where the tables of a store are in its database, and who makes them. What stands beside the events (snapshots, parked events, inbox, dead
 * letters, checkpoints, the tables of projections) follows the store that it is provided with, unless it is told otherwise.
 *
 * @category models
 * @since 0.2.0
 */
export interface StoreTables {
  /** The database schema (namespace); `undefined` where the database has none, as SQLite. */
  readonly schema: string | undefined
  /** What the names of the tables begin with. */
  readonly prefix: string
  /** Whether what is not there may be made, and what is old be brought up to date. */
  readonly migrate: boolean
}

/**
 * Of a store that opens what is sealed in it: the store beneath, and how it opens what comes from elsewhere.
 *
 * @category models
 * @since 0.2.0
 */
export interface Sealed {
  /** Gives and takes what is stored as it is. */
  readonly store: EventStore["Service"]
  /** Opens events of this store that were kept elsewhere as they were stored, such as in an archive. The operation is that of errors. */
  readonly open: (
    operation: string,
    events: ReadonlyArray<RecordedEvent>
  ) => Effect.Effect<ReadonlyArray<RecordedEvent>, EventStoreError>
  /** Another store that seals and opens in the same way: over a part of the store beneath. */
  readonly over: (store: EventStore["Service"]) => EventStore["Service"]
}

/**
 * A store that gives and takes what is stored as it is: the one beneath `Personal.layer`, or the store itself.
 *
 * @category accessors
 * @since 0.2.0
 */
export const asStored = (store: EventStore["Service"]): EventStore["Service"] => store.sealed?.store ?? store

/**
 * The event store service. Every operation also exists as a function of this module that requires the service.
 *
 * **Gotchas**: each build of a Layer is one store, and two equal Layers of one program are built once. A program with several stores
 * makes each by itself ({@link makeMemory}, `SqliteEventStore.make`, …) and uses them as values.
 *
 * **Example**
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
    /** Appends `events` to `stream`, which must be at the version `expected` (default: any), all or nothing. Durable when it succeeds. */
    append(
      stream: string,
      events: ReadonlyArray<NewEvent>,
      options?: { readonly expected?: ExpectedVersion | undefined }
    ): Effect.Effect<AppendResult, AppendError>
    /**
     * Appends to several streams, all or nothing; the results are in the order of `appends`. A part without events writes nothing, but what
     * it expects must hold if others write. Fails where an event stands in the store that `unless` excludes (default: none). Called inside a
     * unit of work it commits by itself, at once: there use `UnitOfWork.unless` and `UnitOfWork.guard`.
     */
    appendAll(
      appends: ReadonlyArray<StreamAppend>,
      options?: { readonly unless?: AppendCondition | ReadonlyArray<AppendCondition> | undefined }
    ): Effect.Effect<ReadonlyArray<AppendResult>, AppendError>
    /** The events of one stream. An absent stream is empty. */
    read(stream: string, options?: ReadOptions): Stream.Stream<RecordedEvent, EventStoreError>
    /** The events of all streams, by position. */
    readAll(options?: ReadAllOptions): Stream.Stream<RecordedEvent, EventStoreError>
    /** One page of the log, by position, and how far it has read: what a follower needs that passes over what it does not want. */
    readPage(options?: ReadPageOptions): Effect.Effect<Page, EventStoreError>
    /** What passes several filters, all as of one position: what a decision is made on. */
    readBoundary(queries: ReadonlyArray<BoundaryQuery>, options?: ReadBoundaryOptions): Effect.Effect<Boundary, EventStoreError>
    /** History, then live, one seamless sequence by position. Never ends. */
    subscribe(options?: SubscribeOptions): Stream.Stream<RecordedEvent, EventStoreError>
    /** The version of the newest event of `stream`, 0 when it does not exist. */
    version(stream: string): Effect.Effect<number, EventStoreError>
    /** The event with this id; none where the store has no such event. */
    find(id: string): Effect.Effect<Option.Option<RecordedEvent>, EventStoreError>
    /** Whether `stream` has an event. */
    exists(stream: string): Effect.Effect<boolean, EventStoreError>
    /** The position of the newest event, 0 when the store is empty. */
    readonly head: Effect.Effect<number, EventStoreError>
    /**
     * Present where the store lives in a SQL database: appends inside a transaction of the client with this transaction service
     * are part of that transaction.
     */
    readonly transactionService?: SqlClient.SqlClient["transactionService"]
    /**
     * Present where a transaction may be committed without waiting for the disk, because it is flushed behind that: goes around the whole of a
     * transaction, which has to run the effect that it is given when it has been committed, and before anybody hears of it. Until that has succeeded
     * nobody knows whether the transaction outlives a crash. One that was not committed runs it too: it has seen what others have committed.
     * `restore` goes around what is waited for before the transaction begins, and may be interrupted.
     */
    readonly late?: <A, E, R>(
      restore: <A2, E2, R2>(effect: Effect.Effect<A2, E2, R2>) => Effect.Effect<A2, E2, R2>,
      transaction: (flush: (committed: boolean) => Effect.Effect<void, EventStoreError>) => Effect.Effect<A, E, R>
    ) => Effect.Effect<A, E | EventStoreError, R>
    /** Present where the store opens what is sealed in it, as `Personal.layer` does. What makes copies uses it, so that they are sealed too. */
    readonly sealed?: Sealed
    /** Present where the store lives in a SQL database: where its tables are. What stands beside the events follows it. */
    readonly tables?: StoreTables
    /**
     * Present where the store is one tenant's: its id. What takes events elsewhere says it of them (the relay, of messages), so it is never
     * the caller's word.
     */
    readonly tenant?: string
    /** Present where positions have gaps, for the log is the part that one tenant has of a log which others share. */
    readonly gaps?: true
    /** Present where events can be removed: what `Retention`, `EventStore.copy` and `EventStore.verify` ask of the store. */
    readonly maintenance?: Maintenance
    /** The streams that exist, by name (in code point order). */
    streams(options?: StreamsOptions): Stream.Stream<StreamInfo, EventStoreError>
  }
>()("eventfold/EventStore") {}

/**
 * Appends events to one stream, all or nothing.
 *
 * **Details**: with `expected` (default: any version) it fails with `OptimisticLockError` where the stream is at another version.
 * Repeated with the same
 * ids it writes nothing and says so (`deduplicated`).
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
 * **Gotchas**: it is an append of its own. In a handler, or any other unit of work, it does not wait for the commit, though a transaction of the store's
 * database that is open (`UnitOfWork.layerSql`) commits it, or not: there `UnitOfWork.stage`, `UnitOfWork.unless` and `UnitOfWork.guard` belong to the one that does, and `Decision` uses them.
 *
 * **Details**: with `unless` (default: no condition) the append also fails if an event stands in the store that the decision has not seen:
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
 * Of several conditions each has an `after` of its own, and all must hold; the error says which one was broken. A part without events is a
 * guard: nothing is written to that stream, but what it `expected` must hold where other parts are written.
 *
 * **Gotchas**: called inside a unit of work it leaves it: it commits by itself and at once, also where the unit of work fails. There stage the events, and
 * say what must hold by `UnitOfWork.unless` and `UnitOfWork.guard`.
 *
 * @category accessors
 * @since 0.1.0
 */
export const appendAll = (
  appends: ReadonlyArray<StreamAppend>,
  options?: { readonly unless?: AppendCondition | ReadonlyArray<AppendCondition> | undefined }
): Effect.Effect<ReadonlyArray<AppendResult>, AppendError, EventStore> =>
  EventStore.use((store) => store.appendAll(appends, options))

/**
 * The events of one stream. An absent stream is empty.
 *
 * **Details**: it reads page by page and holds nothing open between two pages. It ends with what stood when it began.
 *
 * @category accessors
 * @since 0.1.0
 */
export const read = (stream: string, options?: ReadOptions): Stream.Stream<RecordedEvent, EventStoreError, EventStore> =>
  Stream.unwrap(EventStore.useSync((store) => store.read(stream, options)))

/**
 * The events of all streams, by position.
 *
 * **Details**: as {@link read} does, it reads page by page, and ends with what stood when it began.
 *
 * @category accessors
 * @since 0.1.0
 */
export const readAll = (options?: ReadAllOptions): Stream.Stream<RecordedEvent, EventStoreError, EventStore> =>
  Stream.unwrap(EventStore.useSync((store) => store.readAll(options)))

/**
 * One page of the log, and how far it has read.
 *
 * **When to use**: to follow the log with a checkpoint. `readAll` and `subscribe` tell of the events that pass a filter; this also tells
 * of the part of the log in which there is none, so a checkpoint can move past it.
 *
 * **Details**: every event beyond `after` and up to `position` that passes the filter is in `events`, and none of them comes later. The next page begins
 * at `position`. It does not wait: where nothing is left, `events` is empty and `position` is the head. Where the filter passes little, a page
 * ends after half a second, perhaps without an event: read on from `position` until that is the head.
 *
 * ```ts
 * import { Effect } from "effect"
 * import { EventStore } from "eventfold"
 *
 * const program = Effect.gen(function* () {
 *   yield* EventStore.append("Account-1", [{ type: "AccountOpened", payload: {} }])
 *   yield* EventStore.append("Account-1", [{ type: "MoneyDeposited", payload: { amount: 5 } }])
 *   const { events, head, position } = yield* EventStore.readPage({ after: 0, filter: { types: ["AccountOpened"] } })
 *   return [events.length, position, head]
 * })
 *
 * await Effect.runPromise(Effect.provide(program, EventStore.layerMemory)) // => [1, 2, 2]
 * ```
 *
 * @category accessors
 * @since 0.2.0
 */
export const readPage = (options?: ReadPageOptions): Effect.Effect<Page, EventStoreError, EventStore> =>
  EventStore.use((store) => store.readPage(options))

/**
 * What passes several filters, all as of one position of the log.
 *
 * **When to use**: to decide by facts from anywhere in the log, and to append under the condition that nothing has come beyond that
 * position. `Decision` is made of it.
 *
 * **Details**: whatever is appended meanwhile, the answers are those of one moment: nothing that passes a filter and is not among them stands
 * at or below `position`. Each answer has at most `size` events, and says whether there are more.
 *
 * ```ts
 * import { Effect } from "effect"
 * import { EventStore } from "eventfold"
 *
 * const enrolled = { type: "Enrolled", payload: {}, tags: ["course:1", "student:ada"] }
 *
 * const program = Effect.gen(function* () {
 *   yield* EventStore.append("Course-1", [enrolled])
 *   const { answers, position } = yield* EventStore.readBoundary([
 *     { filter: { tags: ["course:1"] } },
 *     { filter: { tags: ["student:ben"] } }
 *   ])
 *   return [answers.map(({ events }) => events.length), position]
 * })
 *
 * await Effect.runPromise(Effect.provide(program, EventStore.layerMemory)) // => [[1, 0], 1]
 * ```
 *
 * @category accessors
 * @since 0.2.0
 */
export const readBoundary = (
  queries: ReadonlyArray<BoundaryQuery>,
  options?: ReadBoundaryOptions
): Effect.Effect<Boundary, EventStoreError, EventStore> => EventStore.use((store) => store.readBoundary(queries, options))

/**
 * History, then live, one seamless sequence by position. Never ends.
 *
 * **When to use**: to follow the log in one process. `Subscription` adds a checkpoint, retries and takeover.
 *
 * **Gotchas**: of what the filter drops it says nothing, so it does not tell how far the log has been read; {@link readPage} does.
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
 * The event with an id, wherever it stands; none where the store has no such event.
 *
 * ```ts
 * import { Effect, Option } from "effect"
 * import { EventStore } from "eventfold"
 *
 * const program = Effect.gen(function* () {
 *   yield* EventStore.append("Order-1", [{ id: "e-1", type: "Placed", payload: {} }])
 *   const found = yield* EventStore.find("e-1")
 *   return [Option.map(found, ({ stream, version }) => `${stream} v${version}`), yield* EventStore.find("e-2")]
 * })
 *
 * await Effect.runPromise(Effect.provide(program, EventStore.layerMemory)) // => [Option.some("Order-1 v1"), Option.none()]
 * ```
 *
 * @category accessors
 * @since 0.2.0
 */
export const find = (id: string): Effect.Effect<Option.Option<RecordedEvent>, EventStoreError, EventStore> =>
  EventStore.use((store) => store.find(id))

/**
 * Whether a stream has an event.
 *
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
 * The streams that exist, by name (in code point order).
 *
 * @category accessors
 * @since 0.1.0
 */
export const streams = (options?: StreamsOptions): Stream.Stream<StreamInfo, EventStoreError, EventStore> =>
  Stream.unwrap(EventStore.useSync((store) => store.streams(options)))
