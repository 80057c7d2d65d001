/** What the rooms of one transport share: how the database is asked, how that fails, and who is to be woken. */
import type * as PgClient from "@effect/sql-pg/PgClient"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import type { SqlError } from "effect/sql/SqlError"
import { makeId } from "../../internal/ids.ts"
import type { Answering } from "../../sql/answering.ts"
import { unavailable } from "../../transport/kit.ts"
import type { TransportError } from "../../transport/Transport.ts"
import { describe } from "../errors.ts"
import type { Statement } from "../sql/statement.ts"
import type { TransportSql } from "../transportSql.ts"

export const failAs =
  (operation: string) =>
  (error: SqlError): TransportError =>
    unavailable(operation, describe(error), error)

/** A batch of more bytes than this is not made larger. */
export const maxBatchBytes = 4 * 1024 * 1024

/** The members of this process. */
interface Members {
  /** `wake` tells the member that there may be something for it; `leave` is run when the Layer closes before the member has left. */
  readonly join: (wake: () => void, leave: Effect.Effect<void>) => void
  readonly drop: (wake: () => void) => void
  readonly wakeAll: Effect.Effect<void>
}

const makeMembers: Effect.Effect<Members, never, Scope.Scope> = Effect.gen(function* () {
  const members = new Map<() => void, Effect.Effect<void>>()
  // Members that outlive the Layer leave with it.
  yield* Effect.addFinalizer(() =>
    Effect.suspend(() => Effect.forEach(Array.from(members.values()), (leave) => leave, { concurrency: 8, discard: true }))
  )
  return {
    join: (wake, leave) => void members.set(wake, leave),
    drop: (wake) => void members.delete(wake),
    wakeAll: Effect.sync(() => {
      for (const wake of members.keys()) wake()
    })
  }
})

export interface Shared {
  readonly answering: Answering
  readonly sql: PgClient.PgClient
  readonly statements: TransportSql
  readonly ask: <A>(statement: Statement<A>, parameters: ReadonlyArray<unknown>) => Effect.Effect<A, SqlError>
  /** Inside a transaction of the same client, work is part of it (`here`). */
  readonly joining: <E>(here: Effect.Effect<void, E>, otherwise: Effect.Effect<void, E>) => Effect.Effect<void, E>
  readonly members: Members
  /** What the notifications of this process say. */
  readonly self: string
  /** Of the Layer. */
  readonly scope: Scope.Scope
}

export const makeShared = Effect.fnUntraced(function* (
  sql: PgClient.PgClient,
  statements: TransportSql,
  answering: Answering
): Effect.fn.Return<Shared, never, Scope.Scope> {
  return {
    answering,
    sql,
    statements,
    ask: ({ read, text }, parameters) =>
      Effect.map(
        // Where the default of transactions is stricter than READ COMMITTED, whoever waited for a lock has to begin anew.
        answering.inTime(
          Effect.retry(sql.unsafe(text, parameters).values, {
            while: ({ reason }) => reason._tag === "SerializationError" || reason._tag === "DeadlockError",
            times: 100
          })
        ),
        read
      ),
    joining: (here, otherwise) =>
      Effect.flatMap(Effect.serviceOption(sql.transactionService), (transaction) =>
        Option.isSome(transaction) ? here : otherwise
      ),
    members: yield* makeMembers,
    self: yield* makeId,
    scope: yield* Effect.scope
  }
})
