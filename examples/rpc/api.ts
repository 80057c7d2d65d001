/** What server and client share: the commands, their results and their errors. It knows no handler and no store. */
import { Schema } from "effect"
import { RpcGroup } from "effect/rpc"
import { Command, UnitOfWork } from "eventfold"

export const AccountId = Schema.NonEmptyString.pipe(Schema.brand("AccountId"))

export class Overdrawn extends Schema.TaggedError<Overdrawn>()("Overdrawn", { missing: Schema.Int }) {}

export const Deposit = Command.make("Deposit", {
  payload: { account: AccountId, amount: Schema.Int },
  success: Schema.Struct({ balance: Schema.Int }),
  error: UnitOfWork.CommitError
})

export const Withdraw = Command.make("Withdraw", {
  payload: { account: AccountId, amount: Schema.Int },
  success: Schema.Struct({ balance: Schema.Int }),
  error: Schema.Union([Overdrawn, UnitOfWork.CommitError])
})

/** A command is an `Rpc`, so a group of them can be served as it is. */
export class Bank extends RpcGroup.make(Deposit, Withdraw) {}
