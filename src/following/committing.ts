import * as Cause from "effect/Cause"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import type * as SqlClient from "effect/sql/SqlClient"
import { isSqlError, type SqlError } from "effect/sql/SqlError"
import { inTransaction } from "../sql/transaction.ts"
import { Failed } from "./settling.ts"

/**
 * One transaction of work and what follows it. What the database refuses of the work when that has ended is a failure of the work:
 * a constraint that is checked at the end, or, on PostgreSQL, a statement that failed and was passed over.
 */
export const committing = <A, B, E, E2>(
  sql: SqlClient.SqlClient,
  work: Effect.Effect<A, E>,
  after: (done: A) => Effect.Effect<B, E2>,
  patience?: Duration.Duration
): Effect.Effect<B, E | E2 | SqlError | Failed> =>
  Effect.suspend(() => {
    let ended = false
    const whole = Effect.flatMap(work, (done) => {
      ended = true
      return after(done)
    })
    return Effect.mapError(inTransaction(sql, whole, patience), (error) =>
      ended && isRefusal(error) ? new Failed(Cause.fail(error), true) : error
    )
  })

const isRefusal = (error: unknown): boolean =>
  isSqlError(error)
    ? !error.isRetryable
    : Predicate.isTagged(error, "CheckpointError") &&
      Predicate.hasProperty(error, "cause") &&
      isSqlError(error.cause) &&
      Predicate.hasProperty(error.cause.reason.cause, "code") &&
      // "current transaction is aborted": by what came before.
      error.cause.reason.cause.code === "25P02"
