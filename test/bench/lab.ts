import { PgClient, PgConnection, PgTypes } from "@effect/sql-pg"
import { PGlite } from "@electric-sql/pglite"
import { NodeFS } from "@electric-sql/pglite/nodefs"
import { Effect, Layer, Redacted, Result, type Scope, Stream } from "effect"
import { type SqlClient } from "effect/sql"
import { EventStore } from "eventfold"
import { PgEventStore, PgLite } from "eventfold/postgres"
import { fsyncSync } from "node:fs"
import { makeSql, type Sql } from "../../src/postgres/sql.ts"
import { layerWith } from "./adapter.ts"
import { appendCall, createCounter, type Part } from "./raw.ts"

/** What the tables of a case live in. */
export type Place = "postgres" | "databases" | "pglite" | "sqlite" | "jsonl" | "memory"

/** A parameter of a raw statement: text, or an array of a type. */
export type Parameter =
  | string
  | { readonly type: "text" | "int4" | "float8" | "bool"; readonly values: ReadonlyArray<string | number | boolean> }

/** A database connection with nothing between it and its caller. */
export interface RawConnection {
  readonly query: (
    text: string,
    parameters?: ReadonlyArray<Parameter | null>
  ) => Effect.Effect<ReadonlyArray<ReadonlyArray<unknown>>, unknown>
}

/** Appends a batch of requests, each of one or several parts, with nothing between it and its caller. */
export type RawAppend = (requests: ReadonlyArray<ReadonlyArray<Part>>) => Effect.Effect<unknown, unknown>

/** A call of the store's own function. */
export const rawAppend =
  ({ query }: RawConnection, { append }: Sql): RawAppend =>
  (requests) =>
    query(append.text, appendCall(requests))

export type Services = EventStore.EventStore | PgClient.PgClient | SqlClient.SqlClient

/** Fresh tables for one run, and the two ways to them. */
export interface Lab {
  /** The event store; every build of it is a process of its own, as far as the database can tell. */
  readonly store: Layer.Layer<Services, unknown>
  readonly connect: Effect.Effect<RawConnection, unknown, Scope.Scope>
  readonly sql: Sql
  readonly append: Effect.Effect<RawAppend, unknown, Scope.Scope>
  /** Where another process finds the same tables. */
  readonly address: Address
  /** Fails unless just so many events stand in the store, and their positions are dense. */
  readonly check: (events: number, who: "ours" | "raw") => Effect.Effect<void, unknown>
  /** How many bytes all of it takes on the disk, when it is closed. */
  readonly bytes?: Effect.Effect<number>
}

export interface Address {
  readonly url: string
  readonly schema: string
}

const connections = 10

/** The store on a server. */
export const serverStore = ({ schema, url }: Address): Layer.Layer<Services, unknown> =>
  Layer.fresh(
    layerWith(PgEventStore)({ schema }).pipe(
      Layer.provideMerge(PgClient.layer({ url: Redacted.make(url), maxConnections: connections }))
    )
  )

/** A connection to a server: the driver that the store uses, and no more. */
export const serverConnection = (url: string): Effect.Effect<RawConnection, unknown, Scope.Scope> =>
  Effect.map(PgConnection.make({ url: Redacted.make(url) }), (connection) => ({
    query: (text, parameters = []) =>
      connection.queryValues(
        text,
        parameters.map((parameter) =>
          parameter === null || typeof parameter === "string"
            ? parameter
            : Result.getOrThrow(PgTypes.array(parameter.values, PgTypes.OID[parameter.type]))
        )
      )
  }))

const makeCounter = (connect: Lab["connect"], sql: Sql): Effect.Effect<void, unknown> =>
  Effect.scoped(
    Effect.flatMap(connect, ({ query }) => Effect.forEach(createCounter(sql), (text) => query(text), { discard: true }))
  )

let schemas = 0

/** A schema of its own on a server, dropped when the scope closes. */
export const serverLab = (url: string): Effect.Effect<Lab, unknown, Scope.Scope> =>
  Effect.gen(function* () {
    const schema = `bench_${process.pid}_${++schemas}`
    const address = { url, schema }
    const sql = makeSql({ schema, prefix: "" })
    const connect = serverConnection(url)
    yield* Effect.acquireRelease(Effect.scoped(Layer.build(serverStore(address))), () =>
      connect.pipe(
        // A checkpoint now is none in the middle of the next measurement.
        Effect.tap(({ query }) => Effect.andThen(query(`drop schema "${schema}" cascade`), query("checkpoint"))),
        Effect.scoped,
        Effect.orDie
      )
    )
    yield* makeCounter(connect, sql)
    const append = Effect.map(connect, (connection) => rawAppend(connection, sql))
    return { store: serverStore(address), connect, sql, append, address, check: checkTables(connect, sql) }
  })

/** A server on which a run makes the databases that it needs, and checks them: see {@link databaseCopy}. */
export const databasesLab = (url: string): Effect.Effect<Lab> =>
  Effect.succeed({
    ...noPostgres(url),
    store: Layer.effectContext(Effect.die(new Error("there is a store in each database"))),
    append: Effect.die(new Error("there is a store in each database")),
    check: () => Effect.void
  })

const templates = new Set<string>()

const urlOf = (server: string, database: string) => Object.assign(new URL(server), { pathname: database }).href

