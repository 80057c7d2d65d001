/**
 * Tenants that share the tables of one store, apart by row-level security: for thousands of small ones.
 *
 * Two roles are needed. One owns the tables and {@link prepare}s them; the application logs in as the other, which owns nothing, may write
 * nothing but through the functions of the first, and sees the rows of the tenant that a transaction names. Where none is named there are no
 * rows.
 *
 * @since 0.2.0
 */
import * as PgClient from "@effect/sql-pg/PgClient"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import { flow } from "effect/Function"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import { pausing } from "../internal/lasting.ts"
import type { RecordedEvent } from "../definitions/stored.ts"
import { tenantFault } from "../definitions/tenant.ts"
import { EventStore, EventStoreError, make as makeStore, StoreFailure } from "../store/EventStore.ts"
import { partition, partitionNames, storeUntilClosed } from "../store/kit/index.ts"
import { toEventStoreError } from "./errors.ts"
import { makeIndexes } from "./indexes.ts"
import { hearingOf } from "./listening.ts"
import { checkNames } from "./names.ts"
import { layerWith as checkpointsLayer } from "./PgCheckpoints.ts"
import { make as makePgStore, type Options as StoreOptions, layerWith as storeLayer } from "./PgEventStore.ts"
import { sharingOf } from "./sharedFlush.ts"
import { makeSql, type Names } from "./sql.ts"
import { render, renderAll, textArray } from "./sql/statement.ts"
import {
  asTenant,
  commonTables,
  enter,
  mayRemove,
  ofAll,
  ofTenant,
  openTables,
  readAllTenants,
  readsAll,
  tenantTables,
  tombstoneOfTenant,
  tombstoneOwn
} from "./sql/tenantTables.ts"
import { inBackground } from "../sql/transaction.ts"
import { makeBoundary } from "./store/boundary.ts"
import { flushedDriver } from "./store/flushed.ts"
import { keepUp } from "./store/following.ts"
import { makeMaintenance } from "./store/maintaining.ts"
import { makePages } from "./store/reading.ts"
import { makeShared, readHead, type Shared } from "./store/shared.ts"
import { appendOver, type Batches, makeBatches } from "./store/writer.ts"
import { tenantClient } from "./tenantClient.ts"
import { takeAway } from "./tenantRemoval.ts"

/**
 * Where the shared tables are, and how connections are used: as {@link PgEventStore.Options} says.
 *
 * @category models
 * @since 0.2.0
 */
export type Options = Omit<StoreOptions, "migrate" | "sharedFlush">

/** What all tenants of one process share. */
interface Tables {
  readonly names: Names
  readonly shared: Shared
  readonly batches: Batches
}

/**
 * The shared tables, opened in a role that owns nothing: what the stores of tenants are made over. It is not an `EventStore`.
 *
 * @category services
 * @since 0.2.0
 */
export class PgTenants extends Context.Service<PgTenants, Tables>()("eventfold/postgres/PgTenants") {}

const failure = (detail: string) => new EventStoreError({ reason: new StoreFailure({ operation: "open", detail }) })

/**
 * Makes the tables of a store, or updates them, and makes them those of many tenants, for the application's role. Run it as the role
 * that owns them, at each deployment, and again when tables have come: a new projection, a new version of one.
 *
 * **Details**: every table of the schema is isolated, also those that `beside` makes, which is built for that once: checkpoints, snapshots, parked
 * events, projections. Each gets a column `tenant`, keys that begin with it, and a policy; views get the rights of who asks. A table that has
 * rows of no tenant is refused.
 *
 * ```ts no-run
 * import { Layer } from "effect"
 * import { ParkedEvents, Snapshots } from "eventfold"
 * import { PgCheckpoints, PgTenants } from "eventfold/postgres"
 *
 * const prepared = PgTenants.prepare({
 *   role: "shop",
 *   beside: Layer.mergeAll(PgCheckpoints.layer, Snapshots.layerSql, ParkedEvents.layerSql)
 * })
 * ```
 *
 * @category constructors
 * @since 0.2.0
 */
