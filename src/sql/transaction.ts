import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"

/**
 * A transaction that writes. On PostgreSQL it is broken off when its process gives no sign for `patience`: a process that has been
 * stopped or cut off would otherwise keep its locks, and whoever takes its work over would wait for them.
 */
export const inTransaction = <A, E, R>(
  sql: SqlClient.SqlClient,
  effect: Effect.Effect<A, E, R>,
  patience?: Duration.Duration
): Effect.Effect<A, E | SqlError, R> =>
  sql.onDialectOrElse({
    // In the middle of a transaction SQLite could be refused the write lock.
    sqlite: () => Effect.provideService(sql.withTransaction(effect), SqlClient.BeginTransaction, "BEGIN IMMEDIATE"),
    pg: () => {
      if (patience === undefined) return sql.withTransaction(effect)
      const millis = String(Math.ceil(Duration.toMillis(patience)))
      const limit = sql`select set_config('idle_in_transaction_session_timeout', ${millis}, true)`
      return sql.withTransaction(Effect.andThen(limit, effect))
    },
    orElse: () => sql.withTransaction(effect)
  })
