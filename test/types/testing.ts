/** Types of `eventfold/testing`: this file is compiled and never run. */
import { Context, Effect, type Layer, Result } from "effect"
import { MessageBus } from "eventfold"
import { Scenario } from "eventfold/testing"
import { Account, ada, Deposit, Deposited, Opened, Overdrawn, Withdraw, Withdrawn } from "../support/bank.ts"
import { exactly } from "./support.ts"

class Clerk extends Context.Service<Clerk, { readonly approve: Effect.Effect<boolean> }>()("test/Clerk") {}

// -----------------------------------------------------------------------------
// Scenario.aggregate
// -----------------------------------------------------------------------------

const account = Scenario.aggregate(Account)
const decided = account.given([Opened.make({ owner: "Ada" })]).when((state) => {
  exactly<typeof state, { owner: string; balance: number }>()
  return state.balance < 5 ? Result.fail(new Overdrawn({ missing: 5 })) : Result.succeed([Withdrawn.make({ amount: 5 })])
})
exactly<ReturnType<typeof decided.then>, Effect.Effect<void>>()
decided.then([Withdrawn.make({ amount: 5 })])
decided.thenFails(new Overdrawn({ missing: 5 }))
decided.thenState({ owner: "Ada", balance: 0 })

const approved = account.when(() => Effect.flatMap(Clerk, ({ approve }) => Effect.as(approve, [Opened.make({ owner: "Ada" })])))
exactly<ReturnType<typeof approved.then>, Effect.Effect<void, never, Clerk>>()

// @ts-expect-error an event of another aggregate
account.given([{ _tag: "Shipped" }])
// @ts-expect-error an event of another aggregate
decided.then([{ _tag: "Shipped" }])
// @ts-expect-error an error that the decision does not have
decided.thenFails(new Error("no"))
// @ts-expect-error a state of another shape
decided.thenState({ owner: "Ada" })
// @ts-expect-error a decision gives events of the aggregate
account.when(() => Effect.succeed([{ _tag: "Shipped" }]))

// -----------------------------------------------------------------------------
// Scenario.bus
// -----------------------------------------------------------------------------

declare const DepositLive: Layer.Layer<MessageBus.Handler<"Deposit">, "offline", Clerk | Scenario.Environment>

const bank = Scenario.bus(DepositLive).given(Scenario.stream(Account, ada, [Deposited.make({ amount: 5 })]))
const deposited = bank.when(MessageBus.execute(Deposit, { account: ada, amount: 5 }))
exactly<ReturnType<typeof deposited.then>, Effect.Effect<void, never, Clerk>>()
deposited.thenReturns(10)
deposited.thenState(Account, ada, { owner: "", balance: 10 })

// A command whose handler is not there stays required.
const withdrawn = bank.when(MessageBus.execute(Withdraw, { account: ada, amount: 5 }))
exactly<ReturnType<typeof withdrawn.then>, Effect.Effect<void, never, Clerk | MessageBus.Handler<"Withdraw">>>()
withdrawn.thenFails(new Overdrawn({ missing: 5 }))

// @ts-expect-error the command returns a number
deposited.thenReturns("10")
// @ts-expect-error the command does not fail so
deposited.thenFails(new Overdrawn({ missing: 5 }))
// @ts-expect-error an id of another type
Scenario.stream(Account, "ada", [])
// @ts-expect-error an event of another aggregate
Scenario.stream(Account, ada, [{ _tag: "Shipped" }])
// @ts-expect-error an event that is not listed
Scenario.messages([Opened], [Deposited.make({ amount: 5 })])
