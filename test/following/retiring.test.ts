import assert from "node:assert/strict"
import { describe, it } from "@effect/vitest"
import { DateTime, Effect, Layer, Option, Schedule, type Scope, Stream } from "effect"
import { TestClock } from "effect/testing"
import {
  Checkpoints,
  EventStore,
  MessageBus,
  ParkedEvents,
  ProcessManager,
  Relay,
  Subscription,
  Transport,
  UnitOfWork
} from "eventfold"
import { logs } from "../support/logs.ts"
import { arrived, Collection, Handlers } from "../support/shipping.ts"
import { rest, start, until } from "../support/words.ts"

const stores = Layer.mergeAll(EventStore.layerMemory, Checkpoints.layerMemory, ParkedEvents.layerMemory)

type Stores = EventStore.EventStore | Checkpoints.Checkpoints | ParkedEvents.ParkedEvents

const retiring = <E>(test: Effect.Effect<void, E, Stores | Scope.Scope>) => Effect.provide(test, stores)

const event: EventStore.NewEvent = { type: "Counted", payload: {}, published: true }

/** The names in the lag, and whether all of them have come up. */
const lag = Effect.map(Subscription.lag, (all) => [all.map(({ checkpoint }) => checkpoint), all.every(({ lag }) => lag === 0)])

const noting = (options: Partial<Subscription.RawOptions<never, never, "halt", false>> = {}) => {
  const seen: Array<number> = []
  const layer = Subscription.layer({
    name: "view",
    handler: ({ position }: EventStore.RecordedEvent) => Effect.sync(() => seen.push(position)),
    ...options
  })
  return { seen, layer }
}

const parked = (subscription: string, position = 1) =>
  ParkedEvents.ParkedEvents.use(({ park }) =>
    park({ subscription, position, stream: "A-1", type: "Counted", cause: "", attempts: 1, parkedAt: DateTime.makeUnsafe(0) })
  )

const parkedOf = (subscription: string) =>
  ParkedEvents.ParkedEvents.use(({ list }) => Effect.map(list(subscription), (all) => all.length))

const stillRuns = (checkpoint: string, owner?: string) =>
  new Subscription.StillRunningError({ checkpoint, owner: Option.fromUndefinedOr(owner) })

