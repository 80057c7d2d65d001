import assert from "node:assert/strict"
import { describe, it } from "@effect/vitest"
import { DateTime, Effect, Layer, Queue, Schema, Stream } from "effect"
import { TestClock } from "effect/testing"
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
  Relay,
  Repository,
  Subscription,
  Transport,
  UnitOfWork
} from "eventfold"
import { SqliteCheckpoints, SqliteEventStore } from "eventfold/sqlite"
import { Scenario } from "eventfold/testing"
import { logs } from "../support/logs.ts"
import { until } from "../support/words.ts"

// A domain that has changed: a type renamed (twice), one retired, one split into two of which one was there before.

const Renamed = Event.make(
  "NameChosen",
  { name: Schema.String },
  { aliases: ["Renamed", "NameSet"], version: 2, upcast: { 1: (old) => ({ name: old.n }) }, published: true }
)
const Viewed = Event.retired("Viewed", { aliases: ["Seen"] })
const Moved = Event.make(
  "Moved",
  { city: Schema.String },
  { published: true, from: { AddressChanged: (old) => old.city && { city: old.city } } }
)
const Phoned = Event.make(
  "Phoned",
  { phone: Schema.String },
  { published: true, from: { AddressChanged: (old) => old.phone && { phone: old.phone } } }
)

const events = [Renamed, Viewed, Moved, Phoned] as const

const Customer = Aggregate.make("Customer", {
  events,
  initial: [] as ReadonlyArray<string>,
  evolve: {
    NameChosen: (state, { name }) => [...state, name],
    Moved: (state, { city }) => [...state, city],
    Phoned: (state, { phone }) => [...state, phone]
  }
})

/** What programs of long ago wrote. */
const old: ReadonlyArray<EventStore.NewEvent> = [
  { type: "Renamed", payload: { n: "A" } },
  { type: "NameSet", payload: { name: "B" }, schemaVersion: 2, published: true },
  { type: "Viewed", payload: { by: "x" } },
  { type: "Seen", payload: {} },
  { type: "AddressChanged", payload: { city: "Rome", phone: "1" } },
  { type: "AddressChanged", payload: { phone: "2" } },
  { type: "AddressChanged", payload: {} },
  { type: "NameChosen", payload: { name: "C" }, schemaVersion: 2 }
]
const told = ["A", "B", "Rome", "1", "2", "C"]
const typed = [
  Renamed.make({ name: "A" }),
  Renamed.make({ name: "B" }),
  Moved.make({ city: "Rome" }),
  Phoned.make({ phone: "1" }),
  Phoned.make({ phone: "2" }),
  Renamed.make({ name: "C" })
]

const stores = Layer.mergeAll(UnitOfWork.layer, Checkpoints.layerMemory).pipe(Layer.provideMerge(EventStore.layerMemory))
const sqlite = SqliteCheckpoints.layer.pipe(Layer.provideMerge(SqliteEventStore.layerFile({ filename: ":memory:" })))

const handlersOf = <A, E, R>(handle: (event: unknown) => Effect.Effect<A, E, R>) => ({
  NameChosen: handle,
  Moved: handle,
  Phoned: handle
})

const hearing = () => {
  const heard: Array<unknown> = []
  return { heard, hear: (event: unknown) => Effect.sync(() => void heard.push(event)) }
}

const reached = (name: string, position: number) =>
  until(Effect.map(Subscription.status(name), (status) => status.position === position))