/** The URL of a database with what `fill` wrote into the first of that name: for those who only read. */
export const databaseOnce = (
  server: string,
  name: string,
  fill: (url: string) => Effect.Effect<unknown, unknown, Scope.Scope>
): Effect.Effect<string, unknown, Scope.Scope> =>
  Effect.gen(function* () {
    const { query } = yield* serverConnection(server)
    const template = templateOf(name)
    const url = urlOf(server, template)
    if (!templates.has(template)) {
      yield* query(`drop database if exists "${template}" with (force)`)
      yield* query(`create database "${template}"`)
      yield* Effect.scoped(fill(url))
      yield* Effect.flatMap(serverConnection(url), ({ query }) => query("vacuum analyze")).pipe(Effect.scoped)
      templates.add(template)
    }
    return url
  })

const templateOf = (name: string) => `bench_${process.pid}_${name}`

/**
 * The URL of a database that begins with what `fill` wrote into the first of that name, so that every run finds the same; dropped
 * when the scope closes. The server waits for connections that are about to close.
 */
export const databaseCopy = (
  server: string,
  name: string,
  fill: (url: string) => Effect.Effect<unknown, unknown, Scope.Scope>
): Effect.Effect<string, unknown, Scope.Scope> =>
  Effect.gen(function* () {
    yield* databaseOnce(server, name, fill)
    const { query } = yield* serverConnection(server)
    const template = templateOf(name)
    const copy = `${template}_copy`
    yield* Effect.acquireRelease(
      // By files: with a checkpoint before and after, so that there is none in the middle of the next measurement.
      query(`create database "${copy}" template "${template}" strategy file_copy`),
      () => Effect.orDie(query(`drop database "${copy}"`))
    )
    return urlOf(server, copy)
  })

/** PGlite's own connection to a folder, flushed at every commit like that of the store. */
const pgliteConnection = (dataDir: string): Effect.Effect<RawConnection, unknown, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(
      Effect.promise(() => {
        class FlushingFs extends NodeFS {
          override async init(...args: Parameters<InstanceType<typeof NodeFS>["init"]>) {
            const { emscriptenOpts } = await super.init(...args)
            const flush = (module: object) => {
              const { stream_ops } = (module as { NODEFS: { stream_ops: { fsync?: (stream: { nfd: number }) => number } } })
                .NODEFS
              stream_ops.fsync = ({ nfd }) => {
                fsyncSync(nfd)
                return 0
              }
            }
            return { emscriptenOpts: { ...emscriptenOpts, preRun: [...(emscriptenOpts.preRun ?? []), flush] } }
          }
        }
        const startParams = [
          ...PGlite.defaultStartParams.filter((parameter) => parameter !== "-F"),
          "-c",
          "wal_sync_method=fsync"
        ]
        return PGlite.create({ fs: new FlushingFs(dataDir), startParams })
      }),
      (pglite) => Effect.promise(() => pglite.close())
    ),
    (pglite) => ({
      query: (text, parameters = []) =>
        Effect.tryPromise(() =>
          pglite.query<Array<unknown>>(
            text,
            parameters.map((parameter) => (parameter === null || typeof parameter === "string" ? parameter : parameter.values)),
            { rowMode: "array" }
          )
        ).pipe(Effect.map(({ rows }) => rows))
    })
  )

/** A schema of its own in a folder of PGlite. */
export const pgliteLab = (dataDir: string): Effect.Effect<Lab, unknown, Scope.Scope> =>
  Effect.gen(function* () {
    const schema = `bench_${process.pid}_${++schemas}`
    const sql = makeSql({ schema, prefix: "" })
    const connect = pgliteConnection(dataDir)
    const store = Layer.fresh(layerWith(PgEventStore)({ schema }).pipe(Layer.provideMerge(layerWith(PgLite)({ dataDir }))))
    yield* Effect.scoped(Layer.build(store))
    yield* makeCounter(connect, sql)
    const append = Effect.map(connect, (connection) => rawAppend(connection, sql))
    return { store, connect, sql, append, address: { url: "", schema }, check: checkTables(connect, sql) }
  })

const checkTables =
  (connect: Lab["connect"], { names }: Sql): Lab["check"] =>
  (events) =>
    Effect.gen(function* () {
      const { query } = yield* connect
      const [row] = yield* query(`select count(*)::float8, coalesce(max(position), 0)::float8 from ${names.event}`)
      const found = row?.map(Number) ?? []
      if (found.some((number) => number !== events)) {
        return yield* Effect.fail(new Error(`${events} events were appended; number and newest position are ${found.join(", ")}`))
      }
    }).pipe(Effect.scoped)

/** What a lab without PostgreSQL is in place of its connections. */
export const noPostgres = (url: string): Pick<Lab, "connect" | "sql" | "address"> => ({
  connect: Effect.die(new Error("there is no PostgreSQL here")),
  sql: makeSql({ schema: "none", prefix: "" }),
  address: { url, schema: "" }
})

/** Fails unless just so many events stand in a store and can be read. */
export const checkStore = (events: number): Effect.Effect<void, unknown, EventStore.EventStore> =>
  Effect.gen(function* () {
    const head = yield* EventStore.head
    const count = yield* Stream.runCount(EventStore.readAll())
    if (head !== events || count !== events) {
      return yield* Effect.fail(new Error(`${events} events were appended; head is ${head}, and ${count} were read`))
    }
  })

/** The store in memory. What is raw beside it needs no tables, and is checked by itself. */
export const memoryLab: Effect.Effect<Lab, unknown, Scope.Scope> = Effect.gen(function* () {
  const store = Layer.succeed(EventStore.EventStore, yield* EventStore.EventStore) as Layer.Layer<Services>
  return {
    ...noPostgres(""),
    store,
    append: Effect.die(new Error("the memory store has no raw twin of its own")),
    check: (events: number, who: "ours" | "raw") => (who === "raw" ? Effect.void : Effect.provide(checkStore(events), store))
  }
}).pipe(Effect.provide(Layer.fresh(EventStore.layerMemory)))
