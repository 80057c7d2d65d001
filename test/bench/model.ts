import { Effect, Schema } from "effect"
import { Aggregate, Command, Event, MessageBus, Repository } from "eventfold"

export const MoneyDeposited = Event.make("MoneyDeposited", {
  amount: Schema.Int,
  currency: Schema.Literals(["EUR", "USD"]),
  reference: Schema.String,
  by: Schema.String
})

export const Account = Aggregate.make("Account", {
  events: [MoneyDeposited],
  initial: { balance: 0 },
  evolve: { MoneyDeposited: ({ balance }, { amount }) => ({ balance: balance + amount }) }
})

/** The same, and its state is kept at every hundredth event where there are snapshots. */
export const KeptAccount = Aggregate.make("Account", {
  events: [MoneyDeposited],
  initial: { balance: 0 },
  evolve: { MoneyDeposited: ({ balance }, { amount }) => ({ balance: balance + amount }) },
  snapshot: { state: Schema.Struct({ balance: Schema.Int }), every: 100 }
})

export const Deposit = Command.make("Deposit", {
  payload: { account: Schema.NonEmptyString, amount: Schema.Int },
  success: Schema.Int
})

export const depositHandler = MessageBus.handle(Deposit, ({ account, amount }) =>
  Effect.map(
    Repository.execute(Account, account, () => Effect.succeed([deposited(amount)])),
    ({ state }) => state.balance
  )
)

/** The typed event. */
export const deposited = (amount: number) =>
  MoneyDeposited.make({ amount, currency: "EUR", reference: `Invoice ${amount}`, by: "ada.lovelace@example.com" })

/** The same as what is stored of it. */
export const payloadOf = (amount: number) =>
  JSON.stringify({ amount, currency: "EUR", reference: `Invoice ${amount}`, by: "ada.lovelace@example.com" })