describe("events that have changed are read as they are today", () => {
  it.effect("by the fold, and in the history", () =>
    Effect.gen(function* () {
      yield* EventStore.append("Customer-1", old)
      assert.deepEqual(yield* Repository.read(Customer, "1"), { state: told, version: 8 })
      assert.deepEqual((yield* Repository.read(Customer, "1", { version: 4 })).state, ["A", "B"])
      const history = yield* Stream.runCollect(Repository.events(Customer, "1"))
      assert.deepEqual(
        history.map(({ event }) => event),
        typed
      )
      assert.deepEqual(
        history.map(({ version }) => version),
        [1, 2, 5, 5, 6, 8]
      )
      assert.equal(new Set(history.map(({ id }) => id)).size, 5)
    }).pipe(Effect.provide(stores))
  )

  it.effect("by a decision, also where they have been staged by a unit of work", () =>
    UnitOfWork.transact(
      Effect.gen(function* () {
        yield* UnitOfWork.stage("Customer-1", old)
        const { state, version } = yield* Repository.execute(Customer, "1", (state) =>
          Renamed.make({ name: String(state.length) })
        )
        assert.deepEqual([state, version], [[...told, "6"], 9])
      })
    ).pipe(Effect.provide(stores))
  )

  it.effect("by a subscription, which asks for all their names", () =>
    Effect.gen(function* () {
      yield* EventStore.append("Customer-1", old)
      const all = hearing()
      const some = hearing()
      const Both = Layer.mergeAll(
        Subscription.layer({ name: "all", events, handlers: handlersOf(all.hear), transactional: false }),
        Subscription.layer({
          name: "some",
          events: [Renamed, Phoned],
          handlers: { NameChosen: some.hear, Phoned: some.hear },
          filter: [{ types: ["NameChosen"] }, { categories: ["Customer"], types: ["Phoned"] }],
          transactional: false
        })
      )
      yield* Layer.build(Both)
      yield* reached("all", 8)
      yield* reached("some", 8)
      assert.deepEqual(all.heard, typed)
      assert.deepEqual(
        some.heard,
        typed.filter(({ _tag }) => _tag !== "Moved")
      )
    }).pipe(Effect.scoped, Effect.provide(stores))
  )

  for (const batched of [false, true]) {
    it.effect(`by a projection${batched ? " that takes batches" : ""}, async and inline`, () =>
      Effect.gen(function* () {
        const Names = Projection.table("names", { key: "at", fields: { at: Schema.String, text: Schema.String } })
        let count = 0
        const write = (event: unknown) => Names.upsert({ at: String(10 + count++), text: Object.values(event as object)[1] })
        const shared = { version: 1, tables: [Names], events, filter: { types: ["NameChosen", "Moved", "Phoned"] } } as const
        const View = batched
          ? Projection.make("View", {
              ...shared,
              batch: (all) => Effect.forEach(all, ({ event }) => write(event), { discard: true })
            })
          : Projection.make("View", { ...shared, handlers: handlersOf(write) })
        const rows = Effect.map(Names.list(), (rows) => rows.map(({ text }) => text))
        const { position } = yield* EventStore.append("Customer-1", old)
        yield* Projection.rebuild(View).pipe(Stream.runDrain)
        yield* Projection.awaitPosition(View, position, { timeout: "1 second" })
        assert.deepEqual(yield* rows, told)
        const Inline = Projection.inline(View).pipe(Layer.provideMerge(UnitOfWork.layerSql))
        yield* UnitOfWork.transact(UnitOfWork.stage("Customer-2", old)).pipe(Effect.provide(Inline))
        assert.deepEqual(yield* rows, [...told, ...told])
      }).pipe(Effect.scoped, Effect.provide(sqlite))
    )
  }

  it.effect("by listeners: what is staged untyped, and in a replay", () => {
    const { hear, heard } = hearing()
    const listeners = Layer.mergeAll(
      MessageBus.listen(Renamed, hear, { replay: true }),
      MessageBus.listen(Moved, hear, { replay: true }),
      MessageBus.listen(Phoned, hear, { replay: true })
    )
    const Import = Command.make("Import", {})
    const ImportLive = MessageBus.handle(Import, () => Effect.asVoid(UnitOfWork.stage("Customer-1", old)))
    const Live = Layer.mergeAll(listeners, ImportLive).pipe(
      Layer.provideMerge(MessageBus.layerWith({ record: "none" })),
      Layer.provideMerge(stores)
    )
    return Effect.gen(function* () {
      yield* MessageBus.execute(Import, undefined)
      assert.deepEqual(heard.splice(0), typed)
      yield* Stream.runDrain(MessageBus.replay())
      assert.deepEqual(heard, typed)
    }).pipe(Effect.scoped, Effect.provide(Live))
  })

  it.effect("by consumers, from processes that publish the old names; the relay publishes what is stored", () =>
    Effect.gen(function* () {
      const { position } = yield* EventStore.append(
        "Customer-1",
        old.map((event) => ({ ...event, published: true }))
      )
      const names = yield* Queue.unbounded<unknown>()
      const Live = Layer.mergeAll(
        Consumer.layer(
          events,
          handlersOf((event) => Queue.offer(names, event)),
          { group: "names" }
        ),
        Relay.layer({ name: "out", source: "/shop" })
      )
      yield* Layer.build(Live)
      assert.deepEqual(yield* Queue.takeN(names, typed.length), typed)
      const published = yield* Transport.Published
      assert.deepEqual(
        (yield* published.messages).map(({ type }) => type),
        old.map(({ type }) => type)
      )
      assert.equal(position, 8)
      // What is retired is acknowledged, and no dead letter.
      yield* until(Effect.map(Consumer.status("names"), ({ inFlight }) => inFlight === 0))
      assert.deepEqual(yield* DeadLetters.DeadLetters.use((letters) => letters.list("names")), [])
    }).pipe(Effect.scoped, Effect.provide(Layer.mergeAll(stores, Transport.layerMemory, DeadLetters.layerMemory)))
  )

  it.effect("by scenarios", () =>
    Effect.gen(function* () {
      const Import = Command.make("Import", {})
      const ImportLive = MessageBus.handle(Import, () =>
        Effect.gen(function* () {
          yield* UnitOfWork.stage("Customer-1", old)
          yield* UnitOfWork.stage("$bus-1", [{ type: "Renamed", payload: { n: "A" }, metadata: { messageKind: "event" } }])
        })
      )
      yield* Scenario.bus(ImportLive)
        .when(MessageBus.execute(Import, undefined))
        .then(Scenario.stream(Customer, "1", typed), Scenario.messages([Renamed], [Renamed.make({ name: "A" })]))
    })
  )

  it("by a message's own decoder", () => {
    const message = (type: string, data: Schema.Json): Transport.Message => ({
      specversion: "1.0",
      id: "1",
      source: "/shop",
      type,
      subject: "Customer-1",
      time: DateTime.makeUnsafe(0),
      datacontenttype: "application/json",
      data,
      schemaversion: 1,
      position: 1
    })
    const decoded = (type: string, data: Schema.Json) => {
      const result = Transport.decode(events, message(type, data))
      return result._tag === "Success" ? result.success : result.failure.message.replace(/^.*: /, "")
    }
    assert.deepEqual(decoded("Renamed", { n: "A" }), Renamed.make({ name: "A" }))
    assert.deepEqual(decoded("AddressChanged", { phone: "2" }), Phoned.make({ phone: "2" }))
    assert.equal(decoded("AddressChanged", { city: "Rome", phone: "2" }), "it is read as several events")
    assert.equal(decoded("Viewed", {}), "its type is retired")
  })
})

