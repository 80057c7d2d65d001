import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as SqlClient from "effect/sql/SqlClient"
import type * as Event from "../definitions/Event.ts"
import { AggregateIdError } from "../definitions/Aggregate.ts"
import { CommandDecodeError, CommandElsewhereError, CommandIdReusedError } from "../definitions/Command.ts"
import { EventDecodeError, EventEncodeError, UnknownEventTypeError } from "../definitions/Event.ts"
import { executionKeys } from "../definitions/services.ts"
import type { Metadata, NewEvent } from "../definitions/stored.ts"
import { TagError } from "../definitions/Tag.ts"
import type { NewId } from "../internal/ids.ts"
import {
  type AppendCondition,
  AppendConditionError,
  type AppendError,
  DuplicateEventError,
  type EventStore,
  EventStoreError,
  ExpectedVersion,
  InvalidAppendError,
  OptimisticLockError
} from "../store/EventStore.ts"

/**
 * One unit of work has handled more messages (commands, and events with listeners) than `MessageBus.layerWith` allows. Nothing was written.
 *
 * Most likely a listener publishes, through whatever detour, what it hears.
 *
 * @category errors
 * @since 0.2.0
 */
export class TooManyMessagesError extends Schema.TaggedError<TooManyMessagesError>("eventfold/MessageBus/TooManyMessagesError")(
  "TooManyMessagesError",
  {
    /** How many messages are allowed. */
    limit: Schema.Int,
    /** The types of the last messages, in the order in which they were handled; at the end the one that was refused. */
    recent: Schema.Array(Schema.String)
  }
) {
  override get message(): string {
    const last = this.recent.map((type) => `"${type}"`).join(", ")
    return `One unit of work would handle more than ${this.limit} messages, the last of them ${last}: end the circle in which they cause each other, or raise maxMessages of MessageBus.layerWith`
  }
}

/**
 * All that a unit of work can fail with by itself: what executing commands, and staging, loading and committing events may meet. As a Schema, it lets a
 * command that is called over a network declare these errors among its own.
 *
 * @category errors
 * @since 0.1.0
 */
export const CommitError = Schema.Union([
  OptimisticLockError,
  AppendConditionError,
  DuplicateEventError,
  InvalidAppendError,
  EventStoreError,
  EventEncodeError,
  EventDecodeError,
  UnknownEventTypeError,
  AggregateIdError,
  TagError,
  CommandDecodeError,
  CommandIdReusedError,
  CommandElsewhereError,
  TooManyMessagesError
])

/**
 * All that a unit of work can fail with by itself.
 *
 * @category errors
 * @since 0.1.0
 */
export type CommitError =
  | AppendError
  | EventEncodeError
  | EventDecodeError
  | UnknownEventTypeError
  | AggregateIdError
  | TagError
  | CommandDecodeError
  | CommandIdReusedError
  | CommandElsewhereError
  | TooManyMessagesError

/**
 * What is staged: an event with its definition and the typed value that it was made from, an event that is encoded already, or the record of a
 * command, which is written as an event is and heard by nobody.
 *
 * @category models
 * @since 0.1.0
 */
export type Staging =
  | { readonly _tag: "Event"; readonly definition: Event.Any; readonly value: unknown }
  | { readonly _tag: "Untyped" }
  | { readonly _tag: "Record" }

/**
 * An event that waits for the commit.
 *
 * @category models
 * @since 0.1.0
 */
export type StagedEvent = Staging & {
  readonly stream: string
  readonly event: NewEvent & { readonly id: string; readonly metadata: Metadata }
  /** The version that the event will have, when the version of its stream is known. */
  readonly version: number | undefined
  /** Goes to its listeners, but is not written. */
  readonly transient: boolean
}

/**
 * What was committed.
 *
 * @category models
 * @since 0.2.0
 */
export interface Commit {
  /** The position of the last event that was written, 0 where none was. */
  readonly position: number
}

