import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import { clientClosed } from "./answering.ts"

/**
 * A transaction that writes. When the effect fails it fails with that, whatever becomes of ROLLBACK. On PostgreSQL it is broken off when
 * its process gives no sign for `patience`: a process that has been stopped or cut off would otherwise keep its locks, and whoever takes
 * its work over would wait for them.
 */
export const inTransaction = <A, E, R>(
  sql: SqlClient.SqlClient,
  effect: Effect.Effect<A, E, R>,
  patience?: Duration.Duration
): Effect.Effect<A, E | SqlError, R> =>
  Effect.suspend(() => {
    let ended: Exit.Exit<A, E> | undefined
    const noted = Effect.onExit(effect, (exit) => Effect.sync(() => void (ended = exit)))
    return Effect.catchCause(beginning(sql, noted, patience), (cause): Effect.Effect<never, E | SqlError> =>
      // Where the connection has broken ROLLBACK is a defect, and says nothing of what has happened before.
      ended === undefined && Cause.hasInterruptsOnly(cause)
        ? Effect.fail(clientClosed())
        : Effect.failCause(ended !== undefined && Exit.isFailure(ended) ? ended.cause : cause)
    )
  })

const beginning = <A, E, R>(
  sql: SqlClient.SqlClient,
  effect: Effect.Effect<A, E, R>,
  patience: Duration.Duration | undefined
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
