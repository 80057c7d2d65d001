/** What server and client share: the commands, their results and their errors. It knows no handler and no store. */
import { Schema } from "effect"
import { RpcGroup, RpcMiddleware } from "effect/rpc"
import { Command } from "eventfold"

export const AccountId = Schema.NonEmptyString.pipe(Schema.brand("AccountId"))

export class Overdrawn extends Schema.TaggedError<Overdrawn>()("Overdrawn", { missing: Schema.Int }) {}

export const Deposit = Command.make("Deposit", {
  payload: { account: AccountId, amount: Schema.Int },
  success: Schema.Struct({ balance: Schema.Int })
})

export const Withdraw = Command.make("Withdraw", {
  payload: { account: AccountId, amount: Schema.Int },
  success: Schema.Struct({ balance: Schema.Int }),
  error: Overdrawn
})

/** Who calls is not known. */
export class Unauthorized extends Schema.TaggedError<Unauthorized>()("Unauthorized", {}) {}

export class Authentication extends RpcMiddleware.Service<Authentication>()("bank/Authentication", { error: Unauthorized }) {}

/**
 * A command is an `Rpc`, so a group of them can be served as it is. Beside the errors of each command a caller sees `Unauthorized`, and one
 * `CommandFailure` for all that may go wrong in the service.
 */
export class Bank extends RpcGroup.make(Deposit, Withdraw).middleware(Authentication).middleware(Command.CommandFailures) {}
