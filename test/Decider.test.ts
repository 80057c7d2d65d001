import assert from "node:assert/strict"
import { describe, it } from "@effect/vitest"
import { Context, Effect, Layer, Result, Schema } from "effect"
import { Aggregate, Command, Decider, Event, EventStore, MessageBus, Repository, UnitOfWork } from "eventfold"
import { Scenario } from "eventfold/testing"

class Overdrawn extends Schema.TaggedError<Overdrawn>()("Overdrawn", { missing: Schema.Int }) {}
class Rates extends Context.Service<Rates, { readonly fee: Effect.Effect<number> }>()("test/Rates") {}

const Deposited = Event.make("Deposited", { amount: Schema.Int })
const Withdrawn = Event.make("Withdrawn", { amount: Schema.Int })
const Closed = Event.make("Closed")

const payload = { account: Schema.NonEmptyString, amount: Schema.Int }
const Deposit = Command.make("Deposit", { payload })
const Withdraw = Command.make("Withdraw", { payload, error: Overdrawn })
const Close = Command.make("Close", { payload: { account: Schema.NonEmptyString } })

const Account = Decider.make("Account", {
  state: Schema.Struct({ status: Schema.Literals(["open", "closed"]), balance: Schema.Int }),
  events: [Deposited, Withdrawn, Closed],
  initial: { status: "open", balance: 0 },
  evolve: {
    Deposited: (state, { amount }) => ({ ...state, balance: state.balance + amount }),
    Withdrawn: (state, { amount }) => ({ ...state, balance: state.balance - amount }),
    Closed: () => ({ status: "closed", balance: 0 })
  },
  commands: [Deposit, Withdraw, Close],
  decide: {
    Deposit: ({ amount }, { status }) => (status === "closed" ? [] : Deposited.make({ amount })),
    Withdraw: ({ amount }, { balance }) =>
      Effect.gen(function* () {
        const { fee } = yield* Rates
        const whole = amount + (yield* fee)
        if (whole > balance) return yield* new Overdrawn({ missing: whole - balance })
        return Withdrawn.make({ amount: whole })
      }),
    Close: (_, { balance }) =>
      Result.succeed(balance === 0 ? [Closed.make({})] : [Withdrawn.make({ amount: balance }), Closed.make({})])
  }
})

const RatesLive = Layer.succeed(Rates, { fee: Effect.succeed(1) })

const Handlers = Layer.mergeAll(
  MessageBus.handle(Deposit, (command) =>
    Effect.asVoid(Repository.execute(Account, command.account, Account.decide.Deposit(command)))
  ),
  MessageBus.handle(Withdraw, (command) =>
    Effect.asVoid(Repository.execute(Account, command.account, Account.decide.Withdraw(command)))
  ),
  MessageBus.handle(Close, (command) =>
    Effect.asVoid(Repository.execute(Account, command.account, Account.decide.Close(command)))
  )
)

describe("a decider", () => {
  it("decides purely, of a command and a state, or of a command for any state", () => {
    const command = { account: "ada", amount: 5 }
    assert.deepEqual(Account.decide.Deposit(command, { status: "open", balance: 0 }), Deposited.make({ amount: 5 }))
    assert.deepEqual(Account.decide.Deposit(command)({ status: "closed", balance: 0 }), [])
    assert.deepEqual(Account.commands, [Deposit, Withdraw, Close])
  })

  it("is an aggregate", () => {
    assert.deepEqual(Aggregate.fold(Account, [Deposited.make({ amount: 5 })]), { status: "open", balance: 5 })
    assert.equal(Account.initial.status, "open")
  })

  it.effect("is told by scenarios", () =>
    Effect.gen(function* () {
      const withFive = Scenario.aggregate(Account).given([Deposited.make({ amount: 5 })])
      yield* withFive.when(Account.decide.Withdraw({ account: "ada", amount: 3 })).then([Withdrawn.make({ amount: 4 })])
      yield* withFive.when(Account.decide.Withdraw({ account: "ada", amount: 5 })).thenFails(new Overdrawn({ missing: 1 }))
      yield* withFive.when(Account.decide.Close({ account: "ada" })).thenState({ status: "closed", balance: 0 })
    }).pipe(Effect.provide(RatesLive))
  )

  it.effect("answers the commands of the bus", () =>
    Effect.gen(function* () {
      yield* MessageBus.execute(Deposit, { account: "ada", amount: 5 })
      yield* MessageBus.execute(Withdraw, { account: "ada", amount: 1 })
      const refused = yield* Effect.flip(MessageBus.execute(Withdraw, { account: "ada", amount: 7 }))
      assert.deepEqual(refused, new Overdrawn({ missing: 5 }))
      yield* MessageBus.execute(Close, { account: "ada" })
      assert.deepEqual(yield* Repository.read(Account, "ada"), { state: { status: "closed", balance: 0 }, version: 4 })
    }).pipe(
      Effect.provide(
        Handlers.pipe(
          Layer.provide(RatesLive),
          Layer.provideMerge(MessageBus.layer),
          Layer.provideMerge(UnitOfWork.layer),
          Layer.provideMerge(EventStore.layerMemory)
        )
      )
    )
  )

  it("lists each command once", () => {
    assert.throws(
      () =>
        Decider.make("A", { events: [], initial: 0, evolve: {}, commands: [Deposit, Deposit], decide: { Deposit: () => [] } }),
      { name: "RangeError", message: 'Decider "A": the command "Deposit" is listed twice' }
    )
  })
})

