import type * as Arr from "effect/Array"
import * as Context from "effect/Context"
import type * as DateTime from "effect/DateTime"
import type * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import type * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import type * as Stream from "effect/Stream"
import type { Fragment } from "effect/sql/Statement"
import type { Requires } from "../deciding/UnitOfWork.ts"
import type { Definition } from "../definitions/annotations.ts"
import type * as Event from "../definitions/Event.ts"
import type { Metadata } from "../definitions/stored.ts"
import { describe } from "../sql/errors.ts"
import type {
  CheckpointAheadError,
  CheckpointContradictedError,
  CheckpointError,
  ProjectionVersionChangedError
} from "../store/Checkpoints.ts"
import type { EventStoreError, Filter } from "../store/EventStore.ts"
import type { Found } from "../store/tables.ts"
import type { InvalidCursorError, Page, Query } from "./query.ts"
import type { Column } from "./columns.ts"
import type { Index } from "./indexes.ts"
import type { statementsOf } from "./sql.ts"

/**
 * An event with what is known of it. Inline it has no position and no time yet, and its version where the unit of work knows it.
 *
 * @category models
 * @since 0.1.0
 */
export interface Envelope<out E> {
  readonly event: E
  readonly id: string
  readonly stream: string
  readonly version: number | undefined
  readonly position: number | undefined
  readonly recordedAt: DateTime.Utc | undefined
  readonly metadata: Metadata
}

/**
 * The version of the projection that runs.
 *
 * @category models
 * @since 0.2.0
 */
export interface RunService {
  readonly projection: string
  readonly version: number
  /** The tables that it lists: it writes no others. Absent: any. */
  readonly tables?: ReadonlyArray<AnyTable> | undefined
  /** Whether the world beyond the view is to hear of an event at this position. */
  readonly live: (position: number | undefined) => Effect.Effect<boolean, CheckpointError>
}

/**
 * In the requirements of what only a handler may do. Whatever runs a projection provides it.
 *
 * @category services
 * @since 0.1.0
 */
export type Run = (typeof Run)["Identifier"]

/**
 * The version of the projection that runs. Whatever runs a projection provides it.
 *
 * @category services
 * @since 0.1.0
 */
export const Run = Context.Service<Requires<"a handler of Projection.make: it alone writes the table">, RunService>(
  "eventfold/Projection/Run"
)

/**
 * One handler per event type.
 *
 * @category models
 * @since 0.1.0
 */
export type Handlers<Events extends ReadonlyArray<Event.Any>> = {
  readonly [Type in Events[number]["type"]]: (
    event: Extract<Events[number], { readonly type: Type }>["Type"],
    envelope: Envelope<Extract<Events[number], { readonly type: Type }>["Type"]>
  ) => Effect.Effect<unknown, unknown, unknown>
}

/**
 * What all projections have in common.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options<Events extends ReadonlyArray<Event.Any>, Tables extends ReadonlyArray<AnyTable>, R> {
  /** A whole number from 1. Another version is another view, built from the beginning. */
  readonly version: number
  /** The definitions of the events that the view is made from. */
  readonly events: Events
  /** Narrows the events down. Default: all events of these types. */
  readonly filter?: Filter | undefined
  /**
   * The tables that the handlers write. They belong to the version: to change them, raise it. A write to one that is not listed is a defect,
   * {@link TableUnlistedError}. Default: none.
   */
  readonly tables?: Tables | undefined
  /** Empties what the handlers write beside `tables`, when a rebuild begins: in its transaction. Default: nothing. */
  readonly reset?: Effect.Effect<unknown, SqlError, R> | undefined
}

/**
 * The definition of a projection. `R` is what its handlers need, and `D` the database of its tables.
 *
 * @category models
 * @since 0.1.0
 */
export interface Projection<out R, out D> extends Definition {
  readonly name: string
  readonly version: number
  readonly filter: Filter
  readonly tables: ReadonlyArray<AnyTable>
  /** The name of the subscription that {@link layer} runs: for `Subscription.status`, `pause` and so on. */
  readonly subscription: string
  /** @internal */
  readonly readers: Event.Readers
  /** @internal */
  readonly handleEvent: (item: Envelope<unknown>) => Effect.Effect<unknown, unknown, R>
  /** @internal */
  readonly handleBatch: ((items: Arr.NonEmptyReadonlyArray<Envelope<unknown>>) => Effect.Effect<unknown, unknown, R>) | undefined
  /** @internal */
  readonly reset: Effect.Effect<unknown, SqlError, R>
  /** @internal */
  readonly database?: (_: never) => D
}