describe("a process manager whose events have changed", () => {
  const Tell = Command.make("Tell", { payload: { text: Schema.String } })
  const Due = Event.make("ReminderDue", {}, { aliases: ["Due"] })

  const process = (deadline: Event.Event<"ReminderDue", {}>) =>
    ProcessManager.make("Process", {
      events,
      correlate: { NameChosen: () => "p", Moved: () => "p", Phoned: ({ phone }) => `p${phone}` },
      deadlines: [deadline],
      initial: [] as ReadonlyArray<string>,
      evolve: {
        NameChosen: (state, { name }) => [...state, name],
        Moved: (state, { city }) => [...state, city],
        Phoned: (state, { phone }) => [...state, phone],
        ReminderDue: (state) => [...state, "due"]
      },
      react: {
        NameChosen: (_, { name }) => [ProcessManager.send(Tell, { text: name })],
        Moved: (_, { city }) => [ProcessManager.send(Tell, { text: city })],
        Phoned: (state, { phone }) => [ProcessManager.send(Tell, { text: `${state.length}${phone}` })],
        ReminderDue: () => [ProcessManager.send(Tell, { text: "due" })]
      }
    })
  const Process = process(Due)

  const running = <E>(
    body: (heard: ReadonlyArray<string>) => Effect.Effect<void, E, EventStore.EventStore | Checkpoints.Checkpoints>,
    of: ProcessManager.Any = Process
  ) =>
    Effect.suspend(() => {
      const heard: Array<string> = []
      const TellLive = MessageBus.handle(Tell, ({ text }) => Effect.sync(() => void heard.push(text)))
      const Live = ProcessManager.layer(of as typeof Process).pipe(
        Layer.provideMerge(TellLive),
        Layer.provideMerge(MessageBus.layerWith({ record: "none" })),
        Layer.provideMerge(stores)
      )
      return body(heard).pipe(Effect.scoped, Effect.provide(Live))
    })

  it.effect("reacts to them, to each that one was split into, and folds them again from its stream", () =>
    running((heard) =>
      Effect.gen(function* () {
        yield* EventStore.append("Customer-1", old)
        yield* until(Effect.sync(() => heard.length === typed.length))
        assert.deepEqual(heard, ["A", "B", "Rome", "01", "02", "C"])
        assert.deepEqual((yield* ProcessManager.read(Process, "p")).state, ["A", "B", "Rome", "C"])
        assert.deepEqual((yield* ProcessManager.read(Process, "p1")).state, ["1"])
      })
    )
  )

  it.effect("reacts to both halves for one process in one unit of work, once", () => {
    const Both = ProcessManager.make("Both", {
      events: [Moved, Phoned],
      correlate: { Moved: () => "p", Phoned: () => "p" },
      initial: [] as ReadonlyArray<string>,
      evolve: { Moved: (state, { city }) => [...state, city], Phoned: (state, { phone }) => [...state, phone] },
      react: {
        Moved: (state) => [ProcessManager.send(Tell, { text: `moved after ${state.length}` })],
        Phoned: (state) => [ProcessManager.send(Tell, { text: `phoned after ${state.length}` })]
      }
    })
    return running(
      (heard) =>
        Effect.gen(function* () {
          yield* EventStore.append("Customer-1", [{ type: "AddressChanged", payload: { city: "Rome", phone: "1" } }])
          yield* until(Effect.sync(() => heard.length === 2))
          assert.deepEqual(heard, ["moved after 0", "phoned after 1"])
          assert.deepEqual((yield* ProcessManager.read(Both, "p")).state, ["Rome", "1"])
        }),
      Both
    )
  })

  const set = (type: string, id: string, due: string): EventStore.NewEvent => ({
    type: "$DeadlineSet",
    payload: { type, due, id, schemaVersion: 1, payload: {}, published: false, tags: [] }
  })

  it.effect("has one deadline of a type, whatever it was called when it was set, and reacts when it has come", () =>
    running((heard) =>
      Effect.gen(function* () {
        yield* EventStore.append("Process-p", [
          set("Due", "one", "1970-01-01T00:00:01.000Z"),
          set("ReminderDue", "two", "1970-01-01T00:00:02.000Z"),
          set("Due", "three", "1970-01-01T00:00:03.000Z")
        ])
        assert.deepEqual(Array.from((yield* ProcessManager.read(Process, "p")).deadlines.keys()), ["ReminderDue"])
        yield* TestClock.adjust("4 seconds")
        yield* until(Effect.sync(() => heard.length > 0))
        assert.deepEqual(heard, ["due"])
        const { deadlines, state } = yield* ProcessManager.read(Process, "p")
        assert.deepEqual([state, deadlines.size], [["due"], 0])
        const types = yield* EventStore.read("Process-p").pipe(
          Stream.map(({ type }) => type),
          Stream.runCollect
        )
        assert.deepEqual(types.slice(3), ["Due", "$EventHandled"])
      })
    )
  )

  it.effect("lets a retired deadline come no more", () => {
    const Gone = ProcessManager.make("Process", {
      events: [Renamed],
      correlate: { NameChosen: () => "p" },
      deadlines: [Event.retired("Due")],
      initial: 0,
      evolve: { NameChosen: (count) => count + 1 },
      react: { NameChosen: () => [ProcessManager.send(Tell, { text: "named" })] }
    })
    return running(
      (heard) =>
        Effect.gen(function* () {
          yield* EventStore.append("Process-p", [set("Due", "one", "1970-01-01T00:00:01.000Z")])
          yield* EventStore.append("Customer-1", [{ type: "NameChosen", schemaVersion: 2, payload: { name: "A" } }])
          yield* until(Effect.sync(() => heard.length === 1))
          yield* TestClock.adjust("4 seconds")
          const { deadlines, state } = yield* ProcessManager.read(Gone, "p")
          assert.deepEqual([state, deadlines.size], [1, 0])
          assert.equal(yield* EventStore.version("Process-p"), 2)
        }),
      Gone
    )
  })
})

