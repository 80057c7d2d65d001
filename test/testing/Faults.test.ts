import assert from "node:assert/strict"
import { describe, it } from "@effect/vitest"
import { DateTime, Duration, Effect, Fiber, Layer, Option, Stream } from "effect"
import { TestClock } from "effect/testing"
import { Checkpoints, Event, EventStore, MessageBus, Relay, Subscription, Transport, UnitOfWork } from "eventfold"
import * as Kit from "eventfold/kit"
import { EventStoreConformance, Faults, TestIds, TransportConformance } from "eventfold/testing"
import { ada, Deposit, deposit } from "../support/bank.ts"
import { logs } from "../support/logs.ts"

const event = (id: string): EventStore.NewEvent => ({ type: "Happened", payload: {}, id, published: true })

const faultyStore = (faults: Parameters<typeof EventStore.layerFaulty>[0]) =>
  EventStore.layerFaulty(faults).pipe(Layer.provide(EventStore.layerMemory))

const faultyTransport = (faults: Parameters<typeof Transport.layerFaulty>[0]) =>
  Transport.layerFaulty(faults).pipe(Layer.provideMerge(Transport.layerMemory))

/** The reason of a failure. */
const reason = <A, E extends { readonly reason?: { readonly _tag: string } }, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.map(Effect.flip(effect), (error) => error.reason?._tag)

const storeReason = <A, R>(effect: Effect.Effect<A, UnitOfWork.CommitError, R>) =>
  Effect.map(Effect.flip(effect), (error) => (error._tag === "EventStoreError" ? error.reason._tag : error._tag))

const conflict = new EventStore.EventStoreError({
  reason: new EventStore.TransactionConflict({ operation: "append", detail: "deadlock" })
})

