import assert from "node:assert/strict"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import { describe, it } from "@effect/vitest"
import { Cause, DateTime, Deferred, Effect, Exit, Fiber, Layer, Metric, Option, Stream } from "effect"
import { TestClock } from "effect/testing"
import {
  Checkpoints,
  Command,
  Consumer,
  DeadLetters,
  Event,
  EventStore,
  MessageBus,
  ProcessManager,
  Relay,
  Subscription,
  Transport,
  UnitOfWork
} from "eventfold"
import { logs } from "../support/logs.ts"
import { eventually, rest, start, until } from "../support/words.ts"

const stores = Layer.mergeAll(EventStore.layerMemory, Checkpoints.layerMemory)
type Wired = Layer.Success<typeof stores>
const all = Layer.mergeAll(stores, Transport.layerMemory, DeadLetters.layerMemory)

const published = (...ids: ReadonlyArray<string>): ReadonlyArray<EventStore.NewEvent> =>
  ids.map((id) => ({ id, type: "Placed", payload: {}, published: true }))

const defectOf = <A, E>(exit: Exit.Exit<A, E>) => (Exit.isFailure(exit) ? Cause.pretty(exit.cause) : "no failure")

const view = (name = "view", filter?: EventStore.Filter) => Subscription.layer({ name, filter, handler: () => Effect.void })

describe("two followers of one name in one process", () => {
  it.effect("are a defect that names both: the second would never run", () =>
    Effect.gen(function* () {
      const stop = yield* start(view())
      yield* rest
      const text = defectOf(yield* Effect.exit(start(view("view", { types: ["Placed"] }))))
      assert.match(text, /the subscription "view" to all events, and the subscription "view" to \{"types":\["Placed"\]\}/)
      assert.equal((yield* Subscription.status("view")).state, "live")
      // One after the other is nothing else than a restart.
      yield* stop
      yield* start(view())
      yield* until(Effect.map(Subscription.status("view"), ({ state }) => state === "live"))
    }).pipe(Effect.scoped, Effect.provide(stores))
  )

  it.effect("also with partitions, and of relays", () =>
    Effect.gen(function* () {
      yield* start(Subscription.layer({ name: "shared", partitions: 2, handler: () => Effect.void }))
      assert.match(defectOf(yield* Effect.exit(start(view("shared")))), /Two followers of one name.*"shared".*"shared"/)
      yield* start(Relay.layer({ name: "shop" }))
      assert.match(defectOf(yield* Effect.exit(Relay.run({ name: "shop" }))), /the relay "shop".*the relay "shop"/)
    }).pipe(Effect.scoped, Effect.provide(all))
  )

  it.effect("are none where each has checkpoints of its own: each is found where its checkpoints are", () =>
    Effect.gen(function* () {
      const tenant = Effect.fnUntraced(function* (events: number) {
        const context = yield* Layer.build(Layer.fresh(stores))
        return yield* Effect.gen(function* () {
          for (let n = 0; n < events; n++) yield* EventStore.append("A-1", published(`${n}`))
          yield* start(view())
          yield* until(Effect.map(Subscription.status("view"), ({ position }) => position === events))
          return Subscription.status("view")
        }).pipe(Effect.provideContext(context), Effect.map(Effect.provideContext(context)))
      })
      const [first, second] = [yield* tenant(1), yield* tenant(2)]
      assert.deepEqual([(yield* first).position, (yield* second).position], [1, 2])
      assert.equal((yield* Effect.flip(Subscription.status("view")))._tag, "UnknownSubscriptionError")
    })
  )

  it.effect("are seen by those to whom their Layer was provided, though it hides the checkpoints", () =>
    Effect.gen(function* () {
      yield* until(Effect.map(Subscription.status("view"), ({ state }) => state === "live"))
    }).pipe(Effect.provide(Layer.provide(view(), stores)))
  )
})

/** What has a value among the metrics, by the attribute. */
const measured = (attribute: string, value: string) =>
  Effect.map(Metric.snapshot, (all) => all.filter(({ attributes }) => attributes?.[attribute] === value).map(({ id }) => id))

/** Whether nothing holds it any more. */
const isCollected = (held: WeakRef<object>) => {
  setFlagsFromString("--expose-gc")
  const gc = runInNewContext("gc") as () => void
  return Effect.sync(() => (gc(), held.deref() === undefined))
}