export const prepare = <E = never>(options: {
  /** The role that the application logs in with: neither a superuser nor the owner of the tables. */
  readonly role: string
  /**
   * The role that may also remove events of a tenant, for `Retention`: the same, or another that retention logs in with. Default: none may but
   * the owner.
   */
  readonly keeper?: string | undefined
  /** The role of what follows all tenants, see {@link layerAllWith}. Default: nobody does. */
  readonly reader?: string | undefined
  /** What stands beside the events and has tables. Default: nothing. */
  readonly beside?: Layer.Layer<never, E, EventStore | PgClient.PgClient | SqlClient.SqlClient> | undefined
  /** As with `PgEventStore`: whether units of work of all tenants share flushes. Default: as the database has it. */
  readonly sharedFlush?: boolean | undefined
  /** The database schema of the tables. Default: `"eventfold"`. */
  readonly schema?: string | undefined
  /** What the names of the tables begin with. Default: nothing. */
  readonly tablePrefix?: string | undefined
}): Effect.Effect<void, E | EventStoreError, PgClient.PgClient> =>
  Effect.gen(function* () {
    const sql = yield* PgClient.PgClient
    const names = yield* checkNames(options)
    const forRole = (role: string, texts: ReadonlyArray<string>) =>
      texts.map((text) =>
        render(
          text.replaceAll("{role}", () => `"${role.replaceAll('"', '""')}"`),
          names
        )
      )
    const { keeper, reader, role } = options
    const texts = [...forRole(role, tenantTables), ...tombstoneOwn.map((text) => render(text, names))]
    if (keeper !== undefined)
      texts.push(...(keeper === role ? [] : forRole(keeper, tenantTables)), ...forRole(keeper, [mayRemove]))
    if (reader !== undefined) texts.push(...forRole(reader, readAllTenants))
    /** What stands in tables that get the column is of no tenant, and refused; or theirs who is named. */
    const isolate = (whose: string) =>
      Effect.mapError(
        sql.withTransaction(
          Effect.andThen(
            sql.unsafe(enter, [whose]),
            Effect.forEach(texts, (text) => sql.unsafe(text), { discard: true })
          )
        ),
        (error: SqlError) => toEventStoreError("prepare", error, false)
      )
    const built = <E2>(layer: Layer.Layer<never, E2, PgClient.PgClient | SqlClient.SqlClient>, client: PgClient.PgClient) =>
      Effect.scoped(
        Layer.build(
          Layer.fresh(
            Layer.provide(
              layer,
              Layer.merge(Layer.succeed(PgClient.PgClient, client), Layer.succeed(SqlClient.SqlClient, client))
            )
          )
        )
      )
    const tables = { schema: names.schema, tablePrefix: names.prefix }
    const store = storeLayer({ ...tables, listen: false, sharedFlush: options.sharedFlush })
    yield* built(Layer.merge(store, checkpointsLayer(tables)), sql)
    yield* isolate("")
    if (options.beside === undefined) return
    // What these write belongs to no tenant, also while their tables are new: no tenant can be called so.
    yield* built(Layer.provideMerge(options.beside, store), yield* tenantClient(sql, ofAll))
    yield* isolate(ofAll)
  })

/** Refuses a role that would see the rows of all. */
const refuseOpenTables = Effect.fnUntraced(function* (sql: PgClient.PgClient, { prefix, schema }: Names) {
  const rows = yield* Effect.mapError(
    sql.unsafe(openTables, [`"${schema}"`, textArray(commonTables(prefix)), `${prefix}event`]).values,
    (error) => toEventStoreError("open", error, false)
  )
  const [open] = rows as ReadonlyArray<readonly [table: string, role: string]>
  if (open === undefined) return
  const [table, role] = open
  return yield* failure(
    `the role ${JSON.stringify(role)} sees the rows of all tenants in ${schema}.${table}: row-level security is not active for it. Run PgTenants.prepare as the owner of the tables, and log in as another role, which is no superuser and has no BYPASSRLS`
  )
})

/**
 * Opens the shared tables over the `PgClient` of the environment: one pool and one connection that listens, whatever the number of tenants.
 *
 * **Details**: a role for which row-level security is not active (the owner, a superuser) is refused with a `StoreFailure` that names it.
 *
 * @category layers
 * @since 0.2.0
 */
export const layerWith = (options: Options): Layer.Layer<PgTenants, EventStoreError, PgClient.PgClient> =>
  Layer.effect(
    PgTenants,
    Effect.gen(function* () {
      const sql = yield* PgClient.PgClient
      const names = yield* checkNames(options)
      const hearing = yield* hearingOf(sql, options)
      if (typeof hearing === "string") return yield* failure(hearing)
      yield* refuseOpenTables(sql, names)
      const indexes = new Set(options.indexes)
      const timeout = pausing("PgTenants: timeout", options.timeout ?? "30 seconds")
      yield* makeIndexes({ sql, names, indexes, timeout, indexTimeout: timeout }, false)
      const texts = makeSql(names)
      const shares = sharingOf(sql, texts, { hearing, mayMake: false, wanted: false })
      const shared = yield* makeShared(sql, texts, { hearing, indexes, shares, timeout })
      const background = inBackground(sql)
      const batches = yield* background(makeBatches(shared, options))
      yield* background(keepUp(shared, readHead(shared), hearing))
      yield* shared.queries.answering.hearClosing
      return { names, shared, batches }
    })
  )