export type Needs<R> = Exclude<R, Run | Scope.Scope>
export type Database<Tables extends ReadonlyArray<AnyTable>> = Tables extends readonly [] ? never : SqlClient.SqlClient

/**
 * How far a rebuild has come.
 *
 * @category models
 * @since 0.1.0
 */
export interface Progress {
  /** The checkpoint: the view holds all events up to here. */
  readonly position: number
  /** Where the rebuild ends: the position of the newest event when it was called. */
  readonly head: number
  /** How many events this call has handled. */
  readonly handled: number
}

/**
 * What may fail around the handlers: the event store, the checkpoints, the database of the tables, another process that changes the
 * version at the same time, again and again, or a checkpoint that is not one of this log.
 *
 * @category errors
 * @since 0.1.0
 */
export type StorageError =
  | EventStoreError
  | CheckpointError
  | ProjectionVersionChangedError
  | CheckpointAheadError
  | CheckpointContradictedError
  | SqlError

/**
 * The projection has not come as far as it should have: it stands at `position`, and `target` was asked for.
 *
 * @category errors
 * @since 0.1.0
 */
export class NotCaughtUpError extends Schema.TaggedError<NotCaughtUpError>("eventfold/Projection/NotCaughtUpError")(
  "NotCaughtUpError",
  {
    projection: Schema.String,
    version: Schema.Number,
    position: Schema.Number,
    target: Schema.Number,
    /** Why it has halted, where it has in this process: it does not go on by itself. */
    cause: Schema.optionalKey(Schema.Defect())
  }
) {
  override get message(): string {
    const halted = this.cause === undefined ? "" : `: it has halted (${describe(this.cause)})`
    return `Version ${this.version} of the projection "${this.projection}" is at position ${this.position}, not yet at ${this.target}${halted}`
  }
}

/**
 * A handler has failed for good, and the rebuild does not park what fails, so it stands still at this position. Called again, it goes on there.
 *
 * @category errors
 * @since 0.1.0
 */
export class RebuildError extends Schema.TaggedError<RebuildError>("eventfold/Projection/RebuildError")("RebuildError", {
  projection: Schema.String,
  version: Schema.Number,
  /** The checkpoint: the event that failed comes after it. */
  position: Schema.Number,
  cause: Schema.Defect()
}) {
  override get message(): string {
    return `The rebuild of version ${this.version} of the projection "${this.projection}" failed after position ${this.position}: ${describe(this.cause)}`
  }
}

/**
 * This version runs inline, so it can neither run async nor be rebuilt: build a new version, and switch to it.
 *
 * @category errors
 * @since 0.1.0
 */
export class RunsInlineError extends Schema.TaggedError<RunsInlineError>("eventfold/Projection/RunsInlineError")(
  "RunsInlineError",
  { projection: Schema.String, version: Schema.Number }
) {
  override get message(): string {
    return `Version ${this.version} of the projection "${this.projection}" runs inline: build a new version and switch to it`
  }
}

/**
 * This version is the active one, there are others, and it cannot be dropped: switch to one of them first.
 *
 * @category errors
 * @since 0.1.0
 */
export class ActiveVersionError extends Schema.TaggedError<ActiveVersionError>("eventfold/Projection/ActiveVersionError")(
  "ActiveVersionError",
  { projection: Schema.String, version: Schema.Number }
) {
  override get message(): string {
    return `Version ${this.version} of the projection "${this.projection}" is active, and there are others: switch to one of them before it is dropped`
  }
}

/**
 * A table belongs to another projection: each would lose the other's rows when it is rebuilt. A defect while the second one is built.
 *
 * Who owns a table stands in `projection_table` beside the store's tables, behind their prefix; of a table whose definition names a
 * schema, in `eventfold_projection_table` there. Where the owner is no more, drop its last version, or delete its row.
 *
 * @category errors
 * @since 0.2.0
 */
