import * as Effect from "effect/Effect"
import * as Migrator from "effect/sql/Migrator"
import * as SqlClient from "effect/sql/SqlClient"
import { EventStoreError, StoreFailure } from "../store/EventStore.ts"
import { toEventStoreError } from "./errors.ts"
import { makeSql, type Sql } from "./sql.ts"

/** All numbers of the store are below 2^53, whatever the caller wants its own to be. */
export const plainNumbers = Effect.provideService(SqlClient.SafeIntegers, false)

/** What the names of the tables begin with, unless said otherwise. */
export const defaultPrefix = "eventfold_"

/** Two processes may do this at once: the second waits for the first, and finds nothing left to do. */
const migrate = (sql: Sql) =>
  Migrator.make({})({
    loader: Migrator.fromRecord(
      Object.fromEntries(
        Object.entries(sql.migrations).map(([name, statements]) => [
          name,
          Effect.flatMap(SqlClient.SqlClient, (client) =>
            Effect.forEach(statements, (statement) => client.unsafe(statement), { discard: true })
          )
        ])
      )
    ),
    table: sql.migrationsTable
  }).pipe(Effect.provideService(SqlClient.BeginTransaction, "BEGIN IMMEDIATE"))

/** Makes or migrates the tables in the database of the `SqlClient`, and gives their SQL. */
export const openTables = Effect.fnUntraced(function* (
  prefix = defaultPrefix
): Effect.fn.Return<Sql, EventStoreError, SqlClient.SqlClient> {
  const client = yield* SqlClient.SqlClient
  const dialect = client.onDialectOrElse({ sqlite: () => undefined, orElse: () => "the SqlClient is not one of SQLite" })
  const problem =
    dialect ?? (/^[A-Za-z0-9_]*$/.test(prefix) ? undefined : `tablePrefix may have letters, digits and "_": ${prefix}`)
  if (problem !== undefined) {
    return yield* new EventStoreError({ reason: new StoreFailure({ operation: "open", detail: problem }) })
  }
  const sql = makeSql(prefix)
  yield* Effect.mapError(migrate(sql), (error) => toEventStoreError("migrate", error))
  return sql
})
