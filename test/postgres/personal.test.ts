import { PgClient } from "@effect/sql-pg"
import { Context, Effect, Exit, Layer, Scope } from "effect"
import { SqlClient } from "effect/sql"
import { PgCheckpoints, PgEventStore, PgLite, PgTransport } from "eventfold/postgres"
import { afterAll, beforeAll } from "vitest"
import { client, freshSchema, serverStorage } from "./support.ts"
import { conforms } from "../support/conformance.ts"
import { keepsOffPaths } from "../personal/paths.ts"
import { keepsPersonalData } from "../personal/personal.ts"
import { sealedStorage } from "../personal/support.ts"

// Starting PGlite takes a second, so all cases share one, each in a schema of its own.
const scope = Effect.runSync(Scope.make())
let pglite: Layer.Layer<PgClient.PgClient>

beforeAll(async () => {
  const context = await Effect.runPromise(Layer.buildWithScope(PgLite.layer, scope))
  pglite = Layer.succeed(PgClient.PgClient, Context.get(context, PgClient.PgClient))
})

afterAll(() => Effect.runPromise(Scope.close(scope, Exit.void)))

const pgliteStorage = Effect.sync(() => PgEventStore.layerWith({ schema: freshSchema() }).pipe(Layer.provide(pglite)))

conforms("PgEventStore on a server with personal data", {
  storage: sealedStorage(serverStorage),
  abilities: { durable: true, shared: true }
})
keepsPersonalData("PgEventStore on a server", serverStorage)

conforms("PgEventStore on PGlite with personal data", {
  storage: sealedStorage(pgliteStorage),
  abilities: { durable: true, shared: false }
})
keepsPersonalData("PgEventStore on PGlite", pgliteStorage)

/** The tables of a schema, and the log of the server behind a position, that hold a text. */
const holding = (schema: string, from: string) => (text: string) =>
  Effect.gen(function* () {
    const sql = yield* SqlClient.SqlClient
    const tables = yield* sql<{
      readonly name: string
    }>`select tablename::text as name from pg_tables where schemaname = ${schema}`
    const found: Array<string> = []
    for (const { name } of tables) {
      const [row] = yield* sql<{ readonly hits: number }>`
        select count(*)::int as hits from ${sql(`${schema}.${name}`)} t where position(${text} in t::text) > 0`
      if (row !== undefined && row.hits > 0) found.push(name)
    }
    yield* sql`select pg_switch_wal()::text as at`
    const files = yield* sql<{ readonly name: string }>`
      select name::text as name from pg_ls_waldir() where name >= ${from} and name ~ '^[0-9A-F]{24}$'`
    for (const { name } of files) {
      const [row] = yield* sql<{ readonly at: number }>`
        select position(convert_to(${text}, 'UTF8') in pg_read_binary_file('pg_wal/' || ${name}::text)) as at`
      if (row !== undefined && row.at > 0) found.push(name)
    }
    return found
  }).pipe(Effect.provide(client()))

keepsOffPaths(
  "in the tables, the write-ahead log and the broker of PostgreSQL",
  Effect.gen(function* () {
    const schema = freshSchema()
    const [begun] = yield* Effect.flatMap(
      SqlClient.SqlClient,
      (sql) => sql<{ readonly name: string }>`select pg_walfile_name(pg_current_wal_lsn())::text as name`
    ).pipe(Effect.provide(client()))
    const base = PgCheckpoints.layerWith({ schema }).pipe(
      Layer.provideMerge(PgEventStore.layerWith({ schema })),
      Layer.provideMerge(client())
    )
    return {
      base,
      transport: PgTransport.layerWith({ schema }).pipe(Layer.provide(client())),
      holding: holding(schema, begun?.name ?? "")
    }
  })
)