/**
 * A value, and what was committed while it was made.
 *
 * @category models
 * @since 0.2.0
 */
export interface Committed<A> extends Commit {
  readonly value: A
}

/**
 * Something that one unit of work keeps until it ends, the same for all of its levels: what `make` gives when it is first asked for.
 * Only who has the slot comes at it.
 *
 * @category models
 * @since 0.1.0
 */
export interface Slot<A> {
  readonly make: () => A
}

/**
 * In the requirements of an effect that must run somewhere in particular. `What` says what to write, and so does the compiler where that
 * is missing: `Type 'Requires<"…">' is not assignable to type 'never'`.
 *
 * @category models
 * @since 0.2.0
 */
export interface Requires<out What extends string> {
  readonly "~eventfold/Requires": What
}

/**
 * The transaction that an effect inside {@link transact} runs in. Its presence in the requirements of an effect says that the
 * effect must be part of a unit of work; only `transact` provides it.
 *
 * @category services
 * @since 0.1.0
 */
export type Transaction = (typeof Transaction)["Identifier"]

/**
 * The transaction that an effect inside {@link transact} runs in.
 *
 * @category services
 * @since 0.1.0
 */
export const Transaction = Context.Service<
  Requires<"UnitOfWork.transact(…) around it, or a handler of MessageBus">,
  TransactionService
>(executionKeys.transaction)

/**
 * What a unit of work offers to what runs in it.
 *
 * @category models
 * @since 0.2.0
 */
export interface TransactionService {
  /** Tells the units of work of a process apart; the nested ones have that of the outermost. */
  readonly id: number
  /** What it writes to. */
  readonly store: EventStore["Service"]
  /** What this unit of work keeps in a slot. */
  readonly slot: <A>(slot: Slot<A>) => A
  /**
   * Stages events at the end of a stream. `expected` counts what this unit of work has staged there before; where that is known
   * to differ, the decision was made on stale state and fails at once, otherwise the commit decides.
   *
   * An event without an id gets a new one: `id`, if that has been made already. `check` is asked in the very moment of staging; what it gives
   * is the failure.
   */
  readonly stage: <E = never>(
    stream: string,
    events: ReadonlyArray<
      Staging & { readonly event: NewEvent; readonly id?: NewId | undefined; readonly transient?: boolean | undefined }
    >,
    expected: ExpectedVersion,
    check?: () => E | undefined
  ) => Effect.Effect<ReadonlyArray<StagedEvent>, OptimisticLockError | E>
  /**
   * What must hold at the commit, where anything is written: no newer event that passes the filter. It is dropped with the unit of work
   * (the innermost, where they are nested) that said so. `given` is what it has seen of the staged events: they must be written as well.
   */
  readonly unless: (condition: AppendCondition, given?: ReadonlyArray<StagedEvent>) => Effect.Effect<void>
  /** As `unless`: a stream must be, before this unit of work writes, at the version. */
  readonly guard: (stream: string, version: ExpectedVersion) => Effect.Effect<void>
  /**
   * Adds metadata to the last event that this unit of work, or one within it, has staged for the stream. Whether there is one. Listeners that have heard it
   * have not seen that.
   */
  readonly amend: (stream: string, metadata: Metadata) => boolean
  /** The events staged so far, in order; of one stream, or of all. */
  readonly staged: (stream?: string) => ReadonlyArray<StagedEvent>
  /** The next event staged by this unit of work or one within it that has not been returned before. */
  readonly next: () => StagedEvent | undefined
  /** What the outermost unit of work has written: position 0 as long as that is nothing. */
  readonly committed: () => Commit
  readonly afterCommit: (effect: Effect.Effect<void>) => Effect.Effect<void>
  readonly afterRollback: (effect: Effect.Effect<void>) => Effect.Effect<void>
  /** The context without what belongs to this transaction: what a hook runs in, once the transaction has ended. */
  readonly outside: <R>(context: Context.Context<R>) => Context.Context<R>
  /** From now on this unit of work writes nothing, however it ends. */
  readonly rollback: Effect.Effect<void>
  /** Runs a nested unit of work: part of this one, but what it staged is dropped if it fails or rolls back. */
  readonly nested: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E | CommitError, Exclude<R, Transaction>>
}

