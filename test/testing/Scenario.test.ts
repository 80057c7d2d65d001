import assert from "node:assert/strict"
import { describe, it } from "@effect/vitest"
import { Cause, Context, DateTime, Effect, Exit, Layer, Result, Schema } from "effect"
import { Aggregate, Event, EventStore, MessageBus, Repository, UnitOfWork } from "eventfold"
import { Scenario } from "eventfold/testing"
import {
  Account,
  ada,
  ben,
  Deposit,
  Deposited,
  deposit,
  Opened,
  Overdrawn,
  Withdraw,
  withdraw,
  Withdrawn
} from "../support/bank.ts"

/** The AssertionError that an effect dies with. */
const complaint = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<assert.AssertionError, never, R> =>
  Effect.map(Effect.exit(effect), (exit) => {
    const error = Exit.isFailure(exit) ? Cause.squash(exit.cause) : undefined
    assert.ok(error instanceof assert.AssertionError, `an AssertionError, not ${String(error)}`)
    return error
  })

const decideWithdrawal =
  (amount: number) =>
  ({ balance }: { readonly balance: number }) =>
    balance < amount ? Result.fail(new Overdrawn({ missing: amount - balance })) : Result.succeed([Withdrawn.make({ amount })])

describe("a scenario of an aggregate", () => {
  const rich = Scenario.aggregate(Account)
    .given([Opened.make({ owner: "Ada" })])
    .given([Deposited.make({ amount: 10 })])

  it.effect("holds when the decision comes to the events, the state or the error", () =>
    Effect.gen(function* () {
      yield* rich.when(decideWithdrawal(4)).then([Withdrawn.make({ amount: 4 })])
      yield* rich.when(decideWithdrawal(4)).thenState({ owner: "Ada", balance: 6 })
      yield* rich.when(decideWithdrawal(11)).thenFails(new Overdrawn({ missing: 1 }))
      yield* rich.when(() => Effect.succeed([])).then([])
      yield* Scenario.aggregate(Account)
        .when(decideWithdrawal(1))
        .thenFails(new Overdrawn({ missing: 1 }))
    })
  )

  it.effect("shows what differs", () =>
    Effect.gen(function* () {
      const other = yield* complaint(rich.when(decideWithdrawal(4)).then([Withdrawn.make({ amount: 5 })]))
      assert.match(other.message, /^The decision came to unexpected events:\n[^]*\+ +amount: 4\n- +amount: 5\n/)
      assert.deepEqual(other.actual, [{ _tag: "Withdrawn", amount: 4 }])
      assert.deepEqual(other.expected, [{ _tag: "Withdrawn", amount: 5 }])
      yield* complaint(rich.when(decideWithdrawal(4)).then([]))
      yield* complaint(rich.when(() => Effect.succeed([])).then([Withdrawn.make({ amount: 5 })]))

      const state = yield* complaint(rich.when(decideWithdrawal(4)).thenState({ owner: "Ada", balance: 5 }))
      assert.match(state.message, /^The decision came to an unexpected state:\n[^]*\+ +balance: 6,\n- +balance: 5,\n/)

      const error = yield* complaint(rich.when(decideWithdrawal(12)).thenFails(new Overdrawn({ missing: 1 })))
      assert.match(error.message, /^The decision came to an unexpected error:\n[^]*\+ +missing: 2\n- +missing: 1\n/)
    })
  )

  it.effect("complains of a failure where events or a state are expected, and of success where an error is", () =>
    Effect.gen(function* () {
      const failure = yield* complaint(rich.when(decideWithdrawal(12)).then([Withdrawn.make({ amount: 12 })]))
      assert.match(failure.message, /^It failed, with\n\{ _tag: 'Overdrawn', missing: 2 \}/)
      yield* complaint(rich.when(decideWithdrawal(12)).thenState({ owner: "Ada", balance: 0 }))
      const success = yield* complaint(rich.when(decideWithdrawal(4)).thenFails(new Overdrawn({ missing: 1 })))
      assert.match(success.message, /^It succeeded, where an error was expected, with[^]*amount: 4/)
    })
  )

  it.effect("runs a decision with the services it needs, and passes on what is no error of its own", () =>
    Effect.gen(function* () {
      class Limit extends Context.Service<Limit, number>()("test/Limit") {}
      const limited = rich.when(({ balance }) =>
        Effect.map(Limit, (limit) => [Withdrawn.make({ amount: Math.min(limit, balance) })])
      )
      yield* Effect.provideService(limited.then([Withdrawn.make({ amount: 3 })]), Limit, 3)
      const broken = rich.when(() => Effect.die("broken")).then([])
      assert.deepEqual(yield* Effect.exit(broken), Exit.die("broken"))
    })
  )

  const Booked = Event.make("Booked", { at: Schema.DateTimeUtc, seats: Schema.BigInt.check(Schema.isGreaterThanBigInt(0n)) })
  const Show = Aggregate.make("Show", {
    events: [Booked],
    initial: { seats: 0n },
    evolve: { Booked: ({ seats }, event) => ({ seats: seats + event.seats }) }
  })
  const noon = () => DateTime.makeUnsafe("2026-01-01T12:00:00Z")

  it.effect("compares values that have a notion of equality of their own by it", () =>
    Effect.gen(function* () {
      const at = noon()
      DateTime.toParts(at) // remembers its parts, which changes nothing about the instant
      const book = Scenario.aggregate(Show).when(() => Effect.succeed([Booked.make({ at, seats: 2n })]))
      yield* book.then([Booked.make({ at: noon(), seats: 2n })])
      yield* complaint(book.then([Booked.make({ at: DateTime.add(noon(), { minutes: 1 }), seats: 2n })]))
    })
  )

  it.effect("fails where an event could not be stored, as production does", () =>
    Effect.gen(function* () {
      const invalid = { _tag: "Booked", at: noon(), seats: 0n } as const
      const book = Scenario.aggregate(Show).when(() => Effect.succeed([invalid]))
      assert.match(
        (yield* complaint(book.then([invalid]))).message,
        /^It failed, with\n[^]*_tag: 'EventEncodeError'[^]*\nEvent "Booked" does not fit its definition/
      )
      const past = Scenario.aggregate(Show)
        .given([invalid])
        .when(() => Effect.succeed([]))
      const exit = yield* Effect.exit(past.then([]))
      assert.ok(Exit.isFailure(exit) && Cause.squash(exit.cause) instanceof Event.EventEncodeError)
    })
  )
})