export class TableTakenError extends Schema.TaggedError<TableTakenError>("eventfold/Projection/TableTakenError")(
  "TableTakenError",
  {
    table: Schema.String,
    /** The projection that wanted it. */
    projection: Schema.String,
    /** The projection that has it. */
    owner: Schema.String
  }
) {
  override get message(): string {
    return `The table "${this.table}" of the projection "${this.projection}" belongs to the projection "${this.owner}": give each one its own`
  }
}

/**
 * A handler writes a table that its projection does not list. Nobody would make that table for it, and a rebuild of the projection that
 * has it would delete the rows. A defect of the handler, at its first write, which is not tried again: the event halts the projection or is
 * parked, by its `onFailure`, and inline the unit of work dies. Reading is free.
 *
 * @category errors
 * @since 0.2.0
 */
export class TableUnlistedError extends Schema.TaggedError<TableUnlistedError>("eventfold/Projection/TableUnlistedError")(
  "TableUnlistedError",
  {
    table: Schema.String,
    /** The projection whose handler it is. */
    projection: Schema.String
  }
) {
  override get message(): string {
    return `The projection "${this.projection}" writes the table "${this.table}", which is not one of its own: list it in \`tables\``
  }
}

/**
 * A row has something that no database could store as it is: U+0000, a lone surrogate (half of an emoji), what is not plain JSON, or what the
 * type of its column does not hold. It is refused on every database alike, as in events, and so is a value that rows are looked for by. Nothing was written.
 *
 * @category errors
 * @since 0.2.0
 */
export class RowRefusedError extends Schema.TaggedError<RowRefusedError>("eventfold/Projection/RowRefusedError")(
  "RowRefusedError",
  {
    table: Schema.String,
    /** The key of the row, in its JSON form; `undefined` where rows were looked for by the value of a column. */
    key: Schema.UndefinedOr(Schema.String),
    column: Schema.String,
    /** What is wrong with the value of the column. */
    problem: Schema.String
  }
) {
  override get message(): string {
    // As JSON: the key itself may be what is wrong.
    const row = this.key === undefined ? "" : `, row ${JSON.stringify(this.key)}`
    return `Table "${this.table}"${row}: the column "${this.column}" ${this.problem}`
  }
}

/**
 * What a table may fail with: the database, or a row that does not fit its fields or cannot be stored.
 *
 * @category errors
 * @since 0.1.0
 */
export type TableError = SqlError | Schema.SchemaError | RowRefusedError

/**
 * A {@link Table} of any shape.
 *
 * @category models
 * @since 0.1.0
 */
export interface AnyTable {
  readonly name: string
  /** The name of the field that is the key. */
  readonly key: string
  /** @internal */
  readonly statements: (sql: SqlClient.SqlClient, found: Found, version: number) => ReturnType<typeof statementsOf>
  /** @internal */
  readonly indexes: ReadonlyArray<Index>
  /** @internal */
  readonly columns: ReadonlyArray<Column>
  /** @internal The JSON form of a key, where it has one. */
  readonly peek: (key: unknown) => string | undefined
  /** @internal What is done when a subject is forgotten. */
  readonly forget: ((subject: string) => Effect.Effect<void, TableError, SqlClient.SqlClient | Run>) | undefined
}

/**
 * A table of a view, with one row per key.
 *
 * Each version of the projection writes a table of its own, called `<name>_v<version>`; whoever reads by `name` reads that of the
 * active version, through a database view of that name. So writing is for handlers alone, and who reads need not know of versions.
 *
 * Tables and views are in the schema of the store that is provided, and their names begin with its prefix: `eventfold.balance` of a store
 * on PostgreSQL that was told nothing, `balance` on SQLite. A name with a schema of its own is where it says. In SQL of your own,
 * {@link Table.identifier} is the name.
 *
 * @category models
 * @since 0.1.0
 */