describe("definitions that read more than one type", () => {
  const named = (message: RegExp) => ({ name: "RangeError", message })
  const Other = Event.make("Renamed", {}, { published: true })
  const both = [Renamed, Other] as const
  const handlers = { NameChosen: () => Effect.void, Renamed: () => Effect.void }
  const claim = /its events "NameChosen" and "Renamed" both have, or had, the type "Renamed"/

  it("are refused by name where two have, or had, one type", () => {
    assert.throws(() => Subscription.layer({ name: "s", events: both, handlers }), named(claim))
    assert.throws(() => Projection.make("p", { version: 1, events: both, handlers }), named(claim))
    assert.throws(() => Consumer.layer(both, handlers, { group: "g" }), named(claim))
    assert.throws(() => Scenario.messages(both, []), named(claim))
    assert.throws(
      () => Aggregate.make("a", { events: both, initial: 0, evolve: { NameChosen: () => 0, Renamed: () => 0 } }),
      named(claim)
    )
    assert.throws(
      () =>
        ProcessManager.make("m", {
          events: [Renamed],
          deadlines: [Event.retired("NameSet")],
          correlate: { NameChosen: () => "1" },
          initial: 0,
          evolve: { NameChosen: () => 0 },
          react: { NameChosen: () => [] }
        }),
      named(/its events "NameChosen" and "NameSet" both have, or had, the type "NameSet"/)
    )
  })

  it("are refused where one names a type twice, or none", () => {
    for (const options of [
      { aliases: ["A"] },
      { aliases: [""] },
      { aliases: ["B", "B"] },
      { aliases: ["B"], from: { B: () => ({}) } }
    ]) {
      assert.throws(() => Event.make("A", {}, options), named(/^Event "A": it cannot be read from the type ".?" as well$/))
    }
  })

  it("are written under their own name alone", () => {
    assert.equal(Customer.definitions.get("Renamed"), undefined)
    assert.deepEqual(Array.from(Customer.definitions.keys()), ["NameChosen", "Moved", "Phoned"])
    for (const type of ["Renamed", "Viewed", "AddressChanged"]) {
      const event = { _tag: type, name: "A" } as unknown as (typeof typed)[number]
      assert.throws(() => Aggregate.fold(Customer, [event]), { name: "TypeError" })
      const error = Effect.runSync(
        Effect.flip(Repository.append(Customer, "1", [event])).pipe(Effect.provide(EventStore.layerMemory))
      )
      assert.equal(error._tag, "EventEncodeError")
    }
  })

  it("know all types that they are stored under", () => {
    assert.deepEqual(Event.storedTypes(Renamed, Viewed, Moved, Phoned), [
      "NameChosen",
      "Renamed",
      "NameSet",
      "Viewed",
      "Seen",
      "Moved",
      "AddressChanged",
      "Phoned"
    ])
  })

  it.effect("get nothing of another aggregate's events that have their old name", () => {
    const Named = Event.make("Renamed", { n: Schema.String })
    const Ship = Aggregate.make("Ship", { events: [Named], initial: "", evolve: { Renamed: (_, { n }) => n } })
    const { hear, heard } = hearing()
    return Effect.gen(function* () {
      yield* Repository.append(Ship, "1", [Named.make({ n: "Argo" })])
      yield* EventStore.append("Customer-1", old.slice(0, 1))
      yield* Layer.build(
        Subscription.layer({ name: "own", events: [Renamed], handlers: { NameChosen: hear }, transactional: false })
      )
      yield* reached("own", 2)
      assert.deepEqual(heard, [Renamed.make({ name: "A" })])
    }).pipe(Effect.scoped, Effect.provide(stores))
  })

  it("give snapshots a fingerprint of their own, and leave those of others as they were", () => {
    const fingerprint = (...events: ReadonlyArray<Event.Event<"A", {}>>) =>
      Aggregate.make("S", { events, initial: 0, evolve: { A: () => 1 }, snapshot: { state: Schema.Int, every: 1 } }).snapshot
        ?.fingerprint
    const plain = fingerprint(Event.make("A"))
    assert.equal(fingerprint(Event.make("A", {}, { aliases: [] })), plain)
    const others = [
      plain,
      fingerprint(Event.make("A", {}, { aliases: ["B"] })),
      fingerprint(Event.make("A", {}, { from: { B: () => ({}) } })),
      fingerprint(Event.make("A", {}, { from: { B: () => undefined } }))
    ]
    assert.equal(new Set(others).size, 4)
  })
})

