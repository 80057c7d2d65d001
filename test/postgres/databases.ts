/** Databases of their own, of the run's server, and what stands in them. */
import { PgClient } from "@effect/sql-pg"
import { Effect, Layer, Redacted, type Scope } from "effect"
import { SqlClient } from "effect/sql"
import { PgCheckpoints, PgEventStore, PgLite } from "eventfold/postgres"
import { readFileSync } from "node:fs"
import { inject } from "vitest"
import { beside, type Beside } from "../support/besideEvents.ts"

/** The client of a database. */
export type Client = Layer.Layer<PgClient.PgClient | SqlClient.SqlClient, unknown>

let databases = 0

/** The client of a database of the run's server, as this user if one is named. */
export const clientOf = (database: string, user?: string): Client => {
  const url = new URL(inject("postgresUrl"))
  url.pathname = database
  if (user !== undefined) [url.username, url.password] = [user, user]
  return Layer.fresh(PgClient.layer({ url: Redacted.make(url.href), maxConnections: 6 }))
}

/** Runs statements, one after the other. */
export const execute = (client: Client, ...statements: ReadonlyArray<string>) =>
  Effect.provide(
    SqlClient.SqlClient.use((sql) => Effect.forEach(statements, (statement) => sql.unsafe(statement), { discard: true })),
    client
  )

/** An empty database of the run's server. */
export const database: Effect.Effect<string, unknown, Scope.Scope> = Effect.acquireRelease(
  Effect.gen(function* () {
    const name = `tables_${process.pid}_${Date.now().toString(36)}_${++databases}`
    yield* execute(clientOf("postgres"), `create database ${name}`)
    return name
  }),
  (name) => Effect.orDie(execute(clientOf("postgres"), `drop database ${name} with (force)`))
)

/** A database of each kind. */
export const kinds: Readonly<Record<string, Effect.Effect<Client, unknown, Scope.Scope>>> = {
  PostgreSQL: Effect.map(database, (name) => clientOf(name)),
  PGlite: Effect.map(Layer.build(Layer.fresh(PgLite.layer)), (context) => Layer.succeedContext(context))
}

/** A store, and all that follows it, which is told nothing. Each build is another process. */
export const stack = (options: PgEventStore.Options, client: Client): Layer.Layer<Beside, unknown> =>
  Layer.merge(beside, PgCheckpoints.layer).pipe(
    Layer.provideMerge(PgEventStore.layerWith({ ...options, listen: false, pollInterval: "20 millis" })),
    Layer.provideMerge(client),
    Layer.fresh
  )

/** The tables and views of a schema, by name. */
export const tablesOf = (client: Client, schema: string) =>
  Effect.provide(
    Effect.map(
      SqlClient.SqlClient.use((sql) =>
        sql.unsafe<{ name: string }>(
          `select c.relname as name from pg_class c join pg_namespace n on n.oid = c.relnamespace
            where n.nspname = $1 and c.relkind in ('r', 'v') order by c.relname collate "C"`,
          [schema]
        )
      ),
      (rows) => rows.map(({ name }) => name)
    ),
    client
  )

const dump = readFileSync(new URL("../fixtures/0.1.0/postgres.sql", import.meta.url), "utf8").split("\n--\n")

/** Makes what 0.1.0 left in a database; for a second store, what is in its schema alone. */
export const leave = (client: Client, schema: string, { second = false }: { readonly second?: boolean } = {}) =>
  execute(
    client,
    ...dump
      .filter((statement) => !second || !statement.includes("public."))
      .map((statement) =>
        statement
          .replace("CREATE SCHEMA eventfold", `CREATE SCHEMA "${schema}"`)
          .replaceAll('"eventfold".', `"${schema}".`)
          .replaceAll(/(?<![\w"])eventfold\./g, `"${schema}".`)
      )
  )
