import assert from "node:assert/strict"
import { describe, it } from "@effect/vitest"
import { DateTime, Effect, Layer, Schema, SchemaGetter, Stream } from "effect"
import {
  Aggregate,
  Checkpoints,
  Command,
  Consumer,
  DeadLetters,
  Event,
  EventStore,
  MessageBus,
  ProcessManager,
  Projection,
  Repository,
  Subscription,
  Transport,
  UnitOfWork
} from "eventfold"
import { SqliteCheckpoints, SqliteEventStore } from "eventfold/sqlite"
import { Scenario } from "eventfold/testing"
import { eventually, start } from "../support/words.ts"

/** Two aggregates that call an event alike, with payloads that have a field in common. */
const CustomerCreated = Event.make("Created", { name: Schema.String, email: Schema.String }, { published: true })
const InvoiceCreated = Event.make("Created", { name: Schema.String, total: Schema.Int }, { published: true })

const Customer = Aggregate.make("Customer", {
  events: [CustomerCreated],
  initial: { email: "" },
  evolve: { Created: (_, { email }) => ({ email }) }
})
const Invoice = Aggregate.make("Invoice", {
  events: [InvoiceCreated],
  initial: { total: 0 },
  evolve: { Created: (_, { total }) => ({ total }) }
})

const ada = CustomerCreated.make({ name: "Ada", email: "ada@example.com" })
const bill = InvoiceCreated.make({ name: "Bill", total: 5 })

const both = Effect.gen(function* () {
  yield* Repository.append(Invoice, "1", [bill])
  yield* Repository.append(Customer, "1", [ada])
})

const stageBoth = UnitOfWork.transact(
  Effect.gen(function* () {
    yield* Repository.execute(Invoice, "1", () => Effect.succeed([bill]))
    yield* Repository.execute(Customer, "1", () => Effect.succeed([ada]))
  })
)

const Act = Command.make("Act", {})
const acting = <E extends UnitOfWork.CommitError>(
  effect: Effect.Effect<unknown, E, EventStore.EventStore | UnitOfWork.UnitOfWork>
) => MessageBus.handle(Act, () => Effect.asVoid(effect))

const stores = Layer.mergeAll(UnitOfWork.layer, Checkpoints.layerMemory).pipe(Layer.provideMerge(EventStore.layerMemory))

const heardBy = <E extends UnitOfWork.CommitError>(
  work: Effect.Effect<unknown, E, EventStore.EventStore | UnitOfWork.UnitOfWork>
) =>
  Effect.gen(function* () {
    const heard: Array<unknown> = []
    const hear = (event: unknown) => Effect.sync(() => void heard.push(event))
    const listeners = Layer.mergeAll(
      MessageBus.listen(CustomerCreated, hear, { replay: true }),
      MessageBus.listen(InvoiceCreated, hear, { replay: true })
    )
    const Live = Layer.mergeAll(acting(work), listeners).pipe(Layer.provideMerge(MessageBus.layerWith({ record: "none" })))
    yield* Effect.gen(function* () {
      yield* MessageBus.execute(Act, undefined)
      assert.deepEqual(heard.splice(0), [bill, ada])
      yield* Stream.runDrain(MessageBus.replay())
      assert.deepEqual(heard, [bill, ada])
    }).pipe(Effect.scoped, Effect.provide(Live.pipe(Layer.provideMerge(stores))))
  })

const reached = (name: string, position: number) =>
  eventually(
    `"${name}" is at ${position}`,
    Effect.map(Subscription.status(name), (status) => status.position === position)
  )

