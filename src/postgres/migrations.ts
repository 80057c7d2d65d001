import * as Effect from "effect/Effect"
import * as Migrator from "effect/sql/Migrator"
import * as SqlClient from "effect/sql/SqlClient"
import { isSqlError, type SqlError } from "effect/sql/SqlError"
import { isUnknownTable } from "../sql/errors.ts"
import { adoptViews } from "../sql/firstRelease.ts"
import { quoted } from "../sql/names.ts"
import { type MigrationStatus, migrationStatus } from "../sql/migrating.ts"
import { againIfMade, isSchemaThere, isThere, makeSchema } from "../sql/table.ts"
import { EventStoreError, StoreFailure } from "../store/EventStore.ts"
import { toEventStoreError } from "./errors.ts"
import { makeCheckpointSql } from "./checkpointSql.ts"
import { makeSql, type Names } from "./sql.ts"
import { makeTransportSql } from "./transportSql.ts"

const run = (text: string) => Effect.flatMap(SqlClient.SqlClient, (sql) => sql.unsafe(text).withoutTransform)

const all = (texts: ReadonlyArray<string>) => Effect.forEach(texts, run, { discard: true })

/** Whether all migrations have run. It takes no right but to read: a role that may use the tables need not be able to make them. */
const isUpToDate = Effect.fnUntraced(function* (
  sql: SqlClient.SqlClient,
  { prefix, schema }: Names,
  table: string,
  newest: number
) {
  if (!(yield* isSchemaThere(sql, schema))) return false
  const migrations = { schema, name: `${prefix}${table}` }
  if (!(yield* isThere(sql, migrations))) return false
  const found = sql.unsafe(`select 1 from ${quoted(migrations)} where migration_id >= ${newest} limit 1`).values
  // Others have just made it: the migrator waits for them.
  const rows = yield* Effect.catchIf(found, isUnknownTable, () => Effect.succeed([]))
  return rows.length > 0
})

/**
 * Makes the schema and brings its tables up to date, where they are not. Safe when repeated, and when several processes do it at once:
 * the migrator locks its table, and whoever comes second finds the work done.
 */
const migrateBy = Effect.fnUntraced(function* (
  names: Names,
  table: string,
  migrations: Readonly<Record<string, Effect.Effect<void, unknown, SqlClient.SqlClient>>>
): Effect.fn.Return<void, EventStoreError, SqlClient.SqlClient> {
  const sql = yield* SqlClient.SqlClient
  const failed = Effect.mapError((error: SqlError) => toEventStoreError("migrate", error, false))
  const newest = Math.max(...Object.keys(migrations).map((name) => Number.parseInt(name, 10)))
  if (yield* failed(isUpToDate(sql, names, table, newest))) return
  yield* failed(againIfMade(makeSchema(sql, names.schema)))
  // The migrator takes what comes before a dot for a schema.
  yield* Migrator.make({})({ table: `${names.schema}.${names.prefix}${table}`, loader: Migrator.fromRecord(migrations) }).pipe(
    Effect.retry({ times: 3, while: isUnknownTable }),
    Effect.mapError((error) => {
      const failure = error._tag === "SqlError" ? error : error.cause
      return isSqlError(failure)
        ? toEventStoreError("migrate", failure, false)
        : new EventStoreError({ reason: new StoreFailure({ operation: "migrate", detail: error.message, cause: error }) })
    })
  )
})

const storeMigrations = (names: Names) => {
  const statements = makeSql(names)
  const checkpoints = makeCheckpointSql(names)
  return {
    "0001_events": all(statements.createTables),
    "0002_checkpoints": all(checkpoints.createCheckpoints),
    "0003_projection_versions": all(checkpoints.createVersions),
    // What it did is done by 0009.
    "0004_repetitions": Effect.void,
    "0005_seen_events": all(checkpoints.addSeen),
    "0006_tables_of_projections": Effect.flatMap(SqlClient.SqlClient, (sql) => adoptViews(sql, names, names.prefix)),
    // Likewise.
    "0007_append_conditions": Effect.void,
    "0008_deadlines": all(checkpoints.createDeadlines),
    "0009_append_lock": all(statements.createFunctions),
    "0014_operations": all(checkpoints.addOperations),
    "0015_tombstones": all(statements.createTombstones),
    "0016_chain": all(statements.createChain),
    "0017_conditions_by_tag": all(statements.replaceAppends),
    "0018_flush": all(statements.addFlush)
  }
}

/** The tables of the event store and of what stands beside it. */
export const migrate = (names: Names): Effect.Effect<void, EventStoreError, SqlClient.SqlClient> =>
  migrateBy(names, "migration", storeMigrations(names))

/** Which of them have run. */
export const statusOf = (names: Names): Effect.Effect<MigrationStatus, SqlError, SqlClient.SqlClient> =>
  migrationStatus({ schema: names.schema, name: `${names.prefix}migration` }, Object.keys(storeMigrations(names)))

/** The tables of the transport, which need not be those of a store. */
export const migrateTransport = (names: Names): Effect.Effect<void, EventStoreError, SqlClient.SqlClient> => {
  const statements = makeTransportSql(names)
  return migrateBy(names, "transport_migration", { "0001_transport": all(statements.createTables) })
}