/**
 * In the requirements of what uses a `SqlClient` in a unit of work: that its own SQL commits with the events. `UnitOfWork.layerSql` alone
 * provides it, so that a program which has forgotten it does not compile.
 *
 * @category services
 * @since 0.2.0
 */
export type SqlTransactions = (typeof SqlTransactions)["Identifier"]

/**
 * Says that units of work are SQL transactions.
 *
 * @category services
 * @since 0.2.0
 */
export const SqlTransactions = Context.Service<
  Requires<"UnitOfWork.layerSql, so that your own SQL commits with the events">,
  true
>("eventfold/UnitOfWork/SqlTransactions")

/**
 * What a unit of work requires of its surroundings for an effect that requires `R`.
 *
 * @category models
 * @since 0.2.0
 */
export type Around<R> = Exclude<R, Transaction> | ([Extract<R, SqlClient.SqlClient>] extends [never] ? never : SqlTransactions)

/**
 * The unit of work service.
 *
 * @category services
 * @since 0.1.0
 */
export class UnitOfWork extends Context.Service<
  UnitOfWork,
  {
    /** What it writes to. */
    readonly store: EventStore["Service"]
    /** Runs an effect as one unit of work of its own: see {@link transact}, which joins the one that it is in. */
    readonly transact: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E | CommitError, Exclude<R, Transaction>>
    /**
     * Adds what is done at the end of each unit of work, within it, with all the events that it is about to write; its failure
     * rolls everything back. The returned effect removes it.
     */
    readonly beforeCommit: (
      hook: (staged: ReadonlyArray<StagedEvent>) => Effect.Effect<void, CommitError>
    ) => Effect.Effect<Effect.Effect<void>>
  }
>()("eventfold/UnitOfWork") {}

/** What a unit of work saw of a stream when it first loaded it: later loads see the same, and what it has staged since. */
export interface Seen {
  readonly version: number
  /** How often all that is kept in memory had been forgotten by then. */
  readonly since: number
  /** By aggregate. */
  readonly states: Map<object, unknown>
}

/** What the unit of work has seen, by stream. */
export const SeenStreams: Slot<Map<string, Seen>> = { make: () => new Map() }

/** What is expected of a stream where nothing is said: the version that it was loaded at, with what has been staged since, and else nothing. */
export const expectedOf = (transaction: TransactionService, stream: string): ExpectedVersion => {
  const seen = transaction.slot(SeenStreams).get(stream)
  return seen === undefined ? ExpectedVersion.Any : seen.version + transaction.staged(stream).length
}

const nameOf = ({ tables, tenant }: EventStore["Service"]): string =>
  tenant !== undefined
    ? `that of the tenant ${JSON.stringify(tenant)}`
    : tables?.schema !== undefined
      ? `that in the schema ${JSON.stringify(tables.schema)}`
      : "another one"

/**
 * A defect where a store is another one than the unit of work writes to: what is decided there would be written here, and checked by what stands here.
 * Stores are told apart by their tenants, and by where their tables are.
 */
export const onlyOn = ({ store: own }: TransactionService, store: EventStore["Service"]): Effect.Effect<void> =>
  own === store ||
  (own.tenant === store.tenant && own.tables?.schema === store.tables?.schema && own.tables?.prefix === store.tables?.prefix)
    ? Effect.void
    : Effect.die(
        new Error(
          `UnitOfWork: a unit of work is of one store: this one writes to ${nameOf(own)}, and something in it asks for ${nameOf(store)}. Let each have a unit of work of its own, one after the other`
        )
      )
