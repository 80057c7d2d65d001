/**
 * How long a database is waited for that keeps silent: its host has vanished without a word, or it takes connections and says nothing.
 * No driver knows such a connection from one whose statement takes long.
 */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import type * as Scope from "effect/Scope"
import type * as SqlClient from "effect/sql/SqlClient"
import { ConnectionError, SqlError } from "effect/sql/SqlError"
import { realSleep } from "../internal/realTime.ts"

/** How long a server is waited for where no option says so. */
export const AnswerTime = Context.Reference<Duration.Duration>("eventfold/sql/AnswerTime", {
  defaultValue: () => Duration.seconds(30)
})

/** How long what is under way has to be answered when what it belongs to closes. */
export const closingTime = Duration.seconds(5)

const silent = (detail: string): SqlError =>
  new SqlError({
    reason: new ConnectionError({ cause: new Error(detail), message: detail, operation: "query" })
  })

const withinText = (time: Duration.Duration) => `PostgreSQL did not answer within ${Duration.format(time)}`

/** What has begun nothing and ends in an interruption that nobody has asked for has met a pool that is closed. */
export const clientClosed = (): SqlError => silent("the connections of the SqlClient have been closed")

/** The longest that a timer of Node knows. */
const forever = 2 ** 31 - 1

/**
 * The effect, until the waiting ends: then it is interrupted, and nobody waits for that. A driver may take seconds more to find out that
 * a statement can be interrupted no more than it is answered. When the caller is interrupted, so is the effect, and `most` milliseconds
 * are waited for its end.
 */
const until = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  wait: (end: (detail: string) => void) => () => void,
  most: () => number = () => 10_000
): Effect.Effect<A, E | SqlError, R> =>
  Effect.contextWith((context: Context.Context<R>) =>
    Effect.callback<A, E | SqlError>((resume) => {
      const fiber = Effect.runForkWith(context)(effect)
      const stop = wait((detail) => {
        resume(Effect.fail(silent(detail)))
        fiber.interruptUnsafe()
      })
      fiber.addObserver((exit) => {
        stop()
        resume(Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause) ? Effect.fail(clientClosed()) : exit)
      })
      return Effect.suspend(() => {
        stop()
        fiber.interruptUnsafe()
        return Effect.raceFirst(Fiber.await(fiber), realSleep(most()))
      })
    })
  )

/**
 * Fails as a lost connection does when a server does not answer in time. A database in the process itself (SQLite) always answers.
 */
export const answered = <A, E, R>(
  sql: SqlClient.SqlClient,
  effect: Effect.Effect<A, E, R>,
  timeout?: Duration.Duration
): Effect.Effect<A, E | SqlError, R> =>
  sql.onDialectOrElse({
    pg: () =>
      Effect.flatMap(AnswerTime, (usual) => {
        const time = timeout ?? usual
        return until(effect, (end) => {
          const timer = setTimeout(() => end(withinText(time)), Math.min(Duration.toMillis(time), forever))
          return () => clearTimeout(timer)
        })
      }),
    orElse: () => effect
  })

/** How what belongs to one Layer waits for the server. */
export interface Answering {
  /** How long that is. */
  readonly timeout: Duration.Duration
  /** Fails as a lost connection does when no answer comes in time, or within {@link closingTime} once the Layer closes. */
  readonly inTime: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E | SqlError, R>
  /** Whether it has closed and nothing is waited for any more. */
  readonly isOver: () => boolean
  /** Tells of the closing. To be run last, for it to be heard first. */
  readonly hearClosing: Effect.Effect<void, never, Scope.Scope>
}

export const makeAnswering = (timeout: Duration.Duration): Answering => {
  const millis = Math.min(Duration.toMillis(timeout), forever)
  const waiting = new Set<() => void>()
  let over = Number.POSITIVE_INFINITY
  const left = () => over - performance.now()
  const closed = "PostgreSQL did not answer while the Layer was closed"
  return {
    timeout,
    inTime: (effect) =>
      Effect.suspend(() => {
        if (left() <= 0) return Effect.fail(silent(closed))
        return until(
          effect,
          (end) => {
            let timer = setTimeout(
              () => end(over === Number.POSITIVE_INFINITY ? withinText(timeout) : closed),
              Math.min(millis, left())
            )
            const hurry = () => {
              clearTimeout(timer)
              timer = setTimeout(() => end(closed), left())
            }
            waiting.add(hurry)
            return () => {
              clearTimeout(timer)
              waiting.delete(hurry)
            }
          },
          () => Math.max(0, Math.min(10_000, left()))
        )
      }),
    isOver: () => left() <= 0,
    hearClosing: Effect.addFinalizer(() =>
      Effect.sync(() => {
        over = performance.now() + Duration.toMillis(closingTime)
        for (const hurry of waiting) hurry()
      })
    )
  }
}