/**
 * {@link layerWith} without options.
 *
 * @category layers
 * @since 0.2.0
 */
export const layer: Layer.Layer<PgTenants, EventStoreError, PgClient.PgClient> = layerWith({})

/** What the rooms of a tenant's store share: its reads are the tenant's, and so is its client. */
const sharedOf = (
  { flushing, plans, queries, signal, sql, statements, tables, untilAnswered }: Shared,
  client: PgClient.PgClient,
  key: string
): Shared => ({
  sql: client,
  statements,
  tables,
  plans,
  signal,
  flushing,
  untilAnswered,
  queries: {
    answering: queries.answering,
    ask: (operation, { read, text }, parameters = []) => {
      const own = asTenant(text, tables, parameters.length + 1)
      // The statement names its tenant itself, and so needs the tenant's client only where that is in a transaction.
      const asked = Effect.withFiber<ReadonlyArray<ReadonlyArray<unknown>>, SqlError>(
        ({ context }) =>
          (Context.getOrUndefined(context, client.transactionService) === undefined ? sql : client).unsafe(own, [
            ...parameters,
            key
          ]).values
      )
      return Effect.map(
        Effect.mapError(queries.answering.inTime(asked), (error) => toEventStoreError(operation, error, false)),
        read
      )
    }
  }
})

/**
 * Makes the store of one tenant, and its client: whatever goes over that client is the tenant's, whoever writes the SQL.
 *
 * **Details**: a statement outside of a transaction gets one of its own. `on conflict (key)` is written as `on conflict (tenant, key)`, and
 * `truncate` as `delete from`.
 *
 * @category constructors
 * @since 0.2.0
 */
export const make = Effect.fnUntraced(function* (
  tenant: string
): Effect.fn.Return<
  { readonly store: EventStore["Service"]; readonly client: PgClient.PgClient },
  EventStoreError,
  PgTenants | Scope.Scope
> {
  const { batches, names, shared } = yield* PgTenants
  const fault = tenantFault(tenant)
  if (fault !== undefined) return yield* failure(`there can be no tenant with an id such as ${fault}`)
  const own = partitionNames(tenant)
  const key = own.prefix.slice(0, -1)
  const client = yield* tenantClient(shared.sql, key)
  const ofOne = sharedOf(shared, client, key)
  const background = flow(inBackground(client), inBackground(shared.sql))
  const { plans, queries, signal, statements } = ofOne
  const { newestTombstone, tombstone } = makeMaintenance({
    queries,
    statements: { ...statements, ...renderAll({ tombstone: tombstoneOfTenant }, names) }
  })
  const driver = {
    append: appendOver(ofOne, batches),
    boundary: yield* background(makeBoundary(ofOne)),
    pages: yield* background(makePages(ofOne)),
    head: readHead(ofOne),
    version: (stream: string, operation: string) => queries.ask(operation, plans.sized(statements.version), [stream]),
    find: (id: string) => Effect.map(queries.ask("find", plans.sized(statements.find), [id]), ({ items }) => items[0]),
    awaitBeyond: signal.beyond,
    untilAnswered: shared.untilAnswered,
    transactionService: client.transactionService,
    maintenance: { tombstone, newestTombstone },
    tables: { schema: names.schema, prefix: names.prefix, migrate: false }
  }
  const same = <A>(query: A): A => query
  const store = {
    ...makeStore(partition(flushedDriver(driver, ofOne), own, { marks: [], untagged: same, untaggedCondition: ofTenant(key) })),
    tenant
  }
  return { store: yield* storeUntilClosed(store), client }
})

/**
 * The store of one tenant and its client, as a Layer over the shared tables: for `store` of `Tenants.layerMap`.
 *
 * @category layers
 * @since 0.2.0
 */