describe("a follower that has stopped", () => {
  it.live("tells how it was at last, and holds nothing of what it worked with: once removed nothing is known of it", () =>
    Effect.gen(function* () {
      yield* EventStore.append("A-1", published("1", "2"))
      const statuses: ReadonlyArray<
        Effect.Effect<Relay.Status, Subscription.UnknownSubscriptionError | Relay.UnknownRelayError>
      > = [Subscription.status("shared"), Subscription.status("view"), Relay.status("shop")]
      const followers: ReadonlyArray<(seen: (position: number) => void) => Layer.Layer<never, never, Wired>> = [
        (seen) =>
          Subscription.layer({ name: "shared", partitions: 2, handler: ({ position }) => Effect.sync(() => seen(position)) }),
        (seen) => Subscription.layer({ name: "view", handler: ({ position }) => Effect.sync(() => seen(position)) }),
        (seen) =>
          Layer.provide(
            Relay.layer({ name: "shop" }),
            Layer.succeed(Transport.Transport, {
              publish: (messages) => Effect.sync(() => messages.forEach(({ position = 0 }) => seen(position))),
              subscribe: () => Stream.never,
              forget: () => Effect.succeed(false)
            })
          )
      ]
      for (const [index, status] of statuses.entries()) {
        // In a function of its own: what this one has named it holds.
        const run = Effect.fnUntraced(function* () {
          const positions: Array<number> = []
          const follower = followers[index] ?? assert.fail()
          const stop = yield* start(follower((position) => void positions.push(position)))
          yield* eventually(
            "all is done",
            Effect.map(status, ({ position }) => position === 2)
          )
          yield* stop
          assert.deepEqual(positions, [1, 2])
          return new WeakRef<object>(positions)
        })
        yield* eventually("what it worked with is gone", isCollected(yield* run()))
        const { position, state } = yield* status
        assert.deepEqual([state, position], ["stopped", 2])
      }
      const refused = yield* Effect.flip(Subscription.retryParked("view"))
      assert.match(refused.message, /the subscription "view" to all events has stopped/)
      for (const name of ["view", "shared"]) {
        assert.ok((yield* measured("subscription", name)).includes("eventfold_subscription_state"))
        assert.equal(yield* Subscription.remove(name), true)
        assert.equal((yield* Effect.flip(Subscription.status(name)))._tag, "UnknownSubscriptionError")
        assert.deepEqual(yield* measured("subscription", name), [])
      }
      assert.ok((yield* measured("relay", "shop")).includes("eventfold_relay_state"))
      assert.equal(yield* Relay.remove("shop"), true)
      assert.equal((yield* Effect.flip(Relay.status("shop")))._tag, "UnknownRelayError")
      assert.deepEqual(yield* measured("relay", "shop"), [])
    }).pipe(Effect.scoped, Effect.provide(stores), Effect.provideService(Metric.MetricRegistry, new Map()))
  )
})

describe("a relay", () => {
  it.effect("says how it is doing, and is paused and resumed", () =>
    Effect.gen(function* () {
      const taken: Array<string> = []
      const gate = yield* Deferred.make<void>()
      const broker = Layer.succeed(Transport.Transport, {
        publish: (messages) =>
          Effect.andThen(
            Deferred.await(gate),
            Effect.sync(() => void taken.push(...messages.map(({ id }) => id)))
          ),
        subscribe: () => Stream.never,
        forget: () => Effect.succeed(false)
      })
      yield* EventStore.append("A-1", published("1"))
      yield* start(Layer.provide(Relay.layer({ name: "shop" }), broker))
      yield* rest
      const { lag, position, state } = yield* Relay.status("shop")
      assert.deepEqual([state, position, lag], ["catching-up", 0, 1])
      const pausing = yield* Effect.forkChild(Relay.pause("shop"))
      yield* rest
      assert.equal(pausing.pollUnsafe(), undefined)
      yield* Deferred.succeed(gate, undefined)
      yield* Fiber.join(pausing)
      assert.deepEqual([(yield* Relay.status("shop")).state, (yield* Relay.status("shop")).position, taken], ["paused", 1, ["1"]])
      yield* EventStore.append("A-1", published("2"))
      yield* TestClock.adjust("1 minute")
      assert.deepEqual(taken, ["1"])
      const states: Array<string> = []
      yield* Effect.forkScoped(
        Stream.runForEach(Relay.changes("shop"), ({ state }) => Effect.sync(() => states.at(-1) !== state && states.push(state)))
      )
      yield* Relay.resume("shop")
      yield* until(Effect.sync(() => taken.length === 2))
      yield* rest
      assert.deepEqual([(yield* Relay.status("shop")).state, (yield* Relay.status("shop")).lag], ["live", 0])
      assert.equal(states.at(-1), "live")
    }).pipe(Effect.scoped, Effect.provide(stores))
  )

  it.effect("that has halted before a log that is too short goes on when it is resumed", () =>
    Effect.gen(function* () {
      logs(/Error eventfold: the relay "shop" halts .*at position 2, and the log ends at 1/)
      const { advance, claim, release } = yield* Checkpoints.Checkpoints
      yield* release(yield* advance(yield* claim("relay:shop", { owner: "before", ttl: "1 second" }), 2))
      yield* EventStore.append("A-1", published("1"))
      yield* start(Relay.layer({ name: "shop" }))
      yield* until(Effect.map(Relay.status("shop"), ({ state }) => state === "halted"))
      const { cause } = yield* Relay.status("shop")
      assert.match(Cause.pretty(Option.getOrThrow(cause)), /at position 2, and the log ends at 1/)
      yield* EventStore.append("A-1", published("2", "3"))
      yield* TestClock.adjust("10 minutes")
      assert.equal((yield* Relay.status("shop")).state, "halted")
      yield* Relay.resume("shop")
      const [{ message } = {}] = yield* Stream.runCollect(Stream.take(Transport.subscribe({ group: "g" }), 1))
      assert.equal(message?.id, "3")
    }).pipe(Effect.scoped, Effect.provide(all))
  )

  it.effect("that this process does not run is a typed error", () =>
    Effect.gen(function* () {
      const errors: ReadonlyArray<Effect.Effect<unknown, Relay.UnknownRelayError>> = [
        Relay.status("x"),
        Relay.pause("x"),
        Relay.resume("x"),
        Stream.runDrain(Relay.changes("x"))
      ]
      for (const effect of errors) assert.equal((yield* Effect.flip(effect))._tag, "UnknownRelayError")
    }).pipe(Effect.scoped, Effect.provide(stores))
  )
})

