/**
 * What store and transport have in common: how they hear of what other processes have written.
 *
 * All that share a client share one connection of its pool that listens: the first of them takes it, and the last gives it back.
 */
import type * as PgClient from "@effect/sql-pg/PgClient"
import * as PgConnection from "@effect/sql-pg/PgConnection"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import * as RcRef from "effect/RcRef"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import type { SqlError } from "effect/sql/SqlError"
import { pausing } from "../internal/lasting.ts"
import { realSleep } from "../internal/realTime.ts"
import { takeSession } from "./session.ts"
import { listenFault, poolingFault, poolingOf } from "./pooling.ts"

/** What of the options is about hearing. */
export interface HearingOptions {
  readonly listen?: boolean | Redacted.Redacted | undefined
  readonly pollInterval?: Duration.Input | undefined
}

export interface Hearing {
  /** Whether to listen, and to what to connect for it if not over a connection of the pool. */
  readonly listen: boolean | Redacted.Redacted
  readonly pollInterval: Duration.Duration
}

/** The options with their defaults; a text is why they cannot be had, or why the client cannot be used at all. */
export const hearingOf = Effect.fnUntraced(function* (
  sql: PgClient.PgClient,
  options: HearingOptions
): Effect.fn.Return<Hearing | string> {
  const single = (sql.config as PgClient.PgPoolConfig).maxConnections === 1
  const { byTransaction } = yield* poolingOf(sql)
  const fault = yield* poolingFault(sql)
  if (fault !== undefined) return fault
  const listen = options.listen ?? !(single || byTransaction)
  if (listen === true && single) {
    return "listen takes a connection, and this client has one in all: set its maxConnections to 2 or more, or listen to false"
  }
  if (listen === true && byTransaction) return listenFault
  return {
    listen,
    pollInterval: pausing("pollInterval", options.pollInterval ?? (listen === false ? "100 millis" : "1 second"))
  }
})

/** The connection of a client that listens. */
export interface Ear {
  /** Opened by the first who asks for it, and shared from then on; closed with the last of their scopes. */
  readonly session: Effect.Effect<PgConnection.PgConnection, SqlError | Error, Scope.Scope>
  /** Says that the session has failed: whoever asks from now on gets another. */
  readonly failed: (session: PgConnection.PgConnection) => Effect.Effect<void>
}

/** By the client, and by where the connection is. */
const ears = new WeakMap<PgClient.PgClient, Map<string, Ear>>()

/** A host that has vanished without a word is noticed by the system's probes: nothing is sent here that could fail. */
const keepAlive = "30 seconds"

/** Whom and how to connect to. What the URL leaves open (TLS, time-outs, a password) is as the client has it. */
const configOf = ({ config }: PgClient.PgClient, url: string): PgConnection.Config => {
  const { database: _, host: _host, password, path: _path, port: _port, stream: _stream, username: _username, ...rest } = config
  return { keepAlive, ...rest, url: Redacted.make(url), ...(/:\/\/[^@/]*:[^@/]*@/.test(url) ? {} : { password }) }
}

const makeEar = (sql: PgClient.PgClient, where: "pool" | "beside" | Redacted.Redacted): Ear => {
  let current: PgConnection.PgConnection | undefined
  // The channels of all are listened to on one session, which is not given back in between.
  const beside = typeof where === "string" ? sql.config : configOf(sql, Redacted.value(where))
  const open = (where === "pool" ? takeSession(sql) : Effect.flatMap(PgConnection.make(beside), ({ pin }) => pin)).pipe(
    Effect.tap((session) => Effect.sync(() => (current = session)))
  )
  // It holds nothing while nobody has asked for it, and so needs no end.
  const shared = Effect.runSync(Scope.provide(RcRef.make({ acquire: open }), Scope.makeUnsafe()))
  return {
    session: RcRef.get(shared),
    failed: (session) => Effect.suspend(() => (session === current ? RcRef.invalidate(shared) : Effect.void))
  }
}

/** A connection of the pool, one beside it, or one to a URL. */
export const earOf = (sql: PgClient.PgClient, where: "pool" | "beside" | Redacted.Redacted): Ear => {
  const key = typeof where === "string" ? where : Redacted.value(where)
  const known = ears.get(sql) ?? new Map<string, Ear>()
  ears.set(sql, known)
  const ear = known.get(key) ?? makeEar(sql, where)
  known.set(key, ear)
  return ear
}

/** The notifications of a channel until the scope closes, which waits for no answer of the database. */
export const notificationsOf = (session: PgConnection.PgConnection, channel: string) =>
  Effect.flatMap(
    Effect.acquireRelease(Scope.make(), (scope, exit) => Effect.forkDetach(Scope.close(scope, exit))),
    (scope) => Scope.provide(session.listen(channel), scope)
  )

export const unanswered = Effect.andThen(realSleep("30 seconds"), Effect.fail("the database does not answer"))

/**
 * Listens on a channel, if that is wanted, until the scope closes; begins anew when the connection is lost, and then `begun` is run first, for what was
 * missed while nobody listened. A notification is a hint: whoever polls goes on without it.
 */
export const listening = <E, E2>(
  sql: PgClient.PgClient,
  { listen }: Hearing,
  channel: string,
  begun: Effect.Effect<void, E>,
  heard: (payload: string) => Effect.Effect<void, E2>
): Effect.Effect<void, never, Scope.Scope> => {
  if (listen === false) return Effect.void
  const ear = earOf(sql, listen === true ? "pool" : listen)
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