describe("two definitions of one type", () => {
  it.effect("a listener hears what was staged with its own definition", () => heardBy(stageBoth))

  it.effect("a listener hears what was staged untyped in a stream of its own aggregate", () =>
    heardBy(
      UnitOfWork.transact(
        Effect.gen(function* () {
          yield* UnitOfWork.stage("Invoice-1", [{ type: "Created", payload: { name: "Bill", total: 5 } }])
          yield* UnitOfWork.stage("Customer-1", [{ type: "Created", payload: { name: "Ada", email: "ada@example.com" } }])
        })
      )
    )
  )

  it.effect("what is published on the bus is heard by listeners of that very definition", () => {
    const One = Event.make("Announced", { text: Schema.String })
    const Other = Event.make("Announced", { number: Schema.Int })
    const heard: Array<unknown> = []
    const hear = (event: unknown) => Effect.sync(() => void heard.push(event))
    const Live = Layer.mergeAll(MessageBus.listen(One, hear), MessageBus.listen(Other, hear)).pipe(
      Layer.provideMerge(MessageBus.layer),
      Layer.provideMerge(stores)
    )
    return Effect.gen(function* () {
      yield* MessageBus.publish(Other, Other.make({ number: 1 }))
      assert.deepEqual(heard, [Other.make({ number: 1 })])
    }).pipe(Effect.scoped, Effect.provide(Live))
  })

  it.effect("two aggregates on one stream each fold what the other has staged by their own definition", () => {
    const Cents = Event.make("Paid", { cents: Schema.Int })
    const Text = Event.make("Paid", {
      cents: Schema.Int.pipe(
        Schema.decodeTo(Schema.String, {
          decode: SchemaGetter.transform(String),
          encode: SchemaGetter.transform(Number)
        })
      )
    })
    const numbers = Aggregate.make("Ledger", { events: [Cents], initial: 0, evolve: { Paid: (sum, { cents }) => sum + cents } })
    const texts = Aggregate.make("Ledger", {
      events: [Text],
      initial: "",
      evolve: { Paid: (all, { cents }) => `${all},${cents}` }
    })
    return UnitOfWork.transact(
      Effect.gen(function* () {
        yield* Repository.execute(numbers, "1", () => Effect.succeed([Cents.make({ cents: 5 })]))
        yield* Repository.execute(texts, "1", () => Effect.succeed([Text.make({ cents: "6" })]))
        assert.equal((yield* Repository.load(numbers, "1")).state, 11)
        assert.equal((yield* Repository.load(texts, "1")).state, ",5,6")
      })
    ).pipe(Effect.provide(stores))
  })

  it.live("a subscription handles the events of its own aggregate, and passes those of the other", () =>
    Effect.gen(function* () {
      const seen: Array<unknown> = []
      const note = (event: unknown) => Effect.sync(() => void seen.push(event))
      yield* both
      yield* start(Subscription.layer({ name: "welcome", events: [CustomerCreated], handlers: { Created: note } }))
      yield* start(Subscription.layer({ name: "ledger", events: [InvoiceCreated], handlers: { Created: note } }))
      yield* both
      for (const name of ["welcome", "ledger"]) yield* reached(name, 4)
      assert.deepEqual(
        seen.filter((event) => Schema.is(CustomerCreated)(event)),
        [ada, ada]
      )
      assert.deepEqual(
        seen.filter((event) => Schema.is(InvoiceCreated)(event)),
        [bill, bill]
      )
    }).pipe(Effect.scoped, Effect.provide(stores), Effect.provideService(Subscription.Registry, new Map()))
  )

  for (const batched of [false, true]) {
    const View = Projection.table("customers", { key: "id", fields: { id: Schema.String, email: Schema.String } })
    const put = ({ email }: typeof CustomerCreated.Type, { stream }: { readonly stream: string }) =>
      View.upsert({ id: stream, email })
    const common = { version: 1, tables: [View], events: [CustomerCreated] } as const
    const Customers = batched
      ? Projection.make("Customers", {
          ...common,
          batch: (items) => Effect.forEach(items, (item) => put(item.event, item), { discard: true })
        })
      : Projection.make("Customers", { ...common, handlers: { Created: put } })
    const how = batched ? "with a batch" : "with handlers"
    const databases = () =>
      Layer.mergeAll(UnitOfWork.layerSql, SqliteCheckpoints.layer).pipe(
        Layer.provideMerge(SqliteEventStore.layerFile({ filename: ":memory:" }))
      )

    it.live(`a projection ${how} handles the events of its own aggregate`, () =>
      Effect.gen(function* () {
        yield* both
        yield* start(Projection.layer(Customers))
        yield* Repository.append(Invoice, "2", [bill])
        yield* Projection.awaitPosition(Customers, 3, { timeout: "5 seconds" })
        assert.deepEqual(yield* View.list(), [{ id: "Customer-1", email: ada.email }])
      }).pipe(Effect.scoped, Effect.provide(databases()), Effect.provideService(Subscription.Registry, new Map()))
    )

    it.live(`an inline projection ${how} handles the events of its own aggregate`, () =>
      Effect.gen(function* () {
        yield* start(Projection.inline(Customers))
        yield* stageBoth
        assert.deepEqual(yield* View.list(), [{ id: "Customer-1", email: ada.email }])
      }).pipe(Effect.scoped, Effect.provide(databases()), Effect.provideService(Subscription.Registry, new Map()))
    )
  }

  it.live("a process manager reacts to the events of its own aggregate", () => {
    const Welcome = Command.make("Welcome", { payload: { email: Schema.String } })
    const welcomed: Array<string> = []
    const Welcoming = ProcessManager.make("Welcoming", {
      events: [CustomerCreated],
      correlate: { Created: ({ name }) => name },
      initial: {},
      evolve: { Created: (state) => state },
      react: { Created: (_, { email }) => [ProcessManager.send(Welcome, { email })] }
    })
    const Live = MessageBus.handle(Welcome, ({ email }) => Effect.sync(() => void welcomed.push(email))).pipe(
      Layer.provideMerge(MessageBus.layer),
      Layer.provideMerge(stores)
    )
    return Effect.gen(function* () {
      yield* both
      yield* start(ProcessManager.layer(Welcoming))
      yield* eventually(
        "both events have been passed",
        Effect.map(Subscription.status("process:Welcoming"), ({ position }) => position >= 2)
      )
      assert.deepEqual(welcomed, [ada.email])
    }).pipe(Effect.scoped, Effect.provide(Live), Effect.provideService(Subscription.Registry, new Map()))
  })

  it.live("a consumer handles the messages of its own aggregate, and acknowledges those of the other", () => {
    const message = (id: string, subject: string, data: Schema.Json): Transport.Message => ({
      specversion: "1.0",
      id,
      source: "/shop",
      type: "Created",
      subject,
      time: DateTime.makeUnsafe("2030-01-01T00:00:00Z"),
      datacontenttype: "application/json",
      data,
      schemaversion: 1,
      position: Number(id)
    })
    const seen: Array<string> = []
    const Mails = Consumer.layer(
      [CustomerCreated],
      { Created: ({ email }) => Effect.sync(() => void seen.push(email)) },
      { group: "mails" }
    )
    return Effect.gen(function* () {
      yield* start(Mails)
      yield* Transport.publish([
        message("1", "Invoice-1", { name: "Bill", total: 5 }),
        message("2", "Customer-1", { name: "Ada", email: "one" }),
        message("3", "Elsewhere-1", { name: "Ben", email: "two" })
      ])
      yield* eventually(
        "both have come",
        Effect.sync(() => seen.length === 2)
      )
      assert.deepEqual(seen.toSorted(), ["one", "two"])
      const letters = yield* DeadLetters.DeadLetters
      assert.deepEqual(yield* letters.list("mails"), [])
    }).pipe(Effect.scoped, Effect.provide(Layer.mergeAll(Transport.layerMemory, DeadLetters.layerMemory)))
  })

  it.live("a definition of no aggregate reads every event of its type, wherever it stands", () => {
    const Named = Event.make("Created", { name: Schema.String })
    const seen: Array<string> = []
    return Effect.gen(function* () {
      yield* both
      yield* start(
        Subscription.layer({
          name: "names",
          events: [Named],
          handlers: { Created: ({ name }) => Effect.sync(() => void seen.push(name)) }
        })
      )
      yield* reached("names", 2)
      assert.deepEqual(seen, ["Bill", "Ada"])
    }).pipe(Effect.scoped, Effect.provide(stores), Effect.provideService(Subscription.Registry, new Map()))
  })

  it.live("two aggregates of one name, an old and a new one, both go on", () => {
    const Old = Event.make("Renamed", { name: Schema.String })
    const New = Event.make("Renamed", { name: Schema.String, by: Schema.optionalKey(Schema.String) })
    const evolve = { Renamed: (_: string, { name }: { readonly name: string }) => name }
    const before = Aggregate.make("Book", { events: [Old], initial: "", evolve })
    const after = Aggregate.make("Book", { events: [New], initial: "", evolve })
    const seen: Array<unknown> = []
    const note = (event: unknown) => Effect.sync(() => void seen.push(event))
    return Effect.gen(function* () {
      yield* Repository.append(before, "1", [Old.make({ name: "a" })])
      yield* Repository.append(after, "1", [New.make({ name: "b", by: "c" })])
      yield* start(Subscription.layer({ name: "old", events: [Old], handlers: { Renamed: note } }))
      yield* reached("old", 2)
      yield* start(Subscription.layer({ name: "new", events: [New], handlers: { Renamed: note } }))
      yield* reached("new", 2)
      assert.deepEqual(seen, [
        { _tag: "Renamed", name: "a" },
        { _tag: "Renamed", name: "b" },
        { _tag: "Renamed", name: "a" },
        { _tag: "Renamed", name: "b", by: "c" }
      ])
      assert.equal((yield* Repository.read(after, "1")).state, "b")
    }).pipe(Effect.scoped, Effect.provide(stores), Effect.provideService(Subscription.Registry, new Map()))
  })

  it("in one list are refused by name", () => {
    const events = [CustomerCreated, InvoiceCreated] as const
    const handlers = { Created: () => Effect.void }
    const named = (owner: RegExp) => (error: unknown) =>
      error instanceof RangeError && owner.test(error.message) && error.message.includes('"Created"')
    assert.throws(() => Subscription.layer({ name: "s", events, handlers }), named(/^Subscription "s"/))
    assert.throws(() => Projection.make("p", { version: 1, events, handlers }), named(/^Projection "p"/))
    assert.throws(() => Consumer.layer(events, handlers, { group: "g" }), named(/^Consumer "g"/))
    assert.throws(() => Consumer.run(events, handlers, { group: "g" }), named(/^Consumer "g"/))
    assert.throws(() => Scenario.messages(events, []), named(/^Scenario/))
    assert.throws(() => Aggregate.make("a", { events, initial: 0, evolve: { Created: () => 0 } }), named(/^Aggregate "a"/))
    assert.throws(
      () =>
        ProcessManager.make("m", {
          events,
          correlate: { Created: ({ name }) => name },
          initial: 0,
          evolve: { Created: () => 0 },
          react: { Created: () => [] }
        }),
      named(/"m".*/)
    )
  })
})
