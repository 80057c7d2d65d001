/**
 * What stands between a client and the server. A pooler that hands out transactions (PgBouncer in transaction mode) gives each one
 * whichever session of the server is free: what a session keeps (prepared statements, `LISTEN`) is not there the next time.
 */
import type * as PgClient from "@effect/sql-pg/PgClient"
import * as PgConnection from "@effect/sql-pg/PgConnection"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { SqlError } from "effect/sql/SqlError"
import { answered } from "../sql/answering.ts"
import { codeOf } from "../sql/errors.ts"
import { prepareHint } from "./errors.ts"
import { takeSession } from "./session.ts"

/** What a client's connections keep from one transaction to the next. */
export interface Pooling {
  /** Whether each transaction may have another session of the server. */
  readonly byTransaction: boolean
  /** Whether prepared statements have been lost for that. */
  readonly loses: boolean
}

const direct: Pooling = { byTransaction: false, loses: false }

/** Nobody waits longer to find out: a pool of a pooler that is used up has nothing to say. */
const wait = Duration.seconds(2)

/** The session of the server that a connection has got; asked by a statement that is prepared, unless the client prepares none. */
const sessionOf = (connection: PgConnection.PgConnection): Effect.Effect<number, SqlError> =>
  Effect.map(connection.query("select pg_backend_pid()::int as pid"), ({ rows }) => (rows[0] as { readonly pid: number }).pid)

/** A transaction that is open until the scope closes. */
const begin = (connection: PgConnection.PgConnection): Effect.Effect<unknown, SqlError, Scope.Scope> =>
  Effect.acquireRelease(connection.query("begin", [], false), () => Effect.ignore(connection.query("rollback", [], false)))

const isLost = (error: SqlError): boolean => codeOf(error) === "26000"

/**
 * Two connections, so that one can hold the session that the other has had. Of a pooler that is busy serving others, a first look may
 * show nothing.
 */
const look = (sql: PgClient.PgClient): Effect.Effect<Pooling, SqlError | Error> =>
  Effect.scoped(
    Effect.gen(function* () {
      // A pooler has made up the number that a client is told as it connects.
      const isDirect = yield* Effect.scoped(
        Effect.flatMap(takeSession(sql), (session) => Effect.map(sessionOf(session), (pid) => pid === session.processId))
      )
      if (isDirect) return direct
      const [one, other] = [yield* PgConnection.make(sql.config), yield* PgConnection.make(sql.config)]
      const before = yield* sessionOf(one)
      for (let times = 0; times < 3; times++) {
        const found = yield* Effect.scoped(
          Effect.gen(function* () {
            yield* begin(other)
            const held = yield* sessionOf(other)
            yield* begin(one)
            const now = yield* sessionOf(one)
            return { byTransaction: held === before || now !== before, loses: false }
          }).pipe(
            Effect.catchIf(isLost, () => Effect.succeed({ byTransaction: true, loses: true })),
            (looking) => answered(sql, looking, wait)
          )
        )
        if (found.byTransaction) return found
      }
      return direct
    })
  )

const known = new WeakMap<PgClient.PgClient, Pooling>()

/** Looked at once a client. What cannot be found out is no obstacle: the statements that follow tell what is wrong. */
export const poolingOf = (sql: PgClient.PgClient): Effect.Effect<Pooling> =>
  Effect.suspend(() => {
    const found = known.get(sql)
    // Whoever brings streams of their own (PGlite) brings no pooler.
    if (found !== undefined || sql.config.stream !== undefined) return Effect.succeed(found ?? direct)
    return look(sql).pipe(
      Effect.tap((pooling) => Effect.sync(() => known.set(sql, pooling))),
      Effect.orElseSucceed(() => direct)
    )
  })

const through = "the connections go through a pooler that hands out transactions, as PgBouncer does in transaction mode"

/** Why a client cannot be used: `undefined` if it can. */
export const poolingFault = (sql: PgClient.PgClient): Effect.Effect<string | undefined> =>
  Effect.map(poolingOf(sql), ({ loses }) => (loses ? `${through}, and lose prepared statements: ${prepareHint}` : undefined))

/** Why a client cannot be listened on. */
export const listenFault = `${through}, where nobody can listen: set listen to false, or to the URL of a direct connection`
