import { Effect, Schema } from "effect"
import { Aggregate, Command, Event, Repository } from "eventfold"

// The domain of the tests of units of work and of the bus: accounts with a balance.

export const AccountId = Schema.NonEmptyString.pipe(Schema.brand("AccountId"))
export const ada = AccountId.make("ada")
export const ben = AccountId.make("ben")

export const Opened = Event.make("Opened", { owner: Schema.String })
export const Deposited = Event.make("Deposited", { amount: Schema.Int })
export const Withdrawn = Event.make("Withdrawn", { amount: Schema.Int }, { published: true })

export const Account = Aggregate.make("Account", {
  id: AccountId,
  events: [Opened, Deposited, Withdrawn],
  initial: { owner: "", balance: 0 },
  evolve: {
    Opened: (state, { owner }) => ({ ...state, owner }),
    Deposited: (state, { amount }) => ({ ...state, balance: state.balance + amount }),
    Withdrawn: (state, { amount }) => ({ ...state, balance: state.balance - amount })
  }
})

export class Overdrawn extends Schema.TaggedError<Overdrawn>()("Overdrawn", { missing: Schema.Int }) {}

/** Stages one deposit, whatever the state. */
export const deposit = (id: typeof AccountId.Type, amount: number) =>
  Repository.execute(Account, id, () => Effect.succeed([Deposited.make({ amount })]))

/** Stages a withdrawal, if the balance allows it. */
export const withdraw = (id: typeof AccountId.Type, amount: number) =>
  Repository.execute(Account, id, ({ balance }) =>
    balance < amount ? Effect.fail(new Overdrawn({ missing: amount - balance })) : Effect.succeed([Withdrawn.make({ amount })])
  )

export const Deposit = Command.make("Deposit", {
  payload: { account: AccountId, amount: Schema.Int },
  success: Schema.Int
})

export const Withdraw = Command.make("Withdraw", {
  payload: { account: AccountId, amount: Schema.Int },
  success: Schema.Int,
  error: Overdrawn
})