const Placed = Event.make("Placed", {}, { published: true })
const message = (id: string, subject = "A-1"): Transport.Message => ({
  specversion: "1.0",
  id,
  source: "/shop",
  type: "Placed",
  subject,
  time: DateTime.makeUnsafe("2026-01-01T00:00:00Z"),
  datacontenttype: "application/json",
  data: {},
  schemaversion: 1,
  position: 1
})

describe("consumers", () => {
  it.effect("say how they are doing, and are paused and resumed as a group", () =>
    Effect.gen(function* () {
      const gate = yield* Deferred.make<void>()
      const seen: Array<string> = []
      const handler = (_: unknown, { message }: Consumer.Received) =>
        Effect.andThen(
          Deferred.await(gate),
          Effect.sync(() => void seen.push(message.id))
        )
      yield* start(Consumer.layer([Placed], { Placed: handler }, { group: "g" }))
      yield* start(Consumer.layer([Placed], { Placed: handler }, { group: "g" }))
      yield* until(Effect.map(Consumer.status("g"), ({ state }) => state === "live"))
      yield* Transport.publish([message("1", "A-1"), message("2", "A-2")])
      yield* until(Effect.map(Consumer.status("g"), ({ inFlight }) => inFlight === 2))
      const pausing = yield* Effect.forkChild(Consumer.pause("g"))
      yield* rest
      assert.equal(pausing.pollUnsafe(), undefined)
      yield* Deferred.succeed(gate, undefined)
      yield* Fiber.join(pausing)
      yield* rest
      const { inFlight, state } = yield* Consumer.status("g")
      assert.deepEqual([seen.toSorted(), state, inFlight], [["1", "2"], "paused", 0])
      yield* Transport.publish([message("3")])
      yield* TestClock.adjust("1 hour")
      assert.equal(seen.length, 2)
      // Others of the group may have it meanwhile.
      const [other] = yield* Stream.runCollect(Stream.take(Transport.subscribe({ group: "g" }), 1))
      assert.equal(other?.message.id, "3")
      yield* Consumer.resume("g")
      yield* until(Effect.sync(() => seen.length === 3))
      assert.equal((yield* Consumer.status("g")).state, "live")
    }).pipe(Effect.scoped, Effect.provide(all))
  )

  it.effect("back off while the transport is away, with the cause, and have stopped when their Layers have closed", () =>
    Effect.gen(function* () {
      logs(/Warn eventfold: the consumer "g" failed and starts again .*nobody answers/)
      const lost = new Transport.TransportError({
        reason: new Transport.TransportUnavailable({ operation: "subscribe", detail: "nobody answers" })
      })
      const away = Layer.succeed(Transport.Transport, {
        publish: () => Effect.void,
        subscribe: () => Stream.fail(lost),
        forget: () => Effect.succeed(false)
      })
      const consumer = Consumer.layer([Placed], { Placed: () => Effect.void }, { group: "g" })
      yield* Effect.gen(function* () {
        const stop = yield* start(consumer)
        yield* until(Effect.map(Consumer.status("g"), ({ state }) => state === "backing-off"))
        const { cause } = yield* Consumer.status("g")
        assert.match(Cause.pretty(Option.getOrThrow(cause)), /nobody answers/)
        yield* stop
        assert.equal((yield* Consumer.status("g")).state, "stopped")
      }).pipe(Effect.provide(away))
      assert.equal((yield* Effect.flip(Consumer.status("g")))._tag, "UnknownGroupError")
    }).pipe(Effect.scoped, Effect.provide(all))
  )
})

