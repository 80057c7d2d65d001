import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as SqlClient from "effect/sql/SqlClient"
import type { Connection } from "effect/sql/SqlConnection"
import type { SqlError } from "effect/sql/SqlError"
import { clientClosed } from "./answering.ts"

/** Whether something has been appended to the event store: from then on, until the transaction ends, all its other writers wait. */
export interface WriteLock {
  taken: boolean
}

/**
 * Where whoever does several things in one transaction learns that one of them has appended, so as to commit before the next. Stores set it;
 * by default nobody asks.
 */
export const CurrentWriteLock = Context.Reference<WriteLock | undefined>("eventfold/sql/CurrentWriteLock", {
  defaultValue: () => undefined
})

/**
 * Where whoever is to move a checkpoint at the end of a transaction learns that it was set or removed inside of it: its name, and the epoch
 * that it has since then; none where it was removed. By default nobody asks.
 */
export const CurrentTakings = Context.Reference<Map<string, number | undefined> | undefined>("eventfold/sql/CurrentTakings", {
  defaultValue: () => undefined
})

/** A transaction that whoever runs it flushes behind its commit. */
export interface LateFlush {
  /** Whether others are kept waiting while this one is flushed with its commit. */
  readonly isContended: () => boolean
  /** Its last append took so many milliseconds. */
  readonly took: (millis: number) => void
  /** That of the transaction, from its beginning until it has ended. */
  connection: Connection | undefined
  /** What is appended now is the last thing that is done in it. */
  isEnding: boolean
  /** It has written what others read without asking whether it is on the disk. */
  isRead: boolean
  /** Whether its commit waits for the disk; `undefined` while it has nothing to wait for. */
  commits: "flushed" | "late" | undefined
  /** Whether it could not be flushed, so that nobody knows what has become of it. */
  isLost: boolean
}

/** Where whoever runs such a transaction says so. By default none is. */
export const CurrentLateFlush = Context.Reference<LateFlush | undefined>("eventfold/sql/CurrentLateFlush", {
  defaultValue: () => undefined
})

/** The transaction of a client that the fiber is in, if it is flushed behind its commit: not one that has ended, nor one of another client. */
export const lateFlushOf = (
  { transactionService }: Pick<SqlClient.SqlClient, "transactionService">,
  fiber: Fiber.Fiber<unknown, unknown>
): LateFlush | undefined => {
  const late = fiber.getRef(CurrentLateFlush)
  if (late?.connection === undefined) return undefined
  return Context.getOrUndefined(fiber.context, transactionService)?.[0] === late.connection ? late : undefined
}

/** To be run before anything is written beside the events that others read, and act upon, though it might not be on the disk yet. */
export const flushWithCommit = (sql: SqlClient.SqlClient): Effect.Effect<void> =>
  Effect.withFiber((fiber) => {
    const late = lateFlushOf(sql, fiber)
    if (late !== undefined) late.isRead = true
    return Effect.void
  })

/** Says that something is being appended in the transaction of the fiber. */
export const takeWriteLock: Effect.Effect<void> = Effect.withFiber((fiber) => {
  const lock = fiber.getRef(CurrentWriteLock)
  if (lock !== undefined) lock.taken = true
  return Effect.void
})

/**
 * Makes something that goes on in the background: in nobody's transaction, though whoever makes it be in one. Its connection is somebody else's as soon
 * as that has ended.
 */
export const inBackground =
  (sql: SqlClient.SqlClient) =>
  <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    Effect.updateContext(effect, (context: Context.Context<R>) => {
      const own = context as Context.Context<R | SqlClient.TransactionConnection>
      return Context.omit(sql.transactionService)(own) as Context.Context<R>
    })

/** How long others wait, on PostgreSQL, for a process that falls silent amid a transaction of a few statements that waits for nothing else. */
export const shortPatience = Duration.seconds(10)

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
    pg: () =>
      Effect.withFiber((fiber) => {
        // A transaction that is open around it has a limit of its own, or none.
        const isInner = Context.getOrUndefined(fiber.context, sql.transactionService) !== undefined
        if (patience === undefined || isInner) return sql.withTransaction(effect)
        const millis = String(Math.ceil(Duration.toMillis(patience)))
        const limit = sql`select set_config('idle_in_transaction_session_timeout', ${millis}, true)`
        return sql.withTransaction(Effect.andThen(limit, effect))
      }),
    orElse: () => sql.withTransaction(effect)
  })
