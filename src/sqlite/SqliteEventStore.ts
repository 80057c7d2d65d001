/**
 * The event store on SQLite: one file, no server. Several processes may use the file at once.
 *
 * Positions and versions are decided under SQLite's write lock (`BEGIN IMMEDIATE`); appends that wait for it go into one
 * transaction, with an answer for each. An append within a transaction of the same `SqlClient` is part of that transaction: it
 * commits or rolls back with it.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Reactivity from "effect/reactivity/Reactivity"
import type * as Scope from "effect/Scope"
import * as SqlClient from "effect/sql/SqlClient"
import { pausing } from "../internal/lasting.ts"
import { makeSignal } from "../internal/signal.ts"
import * as EventStore from "../store/EventStore.ts"
import { storeUntilClosed } from "../store/kit/index.ts"
import { usualSqlite } from "../store/tables.ts"
import { failAs } from "./database.ts"
import { isChained, makeMaintenance } from "./maintaining.ts"
import { makeReads } from "./reading.ts"
import * as SqliteClient from "./SqliteClient.ts"
import { openTables } from "./tables.ts"
import { makeAppend } from "./writing.ts"

/**
 * Where the tables are, and how the store waits.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /**
   * What the names of all tables begin with, and of those beside the events: letters, digits and `_`. The names of projections' tables
   * begin with it where it is not the default. Default: `"eventfold_"`.
   */
  readonly tablePrefix?: string | undefined
  /** How often a subscription that has seen everything looks for commits of other processes. Default: 50 milliseconds. */
  readonly pollInterval?: Duration.Input | undefined
  /**
   * What can be looked up in an index of its own, wherever it stands in the log: events by their type, by the category of their stream, by their
   * correlation id. An index that is not there is made when the Layer is built; one that is no longer asked for stays, and is not used. Each
   * makes appends slower and the file larger. Default: none.
   */
  readonly indexes?: ReadonlyArray<"type" | "category" | "correlation"> | undefined
  /**
   * Whether to keep a hash chain over the events from now on, which `EventStore.verify` checks. Once it has begun it goes on, whoever opens the
   * file. Appends are slower by it. Default: as the file has it.
   */
  readonly chain?: boolean | undefined
}

/**
 * Makes the store over any SQLite `SqlClient`, whose tables are made or migrated first.
 *
 * **When to use**: for a program with several stores; {@link layer} provides one.
 *
 * @category constructors
 * @since 0.2.0
 */
export const make = Effect.fnUntraced(function* (
  options: Options = {}
): Effect.fn.Return<EventStore.EventStore["Service"], EventStore.EventStoreError, SqlClient.SqlClient | Scope.Scope> {
  const client = yield* SqlClient.SqlClient
  const sql = yield* openTables(options.tablePrefix, new Set(options.indexes))
  const database = { client, sql, signal: makeSignal() }
  const chained = options.chain === true || (yield* isChained(database))
  const store = EventStore.make({
    append: yield* makeAppend({ ...database, chained }),
    ...makeReads(database, pausing("SqliteEventStore: pollInterval", options.pollInterval ?? "50 millis")),
    maintenance: makeMaintenance(database),
    transactionService: client.transactionService,
    tables: { schema: undefined, prefix: options.tablePrefix ?? usualSqlite.prefix, migrate: true }
  })
  return yield* storeUntilClosed(store)
})

/**
 * Makes the store on a file, which is made when it does not exist. Each time it has a connection of its own.
 *
 * ```ts
 * import { Effect } from "effect"
 * import { EventStore } from "eventfold"
 * import { SqliteEventStore } from "eventfold/sqlite"
 *
 * const program = Effect.gen(function* () {
 *   const from = yield* SqliteEventStore.makeFile({ filename: ":memory:" })
 *   const to = yield* SqliteEventStore.makeFile({ filename: ":memory:" })
 *   yield* from.append("Account-1", [{ type: "AccountOpened", payload: { owner: "Ada" } }])
 *   return yield* EventStore.copy(from, to)
 * })
 *
 * const { copied } = await Effect.runPromise(Effect.scoped(program))
 * copied // => 1
 * ```
 *
 * @category constructors
 * @since 0.2.0
 */
export const makeFile = (
  options: Options & SqliteClient.Options
): Effect.Effect<EventStore.EventStore["Service"], EventStore.EventStoreError, Scope.Scope> =>
  Effect.provideServiceEffect(make(options), SqlClient.SqlClient, openFile(options))

const openFile = (options: SqliteClient.Options): Effect.Effect<SqlClient.SqlClient, EventStore.EventStoreError, Scope.Scope> =>
  failAs("open", Effect.provideServiceEffect(SqliteClient.make(options), Reactivity.Reactivity, Reactivity.make))

/**
 * {@link layer} with options.
 *
 * **Gotchas**: each call is another Layer, and is built for itself. Keep the result in a constant where it is provided more than once.
 *
 * @category layers
 * @since 0.2.0
 */
export const layerWith = (
  options: Options
): Layer.Layer<EventStore.EventStore, EventStore.EventStoreError, SqlClient.SqlClient> =>
  Layer.effect(EventStore.EventStore, make(options))

/**
 * The store over any SQLite `SqlClient`, whose tables are made or migrated first.
 *
 * **Details**: how durable it is, and how long it waits for other processes, is up to the client; {@link layerFile} comes with one.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<EventStore.EventStore, EventStore.EventStoreError, SqlClient.SqlClient> = layerWith({})

/**
 * The store on a file, which is made when it does not exist, together with its client: tables of your own may stand in the same
 * file and change in the same transactions.
 *
 * ```ts
 * import { Effect } from "effect"
 * import { EventStore } from "eventfold"
 * import { SqliteEventStore } from "eventfold/sqlite"
 *
 * const program = EventStore.append("Account-1", [{ type: "AccountOpened", payload: { owner: "Ada" } }])
 *
 * const result = await Effect.runPromise(Effect.provide(program, SqliteEventStore.layerFile({ filename: ":memory:" })))
 * result.version // => 1
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layerFile = (
  options: Options & SqliteClient.Options
): Layer.Layer<EventStore.EventStore | SqlClient.SqlClient, EventStore.EventStoreError> =>
  Layer.provideMerge(layerWith(options), Layer.effect(SqlClient.SqlClient, openFile(options)))

/**
 * {@link layerFile} with options that come from the configuration: each of them, or all at once, is a `Config`.
 *
 * ```ts
 * import { Config, ConfigProvider, Effect, Layer } from "effect"
 * import { EventStore } from "eventfold"
 * import { SqliteEventStore } from "eventfold/sqlite"
 *
 * const Live = SqliteEventStore.layerConfig({ filename: Config.String("EVENTS") }).pipe(
 *   Layer.provide(ConfigProvider.layer(ConfigProvider.fromUnknown({ EVENTS: ":memory:" })))
 * )
 *
 * await Effect.runPromise(Effect.provide(EventStore.head, Live)) // => 0
 * ```
 *
 * @category layers
 * @since 0.2.0
 */
export const layerConfig = (
  options: Config.Wrap<Options & SqliteClient.Options>
): Layer.Layer<EventStore.EventStore | SqlClient.SqlClient, EventStore.EventStoreError | Config.ConfigError> =>
  Layer.unwrap(Effect.map(Config.unwrap(options), layerFile))
