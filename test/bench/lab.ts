import { PgClient, PgConnection, PgTypes } from "@effect/sql-pg"
import { PGlite } from "@electric-sql/pglite"
import { NodeFS } from "@electric-sql/pglite/nodefs"
import { Effect, Layer, Redacted, Result, type Scope, Stream } from "effect"
import { type SqlClient } from "effect/sql"
import { EventStore } from "eventfold"
import { PgEventStore, PgLite } from "eventfold/postgres"
import { fsyncSync } from "node:fs"
import { makeSql, type Sql } from "../../src/postgres/sql.ts"

/** What the tables of a case live in. */
export type Place = "postgres" | "pglite" | "memory"

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

export type Services = EventStore.EventStore | PgClient.PgClient | SqlClient.SqlClient

/** Fresh tables for one run, and the two ways to them. */
export interface Lab {
  /** The event store; every build of it is a process of its own, as far as the database can tell. */
  readonly store: Layer.Layer<Services, unknown>
  readonly connect: Effect.Effect<RawConnection, unknown, Scope.Scope>
  readonly sql: Sql
  /** Where another process finds the same tables. */
  readonly address: Address
  /** Fails unless just so many events stand in the store, the head says the same, and their positions are dense. */
  readonly check: (events: number, who: "ours" | "raw") => Effect.Effect<void, unknown>
}

export interface Address {
  readonly url: string
  readonly schema: string
}

const connections = 10

/** The store on a server. */
export const serverStore = ({ schema, url }: Address): Layer.Layer<Services, unknown> =>
  Layer.fresh(
    PgEventStore.layer({ schema }).pipe(
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

let schemas = 0

/** A schema of its own on a server, dropped when the scope closes. */
export const serverLab = (url: string): Effect.Effect<Lab, unknown, Scope.Scope> =>
  Effect.gen(function* () {
    const schema = `bench_${++schemas}`
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
    return { store: serverStore(address), connect, sql, address, check: checkTables(connect, sql) }
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
    const schema = `bench_${++schemas}`
    const sql = makeSql({ schema, prefix: "" })
    const connect = pgliteConnection(dataDir)
    const store = Layer.fresh(PgEventStore.layer({ schema }).pipe(Layer.provideMerge(PgLite.layer({ dataDir }))))
    yield* Effect.scoped(Layer.build(store))
    return { store, connect, sql, address: { url: "", schema }, check: checkTables(connect, sql) }
  })

const checkTables =
  (connect: Lab["connect"], { names }: Sql): Lab["check"] =>
  (events) =>
    Effect.gen(function* () {
      const { query } = yield* connect
      const [row] = yield* query(
        `select (select position from ${names.head})::float8, count(*)::float8, coalesce(max(position), 0)::float8 from ${names.event}`
      )
      const found = row?.map(Number) ?? []
      if (found.some((number) => number !== events)) {
        return yield* Effect.fail(
          new Error(`${events} events were appended; head, number and newest position are ${found.join(", ")}`)
        )
      }
    }).pipe(Effect.scoped)

/** The store in memory. What is raw beside it needs no tables, and is checked by itself. */
export const memoryLab: Effect.Effect<Lab, unknown, Scope.Scope> = Effect.gen(function* () {
  const store = yield* EventStore.EventStore
  const layer = Layer.succeed(EventStore.EventStore, store) as Layer.Layer<Services>
  return {
    store: layer,
    connect: Effect.die(new Error("the memory store has no connection")),
    sql: makeSql({ schema: "memory", prefix: "" }),
    address: { url: "", schema: "" },
    check: (events: number, who: "ours" | "raw") =>
      who === "raw"
        ? Effect.void
        : Effect.gen(function* () {
            const head = yield* store.head
            const count = yield* Stream.runCount(store.readAll())
            if (head !== events || count !== events) {
              return yield* Effect.fail(new Error(`${events} events were appended; head is ${head}, and ${count} were read`))
            }
          })
  }
}).pipe(Effect.provide(Layer.fresh(EventStore.layerMemory)))