describe("what follows no more", () => {
  it.effect("a subscription is removed with what it has parked, and the health check is true again", () =>
    retiring(
      Effect.gen(function* () {
        yield* EventStore.append("A-1", [event, event])
        const first = noting()
        const stop = yield* start(first.layer)
        yield* until(() => first.seen.length === 2)
        yield* rest
        yield* stop
        yield* parked("view")
        yield* parked("viewer")
        yield* Checkpoints.Checkpoints.use(({ reset }) => reset("subscription:viewer", 3))
        yield* EventStore.append("A-1", [event])
        assert.deepEqual(yield* lag, [["subscription:view", "subscription:viewer"], false])
        assert.equal(yield* Subscription.remove("view"), true)
        assert.deepEqual(yield* lag, [["subscription:viewer"], true])
        assert.deepEqual([yield* parkedOf("view"), yield* parkedOf("viewer")], [0, 1])
        assert.equal(yield* Subscription.remove("view"), false)
        // What is to be kept of it is kept.
        yield* Subscription.remove("viewer", { parked: "keep" })
        assert.equal(yield* parkedOf("viewer"), 1)
        // The name begins anew.
        const second = noting()
        yield* start(second.layer)
        yield* until(() => second.seen.length === 3)
        assert.deepEqual(second.seen, [1, 2, 3])
      })
    )
  )

  it.effect("one that runs is refused, here and elsewhere, and nothing is changed", () =>
    retiring(
      Effect.gen(function* () {
        logs(/ halts/)
        yield* EventStore.append("A-1", [event])
        yield* parked("view")
        const { layer, seen } = noting()
        const stop = yield* start(layer)
        yield* until(() => seen.length === 1)
        yield* rest
        const before = yield* Checkpoints.Checkpoints.use(({ get }) => get("subscription:view"))
        assert.deepEqual(yield* Effect.flip(Subscription.remove("view")), stillRuns("subscription:view"))
        // Another process, which sees the lease alone.
        const owner = Option.getOrThrow(Option.flatMap(before, ({ owner }) => owner))
        const elsewhere = Effect.provideService(Subscription.remove("view"), Subscription.Registry, new Map())
        const error = yield* Effect.flip(elsewhere)
        assert.deepEqual(error, stillRuns("subscription:view", owner))
        assert.match(error.message, /"subscription:view" is held by "[^"]+": end whatever runs it/)
        assert.deepEqual(yield* Checkpoints.Checkpoints.use(({ get }) => get("subscription:view")), before)
        assert.equal(yield* parkedOf("view"), 1)
        yield* stop
        // One that has halted has no lease, and would begin anew when it is resumed.
        const halted = Subscription.layer({ name: "halted", retry: Schedule.recurs(0), handler: () => Effect.fail("no") })
        const stopHalted = yield* start(halted)
        yield* until(Effect.map(Subscription.status("halted"), ({ state }) => state === "halted"))
        assert.deepEqual(yield* Effect.flip(Subscription.remove("halted")), stillRuns("subscription:halted"))
        yield* stopHalted
        assert.equal(yield* Subscription.remove("halted"), true)
      })
    )
  )

  it.effect("of a group all partitions go or none, and another number of them may follow", () =>
    retiring(
      Effect.gen(function* () {
        yield* EventStore.append("A-1", [event])
        yield* EventStore.append("B-1", [event])
        const first = noting({ partitions: 2 })
        const stop = yield* start(first.layer)
        yield* until(() => first.seen.length === 2)
        yield* rest
        yield* stop
        const { claim, list, release } = yield* Checkpoints.Checkpoints
        const lease = yield* claim("subscription:view:1/2", { owner: "elsewhere", ttl: "1 minute" })
        const names = Effect.map(list, (all) =>
          all.map(({ name, owner, position }) => [name, Option.getOrUndefined(owner), position])
        )
        const before = yield* names
        assert.deepEqual(yield* Effect.flip(Subscription.remove("view")), stillRuns("subscription:view:1/2", "elsewhere"))
        assert.deepEqual(yield* names, before)
        yield* release(lease)
        yield* claim("subscription:view:join/2", { owner: "one that died", ttl: "1 second" })
        yield* TestClock.adjust("1 second")
        assert.equal(yield* Subscription.remove("view"), true)
        assert.deepEqual(yield* list, [])
        const second = noting({ partitions: 3 })
        yield* start(second.layer)
        yield* until(() => second.seen.length === 2)
      })
    )
  )

  it.effect("a relay, and a process manager with its deadlines", () =>
    retiring(
      Effect.gen(function* () {
        const taken: Array<string> = []
        const broker = Transport.Transport.of({
          publish: (messages) => Effect.sync(() => taken.push(...messages.map(({ id }) => id))),
          subscribe: () => Stream.never,
          forget: () => Effect.succeed(false)
        })
        const relay = Effect.provideService(
          start(Layer.provide(Relay.layer({ name: "shop" }), Layer.succeed(Transport.Transport, broker))),
          Transport.Transport,
          broker
        )
        yield* EventStore.append("A-1", [event])
        const stopRelay = yield* relay
        yield* until(() => taken.length === 1)
        yield* rest
        assert.deepEqual(yield* Effect.flip(Relay.remove("shop")), stillRuns("relay:shop"))
        yield* stopRelay
        yield* parked("relay:shop")
        assert.equal(yield* Relay.remove("shop"), true)
        assert.equal(yield* parkedOf("relay:shop"), 0)
        const again = yield* relay
        yield* until(() => taken.length === 2)
        yield* again

        const bus = Handlers.pipe(Layer.provideMerge(MessageBus.layer), Layer.provideMerge(UnitOfWork.layer))
        yield* Effect.gen(function* () {
          const stopProcess = yield* start(ProcessManager.layer(Collection))
          yield* arrived("1")
          yield* until(Effect.map(EventStore.head, (head) => head === 6))
          yield* rest
          assert.deepEqual(yield* Effect.flip(ProcessManager.remove(Collection)), stillRuns("subscription:process:Collection"))
          yield* stopProcess
          assert.deepEqual((yield* lag)[0], ["deadlines:Collection", "relay:shop", "subscription:process:Collection"])
          assert.equal(yield* ProcessManager.remove(Collection), true)
          assert.deepEqual((yield* lag)[0], ["relay:shop"])
          // It reacts to nothing twice.
          yield* start(ProcessManager.layer(Collection))
          yield* until(Effect.map(Subscription.status("process:Collection"), ({ position }) => position === 6))
          assert.equal(yield* EventStore.head, 6)
        }).pipe(Effect.provide(bus))
      })
    )
  )
})
