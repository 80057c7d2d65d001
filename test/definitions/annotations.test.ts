import assert from "node:assert/strict"
import { describe, it } from "@effect/vitest"
import { Context, Effect, Layer, Result, Schema, Stream } from "effect"
import {
  Aggregate,
  Command,
  Decider,
  Event,
  EventStore,
  MessageBus,
  ProcessManager,
  Projection,
  Repository,
  UnitOfWork
} from "eventfold"
import { readersOf } from "../../src/definitions/listing.ts"

class Team extends Context.Service<Team, string>()("test/Team") {}
const Audited = Context.Reference<boolean>("test/Audited", { defaultValue: () => false })

const Deposited = Event.make("Deposited", { amount: Schema.Int }, { tags: ({ amount }) => [`amount:${amount}`] })
const Viewed = Event.retired("Viewed")
const Deposit = Command.make("Deposit", {
  payload: { account: Schema.NonEmptyString, amount: Schema.Int },
  primaryKey: ({ account }) => account
})
const folds = { Deposited: (balance: number, { amount }: { readonly amount: number }) => balance + amount }
const Account = Aggregate.make("Account", {
  state: Schema.Int,
  events: [Deposited, Viewed],
  initial: 0,
  evolve: folds,
  snapshot: { every: 2 }
})
const Deciding = Decider.make("Deciding", {
  events: [Deposited],
  initial: 0,
  evolve: folds,
  commands: [Deposit],
  decide: { Deposit: ({ amount }) => Deposited.make({ amount }) }
})
const Balances = Projection.make("Balances", { version: 1, events: [Deposited], handlers: { Deposited: () => Effect.void } })
const Watching = ProcessManager.make("Watching", {
  events: [Deposited],
  correlate: { Deposited: () => "all" },
  initial: 0,
  evolve: folds,
  react: { Deposited: () => [] }
})

const definitions: Readonly<Record<string, Event.Definition>> = {
  Deposited,
  Viewed,
  Deposit,
  Account,
  Deciding,
  Balances,
  Watching
}

describe("a definition", () => {
  for (const [name, definition] of Object.entries(definitions)) {
    it(`is annotated as a copy: ${name}`, () => {
      const annotated = definition.annotate(Team, "billing")
      assert.equal(Context.getUnsafe(annotated.annotations, Team), "billing")
      assert.ok(!("test/Team" in Object.fromEntries(definition.annotations.mapUnsafe)))
      // A later one stands in place of an earlier one, the others stay.
      const more = annotated.annotate(Team, "shop").annotateMerge(Context.make(Audited, true))
      assert.equal(Context.getUnsafe(more.annotations, Team), "shop")
      assert.equal(Context.get(more.annotations, Audited), true)
      assert.equal(Context.get(annotated.annotations, Audited), false)
    })

    it(`has a pipe: ${name}`, () => {
      assert.equal(
        definition.pipe((self) => self),
        definition
      )
    })

    it(`keeps all that it has: ${name}`, () => {
      const has = (self: object) => Object.fromEntries(Object.entries(self).filter(([key]) => !/^(annot|make)/.test(key)))
      const [copy, original] = [has(definition.annotate(Team, "billing")), has(definition)]
      assert.deepEqual(Object.keys(copy).sort(), Object.keys(original).sort())
      for (const [key, value] of Object.entries(original)) assert.equal(copy[key], value, key)
    })
  }

  it("of an event stays a schema, and Schema's own annotations make one", () => {
    const annotated = Deposited.annotate(Audited, true)
    assert.deepEqual(annotated.make({ amount: 1 }), { _tag: "Deposited", amount: 1 })
    assert.deepEqual(Schema.decodeUnknownSync(annotated)({ _tag: "Deposited", amount: 1 }), { _tag: "Deposited", amount: 1 })
    assert.deepEqual(
      Result.getOrThrow(Event.encode(annotated, annotated.make({ amount: 1 }))),
      Result.getOrThrow(Event.encode(Deposited, Deposited.make({ amount: 1 })))
    )
    const titled = Deposited.annotate({ title: "A deposit" })
    assert.equal(Schema.resolveAnnotations(titled)?.title, "A deposit")
  })

  it("of a command keeps its primary key", () => {
    const payload = Deposit.annotate(Audited, true).payloadSchema.make({ account: "1", amount: 1 })
    assert.deepEqual(payload, Deposit.payloadSchema.make({ account: "1", amount: 1 }))
  })

  it("of an aggregate finds the snapshots of the one that it is a copy of", () => {
    const again = Aggregate.make("Account", {
      state: Schema.Int,
      events: [Deposited.annotate(Audited, true), Viewed],
      initial: 0,
      evolve: folds,
      snapshot: { every: 2 }
    })
    assert.equal(again.snapshot?.fingerprint, Account.snapshot?.fingerprint)
  })
})

