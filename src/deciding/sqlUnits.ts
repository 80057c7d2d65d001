import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import { clientClosed } from "../sql/answering.ts"
import { CurrentLateFlush, type LateFlush, lateFlushOf } from "../sql/transaction.ts"
import { describe, isConflict, isOutage, wasRolledBack } from "../sql/errors.ts"
import {
  EventStore,
  EventStoreError,
  OutcomeUnknown,
  StoreFailure,
  StoreUnavailable,
  TransactionConflict
} from "../store/EventStore.ts"
import { type Carrier, failureOf, makeUnitOfWork } from "./levels.ts"
import { SqlTransactions, UnitOfWork } from "./transaction.ts"

/**
 * Units of work inside `sql.withTransaction`: what the effect does with the same `SqlClient` commits or rolls back with the events.
 * Nested ones are savepoints. Inside a transaction that is open already, the unit of work is a savepoint of it, and
 * `afterCommit` waits for the outermost commit. It appends when it ends, and from then on until that commit all who append to the store wait:
 * in a longer transaction let it be the last thing done (`sharedFlush` of `PgEventStore` makes that wait shorter where many do so at once). On PostgreSQL the server ends a transaction that has appended and whose process is then
 * not heard of for 10 seconds, unless the session has an `idle_in_transaction_session_timeout` of its own.
 *
 * The event store must live in the database of that client; building the Layer over any other store is a defect, because nothing
 * could then be atomic.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerSql: Layer.Layer<UnitOfWork | SqlTransactions, never, EventStore | SqlClient.SqlClient> = Layer.effectContext(
  Effect.gen(function* () {
    const store = yield* EventStore
    const sql = yield* SqlClient.SqlClient
    if (store.transactionService?.key !== sql.transactionService.key) {
      return yield* Effect.die(
        new Error(
          "UnitOfWork.layerSql: the EventStore does not append through the SqlClient provided here, so events and rows could not commit together. Provide both from one database, or use UnitOfWork.layer."
        )
      )
    }
    /** What becomes of the events and rows is known when they have been flushed: nobody hears of them before. */
    const flushing = <A, E, R>(
      transact: (first: Effect.Effect<void>) => Effect.Effect<A, E | EventStoreError, R>,
      restore: Parameters<Carrier["run"]>[1]
    ): Effect.Effect<A, E | EventStoreError, R> => {
      const { late } = store
      if (late === undefined) return transact(Effect.void)
      return late(restore, (flush) => {
        let lost: EventStoreError | undefined
        const first = Effect.withFiber((fiber) => {
          const own = fiber.getRef(CurrentLateFlush) as LateFlush
          own.connection = Context.getOrUndefined(fiber.context, sql.transactionService)?.[0]
          const flushed = Effect.suspend(() => {
            own.connection = undefined
            return Effect.catch(flush(true), (error) =>
              Effect.sync(() => {
                lost = outcomeUnknown(error)
                own.isLost = true
              })
            )
          })
          // Hooks are run in their order.
          return sql.afterCommit(flushed)
        })
        return Effect.matchCauseEffect(transact(first), {
          onSuccess: (value) => (lost === undefined ? Effect.succeed(value) : Effect.fail(lost)),
          onFailure: (cause) =>
            // What it was told by others' events is not for its caller before they are on the disk. A failure of the store tells of none.
            Cause.hasFails(cause) && !isStoreError(failureOf(cause))
              ? Effect.andThen(restore(flush(false)), Effect.failCause(cause))
              : Effect.failCause(cause)
        })
      })
    }
    const run: Carrier["run"] = <A, E, R>(body: Effect.Effect<A, E, R>, restore: Parameters<Carrier["run"]>[1]) =>
      Effect.flatMap(Effect.serviceOption(sql.transactionService), (outer) => {
        const transact = (first: Effect.Effect<void>): Effect.Effect<A, E | EventStoreError, R> => {
          let ended: Exit.Exit<A, E> | undefined
          let committed = false
          const markCommitted = Effect.sync(() => {
            committed = true
          })
          const whole = Effect.andThen(first, body).pipe(
            Effect.tap(() => (Option.isNone(outer) ? sql.afterCommit(markCommitted) : markCommitted)),
            Effect.onExit((exit) => Effect.sync(() => void (ended = exit))),
            Effect.uninterruptible
          )
          const transaction = Effect.catchCauseIf(
            sql.withTransaction(whole),
            (cause) => ended === undefined && Cause.hasInterruptsOnly(cause),
            () => Effect.fail(clientClosed())
          )
          // Who waits for a connection can be interrupted.
          return Effect.flatMap(Effect.exit(restore(transaction)), (exit): Effect.Effect<A, E | EventStoreError> => {
            if (Exit.isSuccess(exit)) return Effect.succeed(exit.value)
            // The body's own failure is passed on untouched, whatever became of ROLLBACK: where the connection broke it fails as well.
            // And an interruption that came during COMMIT undoes nothing.
            const stands = committed && Cause.hasInterruptsOnly(exit.cause)
            if (ended !== undefined && (Exit.isFailure(ended) || stands)) return ended
            const cause = exit.cause as Cause.Cause<SqlError>
            return Effect.failCause(Cause.map(cause, (error) => transactionError(error, ended !== undefined)))
          })
        }
        return Option.isSome(outer) ? transact(Effect.void) : flushing(transact, restore)
      })
    const outside: Carrier["outside"] = <R>(context: Context.Context<R>) =>
      Context.omit(sql.transactionService)(context as Context.Context<R | SqlClient.TransactionConnection>) as Context.Context<R>
    const afterCommit = (effect: Effect.Effect<void>): Effect.Effect<void> =>
      Effect.withFiber((fiber) => {
        const late = lateFlushOf(sql, fiber)
        return sql.afterCommit(late === undefined ? effect : Effect.suspend(() => (late.isLost ? Effect.void : effect)))
      })
    const ending = Effect.withFiber((fiber) => {
      const late = lateFlushOf(sql, fiber)
      // A unit of work within another one is a savepoint, and not the end.
      const isOutermost = Context.getOrUndefined(fiber.context, sql.transactionService)?.[1] === 0
      if (late !== undefined && isOutermost) late.isEnding = true
      return Effect.void
    })
    const unitOfWork = makeUnitOfWork(store, { run, afterCommit, ending, outside })
    return Context.make(UnitOfWork, unitOfWork).pipe(Context.add(SqlTransactions, true))
  })
)

const isStoreError = Schema.is(EventStoreError)

/** What was committed, and then could not be flushed. */
const outcomeUnknown = (error: EventStoreError): EventStoreError => {
  const { detail } = error.reason
  return new EventStoreError({ reason: new OutcomeUnknown({ operation: "commit", detail, cause: error }) })
}

/** What an error of BEGIN or (when `committing`) of COMMIT means. */
const transactionError = (error: SqlError, committing: boolean): EventStoreError => {
  const fields = { operation: committing ? "commit" : "begin", detail: describe(error), cause: error }
  const Reason = isConflict(error)
    ? TransactionConflict
    : committing && !wasRolledBack(error)
      ? OutcomeUnknown
      : isOutage(error)
        ? StoreUnavailable
        : StoreFailure
  return new EventStoreError({ reason: new Reason(fields) })
}