describe("a faulty store", () => {
  it.effect("does to the n-th append what the list says, and nothing to the others", () =>
    Effect.gen(function* () {
      const append = (id: string) => EventStore.append("A-1", [event(id)])
      assert.equal(yield* storeReason(append("1")), "StoreUnavailable")
      assert.equal(yield* EventStore.version("A-1"), 0)
      assert.equal((yield* append("1")).version, 1)
      assert.equal(yield* storeReason(EventStore.appendAll([{ stream: "A-1", events: [event("2")] }])), "OutcomeUnknown")
      assert.equal(yield* EventStore.version("A-1"), 2)
      assert.equal(yield* Effect.flip(append("3")), conflict)
      assert.equal((yield* append("3")).version, 3)
    }).pipe(Effect.provide(faultyStore({ append: ["unavailable", "none", "lost", conflict] })))
  )

  it.effect("passes on the store's own refusal, and loses that answer too only if there was one", () =>
    Effect.gen(function* () {
      const refused = EventStore.append("A-1", [event("1")], { expected: 7 })
      assert.equal(yield* storeReason(refused), "OptimisticLockError")
    }).pipe(Effect.provide(faultyStore({ append: ["lost"] })))
  )

  it.effect("a retry by id after a lost answer yields one copy", () =>
    Effect.gen(function* () {
      const append = Effect.retry(EventStore.append("A-1", [event("1"), event("2")], { expected: 0 }), { times: 2 })
      assert.deepEqual(yield* append, { stream: "A-1", version: 2, position: 2, deduplicated: true })
      const events = yield* Stream.runCollect(EventStore.readAll())
      assert.deepEqual(
        events.map(({ id }) => id),
        ["1", "2"]
      )
    }).pipe(Effect.provide(faultyStore({ append: ["lost", "lost"] })))
  )

  it.effect("a unit of work is run again after a conflict, and not after an unknown outcome", () =>
    Effect.gen(function* () {
      let runs = 0
      const work = UnitOfWork.transact(
        Effect.andThen(
          Effect.sync(() => ++runs),
          UnitOfWork.stage("A-1", [event("1")])
        )
      ).pipe(UnitOfWork.retryConflicts({ times: 3 }))
      assert.equal(yield* storeReason(work), "OutcomeUnknown")
      assert.equal(runs, 2)
      assert.equal(yield* EventStore.version("A-1"), 1)
    }).pipe(Effect.provide(Layer.provideMerge(UnitOfWork.layer, faultyStore({ append: [conflict, "lost"] }))))
  )

  it.effect("delays by the clock, for ever if told so", () =>
    Effect.gen(function* () {
      const slow = yield* Effect.forkChild(EventStore.append("A-1", [event("1")]))
      yield* TestClock.adjust("999 millis")
      assert.equal(slow.pollUnsafe(), undefined)
      yield* TestClock.adjust("1 millis")
      assert.equal((yield* Fiber.join(slow)).version, 1)
      const never = yield* Effect.forkChild(EventStore.append("A-1", [event("2")]))
      yield* TestClock.adjust("10000 days")
      assert.equal(never.pollUnsafe(), undefined)
      const read = yield* Effect.forkChild(Stream.runCollect(EventStore.read("A-1")))
      yield* TestClock.adjust("999 millis")
      assert.equal(read.pollUnsafe(), undefined)
      yield* TestClock.adjust("1 millis")
      assert.equal((yield* Fiber.join(read)).length, 1)
    }).pipe(
      Effect.provide(
        faultyStore({ append: [{ delay: "1 second" }, { delay: Duration.infinity }], read: [{ delay: "1 second" }] })
      )
    )
  )

  it.effect("breaks reads: at their beginning, after the first event, or with an error of one's own", () =>
    Effect.gen(function* () {
      yield* EventStore.append("A-1", [event("1"), event("2")])
      const seen: Array<string> = []
      const read = Stream.runForEach(EventStore.read("A-1"), ({ id }) => Effect.sync(() => seen.push(id)))
      assert.equal(yield* reason(read), "StoreUnavailable")
      assert.deepEqual(seen, [])
      assert.equal(yield* reason(read), "StoreUnavailable")
      assert.deepEqual(seen, ["1"])
      assert.equal(yield* Effect.flip(read), conflict)
      const boundary = EventStore.readBoundary([{ filter: {} }])
      for (const ask of [EventStore.head, EventStore.version("A-1"), EventStore.exists("A-1"), EventStore.readPage(), boundary]) {
        assert.equal(yield* reason<unknown, EventStore.EventStoreError, EventStore.EventStore>(ask), "StoreUnavailable")
      }
      for (const ask of [EventStore.readAll(), EventStore.subscribe(), EventStore.streams()]) {
        assert.equal(
          yield* reason(Stream.runDrain(ask as Stream.Stream<unknown, EventStore.EventStoreError, EventStore.EventStore>)),
          "StoreUnavailable"
        )
      }
      yield* read
      assert.deepEqual(seen, ["1", "1", "2"])
    }).pipe(
      Effect.provide(
        faultyStore({
          read: [
            "unavailable",
            "lost",
            conflict,
            "unavailable",
            "lost",
            "lost",
            "unavailable",
            "lost",
            "unavailable",
            "lost",
            "unavailable"
          ]
        })
      )
    )
  )

  it.effect("a subscription whose reads break delivers every event, in order", () =>
    Effect.gen(function* () {
      logs(/starts again/)
      yield* Effect.forEach(["1", "2", "3", "4"], (id) => EventStore.append("A-1", [event(id)]))
      const seen: Array<number> = []
      const following = Subscription.layer({
        name: "s",
        handler: ({ position }) => Effect.sync(() => void seen.push(position))
      })
      yield* Layer.launch(following).pipe(Effect.forkScoped)
      yield* TestClock.adjust("10 minutes")
      assert.deepEqual(Array.from(new Set(seen)), [1, 2, 3, 4])
    }).pipe(
      Effect.provide(
        Layer.merge(
          faultyStore({
            read: Faults.seeded(7, [
              [0.3, "lost"],
              [0.3, "unavailable"]
            ])
          }),
          Checkpoints.layerMemory
        )
      )
    )
  )

  describe("without faults is the store itself", () => {
    const cases = EventStoreConformance.cases({
      storage: Effect.succeed(faultyStore({})),
      abilities: { durable: false, shared: false }
    })
    for (const { name, run } of cases.filter(({ promise }) => ["1", "4", "8"].includes(promise))) it.effect(name, () => run)
  })
})

const message = (id: string): Transport.Message => ({
  specversion: "1.0",
  id,
  source: "/test",
  type: "Happened",
  subject: "A-1",
  time: DateTime.makeUnsafe(0),
  datacontenttype: "application/json",
  data: {},
  schemaversion: 1,
  position: 1
})

const refused = new Transport.TransportError({
  reason: new Transport.MessageRefused({ operation: "publish", id: "1", detail: "too large" })
})

