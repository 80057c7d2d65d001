/** What store and transport have in common: how they hear of what other processes have written. */
import type * as PgClient from "@effect/sql-pg/PgClient"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import type { SqlError } from "effect/sql/SqlError"

/** What of the options is about hearing. */
export interface HearingOptions {
  readonly listen?: boolean | undefined
  readonly pollInterval?: Duration.Input | undefined
}

export interface Hearing {
  readonly listen: boolean
  readonly pollInterval: Duration.Duration
}

/** The options with their defaults; a text is why they cannot be had. */
export const hearingOf = (sql: PgClient.PgClient, options: HearingOptions): Hearing | string => {
  const single = (sql.config as PgClient.PgPoolConfig).maxConnections === 1
  const listen = options.listen ?? !single
  if (listen && single) return "listen needs a connection of its own: set maxConnections to 2 or more"
  return { listen, pollInterval: Duration.fromInputUnsafe(options.pollInterval ?? (listen ? "1 second" : "100 millis")) }
}

/**
 * Listens on a channel until the scope closes; begins anew when the connection is lost, and then `begun` is run first, for what was
 * missed while nobody listened. A notification is a hint: whoever polls goes on without it.
 */
export const listening = <E, E2>(
  sql: PgClient.PgClient,
  channel: string,
  begun: Effect.Effect<void, E>,
  heard: (payload: string) => Effect.Effect<void, E2>
): Effect.Effect<void, never, Scope.Scope> => {
  const once: Effect.Effect<never, SqlError | E | E2 | unknown> = Effect.scoped(
    Effect.gen(function* () {
      const notifications = yield* sql.listen(channel)
      yield* begun
      return yield* Queue.take(notifications).pipe(
        Effect.flatMap(({ payload }) => heard(payload)),
        Effect.forever({ disableYield: true })
      )
    })
  )
  return once.pipe(
    Effect.tapCause((cause) => Effect.logDebug("eventfold: listening was interrupted, polling goes on", cause)),
    Effect.retry(Schedule.min([Schedule.exponential("100 millis"), Schedule.spaced("5 seconds")])),
    Effect.forkScoped,
    Effect.asVoid
  )
}