describe("a decision has any of its forms", () => {
  const five = Deposited.make({ amount: 5 })
  const forms: Readonly<Record<string, () => Aggregate.Decided<typeof five, Overdrawn>>> = {
    "an event": () => five,
    events: () => [five],
    "a Result of an event": () => Result.succeed(five),
    "a Result of events": () => Result.succeed([five]),
    "an Effect of an event": () => Effect.succeed(five),
    "an Effect of events": () => Effect.succeed([five])
  }
  const refusals: Readonly<Record<string, () => Aggregate.Decided<typeof five, Overdrawn>>> = {
    "an error": () => new Overdrawn({ missing: 1 }),
    "a Result": () => Result.fail(new Overdrawn({ missing: 1 })),
    "an Effect": () => Effect.fail(new Overdrawn({ missing: 1 }))
  }
  const Live = UnitOfWork.layer.pipe(Layer.provideMerge(EventStore.layerMemory))

  for (const [form, decide] of Object.entries(forms)) {
    it.effect(`${form}, for Repository.execute and Scenario alike`, () =>
      Effect.gen(function* () {
        const executed = yield* UnitOfWork.transact(Repository.execute(Account, "1", decide))
        assert.deepEqual([executed.events, executed.version], [[five], 1])
        assert.deepEqual(yield* Repository.read(Account, "1"), { state: { status: "open", balance: 5 }, version: 1 })
        yield* Scenario.aggregate(Account).when(decide).then([five])
      }).pipe(Effect.provide(Live))
    )
  }

  for (const [form, decide] of Object.entries(refusals)) {
    it.effect(`a refusal is ${form}`, () =>
      Effect.gen(function* () {
        const error = yield* Effect.flip(UnitOfWork.transact(Repository.execute(Account, "1", decide)))
        assert.deepEqual(error, new Overdrawn({ missing: 1 }))
        yield* Scenario.aggregate(Account)
          .when(decide)
          .thenFails(new Overdrawn({ missing: 1 }))
      }).pipe(Effect.provide(Live))
    )
  }
})

describe("a decision with several errors", () => {
  class Closing extends Schema.TaggedError<Closing>()("Closing", {}) {}
  const Leave = Command.make("Leave", { payload, error: Schema.Union([Overdrawn, Closing]) })
  const Till = Decider.make("Till", {
    events: [Deposited, Withdrawn],
    initial: { balance: 0 },
    evolve: {
      Deposited: ({ balance }, { amount }) => ({ balance: balance + amount }),
      Withdrawn: ({ balance }, { amount }) => ({ balance: balance - amount })
    },
    commands: [Leave],
    decide: {
      Leave: ({ amount }, { balance }) => {
        if (balance === 0) return new Closing()
        return amount > balance ? new Overdrawn({ missing: amount - balance }) : Withdrawn.make({ amount })
      }
    }
  })
  const leave = Till.decide.Leave({ account: "1", amount: 7 })

  it.effect("fails with any of them, by their types, in Repository.execute and in Scenario", () =>
    Effect.gen(function* () {
      yield* Scenario.aggregate(Till).when(leave).thenFails(new Closing())
      yield* Scenario.aggregate(Till)
        .given([Deposited.make({ amount: 5 })])
        .when(leave)
        .thenFails(new Overdrawn({ missing: 2 }))
      const refused = yield* UnitOfWork.transact(Repository.execute(Till, "1", leave)).pipe(
        Effect.as("left"),
        Effect.catchTags({
          Overdrawn: ({ missing }) => Effect.succeed(`${missing} missing`),
          Closing: () => Effect.succeed("closed")
        })
      )
      assert.equal(refused, "closed")
      const result = yield* UnitOfWork.transact(
        Repository.execute(Till, "1", ({ balance }) => {
          if (balance === 0) return Result.fail(new Closing())
          return balance < 7 ? Result.fail(new Overdrawn({ missing: 7 })) : Withdrawn.make({ amount: 7 })
        })
      ).pipe(Effect.flip)
      assert.equal(result._tag, "Closing")
    }).pipe(Effect.provide(UnitOfWork.layer.pipe(Layer.provideMerge(EventStore.layerMemory))))
  )
})

describe("an Effect that makes a handler", () => {
  it.effect("is run once, when the Layer is built, and what it opens is closed with it", () =>
    Effect.gen(function* () {
      const seen: Array<string> = []
      const Draw = Command.make("Draw", { success: Schema.Int })
      const DrawLive = MessageBus.handle(
        Draw,
        Effect.gen(function* () {
          const { fee } = yield* Rates
          yield* Effect.acquireRelease(
            Effect.sync(() => void seen.push("opened")),
            () => Effect.sync(() => void seen.push("closed"))
          )
          return () => fee
        })
      )
      const Live = DrawLive.pipe(
        Layer.provide(RatesLive),
        Layer.provideMerge(MessageBus.layer),
        Layer.provideMerge(UnitOfWork.layer),
        Layer.provideMerge(EventStore.layerMemory)
      )
      const drawn = yield* Effect.andThen(MessageBus.execute(Draw, undefined), MessageBus.execute(Draw, undefined)).pipe(
        Effect.provide(Live)
      )
      assert.deepEqual([drawn, seen], [1, ["opened", "closed"]])
    })
  )

  it.effect("fails the Layer where it fails", () =>
    Effect.gen(function* () {
      const Draw = Command.make("Draw", { success: Schema.Int })
      const error = yield* Effect.flip(Layer.build(MessageBus.handle(Draw, Effect.fail("no numbers")))).pipe(Effect.scoped)
      assert.equal(error, "no numbers")
    })
  )
})