describe("a scenario of the message bus", () => {
  const Welcomed = Event.make("Welcomed", { owner: Schema.String })
  const Greeted = Event.make("Greeted", { to: Schema.String })
  const Ledger = Aggregate.make("Ledger", {
    events: [Welcomed],
    initial: 0,
    evolve: { Welcomed: (count) => count + 1 }
  })

  class Fee extends Context.Service<Fee, number>()("test/Fee") {}

  const Handlers = Layer.mergeAll(
    MessageBus.handle(Deposit, ({ account, amount }) => Effect.map(deposit(account, amount), ({ state }) => state.balance)),
    MessageBus.handle(Withdraw, ({ account, amount }) =>
      Effect.gen(function* () {
        return (yield* withdraw(account, amount + (yield* Fee))).state.balance
      })
    ),
    MessageBus.listen(Deposited, ({ amount }) =>
      amount < 100
        ? Effect.void
        : Effect.andThen(
            Repository.execute(Ledger, "1", () => Effect.succeed([Welcomed.make({ owner: "Ada" })])),
            MessageBus.publish(Greeted, Greeted.make({ to: "Ada" }))
          )
    )
  )
  const bank = Scenario.bus(Handlers)
  const fee = Effect.provideService(Fee, 1)
  const rich = bank
    .given(
      Scenario.stream(Account, ada, [Opened.make({ owner: "Ada" })]),
      Scenario.stream(Account, ben, [Opened.make({ owner: "Ben" })])
    )
    .given(Scenario.stream(Account, ada, [Deposited.make({ amount: 10 })]))

  it.effect("runs the handlers and the listeners on what is given", () =>
    Effect.gen(function* () {
      const withdrawn = rich.when(MessageBus.execute(Withdraw, { account: ada, amount: 4 }))
      yield* withdrawn.then(Scenario.stream(Account, ada, [Withdrawn.make({ amount: 5 })]))
      yield* withdrawn.thenReturns(5)
      yield* withdrawn.thenState(Account, ada, { owner: "Ada", balance: 5 })
      yield* withdrawn.thenState(Account, ben, { owner: "Ben", balance: 0 })
      yield* rich.when(MessageBus.execute(Withdraw, { account: ada, amount: 10 })).thenFails(new Overdrawn({ missing: 1 }))
      yield* rich
        .when(MessageBus.execute(Deposit, { account: ben, amount: 100 }))
        .then(
          Scenario.messages([Greeted], [Greeted.make({ to: "Ada" })]),
          Scenario.stream(Ledger, "1", [Welcomed.make({ owner: "Ada" })]),
          Scenario.stream(Account, ben, [Deposited.make({ amount: 100 })]),
          Scenario.stream(Account, ada, [])
        )
    }).pipe(fee)
  )

  it.effect("runs units of work, and whatever else uses the store", () =>
    Effect.gen(function* () {
      const transfer = rich.when(UnitOfWork.transact(Effect.andThen(withdraw(ada, 3), deposit(ben, 3))))
      yield* transfer.then(
        Scenario.stream(Account, ben, [Deposited.make({ amount: 3 })]),
        Scenario.stream(Account, ada, [Withdrawn.make({ amount: 3 })])
      )
      yield* rich.when(EventStore.head).then()
      yield* rich.when(EventStore.head).thenReturns(3)
      yield* rich
        .when(Effect.andThen(Repository.append(Account, ada, [Deposited.make({ amount: 1 })]), Effect.fail("late")))
        .thenFails("late")
        .pipe(complaint)
    }).pipe(fee)
  )

  it.effect("shows what differs, also in streams that nobody mentioned", () =>
    Effect.gen(function* () {
      const withdrawn = rich.when(MessageBus.execute(Withdraw, { account: ada, amount: 4 }))
      const other = yield* complaint(withdrawn.then(Scenario.stream(Account, ada, [Withdrawn.make({ amount: 4 })])))
      assert.match(other.message, /^The command came to unexpected events:\n[^]*\+ +amount: 5\n- +amount: 4\n/)
      assert.deepEqual((yield* complaint(withdrawn.then())).actual, {
        "Account-ada": [{ _tag: "Withdrawn", payload: { amount: 5 } }]
      })
      assert.deepEqual((yield* complaint(rich.when(MessageBus.publish(Greeted, Greeted.make({ to: "Ada" }))).then())).actual, {
        $bus: [{ _tag: "Greeted", payload: { to: "Ada" } }]
      })
      yield* complaint(withdrawn.then(Scenario.stream(Account, ben, [Withdrawn.make({ amount: 5 })])))
      yield* complaint(withdrawn.thenReturns(6))
      yield* complaint(withdrawn.thenState(Account, ada, { owner: "Ada", balance: 6 }))
      yield* complaint(withdrawn.thenFails(new Overdrawn({ missing: 1 })))
      const refused = rich.when(MessageBus.execute(Withdraw, { account: ada, amount: 11 }))
      assert.match((yield* complaint(refused.then())).message, /^It failed, with\n\{ _tag: 'Overdrawn'/)
      yield* complaint(refused.thenFails(new Overdrawn({ missing: 1 })))
      yield* complaint(refused.thenReturns(0))
    }).pipe(fee)
  )

  it.effect("starts each time from what is given", () =>
    Effect.gen(function* () {
      let runs = 0
      const counted = bank.when(
        Effect.andThen(
          Effect.sync(() => ++runs),
          MessageBus.execute(Deposit, { account: ada, amount: 1 })
        )
      )
      yield* counted.thenReturns(1)
      yield* counted.thenReturns(1)
      assert.equal(runs, 2)
    }).pipe(fee)
  )

  it.effect("refuses a past that could not be", () =>
    Effect.gen(function* () {
      const foreign = { ...Scenario.stream(Account, ada, []), events: [Welcomed.make({ owner: "Ada" })] }
      assert.ok(Exit.isFailure(yield* Effect.exit(bank.given(foreign).when(EventStore.head).thenReturns(1))))
    }).pipe(fee)
  )
})
