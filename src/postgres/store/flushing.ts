/**
 * Shared flushes. A unit of work holds the lock of the appends until it has committed; where the database says so, its commit does not wait for the
 * disk, and so the next one need not either: one flush behind them is for all who wait by then.
 *
 * Nobody is told of what is not on the disk. Positions are in the order of the write-ahead log, so one number says what is: whoever has read of
 * an event beyond it flushes first, and is answered then.
 *
 * A server that crashes in between has lost what it showed, and gives its positions away once more. Every session ends with it. So whoever reads or commits
 * takes hold of a session first, and flushes over that: where it answers, there was no crash.
 */
import type * as PgConnection from "@effect/sql-pg/PgConnection"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { isSqlError, type SqlError } from "effect/sql/SqlError"
import type * as Scope from "effect/Scope"
import { makeGroupCommit, type Submitted } from "../../internal/groupCommit.ts"
import type { Answering } from "../../sql/answering.ts"
import { CurrentLateFlush, type LateFlush } from "../../sql/transaction.ts"
import { EventStoreError, StoreUnavailable } from "../../store/EventStore.ts"
import type { Driver } from "../../store/kit/index.ts"
import { toEventStoreError } from "../errors.ts"
import type { Held } from "../holding.ts"
import type { Sql } from "../sql.ts"

export interface Flushing {
  /** Up to which position all events are known to be on the disk. */
  readonly upTo: () => number
  /** Says that they are. */
  readonly reached: (position: number) => void
  /** What is read or committed from here on is on the disk when the effect that this gives has succeeded. */
  readonly begin: Effect.Effect<Effect.Effect<void, EventStoreError>, EventStoreError>
  /** A transaction that is flushed behind its commit: see `EventStore.late`. */
  readonly late: Exclude<Driver["late"], undefined>
}

type Request = Submitted<PgConnection.PgConnection, void, EventStoreError>

/** A flush that failed: over which session, when, and how. */
interface Failure {
  readonly over: PgConnection.PgConnection
  readonly at: number
  readonly exit: Exit.Exit<void, EventStoreError>
}

/** How much longer than the shortest an append takes, in milliseconds, when it has waited for others. */
const waited = 2

export const makeFlushing = Effect.fnUntraced(function* (
  held: Held,
  { flush }: Pick<Sql, "flush">,
  answering: Answering
): Effect.fn.Return<Flushing, EventStoreError, Scope.Scope> {
  let upTo = 0
  const reached = (position: number) => {
    upTo = Math.max(upTo, position)
  }
  const failed = Effect.mapError((error: SqlError) => toEventStoreError("flush", error, false))
  const nextSession = Effect.mapError(answering.inTime(held.next), (cause) =>
    isSqlError(cause)
      ? toEventStoreError("flush", cause, false)
      : new EventStoreError({ reason: new StoreUnavailable({ operation: "flush", detail: String(cause), cause }) })
  )
  let before: PgConnection.PgConnection | undefined
  const session = Effect.map(
    Effect.suspend(() => {
      const current = held.current()
      return current === undefined ? nextSession : Effect.succeed(current)
    }),
    (current) => {
      // What answers now may be another server, or one that has lost something.
      if (current !== before) upTo = 0
      before = current
      return current
    }
  )
  const flushOver = (over: PgConnection.PgConnection) =>
    Effect.map(failed(answering.inTime(over.queryValues(flush.text))), (rows) => reached(flush.read(rows)))
  let failure: Failure | undefined
  const flushes = yield* makeGroupCommit<PgConnection.PgConnection, void, EventStoreError>({
    capacity: Number.POSITIVE_INFINITY,
    maxBatch: Number.POSITIVE_INFINITY,
    take: (waiting) => {
      const other = waiting.findIndex(({ request }) => request !== waiting[0]?.request)
      return other === -1 ? waiting.length : other
    },
    write: (batch) => {
      const over = (batch[0] as Request).request
      // What has waited for an answer that did not come does not wait for another one.
      const isVain = ({ since }: Request) => failure?.over === over && since <= failure.at
      const asked = batch.filter((request) => !isVain(request))
      for (const request of batch) if (isVain(request)) request.answer((failure as Failure).exit)
      if (asked.length === 0) return Effect.void
      return Effect.map(Effect.exit(flushOver(over)), (exit) => {
        if (Exit.isFailure(exit)) failure = { over, at: performance.now(), exit }
        return () => {
          for (const { answer } of asked) answer(exit)
        }
      })
    },
    closed: () =>
      new EventStoreError({ reason: new StoreUnavailable({ operation: "flush", detail: "the store's Layer has been closed" }) })
  })
  const begin = Effect.map(session, (over) => flushes.submit(Effect.succeed(over)))

  let inHand = 0
  let shortest = Number.POSITIVE_INFINITY
  let latest = 0
  const isContended = () => inHand > 1 || latest > shortest + waited
  const took = (millis: number) => {
    latest = millis
    shortest = Math.min(shortest, millis)
  }
  const late: Flushing["late"] = (restore, transaction) =>
    Effect.flatMap(restore(begin), (flush) =>
      Effect.suspend(() => {
        inHand++
        const own: LateFlush = {
          isContended,
          took,
          connection: undefined,
          isEnding: false,
          isRead: false,
          commits: undefined,
          isLost: false
        }
        const flushed = (committed: boolean) =>
          Effect.suspend(() => (committed && own.commits === "flushed" ? Effect.void : flush))
        return Effect.onExitPrimitive(Effect.provideService(transaction(flushed), CurrentLateFlush, own), () => {
          inHand--
          return undefined
        })
      })
    )
  yield* session
  return { upTo: () => upTo, reached, begin, late }
})
