/**
 * What store and transport have in common: how they hear of what other processes have written.
 *
 * All that share a client share one connection that listens: it is beside the pool, is opened by the first of them, and closes with
 * the last.
 */
import type * as PgClient from "@effect/sql-pg/PgClient"
import * as PgConnection from "@effect/sql-pg/PgConnection"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import * as RcRef from "effect/RcRef"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import type { SqlError } from "effect/sql/SqlError"
import { realSleep } from "../internal/realTime.ts"

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
  if (listen && single)
    return "listening takes a connection beside the only one of this client: set its maxConnections to 2 or more, or listen to false"
  return { listen, pollInterval: Duration.fromInputUnsafe(options.pollInterval ?? (listen ? "1 second" : "100 millis")) }
}

/** The connection of a client that listens. */
interface Ear {
  /** Opened by the first who asks for it, and shared from then on; closed with the last of their scopes. */
  readonly session: Effect.Effect<PgConnection.PgConnection, SqlError, Scope.Scope>
  /** Says that the session has failed: whoever asks from now on gets another. */
  readonly failed: (session: PgConnection.PgConnection) => Effect.Effect<void>
}

const ears = new WeakMap<PgClient.PgClient, Ear>()

/** A host that has vanished without a word is noticed by the system's probes: nothing is sent here that could fail. */
const keepAlive = "30 seconds"

const makeEar = (sql: PgClient.PgClient): Ear => {
  let current: PgConnection.PgConnection | undefined
  const open = PgConnection.make({ keepAlive, ...sql.config }).pipe(
    // The channels of all are listened to on one session, which is not given back in between.
    Effect.flatMap(({ pin }) => pin),
    Effect.tap((session) => Effect.sync(() => (current = session)))
  )
  // It holds nothing while nobody has asked for it, and so needs no end.
  const shared = Effect.runSync(Scope.provide(RcRef.make({ acquire: open }), Scope.makeUnsafe()))
  return {
    session: RcRef.get(shared),
    failed: (session) => Effect.suspend(() => (session === current ? RcRef.invalidate(shared) : Effect.void))
  }
}

const earOf = (sql: PgClient.PgClient): Ear => {
  const known = ears.get(sql)
  if (known !== undefined) return known
  const ear = makeEar(sql)
  ears.set(sql, ear)
  return ear
}

/** The notifications of a channel until the scope closes, which waits for no answer of the database. */
const notificationsOf = (session: PgConnection.PgConnection, channel: string) =>
  Effect.flatMap(
    Effect.acquireRelease(Scope.make(), (scope, exit) => Effect.forkDetach(Scope.close(scope, exit))),
    (scope) => Scope.provide(session.listen(channel), scope)
  )

const unanswered = Effect.andThen(realSleep("30 seconds"), Effect.fail("the database does not answer"))

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
  const ear = earOf(sql)
  const once: Effect.Effect<never, unknown> = Effect.scoped(
    Effect.gen(function* () {
      const session = yield* ear.session
      const orFailed = Effect.tapError(() => ear.failed(session))
      const notifications = yield* notificationsOf(session, channel).pipe(Effect.raceFirst(unanswered), orFailed)
      yield* begun
      return yield* Queue.take(notifications).pipe(
        orFailed,
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