/** Two aggregates that call an event alike: what tells the one from the other must take a copy for what it is a copy of. */
const Filed = Event.make("Filed", { text: Schema.String })
const Report = Aggregate.make("Report", { events: [Filed], initial: "", evolve: { Filed: (_, { text }) => text } })
Aggregate.make("Complaint", { events: [Event.make("Filed", { by: Schema.String })], initial: 0, evolve: { Filed: () => 1 } })

describe("a copy and the definition it is a copy of", () => {
  const copy = Filed.annotate(Audited, true)
  const stores = Layer.mergeAll(UnitOfWork.layer).pipe(Layer.provideMerge(EventStore.layerMemory))
  const heardBy = (listened: typeof Filed, staged: typeof Filed) =>
    Effect.gen(function* () {
      const heard: Array<string> = []
      const Act = Command.make("Act")
      const aggregate = Aggregate.make("Report", { events: [staged], initial: "", evolve: { Filed: (_, { text }) => text } })
      const Live = Layer.mergeAll(
        MessageBus.handle(Act.annotate(Audited, true), () =>
          Effect.asVoid(Repository.execute(aggregate, "1", () => staged.make({ text: "a" })))
        ),
        MessageBus.listen(listened, ({ text }) => Effect.sync(() => heard.push(text)))
      ).pipe(Layer.provideMerge(MessageBus.layer), Layer.provideMerge(stores))
      yield* Effect.provide(MessageBus.execute(Act, undefined), Live)
      return heard
    })

  it.effect("are one to the listeners of the bus", () =>
    Effect.gen(function* () {
      assert.deepEqual(yield* heardBy(copy, Filed), ["a"])
      assert.deepEqual(yield* heardBy(Filed, copy), ["a"])
      assert.deepEqual(yield* heardBy(copy, copy.annotate(Team, "press")), ["a"])
    })
  )

  it.effect("are one to whoever reads what is stored", () =>
    Effect.gen(function* () {
      const read: Array<string> = []
      // The copy is listed by an aggregate of another name as well: what stands in the streams of the first is its event all the same.
      Aggregate.make("Memo", { events: [copy], initial: "", evolve: { Filed: (_, { text }) => text } })
      yield* UnitOfWork.transact(Repository.execute(Report, "1", () => Filed.make({ text: "a" })))
      const Live = MessageBus.listen(copy, ({ text }) => Effect.sync(() => read.push(text)), { replay: true })
      yield* Effect.provide(Stream.runDrain(MessageBus.replay()), Live.pipe(Layer.provideMerge(MessageBus.layer)))
      assert.deepEqual(read, ["a"])
    }).pipe(Effect.provide(stores))
  )

  it.effect("of an aggregate work on the same streams, in one unit of work as well", () =>
    Effect.gen(function* () {
      const annotated = Report.annotate(Team, "press")
      yield* UnitOfWork.transact(
        Effect.gen(function* () {
          yield* Repository.execute(Report, "1", () => Filed.make({ text: "a" }))
          const { state, version } = yield* Repository.load(annotated, "1")
          assert.deepEqual([state, version], ["a", 1])
          yield* Repository.execute(annotated, "1", () => copy.make({ text: "b" }))
          assert.equal((yield* Repository.load(Report, "1")).state, "b")
        })
      )
      assert.deepEqual(yield* Repository.read(annotated, "1"), { state: "b", version: 2 })
    }).pipe(Effect.provide(stores))
  )

  it("may stand in one list of events, as one definition that stands there twice", () => {
    assert.deepEqual([...(readersOf("test", [Filed, copy]).get("Filed")?.values() ?? [])].length, 1)
    assert.throws(
      () => Aggregate.make("Twice", { events: [Filed, copy], initial: 0, evolve: { Filed: () => 1 } }),
      /listed twice/
    )
  })

  it("of a decider decides", () => {
    const annotated = Deciding.annotate(Team, "billing")
    assert.deepEqual(annotated.decide.Deposit({ account: "1", amount: 5 }, 0), Deposited.make({ amount: 5 }))
    assert.equal(Aggregate.fold(annotated, [Deposited.make({ amount: 5 })]), 5)
  })
})