describe("a faulty transport", () => {
  const ids = Effect.map(Transport.published, (messages) => messages.map(({ id }) => id))

  it.effect("does to the n-th publication what the list says", () =>
    Effect.gen(function* () {
      assert.equal(yield* reason(Transport.publish([message("1")])), "TransportUnavailable")
      assert.deepEqual(yield* ids, [])
      assert.equal(yield* reason(Transport.publish([message("1")])), "TransportUnavailable")
      assert.deepEqual(yield* ids, ["1"])
      assert.equal(yield* Effect.flip(Transport.publish([message("2")])), refused)
      const slow = yield* Effect.forkChild(Transport.publish([message("2")]))
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(slow)
      yield* Transport.publish([message("3")])
      assert.deepEqual(yield* ids, ["1", "2", "3"])
    }).pipe(Effect.provide(faultyTransport({ publish: ["unavailable", "lost", refused, { delay: "1 second" }, "duplicate"] })))
  )

  it.effect("publishes twice what it duplicates", () => {
    let calls = 0
    const counting = Layer.succeed(Transport.Transport, {
      publish: () => Effect.sync(() => void calls++),
      subscribe: () => Stream.never,
      forget: () => Effect.succeed(false)
    })
    return Effect.gen(function* () {
      yield* Transport.publish([message("1")])
      assert.equal(calls, 2)
      yield* Transport.publish([message("1")])
      assert.equal(calls, 3)
    }).pipe(Effect.provide(Layer.provide(Transport.layerFaulty({ publish: ["duplicate"] }), counting)))
  })

  it.effect("duplicates, loses and delays deliveries, and breaks subscriptions", () =>
    Effect.gen(function* () {
      yield* Transport.publish([message("1"), message("2"), message("3")])
      const seen: Array<readonly [string, number]> = []
      const consume = Transport.subscribe({ group: "g" }).pipe(
        Stream.runForEach(({ ack, attempt, message }) => {
          seen.push([message.id, attempt])
          return ack
        })
      )
      assert.equal(yield* reason(consume), "TransportUnavailable")
      assert.deepEqual(seen.splice(0), [])
      const rest = yield* Effect.forkChild(consume)
      yield* TestClock.adjust("999 millis")
      assert.deepEqual(seen, [
        ["1", 2], // the broken subscription had been given it
        ["1", 3],
        ["2", 2] // delivery 1 was lost
      ])
      yield* TestClock.adjust("1 millis")
      assert.deepEqual(seen.at(-1), ["3", 1])
      yield* Fiber.interrupt(rest)
    }).pipe(Effect.provide(faultyTransport({ deliver: ["unavailable", "duplicate", "lost", "none", { delay: "1 second" }] })))
  )

  it.effect("loses acknowledgements on their way, and their answers", () =>
    Effect.gen(function* () {
      yield* Transport.publish([message("1")])
      const one = <A, E>(settle: (delivery: Transport.Delivery) => Effect.Effect<A, E>) =>
        Transport.subscribe({ group: "g" }).pipe(
          Stream.take(1),
          Stream.mapEffect(settle),
          Stream.runHead,
          Effect.map(Option.getOrThrow)
        )
      assert.equal(yield* one(({ ack }) => reason(ack)), "TransportUnavailable")
      assert.equal(yield* one(({ attempt, nack }) => Effect.as(nack(), attempt)), 2)
      assert.equal(
        yield* one(({ ack, attempt }) => Effect.map(reason(ack), (tag) => `${tag} ${attempt}`)),
        "TransportUnavailable 3"
      )
      const again = yield* Effect.forkChild(one(({ attempt }) => Effect.succeed(attempt)))
      yield* TestClock.adjust("1 hour")
      assert.equal(again.pollUnsafe(), undefined, "the last acknowledgement arrived")
      yield* Fiber.interrupt(again)
    }).pipe(Effect.provide(faultyTransport({ settle: ["unavailable", "none", "lost"] })))
  )

  it.effect("a relay publishes every event, in order, whatever becomes of its calls", () =>
    Effect.gen(function* () {
      logs(/starts again/)
      const all = Array.from({ length: 20 }, (_, n) => `${n}`)
      yield* Effect.forkScoped(Layer.launch(Relay.layer({ name: "r" })))
      yield* Effect.forEach(all, (id) => Effect.andThen(EventStore.append("A-1", [event(id)]), TestClock.adjust("10 minutes")))
      assert.deepEqual(yield* ids, all)
    }).pipe(
      Effect.provide(
        Layer.mergeAll(
          EventStore.layerMemory,
          Checkpoints.layerMemory,
          faultyTransport({
            publish: Faults.seeded(3, [
              [0.3, "lost"],
              [0.3, "unavailable"],
              [0.1, "duplicate"]
            ])
          })
        )
      )
    )
  )

  describe("without faults is the transport itself", () => {
    const cases = TransportConformance.cases({
      storage: Effect.succeed(faultyTransport({})),
      abilities: { clock: "test", deduplicates: true, history: true, durable: false, shared: false }
    })
    for (const { name, run } of cases) it.effect(name, () => run)
  })
})

