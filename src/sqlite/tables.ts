import * as Effect from "effect/Effect"
import * as Migrator from "effect/sql/Migrator"
import * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import { adoptViews } from "../sql/firstRelease.ts"
import { type MigrationStatus, migrationStatus } from "../sql/migrating.ts"
import { EventStoreError, StoreFailure } from "../store/EventStore.ts"
import { toEventStoreError } from "./errors.ts"
import { eventIndexes, type EventIndex } from "./indexes.ts"
import { usualSqlite, viewPrefix } from "../store/tables.ts"
import { makeSql, type Sql } from "./sql.ts"

/** All numbers of the store are below 2^53, whatever the caller wants its own to be. */
export const plainNumbers = Effect.provideService(SqlClient.SafeIntegers, false)

const migrationsOf = (sql: Sql, prefix: string) => ({
  ...Object.fromEntries(
    Object.entries(sql.migrations).map(([name, statements]) => [
      name,
      Effect.flatMap(SqlClient.SqlClient, (client) =>
        Effect.forEach(statements, (statement) => client.unsafe(statement), { discard: true })
      )
    ])
  ),
  "5_tables_of_projections": Effect.flatMap(SqlClient.SqlClient, (client) =>
    adoptViews(client, { schema: undefined, prefix }, viewPrefix({ schema: undefined, prefix }))
  )
})

/** Which of them have run in the database of the `SqlClient`. */
export const statusOf = (prefix: string = usualSqlite.prefix): Effect.Effect<MigrationStatus, SqlError, SqlClient.SqlClient> => {
  const sql = makeSql(prefix)
  return migrationStatus({ schema: undefined, name: sql.migrationsTable }, Object.keys(migrationsOf(sql, prefix)))
}

/** Two processes may do this at once: the second waits for the first, and finds nothing left to do. */
const migrate = (sql: Sql, prefix: string) =>
  Migrator.make({})({
    loader: Migrator.fromRecord(migrationsOf(sql, prefix)),
    table: sql.migrationsTable
  }).pipe(Effect.provideService(SqlClient.BeginTransaction, "BEGIN IMMEDIATE"))

/** Makes or migrates the tables in the database of the `SqlClient`, and gives their SQL. */
export const openTables = Effect.fnUntraced(function* (
  prefix: string = usualSqlite.prefix,
  indexes: ReadonlySet<EventIndex> = new Set()
): Effect.fn.Return<Sql, EventStoreError, SqlClient.SqlClient> {
  const client = yield* SqlClient.SqlClient
  const dialect = client.onDialectOrElse({ sqlite: () => undefined, orElse: () => "the SqlClient is not one of SQLite" })
  const known = eventIndexes.map(({ index }) => index)
  const unknown = Array.from(indexes).find((index) => !known.includes(index))
  const problem =
    dialect ??
    (unknown === undefined ? undefined : `indexes has ${JSON.stringify(unknown)}, which is none of ${known.join(", ")}`) ??
    (/^[A-Za-z0-9_]*$/.test(prefix) ? undefined : `tablePrefix may have letters, digits and "_": ${prefix}`)
  if (problem !== undefined) {
    return yield* new EventStoreError({ reason: new StoreFailure({ operation: "open", detail: problem }) })
  }
  const sql = makeSql(prefix, indexes)
  const make = Effect.forEach(sql.createIndexes, (text) => client.unsafe(text), { discard: true })
  yield* Effect.mapError(Effect.andThen(migrate(sql, prefix), make), (error) => toEventStoreError("migrate", error))
  return sql
})