describe("a group that is forgotten", () => {
  it.effect("is unknown to the process that had consumers of it, and not measured any more", () =>
    Effect.gen(function* () {
      const stop = yield* start(Consumer.layer([Event.make("Placed")], { Placed: () => Effect.void }, { group: "g" }))
      yield* until(Effect.map(Consumer.status("g"), ({ state }) => state === "live"))
      yield* stop
      assert.ok((yield* measured("group", "g")).includes("eventfold_consumer_state"))
      yield* Consumer.forget("g")
      assert.equal((yield* Effect.flip(Consumer.status("g")))._tag, "UnknownGroupError")
      assert.deepEqual(yield* measured("group", "g"), [])
    }).pipe(Effect.scoped, Effect.provide(all), Effect.provideService(Metric.MetricRegistry, new Map()))
  )
})

describe("a process manager", () => {
  const Begun = Event.make("Begun")
  const Due = Event.make("Due")
  const Nothing = Command.make("Nothing", { payload: {} })
  const Timed = ProcessManager.make("Timed", {
    events: [Begun],
    correlate: { Begun: () => "1" },
    deadlines: [Due],
    initial: 0,
    evolve: { Begun: (state) => state, Due: (state) => state + 1 },
    react: {
      Begun: () => [ProcessManager.setDeadline(Due.make({}), "1 minute")],
      Due: () => [ProcessManager.send(Nothing, {})]
    }
  })
  const bus = MessageBus.handle(Nothing, () => Effect.void).pipe(
    Layer.provideMerge(MessageBus.layer),
    Layer.provideMerge(UnitOfWork.layer),
    Layer.provideMerge(stores)
  )
  const due = Effect.map(Stream.runCollect(EventStore.readAll({ filter: { types: ["Due"] } })), ({ length }) => length)

  it.effect("and its watch say how they are doing, and are paused and resumed together", () =>
    Effect.gen(function* () {
      yield* start(ProcessManager.layer(Timed))
      yield* EventStore.append("A-1", [{ type: "Begun", payload: {} }])
      const read = Effect.map(ProcessManager.read(Timed, "1"), ({ deadlines }) => deadlines.size)
      yield* until(Effect.map(read, (size) => size === 1))
      yield* TestClock.adjust("10 seconds")
      const { deadlines, reacting } = yield* ProcessManager.status(Timed)
      const watch = Option.getOrThrow(deadlines)
      assert.deepEqual([reacting.state, watch.state, watch.lag], ["live", "live", 0])
      assert.ok(watch.position < reacting.position, "the checkpoint stays before the deadline")
      yield* ProcessManager.pause(Timed)
      yield* TestClock.adjust("1 hour")
      const paused = yield* ProcessManager.status(Timed)
      assert.deepEqual(
        [paused.reacting.state, Option.map(paused.deadlines, ({ state }) => state), yield* due],
        ["paused", Option.some("paused"), 0]
      )
      yield* ProcessManager.resume(Timed)
      yield* until(Effect.map(ProcessManager.read(Timed, "1"), ({ state }) => state === 1))
      assert.equal(yield* due, 1)
    }).pipe(Effect.scoped, Effect.provide(bus))
  )

  it.effect("whose watch is ahead of the log halts, and says so: deadlines below its checkpoint would never come", () =>
    Effect.gen(function* () {
      logs(/Error eventfold: the watch over the deadlines of "Timed" halts .*"deadlines:Timed"/)
      const { advance, claim, release } = yield* Checkpoints.Checkpoints
      yield* release(yield* advance(yield* claim("deadlines:Timed", { owner: "before", ttl: "1 second" }), 1000))
      yield* EventStore.append("A-1", [{ type: "Begun", payload: {} }])
      yield* start(ProcessManager.layer(Timed))
      const watch = Effect.map(ProcessManager.status(Timed), ({ deadlines }) => Option.getOrThrow(deadlines))
      yield* until(Effect.map(watch, ({ state }) => state === "halted"))
      assert.match(
        Cause.pretty(Option.getOrThrow((yield* watch).cause)),
        /"deadlines:Timed" is at position 1000, and the log ends/
      )
    }).pipe(Effect.scoped, Effect.provide(bus))
  )
})
