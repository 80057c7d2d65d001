/**
 * Who does something of its own with a transaction hears of each statement in it before the database does: also of those that others
 * send, through whatever client, and of savepoints.
 */
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as SqlClient from "effect/sql/SqlClient"
import type { Connection } from "effect/sql/SqlConnection"
import type { SqlError } from "effect/sql/SqlError"
import * as Stream from "effect/Stream"
import { serviceIn } from "../internal/serviceIn.ts"

/** What is done around a statement: `before` it reaches the database, and `after` it, whatever has become of it. */
export interface Watch {
  readonly before: (text: string) => Effect.Effect<void, SqlError>
  readonly after: (text: string) => void
}

/** The transaction of a client that a fiber is in. */
export const transactionIn = (
  sql: SqlClient.SqlClient,
  context: Context.Context<never>
): SqlClient.TransactionConnection.Service | undefined => serviceIn(context, sql.transactionService)

const watched = (connection: Connection, { after, before }: Watch): Connection => {
  const around =
    <Rest extends ReadonlyArray<unknown>, A>(run: (text: string, ...rest: Rest) => Effect.Effect<A, SqlError>) =>
    (text: string, ...rest: Rest): Effect.Effect<A, SqlError> =>
      Effect.ensuring(
        Effect.flatMap(before(text), () => run.call(connection, text, ...rest)),
        Effect.sync(() => after(text))
      )
  const own: Connection = {
    execute: around(connection.execute),
    executeRaw: around(connection.executeRaw),
    executeUnprepared: around(connection.executeUnprepared),
    executeValues: around(connection.executeValues),
    executeValuesUnprepared: around(connection.executeValuesUnprepared),
    executeStream: (text, ...rest) =>
      Stream.ensuring(
        Stream.unwrap(Effect.map(before(text), () => connection.executeStream(text, ...rest))),
        Effect.sync(() => after(text))
      )
  }
  return new Proxy(connection, {
    get: (_, name) => {
      if (name in own) return own[name as keyof Connection]
      const value: unknown = Reflect.get(connection, name, connection)
      // What else a driver has of its own is that of its connection.
      return typeof value === "function" ? value.bind(connection) : value
    }
  })
}

/**
 * Watches the statements of the transaction that one is in, as long as the effect runs. `work` gets the connection as the others see it
 * meanwhile, and a way past the watch for statements of its own.
 *
 * The transaction is known by its service, which others may have noted (for what is done after COMMIT). So it stays the same one, and the
 * connection in it is exchanged. A client for which that cannot be done gives `orElse`.
 */
export const watching = <A, E, R>(
  sql: SqlClient.SqlClient,
  watch: Watch,
  work: (
    connection: Connection,
    past: <B, F, S>(own: Effect.Effect<B, F, S>) => Effect.Effect<B, F, S>
  ) => Effect.Effect<A, E, R>,
  orElse: Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> =>
  Effect.contextWith((context: Context.Context<R>) => {
    const transaction = transactionIn(sql, context as Context.Context<never>)
    if (transaction === undefined || Object.isFrozen(transaction)) return orElse
    const [connection, depth] = transaction
    const level = transaction as { 0: Connection }
    const own = watched(connection, watch)
    return Effect.acquireUseRelease(
      Effect.sync(() => void (level[0] = own)),
      () => work(own, Effect.provideService(sql.transactionService, [connection, depth])),
      () => Effect.sync(() => void (level[0] = connection))
    )
  })
