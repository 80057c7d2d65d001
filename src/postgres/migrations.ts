import * as Effect from "effect/Effect"
import * as Migrator from "effect/sql/Migrator"
import * as SqlClient from "effect/sql/SqlClient"
import { isSqlError } from "effect/sql/SqlError"
import { isUniqueViolation } from "../sql/errors.ts"
import { EventStoreError, StoreFailure } from "../store/EventStore.ts"
import { toEventStoreError } from "./errors.ts"
import { makeCheckpointSql } from "./checkpointSql.ts"
import { makeSql, type Names } from "./sql.ts"
import { makeTransportSql } from "./transportSql.ts"

const run = (text: string) => Effect.flatMap(SqlClient.SqlClient, (sql) => sql.unsafe(text).withoutTransform)

const all = (texts: ReadonlyArray<string>) => Effect.forEach(texts, run, { discard: true })

/**
 * Makes the schema and brings its tables up to date. Safe when repeated, and when several processes do it at once: the
 * migrator locks its table, and whoever comes second finds the work done.
 */
const migrateBy = Effect.fnUntraced(function* (
  names: Names,
  table: string,
  migrations: Readonly<Record<string, Effect.Effect<void, unknown, SqlClient.SqlClient>>>
): Effect.fn.Return<void, EventStoreError, SqlClient.SqlClient> {
  // Two processes that make one schema at once collide on the system catalogue, "if not exists" notwithstanding.
  yield* run(makeSql(names).createSchema).pipe(
    Effect.retry({ times: 3, while: isUniqueViolation }),
    Effect.mapError((error) => toEventStoreError("migrate", error, false))
  )
  yield* Migrator.make({})({ table, loader: Migrator.fromRecord(migrations) }).pipe(
    Effect.mapError((error) => {
      const failure = error._tag === "SqlError" ? error : error.cause
      return isSqlError(failure)
        ? toEventStoreError("migrate", failure, false)
        : new EventStoreError({ reason: new StoreFailure({ operation: "migrate", detail: error.message, cause: error }) })
    })
  )
})

/** The tables of the event store and of what stands beside it. */
export const migrate = (names: Names): Effect.Effect<void, EventStoreError, SqlClient.SqlClient> => {
  const statements = makeSql(names)
  const checkpoints = makeCheckpointSql(names)
  return migrateBy(names, statements.names.migrations, {
    "0001_events": all(statements.createTables),
    "0002_checkpoints": all(checkpoints.createCheckpoints),
    "0003_projection_versions": all(checkpoints.createVersions),
    "0004_repetitions": all(statements.replaceAppend),
    "0005_seen_events": all(checkpoints.addSeen)
  })
}

/** The tables of the transport, which need not be those of a store. */
export const migrateTransport = (names: Names): Effect.Effect<void, EventStoreError, SqlClient.SqlClient> => {
  const statements = makeTransportSql(names)
  return migrateBy(names, statements.migrations, { "0001_transport": all(statements.createTables) })
}
