/** A session with the server that is held for a store: as long as it answers, the server has not crashed since it was had. */
import type * as PgClient from "@effect/sql-pg/PgClient"
import type * as PgConnection from "@effect/sql-pg/PgConnection"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Queue from "effect/Queue"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import { isSqlError } from "effect/sql/SqlError"
import { realSleep } from "../internal/realTime.ts"
import { codeOf } from "../sql/errors.ts"
import { earOf, type Hearing, notificationsOf, unanswered } from "./listening.ts"
import { listenFault, poolingOf } from "./pooling.ts"

/** Why none can be held: a pooler that hands out transactions keeps its own with the server. */
export const holdFault = (sql: PgClient.PgClient, { listen }: Hearing): Effect.Effect<string | undefined> =>
  Effect.map(poolingOf(sql), ({ byTransaction }) => (byTransaction && typeof listen === "boolean" ? listenFault : undefined))

/** A session, and what comes of the next try where it is lost. */
export interface Held {
  readonly current: () => PgConnection.PgConnection | undefined
  readonly next: Effect.Effect<PgConnection.PgConnection, unknown>
}

/** What a standby answers to what it takes for a change. */
const readOnly = "25006"

/** A standby refuses `LISTEN`, so it is asked now and then. */
const asking = (session: PgConnection.PgConnection) =>
  Effect.forever(Effect.andThen(realSleep("1 second"), session.query("select 1")), { disableYield: true })

/** Fails as soon as the session is lost. */
const lostOf = (session: PgConnection.PgConnection, channel: string) =>
  Effect.raceFirst(notificationsOf(session, channel), unanswered).pipe(
    Effect.flatMap((notifications) => Effect.forever(Queue.take(notifications), { disableYield: true })),
    Effect.catchIf(
      (error) => isSqlError(error) && codeOf(error) === readOnly,
      () => asking(session)
    )
  )

/**
 * Holds a session until the scope closes; as soon as it is lost another one is had. All that share a client share it. It is none of the pool's: who waits
 * for it may have one of those already, and would keep it from coming.
 */
export const holding = (
  sql: PgClient.PgClient,
  { listen }: Hearing,
  channel: string
): Effect.Effect<Held, never, Scope.Scope> => {
  const ear = earOf(sql, typeof listen === "boolean" ? "beside" : listen)
  let current: PgConnection.PgConnection | undefined
  let next = Deferred.makeUnsafe<PgConnection.PgConnection, unknown>()
  const ended = (exit: Exit.Exit<never, unknown>) => {
    const tried = next
    current = undefined
    // Whoever is told that it failed may ask again at once.
    next = Deferred.makeUnsafe()
    Deferred.doneUnsafe(tried, exit)
  }
  const once: Effect.Effect<never, unknown> = Effect.scoped(
    Effect.flatMap(ear.session, (session) => {
      current = session
      Deferred.doneUnsafe(next, Effect.succeed(session))
      return Effect.tapError(lostOf(session, channel), () => ear.failed(session))
    })
  )
  return once.pipe(
    Effect.onExit((exit) => Effect.sync(() => ended(exit))),
    Effect.tapCause((cause) => Effect.logDebug("eventfold: the session that flushes was lost", cause)),
    Effect.retry(Schedule.min([Schedule.exponential("50 millis"), Schedule.spaced("500 millis")])),
    Effect.forkScoped,
    Effect.as({ current: () => current, next: Effect.suspend(() => Deferred.await(next)) })
  )
}
