/** Forgetting a group, whose members take turns with it. */
import * as Effect from "effect/Effect"
import { isSqlError } from "effect/sql/SqlError"
import { inTransaction, shortPatience } from "../../sql/transaction.ts"
import { GroupInUseError, type Transport } from "../../transport/Transport.ts"
import { failAs, type Shared } from "./shared.ts"

export const makeForget = ({ ask, sql, statements }: Shared): Transport["Service"]["forget"] =>
  Effect.fnUntraced(function* (group) {
    const work = Effect.gen(function* () {
      if ((yield* ask(statements.lockGroup, [group])) === 0) return false
      if (yield* ask(statements.forget, [group])) return true
      return yield* new GroupInUseError({ group, detail: "a member has messages in hand" })
    })
    return yield* Effect.mapError(inTransaction(sql, work, shortPatience), (error) =>
      isSqlError(error) ? failAs("forget")(error) : error
    )
  })

/** How many messages a group has not done with. */
export const makeWaiting =
  ({ ask, statements }: Shared): NonNullable<Transport["Service"]["waiting"]> =>
  (group) =>
    Effect.mapError(ask(statements.waiting, [group]), failAs("waiting"))
