import type * as PgClient from "@effect/sql-pg/PgClient"
import type * as PgConnection from "@effect/sql-pg/PgConnection"
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import type * as Scope from "effect/Scope"
import type { SqlError } from "effect/sql/SqlError"

const typeId: typeof PgConnection.TypeId = "~@effect/sql-pg/PgConnection"

/** The driver's connections have their session, though their type does not say so. */
const sessionIn = (connection: unknown): PgConnection.PgConnection | undefined =>
  Predicate.hasProperty(connection, "connection") && Predicate.hasProperty(connection.connection, typeId)
    ? (connection.connection as PgConnection.PgConnection)
    : undefined

/**
 * A session of the pool, for oneself alone until the scope closes. That waits for no answer: where something is under way, or is listened
 * to, the session ends.
 */
export const takeSession = (sql: PgClient.PgClient): Effect.Effect<PgConnection.PgConnection, SqlError | Error, Scope.Scope> =>
  Effect.flatMap(sql.reserve, (connection) => {
    const session = sessionIn(connection)
    return session === undefined
      ? Effect.fail(new Error("this PgClient has connections without sessions"))
      : Effect.succeed(session)
  })