export const layerOf = ({
  id
}: {
  readonly id: string
}): Layer.Layer<EventStore | PgClient.PgClient | SqlClient.SqlClient, EventStoreError, PgTenants> =>
  Layer.effectContext(
    Effect.map(make(id), ({ client, store }) =>
      Context.make(EventStore, store).pipe(Context.add(PgClient.PgClient, client), Context.add(SqlClient.SqlClient, client))
    )
  )

/**
 * Takes away what a tenant has in the shared tables: for `remove` of `Tenants.erase`, in the role that {@link prepare} was told as `keeper`.
 *
 * **Details**: its events become tombstones, and its rows beside them are deleted. Cut short, it goes on when it is run again. Positions stay, and so do
 * the names of streams and ids, and the event that seals the tenant's place. Where a follower of all tenants has not yet seen all of it, that is a
 * `StoreFailure` that names it.
 *
 * ```ts no-run
 * import { Tenants } from "eventfold"
 * import { PgTenants } from "eventfold/postgres"
 *
 * const erase = Tenants.erase("acme", { store: PgTenants.layerOf, remove: PgTenants.remove })
 * ```
 *
 * @category constructors
 * @since 0.2.0
 */
export const remove = ({ id }: { readonly id: string }): Effect.Effect<void, EventStoreError, PgTenants> =>
  Effect.scoped(
    Effect.flatMap(PgTenants, ({ names }) => Effect.flatMap(make(id), ({ client, store }) => takeAway(client, store, names)))
  )

/**
 * The log of all tenants, for what follows them all with one checkpoint: a report, a relay to a warehouse. It is opened in a role of its own, which
 * is named to {@link prepare} as `reader`, over a pool of its own.
 *
 * **Details**: events have the names that they bear in the tables; {@link ofEvent} says whose each is, and what its tenant calls it. Nothing can be
 * appended. The client has what stands beside the events (checkpoints, parked events) apart from all tenants. Who has not yet seen an event is
 * waited for by the retention of its tenant. Another role is refused with a `StoreFailure`: it would see nothing, in silence.
 *
 * @category layers
 * @since 0.2.0
 */
export const layerAllWith = (
  options: Options
): Layer.Layer<EventStore | PgClient.PgClient | SqlClient.SqlClient, EventStoreError, PgClient.PgClient> =>
  Layer.effectContext(
    Effect.gen(function* () {
      const sql = yield* PgClient.PgClient
      const names = yield* checkNames(options)
      const rows = yield* Effect.mapError(sql.unsafe(readsAll, [render("{event}", names)]).values, (error) =>
        toEventStoreError("open", error, false)
      )
      const [[role, isReader] = ["", false]] = rows as unknown as ReadonlyArray<readonly [string, boolean]>
      if (!isReader) {
        return yield* failure(
          `the role ${JSON.stringify(role)} does not follow all tenants of ${names.schema}: run PgTenants.prepare with it as the reader`
        )
      }
      const store = yield* makePgStore({ ...options, migrate: false })
      const client = yield* tenantClient(sql, ofAll)
      return Context.make(EventStore, store).pipe(
        Context.add(PgClient.PgClient, client),
        Context.add(SqlClient.SqlClient, client)
      )
    })
  )

/**
 * {@link layerAllWith} without options.
 *
 * @category layers
 * @since 0.2.0
 */
export const layerAll: Layer.Layer<EventStore | PgClient.PgClient | SqlClient.SqlClient, EventStoreError, PgClient.PgClient> =
  layerAllWith({})

/**
 * Whose an event of {@link layerAllWith} is, and the event with the names that its tenant knows.
 *
 * ```ts
 * import { PgTenants } from "eventfold/postgres"
 *
 * PgTenants.ofEvent({ stream: "acme/Order-1", id: "e-1/acme", tags: ["acme/order:1"] })
 * // => { tenant: "acme", event: { stream: "Order-1", id: "e-1", tags: ["order:1"] } }
 * ```
 *
 * @category following
 * @since 0.2.0
 */
export const ofEvent = <E extends Pick<RecordedEvent, "stream" | "id" | "tags">>(
  event: E
): { readonly tenant: string; readonly event: E } => {
  const key = event.stream.slice(0, event.stream.indexOf("/"))
  // A tenant's id has no "~": see `partitionNames`.
  const tenant = key.replaceAll("~", "-")
  const { ownId, ownStream, prefix } = partitionNames(tenant)
  return {
    tenant,
    event: {
      ...event,
      stream: ownStream(event.stream),
      id: ownId(event.id),
      tags: event.tags.map((tag) => tag.slice(prefix.length))
    }
  }
}