describe("seeded faults", () => {
  const draw = (faults: Iterable<string>, count: number) => {
    const drawn: Array<string> = []
    for (const fault of faults) if (drawn.push(fault) === count) break
    return drawn
  }

  it("are the same for the same seed, and each as probable as told", () => {
    const faults = Faults.seeded(1, [
      [0.5, "a"],
      [0.25, "b"]
    ])
    const drawn = draw(faults, 4000)
    assert.deepEqual(draw(faults, 4000), drawn)
    assert.notDeepEqual(draw(Faults.seeded(2, [[0.5, "a"]]), 20), draw(Faults.seeded(1, [[0.5, "a"]]), 20))
    const share = (wanted: string) => drawn.filter((fault) => fault === wanted).length / 4000
    assert.ok(Math.abs(share("a") - 0.5) < 0.03 && Math.abs(share("b") - 0.25) < 0.03 && Math.abs(share("none") - 0.25) < 0.03)
  })

  it("refuse probabilities that are none", () => {
    assert.throws(
      () =>
        Faults.seeded(1, [
          [0.6, "a"],
          [0.5, "b"]
        ]),
      RangeError
    )
    assert.throws(
      () =>
        Faults.seeded(1, [
          [-0.1, "a"],
          [0.5, "b"]
        ]),
      RangeError
    )
    assert.throws(() => Faults.seeded(1, [[Number.NaN, "a"]]), RangeError)
    assert.deepEqual(draw(Faults.seeded(1, [[1, "a"]]), 3), ["a", "a", "a"])
    assert.deepEqual(draw(Faults.seeded(1, []), 2), ["none", "none"])
  })
})

describe("ids of a test", () => {
  const Noted = Event.make("Noted")
  const makeIds = Effect.map(
    Kit.prepare([{ stream: "A-1", events: Array.from({ length: 3 }, () => ({ type: Noted.type, payload: {} })) }]),
    ({ appends }) => appends[0]?.events.map(({ id }) => id) ?? []
  )

  it.effect("are ascending UUIDv7s that depend on the seed and the clock alone", () =>
    Effect.gen(function* () {
      const ids = yield* Effect.provide(makeIds, TestIds.layer)
      assert.deepEqual(yield* Effect.provide(makeIds, TestIds.layer), ids)
      assert.deepEqual(ids.toSorted(), ids)
      for (const id of ids) assert.match(id, /^00000000-0000-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
      assert.notDeepEqual(yield* Effect.provide(makeIds, TestIds.layerWith({ seed: 2 })), ids)
      yield* TestClock.adjust("1 second")
      assert.match((yield* Effect.provide(makeIds, TestIds.layer))[0] ?? "", /^00000000-03e8-7/)
    })
  )

  it.effect("make two runs of a command the same, to the last id", () =>
    Effect.gen(function* () {
      const command = Effect.gen(function* () {
        yield* MessageBus.execute(Deposit, { account: ada, amount: 5 })
        return yield* Stream.runCollect(EventStore.readAll())
      })
      const Live = MessageBus.handle(Deposit, ({ account, amount }) =>
        Effect.map(deposit(account, amount), ({ state }) => state.balance)
      ).pipe(
        Layer.provideMerge(MessageBus.layer),
        Layer.provideMerge(UnitOfWork.layer),
        Layer.provideMerge(EventStore.layerMemory)
      )
      const run = (seed: number) => Effect.provide(command, Layer.merge(Live, TestIds.layerWith({ seed })), { local: true })
      const events = yield* run(1)
      assert.equal(events.length, 2, "the record of the command, and its event")
      assert.deepEqual(yield* run(1), events)
      assert.notDeepEqual(yield* run(2), events)
    })
  )
})