export interface Table<F extends Event.Fields, K extends keyof F & string> extends AnyTable {
  /** The Schemas of the columns, by name. */
  readonly fields: F
  /** The name of the field that is the key. */
  readonly key: K
  /**
   * The name in SQL of your own, with schema and prefix: inside a handler of the table of its version, elsewhere of the view of the active one.
   *
   * ```ts no-run
   * import { Effect, Schema } from "effect"
   * import { SqlClient } from "effect/sql"
   * import { Projection } from "eventfold"
   *
   * const Balance = Projection.table("balance", { key: "account", fields: { account: Schema.String, amount: Schema.Int } })
   *
   * export const total = Effect.gen(function* () {
   *   const sql = yield* SqlClient.SqlClient
   *   return yield* sql`select sum(amount) as total from ${yield* Balance.identifier}`
   * })
   * ```
   */
  readonly identifier: Effect.Effect<Fragment, never, SqlClient.SqlClient>
  /** The row of a key, if there is one. */
  readonly get: (key: F[K]["Type"]) => Effect.Effect<Option.Option<Row<F>>, TableError, SqlClient.SqlClient>
  /**
   * Rows by key, in code point order: those with the values of `where` (default: all), beyond the key `after` (default: from the first),
   * at most `limit` (default: 1000). For other orders and conditions, and for more rows than that, see {@link Table.page} and {@link Table.stream}.
   */
  readonly list: (options?: {
    readonly where?: Partial<Row<F>> | undefined
    readonly after?: F[K]["Type"] | undefined
    readonly limit?: number | undefined
  }) => Effect.Effect<ReadonlyArray<Row<F>>, TableError, SqlClient.SqlClient>
  /**
   * A page of the rows that meet conditions, in any order, and the cursor of the next page: at most `limit` rows (default: 100).
   *
   * A row that changes between two pages may be missed or seen twice where what it is put in order by has changed; no other is. Values reach
   * the database as parameters alone. What cannot be put in order, a limit below 1 or above 1 000 000, or a field that is not there, which
   * do not compile either, are defects.
   */
  readonly page: (
    options?: Query<F> & {
      readonly limit?: number | undefined
      /** The cursor of the page before, with the same `where` and `order`. Default: the first page. */
      readonly cursor?: string | undefined
    }
  ) => Effect.Effect<Page<Row<F>>, TableError | InvalidCursorError, SqlClient.SqlClient>
  /** All rows that meet conditions, in any order: page after page, of `pageSize` rows (default: 1000). As {@link Table.page}. */
  readonly stream: (
    options?: Query<F> & { readonly pageSize?: number | undefined }
  ) => Stream.Stream<Row<F>, TableError, SqlClient.SqlClient>
  /** How many rows meet conditions. Default: all. */
  readonly count: (options?: Pick<Query<F>, "where">) => Effect.Effect<number, TableError, SqlClient.SqlClient>
  /** Writes rows, over those that stand under their keys: any number with one statement. */
  readonly upsert: (...rows: ReadonlyArray<Row<F>>) => Effect.Effect<void, TableError, SqlClient.SqlClient | Run>
  /** Changes the row of a key. Whether there is one. */
  readonly patch: (
    key: F[K]["Type"],
    change: (row: Row<F>) => Partial<Row<F>>
  ) => Effect.Effect<boolean, TableError, SqlClient.SqlClient | Run>
  /** Deletes the rows of these keys, with one statement. A key that has no row is left alone. */
  readonly delete: (...keys: ReadonlyArray<F[K]["Type"]>) => Effect.Effect<void, TableError, SqlClient.SqlClient | Run>
  /**
   * Folds things into the rows of their keys, in order: reads all rows concerned with one statement, and writes them with another.
   * `undefined` is the row that does not exist.
   */
  readonly fold: <A>(
    things: ReadonlyArray<A>,
    options: {
      /** The key of the row that the thing belongs to. */
      readonly key: (thing: A) => F[K]["Type"]
      /** The next row; `undefined` deletes it. */
      readonly evolve: (row: Row<F> | undefined, thing: A) => Row<F> | undefined
    }
  ) => Effect.Effect<void, TableError, SqlClient.SqlClient | Run>
}

/**
 * A row of a {@link Table}: the decoded values of its fields.
 *
 * @category models
 * @since 0.1.0
 */
export type Row<F extends Event.Fields> = Schema.Struct<F>["Type"]
