/**
 * The event store on PostgreSQL: the production store.
 *
 * Positions are dense and in commit order, because appends take one lock, and count on from the newest event. That lock would
 * cost throughput, and group commit pays it back: concurrent appends of one process are coalesced, while the writer is busy,
 * into one statement with a verdict for each. An append inside a transaction of the same `SqlClient` (`sql.withTransaction`,
 * `UnitOfWork.layerSql`) is part of that transaction instead.
 *
 * **Durability.** Appends are synchronous commits even where the server's default is `synchronous_commit = off`; where units of work share flushes
 * (`sharedFlush`) they succeed behind one.
 *
 * **Wake-ups.** Subscribers are woken by commits of their own process, by `LISTEN`/`NOTIFY` behind the commits of others, and by polling. The
 * tables are the truth and a wake-up is only a hint: a lost one costs one poll interval. A subscription outlives lost connections and restarts
 * of the server: it waits, for as long as it takes, and goes on where it was.
 *
 * **Closing** ends within 10 seconds, whatever the database does: what is under way has 5 seconds to be answered. An append that is not is
 * `OutcomeUnknown`.
 *
 * @since 0.1.0
 */
import * as PgClient from "@effect/sql-pg/PgClient"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import * as SqlClient from "effect/sql/SqlClient"
import { pausing } from "../internal/lasting.ts"
import { EventStore, EventStoreError, make as makeStore, StoreFailure } from "../store/EventStore.ts"
import { storeUntilClosed } from "../store/kit/index.ts"
import { makeIndexes } from "./indexes.ts"
import { hearingOf } from "./listening.ts"
import { migrate } from "./migrations.ts"
import { checkNames } from "./names.ts"
import * as PgLite from "./PgLite.ts"
import { sharingOf } from "./sharedFlush.ts"
import { makeSql } from "./sql.ts"
import { inBackground } from "../sql/transaction.ts"
import { makeBoundary } from "./store/boundary.ts"
import { flushedDriver } from "./store/flushed.ts"
import { keepUp } from "./store/following.ts"
import { beginChain, makeMaintenance } from "./store/maintaining.ts"
import { makePages } from "./store/reading.ts"
import { makeShared, readHead } from "./store/shared.ts"
import { makeAppend } from "./store/writer.ts"

/**
 * Where the tables are, and how the store uses its connections.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /**
   * The database schema (namespace) of the tables; made when absent. What stands beside the events has its tables there, too. Default:
   * `"eventfold"`.
   */
  readonly schema?: string | undefined
  /** What the names of the tables begin with, and of those beside the events. Default: nothing. */
  readonly tablePrefix?: string | undefined
  /**
   * Whether to make or update the tables when the Layer is built. What stands beside the events (checkpoints, snapshots, parked events,
   * inbox, dead letters, the tables of projections) does as the store does. Default: `true`.
   */
  readonly migrate?: boolean | undefined
  /**
   * Whether to hear of what other processes write by `LISTEN`, over one connection of the pool that all share who share the client;
   * a client with `maxConnections: 1` is refused. Through a pooler that hands out transactions (PgBouncer in transaction mode) nobody can
   * listen: give the URL of a direct connection to the same database. Default: `true`, unless the client has just one connection or goes
   * through such a pooler.
   */
  readonly listen?: boolean | Redacted.Redacted | undefined
  /** How often the head is polled while somebody waits for events. Default: 1 second with `listen`, 100 milliseconds without. */
  readonly pollInterval?: Duration.Input | undefined
  /** The most appends on their way at once; further callers wait. Default: 4096. */
  readonly capacity?: number | undefined
  /** The most appends in one batch. Default: 512. */
  readonly maxBatch?: number | undefined
  /**
   * How long to wait for the answer to a statement, for example from a host that has vanished without a word. Then its connection is
   * given up: a read fails as `StoreUnavailable`, and an append is repeated by its ids. What has waited for longer behind an append that was not
   * answered is not sent, and fails as `StoreUnavailable`. An append that is part of a transaction fails, and the transaction with it. Default:
   * 30 seconds.
   */
  readonly timeout?: Duration.Input | undefined
  /**
   * What can be looked up in an index of its own, wherever it stands in the log: events by their type, by the category of their stream, by their
   * correlation id. Each makes reads, followers and conditions that ask for what is rare fast, whatever the length of the log, and appends
   * slower and larger: `src/guides/production.md` says by how much.
   *
   * An index that is not there is made when the Layer is built, without keeping appends waiting, which may take minutes; several
   * processes that are started at once make it once. With `migrate: false` the Layer fails then, and says by which statement to make it. An
   * index that is no longer asked for stays, and is not used. Default: none.
   */
  readonly indexes?: ReadonlyArray<"type" | "category" | "correlation"> | undefined
  /**
   * How long the Layer waits at most for its `indexes`, whoever makes them: then it fails as `StoreUnavailable`. An index whose making was given up
   * is made anew by the next one that asks for it. Default: 1 hour.
   */
  readonly indexTimeout?: Duration.Input | undefined
  /**
   * Whether to keep a hash chain over the events from now on, which `EventStore.verify` checks: a trigger, which is made when the Layer is built,
   * and from then on holds for all who append. With `migrate: false` the Layer fails where it is not there, and says by which statement to make
   * it. Appends are slower by it. Default: as the database has it.
   */
  readonly chain?: boolean | undefined
  /**
   * Whether units of work of `UnitOfWork.layerSql` give the lock of the appends away before they are on the disk, and wait for one flush together: many of
   * them at once are several times faster, the more so the slower the disk is. Each succeeds when it is on the disk, and the store tells nobody of an
   * event before. But rows of your own can be seen by others for as long as a flush takes, and a crash of the server in that moment takes them back.
   *
   * The database says so to all who use it, from when they open their stores: what had one open when the first asked for it may be told of events a flush
   * too early. With `migrate: false` the Layer fails where the database does not say so, and tells by which statement to make it.
   * `src/guides/production.md` has more. Default: as the database has it.
   */
  readonly sharedFlush?: boolean | undefined
}