describe("an upcast", () => {
  const at = DateTime.makeUnsafe("2020-02-03T00:00:00Z")
  const Priced = Event.make(
    "Priced",
    { price: Schema.Int, currency: Schema.String, since: Schema.String },
    {
      version: 2,
      upcast: {
        1: (old, { metadata, recordedAt, schemaVersion, stream, type }) => ({
          ...old,
          currency: String(metadata["country"]),
          since: `${type} ${schemaVersion} ${stream} ${recordedAt === undefined ? "never" : DateTime.formatIso(recordedAt)}`
        })
      }
    }
  )
  const Article = Aggregate.make("Article", {
    events: [Priced],
    initial: "",
    evolve: { Priced: (_, e) => `${e.currency} ${e.since}` }
  })
  const stored: EventStore.NewEvent = { type: "Priced", payload: { price: 1 }, metadata: { country: "ch" }, recordedAt: at }

  it.effect("is told the metadata and the time of the event, where there are such", () =>
    Effect.gen(function* () {
      yield* EventStore.append("Article-1", [stored])
      assert.equal((yield* Repository.read(Article, "1")).state, "ch Priced 1 Article-1 2020-02-03T00:00:00.000Z")
      const { recordedAt: _, ...unrecorded } = stored
      const { state } = yield* UnitOfWork.transact(
        Effect.andThen(UnitOfWork.stage("Article-2", [unrecorded]), Repository.load(Article, "2"))
      )
      assert.equal(state, "ch Priced 1 Article-2 never")
    }).pipe(Effect.provide(stores))
  )

  it.effect("is told them again when a process manager folds what it has reacted to", () => {
    const Tell = Command.make("Tell", { payload: { text: Schema.String } })
    const Watch = ProcessManager.make("Watch", {
      events: [Priced],
      correlate: { Priced: () => "p" },
      initial: "",
      evolve: { Priced: (_, { currency, since }) => `${currency} ${since}` },
      react: { Priced: (_, { since }) => [ProcessManager.send(Tell, { text: since })] }
    })
    const heard: Array<string> = []
    const Live = ProcessManager.layer(Watch).pipe(
      Layer.provideMerge(MessageBus.handle(Tell, ({ text }) => Effect.sync(() => void heard.push(text)))),
      Layer.provideMerge(MessageBus.layerWith({ record: "none" })),
      Layer.provideMerge(stores)
    )
    return Effect.gen(function* () {
      yield* EventStore.append("Article-1", [stored])
      yield* until(Effect.sync(() => heard.length === 1))
      assert.equal((yield* ProcessManager.read(Watch, "p")).state, `ch ${heard[0]}`)
      assert.equal(heard[0], "Priced 1 Article-1 2020-02-03T00:00:00.000Z")
    }).pipe(Effect.scoped, Effect.provide(Live))
  })

  it("cannot change what it is told", () => {
    const Bad = Event.make("Bad", {}, { version: 2, upcast: { 1: (_, source) => Object.assign(source, { type: "x" }) && {} } })
    const error = Event.decode(Bad, {
      stream: "s",
      version: 1,
      position: 1,
      type: "Bad",
      schemaVersion: 1,
      payload: {}
    })
    assert.match(String(error._tag === "Failure" && error.failure.message), /the upcast from schema version 1 threw/)
  })

  // Both read "details", of which not all that is stored has any; `Pair` is also read from a type that may have none.
  const Direct = Event.make("Direct", { amount: Schema.Int }, { version: 2, upcast: { 1: (old) => old.details } })
  const Chained = Event.make(
    "Chained",
    { amount: Schema.Int },
    {
      version: 4,
      upcast: { 1: (old) => old, 2: (old) => old.details, 3: ({ amount }) => ({ amount }) },
      from: { Pair: (old) => old.chained }
    }
  )
  const Purse = Aggregate.make("Purse", {
    events: [Direct, Chained],
    initial: 0,
    evolve: { Direct: (sum, { amount }) => sum + amount, Chained: (sum, { amount }) => sum + amount }
  })
  const without = (type: string): EventStore.NewEvent => ({ type, payload: { amount: 1 } })
  const givesNothing = (from: number) =>
    new RegExp(`upcast from schema version ${from} gave undefined: it must return the payload of version ${from + 1}`)

  it.effect("that gives undefined drops no event: neither by the fold", () =>
    Effect.gen(function* () {
      for (const [type, from] of [
        ["Direct", 1],
        ["Chained", 2]
      ] as const) {
        yield* EventStore.append(`Purse-${type}`, [{ type, payload: { details: { amount: 5 } } }, without(type)])
        assert.equal((yield* Repository.read(Purse, type, { version: 1 })).state, 5)
        const error = yield* Effect.flip(Repository.read(Purse, type))
        assert.equal(error._tag, "EventDecodeError")
        assert.match(error.message, givesNothing(from))
        assert.match(error.message, new RegExp(`Event 2 of stream "Purse-${type}"`))
      }
    }).pipe(Effect.provide(stores))
  )

  it.effect("that gives undefined drops no event: nor by a subscription", () => {
    const Live = Subscription.layer({
      name: "purses",
      events: [Direct],
      handlers: { Direct: () => Effect.void }
    }).pipe(Layer.provideMerge(stores))
    return Effect.gen(function* () {
      logs(/Error eventfold: the subscription "purses" halts at position 1 /)
      yield* EventStore.append("Purse-1", [without("Direct")])
      yield* until(Effect.map(Subscription.status("purses"), ({ state }) => state === "halted"))
      const { cause, position } = yield* Subscription.status("purses")
      assert.equal(position, 0)
      assert.match(String(cause), givesNothing(1))
    }).pipe(Effect.provide(Live))
  })

  it.effect("may stand beside a `from` that says of an event that there is none", () =>
    Effect.gen(function* () {
      yield* EventStore.append("Purse-1", [
        { type: "Pair", payload: { chained: { amount: 7 } } },
        { type: "Pair", payload: {} },
        { type: "Chained", schemaVersion: 2, payload: { details: { amount: 2 } } }
      ])
      assert.deepEqual(yield* Repository.read(Purse, "1"), { state: 9, version: 3 })
    }).pipe(Effect.provide(stores))
  )
})
