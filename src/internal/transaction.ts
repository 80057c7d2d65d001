import * as Effect from "effect/Effect"
import * as SqlClient from "effect/sql/SqlClient"

/** A transaction that writes. In the middle of a transaction SQLite could be refused the write lock. */
export const inTransaction = <A, E, R>(sql: SqlClient.SqlClient, effect: Effect.Effect<A, E, R>) =>
  sql.onDialectOrElse({
    sqlite: () => Effect.provideService(sql.withTransaction(effect), SqlClient.BeginTransaction, "BEGIN IMMEDIATE"),
    orElse: () => sql.withTransaction(effect)
  })