/**
 * Makes the store over the `PgClient` of the environment. Makes and updates its tables first.
 *
 * **When to use**: for a program with several stores; {@link layer} provides one.
 *
 * @category constructors
 * @since 0.2.0
 */
export const make = Effect.fnUntraced(function* (
  options: Options = {}
): Effect.fn.Return<EventStore["Service"], EventStoreError, PgClient.PgClient | Scope.Scope> {
  const sql = yield* PgClient.PgClient
  const names = yield* checkNames(options)
  const hearing = yield* hearingOf(sql, options)
  if (typeof hearing === "string") {
    return yield* new EventStoreError({ reason: new StoreFailure({ operation: "open", detail: hearing }) })
  }
  const mayMake = options.migrate !== false
  if (mayMake) yield* migrate(names).pipe(Effect.provideService(SqlClient.SqlClient, sql))
  const indexes = new Set(options.indexes)
  const timeout = pausing("PgEventStore: timeout", options.timeout ?? "30 seconds")
  const indexTimeout = pausing("PgEventStore: indexTimeout", options.indexTimeout ?? "1 hour")
  yield* makeIndexes({ sql, names, indexes, timeout, indexTimeout }, mayMake)
  const texts = makeSql(names)
  const shares = sharingOf(sql, texts, { hearing, mayMake, wanted: options.sharedFlush === true })
  const shared = yield* makeShared(sql, texts, { hearing, indexes, shares, timeout })
  const { plans, queries, signal, statements } = shared
  if (options.chain === true) yield* beginChain(sql, names, shared, mayMake)
  const background = inBackground(sql)
  const append = yield* background(makeAppend(shared, options))
  const boundary = yield* background(makeBoundary(shared))
  const pages = yield* background(makePages(shared))
  const head = readHead(shared)
  yield* background(keepUp(shared, head, hearing))
  yield* queries.answering.hearClosing
  const driver = {
    append,
    boundary,
    pages,
    head,
    version: (stream: string, operation: string) => queries.ask(operation, plans.sized(statements.version), [stream]),
    find: (id: string) => Effect.map(queries.ask("find", plans.sized(statements.find), [id]), ({ items }) => items[0]),
    awaitBeyond: signal.beyond,
    heard: signal.position,
    untilAnswered: shared.untilAnswered,
    transactionService: sql.transactionService,
    maintenance: makeMaintenance(shared),
    tables: { schema: names.schema, prefix: names.prefix, migrate: mayMake }
  }
  return yield* storeUntilClosed(makeStore(flushedDriver(driver, shared)))
})

/**
 * {@link layer} with options.
 *
 * **Gotchas**: each call is another Layer, and is built for itself. Keep the result in a constant where it is provided more than once.
 *
 * @category layers
 * @since 0.2.0
 */
export const layerWith = (options: Options): Layer.Layer<EventStore, EventStoreError, PgClient.PgClient> =>
  Layer.effect(EventStore, make(options))

/**
 * The store over the `PgClient` of the environment. Makes and updates its tables when it is built.
 *
 * ```ts no-run
 * import { PgClient } from "@effect/sql-pg"
 * import { Layer, Redacted } from "effect"
 * import { PgEventStore } from "eventfold/postgres"
 *
 * const Store = PgEventStore.layer.pipe(
 *   Layer.provideMerge(PgClient.layer({ url: Redacted.make("postgres://localhost/shop") }))
 * )
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<EventStore, EventStoreError, PgClient.PgClient> = layerWith({})

/**
 * Makes the same store on PostgreSQL embedded in the process: in memory, or in the folder `dataDir`.
 *
 * **When to use**: for a program with several stores; {@link layerEmbedded} provides one, and its client.
 *
 * @category constructors
 * @since 0.2.0
 */
export const makeEmbedded = (
  options: Omit<Options, "listen" | "sharedFlush"> & PgLite.Options = {}
): Effect.Effect<EventStore["Service"], EventStoreError, Scope.Scope> =>
  Effect.flatMap(PgLite.make(options), (client) => Effect.provideService(make(options), PgClient.PgClient, client))

/**
 * {@link layerEmbedded} with options.
 *
 * **Gotchas**: each call is another Layer, and is built for itself. Keep the result in a constant where it is provided more than once.
 *
 * @category layers
 * @since 0.2.0
 */
export const layerEmbeddedWith = (
  options: Omit<Options, "listen" | "sharedFlush"> & PgLite.Options
): Layer.Layer<EventStore | PgClient.PgClient | SqlClient.SqlClient, EventStoreError> =>
  Layer.provideMerge(layerWith(options), PgLite.layerWith(options))

/**
 * The same store on PostgreSQL embedded in the process: in memory, or in the folder `dataDir`. Provides the store and the client.
 *
 * ```ts
 * import { Effect } from "effect"
 * import { EventStore } from "eventfold"
 * import { PgEventStore } from "eventfold/postgres"
 *
 * const program = EventStore.append("Account-1", [{ type: "AccountOpened", payload: { owner: "Ada" } }])
 *
 * const result = await Effect.runPromise(Effect.provide(program, PgEventStore.layerEmbedded))
 * result.version // => 1
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layerEmbedded: Layer.Layer<EventStore | PgClient.PgClient | SqlClient.SqlClient, EventStoreError> =
  layerEmbeddedWith({})
