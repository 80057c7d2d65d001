import * as Effect from "effect/Effect"
import * as Migrator from "effect/sql/Migrator"
import * as SqlClient from "effect/sql/SqlClient"
import { isSqlError } from "effect/sql/SqlError"
import { EventStoreError, StoreFailure } from "../EventStore.ts"
import { toEventStoreError } from "./errors.ts"
import { makeSql, type Names } from "./sql.ts"

/**
 * Makes the schema and brings its tables up to date. Safe when repeated, and when several processes do it at once: the
 * migrator locks its table, and whoever comes second finds the work done.
 */
export const migrate = Effect.fnUntraced(function* (names: Names): Effect.fn.Return<void, EventStoreError, SqlClient.SqlClient> {
  const sql = yield* SqlClient.SqlClient
  const statements = makeSql(names)
  const run = (text: string) => sql.unsafe(text).withoutTransform

  // Two processes that make one schema at once collide on the system catalogue, "if not exists" notwithstanding.
  yield* run(statements.createSchema).pipe(
    Effect.retry({ times: 3, while: (error) => error.reason._tag === "UniqueViolation" }),
    Effect.mapError((error) => toEventStoreError("migrate", error, false))
  )
  yield* Migrator.make({})({
    table: statements.names.migrations,
    loader: Migrator.fromRecord({
      "0001_events": Effect.forEach(statements.createTables, run, { discard: true }),
      "0002_checkpoints": Effect.forEach(statements.createCheckpoints, run, { discard: true })
    })
  }).pipe(
    Effect.mapError((error) => {
      const failure = error._tag === "SqlError" ? error : error.cause
      return isSqlError(failure)
        ? toEventStoreError("migrate", failure, false)
        : new EventStoreError({ reason: new StoreFailure({ operation: "migrate", detail: error.message, cause: error }) })
    })
  )
})
