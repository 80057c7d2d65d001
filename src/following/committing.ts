import * as Cause from "effect/Cause"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import type * as SqlClient from "effect/sql/SqlClient"
import { isSqlError, type SqlError } from "effect/sql/SqlError"
import { isAborted, isConflict, isRefusal, isTimeLimit } from "../sql/errors.ts"
import { inTransaction } from "../sql/transaction.ts"
import { Failed } from "./settling.ts"

/**
 * One transaction of work and what follows it. What the database makes of the work when that has ended is a failure of the work: a
 * constraint that is checked at the end, a statement that failed and was passed over (on PostgreSQL), a transaction that took too long,
 * or one that others got in the way of.
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
      ended && isOfTheWork(error) ? new Failed(Cause.fail(error), true) : error
    )
  })

/** Whether it is the work that cannot be committed, which perhaps was not seen before the checkpoint was to be moved. */
const isOfTheWork = (error: unknown): boolean =>
  isTimeLimit(error) ||
  isConflict(error) ||
  (isSqlError(error) ? isRefusal(error) : Predicate.isTagged(error, "CheckpointError") && isAborted(error))
