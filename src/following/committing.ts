import * as Cause from "effect/Cause"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import type * as SqlClient from "effect/sql/SqlClient"
import { isSqlError, type SqlError } from "effect/sql/SqlError"
import { isAborted, isRefusal } from "../sql/errors.ts"
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
      ended && isRefused(error) ? new Failed(Cause.fail(error), true) : error
    )
  })

/** Whether the database refused the work, perhaps not before the checkpoint was to be moved. */
const isRefused = (error: unknown): boolean =>
  isSqlError(error) ? isRefusal(error) : Predicate.isTagged(error, "CheckpointError") && isAborted(error)
