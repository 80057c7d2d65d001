/** What is looked for in vain, and far away: the log is looked through in parts, and whoever follows it keeps how far it has come. */
import assert from "node:assert/strict"
import { describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer, Option, Result, Schedule, Stream } from "effect"
import { TestClock } from "effect/testing"
import { Checkpoints, Event, EventStore, MessageBus, ProcessManager, Relay, Subscription, Transport, UnitOfWork } from "eventfold"
import * as Kit from "eventfold/kit"
import { reached } from "../../src/following/progress.ts"
import { logs } from "../support/logs.ts"
import { start } from "../support/words.ts"

const total = 20_000
const window = 64
/** How many positions the store can look through before it gives up. */
const most = 1000

type Request = Parameters<Kit.Pages["all"]>[0]

/** A store in memory that says what it was asked for, and fails where a request looks through too much, or beyond `reach.to`. */
const makeLimited = (limited: boolean) => {
  const index = Kit.makeIndex<Kit.StoredEvent>(Kit.matchesPrepared)
  const signal = Kit.makeSignal()
  const reads = Kit.readsOfIndex(index, (rows) => Effect.sync(() => Kit.eventPage(rows)))
  const requests: Array<Request> = []
  const reach = { to: Number.MAX_SAFE_INTEGER }
  const unavailable = new EventStore.EventStoreError({
    reason: new EventStore.StoreUnavailable({ operation: "readAll", detail: "it did not answer in time" })
  })
  const store = EventStore.make({
    ...reads,
    window,
    pages: {
      ...reads.pages,
      all: (request) => {
        requests.push(request)
        const [first, last] = [request.after + 1, Math.min(request.upTo, index.standing.head)]
        const filtered = request.filter.some((query) => Object.keys(query).length > 0)
        if ((limited && filtered && last - first >= most) || last > reach.to) return Effect.fail(unavailable)
        return reads.pages.all(request)
      }
    },
    append: (prepared) =>
      Effect.flatMap(prepared, (append) => {
        const verdict = Kit.decide(append, index.standing)
        if (Result.isFailure(verdict)) return Effect.fail(verdict.failure)
        for (const write of verdict.success.writes) index.add(Kit.storedEvent(write))
        signal.notify(index.standing.head)
        return Effect.succeed(verdict.success.results)
      }),
    awaitBeyond: signal.beyond,
    untilAnswered: (read) =>
      Effect.retry(read, { while: ({ reason }) => reason._tag === "StoreUnavailable", schedule: Schedule.spaced("1 second") })
  })
  return { store, requests, reach }
}

const common = Array.from({ length: total }, () => ({ type: "Common", payload: {} }))
const rare = { type: "Rare", payload: {}, published: true }

/** The store, with one rare event after many others. */
const world = <E>(
  limited: boolean,
  test: (limited: ReturnType<typeof makeLimited>) => Effect.Effect<void, E, Checkpoints.Checkpoints | EventStore.EventStore>
) =>
  Effect.suspend(() => {
    const made = makeLimited(limited)
    return Effect.andThen(made.store.append("Common-1", common), made.store.append("Rare-1", [rare])).pipe(
      Effect.andThen(() => test(made)),
      Effect.provide(Layer.merge(Checkpoints.layerMemory, Layer.succeed(EventStore.EventStore, made.store))),
      Effect.provideService(Subscription.Registry, new Map())
    )
  })

const checkpoint = (name: string) =>
  Checkpoints.Checkpoints.use(({ get }) =>
    Effect.map(get(name), Option.match({ onNone: () => 0, onSome: ({ position }) => position }))
  )

const filters: ReadonlyArray<EventStore.Filter> = [
  { types: ["Rare"] },
  { categories: ["Rare"] },
  { published: true },
  { types: ["Rare"], published: true },
  [{ types: ["Rare"] }, { types: ["None"], tags: ["a", "b"] }]
]

describe("a read of what is rare", () => {
  it.effect("looks through a part of the log with each request, whatever it filters by, and finds it", () =>
    world(false, ({ requests, store }) =>
      Effect.gen(function* () {
        const positions = Effect.map((events: ReadonlyArray<EventStore.RecordedEvent>) => events.map(({ position }) => position))
        for (const filter of filters) {
          for (const [way, read] of [
            ["readAll", Stream.runCollect(store.readAll({ filter }))],
            ["readAll backward", Stream.runCollect(store.readAll({ filter, direction: "backward" }))],
            ["readPage", Effect.map(store.readPage({ filter, size: 5 }), ({ events }) => events)],
            ["subscribe", Stream.runCollect(Stream.take(store.subscribe({ filter }), 1))]
          ] as const) {
            requests.length = 0
            assert.deepEqual(yield* positions(read), [total + 1], way)
            const widths = requests.map(({ after, upTo }) => upTo - after)
            assert.equal(widths[0], window, way)
            // The clock of tests stands still: each looks through four times as much as the one before.
            for (const [index, width] of widths.entries()) assert.ok(width <= window * 4 ** index, `${way}: ${widths}`)
          }
        }
        for (const filter of [undefined, {}, { tags: ["none"] }]) {
          requests.length = 0
          yield* Stream.runDrain(Stream.take(store.readAll({ filter }), 1))
          assert.equal(requests.length, 1, "what is found without looking at others takes one request")
        }
      })
    )
  )

  it.effect("where a request is too much for the store, a page says how far it has come, and the next one comes through", () =>
    world(true, ({ requests, store }) =>
      Effect.gen(function* () {
        const reached: Array<number> = []
        let page = yield* store.readPage({ filter: { types: ["Rare"] } })
        while (page.events.length === 0) {
          reached.push(page.position)
          page = yield* store.readPage({ after: page.position, filter: { types: ["Rare"] } })
        }
        assert.deepEqual([page.events.length, page.position, page.head], [1, total + 1, total + 1])
        assert.ok(reached.length > 3 && reached.every((position, index) => position > (reached[index - 1] ?? 0)))
        assert.ok(requests.length < 200, `${requests.length} requests`)
      })
    )
  )

  it.effect("a subscription to the store comes through by smaller parts", () =>
    world(true, ({ requests, store }) =>
      Effect.gen(function* () {
        const found = yield* Effect.forkChild(Stream.runCollect(Stream.take(store.subscribe({ filter: { types: ["Rare"] } }), 1)))
        yield* TestClock.adjust("1 hour")
        assert.equal((yield* Fiber.join(found))[0]?.position, total + 1)
        assert.ok(requests.length < 200, `${requests.length} requests`)
      })
    )
  )
})

const Due = Event.make("Due", {})
const Rare = Event.make("Rare", {})
const Reminders = ProcessManager.make("Reminders", {
  events: [Rare],
  deadlines: [Due],
  correlate: { Rare: () => "1" },
  initial: 0,
  evolve: { Rare: (state) => state, Due: (state) => state },
  react: { Rare: () => [], Due: () => [] }
})

describe("a follower of what is rare", () => {
  const followers = {
    subscription: {
      name: "subscription:rare",
      layer: Subscription.layer({ name: "rare", filter: { types: ["Rare"] }, handler: () => Effect.void })
    },
    "partition of a subscription": {
      name: "subscription:rare:0/1",
      layer: Subscription.layer({ name: "rare", filter: { types: ["Rare"] }, partitions: 1, handler: () => Effect.void })
    },
    relay: {
      name: "relay:rare",
      layer: Layer.provide(Relay.layer({ name: "rare" }), Transport.layerMemory)
    },
    "watch over deadlines": {
      name: "deadlines:Reminders",
      layer: ProcessManager.layer(Reminders).pipe(Layer.provide(MessageBus.layer), Layer.provide(UnitOfWork.layer))
    }
  }
  for (const [what, { layer, name }] of Object.entries(followers)) {
    it.effect(`${what}: keeps how far it has come, through failures in the midst of what it looks through in vain`, () =>
      world(true, ({ reach, store }) =>
        Effect.scoped(
          Effect.gen(function* () {
            logs(/failed and starts again/)
            // The store fails where a request looks through too much, and for good from here on.
            reach.to = 10_000
            yield* start(layer)
            yield* TestClock.adjust("1 minute")
            const half = yield* checkpoint(name)
            assert.ok(half >= 9_000 && half <= 10_000, `${half}`)
            reach.to = Number.MAX_SAFE_INTEGER
            yield* TestClock.adjust("1 minute")
            assert.equal(yield* checkpoint(name), yield* store.head)
          })
        )
      )
    )
  }

  it.effect("a relay that is drained keeps it, too, and goes on from there", () =>
    world(true, ({ reach }) =>
      Effect.gen(function* () {
        reach.to = 10_000
        const drain = Effect.provide(Relay.drain({ name: "rare" }), Transport.layerMemory)
        for (let n = 0; n < 30; n++) yield* Effect.exit(drain)
        const half = yield* checkpoint("relay:rare")
        assert.ok(half >= 9_000 && half <= 10_000, `${half}`)
        reach.to = Number.MAX_SAFE_INTEGER
        for (let n = 0; n < 30; n++) yield* Effect.exit(drain)
        assert.equal(yield* checkpoint("relay:rare"), total + 1)
      })
    )
  )

  it.effect("whoever waits for a position goes on from where it has looked", () =>
    world(true, ({ requests }) =>
      Effect.gen(function* () {
        const { claim } = yield* Checkpoints.Checkpoints
        yield* claim("subscription:none", { owner: "somebody", ttl: "1 hour" })
        const probe = reached("subscription:none", total, { types: ["None"] })
        let tries = 0
        let done = false
        while (!done) {
          done = yield* Effect.match(probe, { onFailure: () => false, onSuccess: ({ done }) => done })
          tries++
        }
        assert.ok(tries > 3 && tries < 100, `${tries}`)
        assert.ok(requests.length < 200, `${requests.length} requests`)
      })
    )
  )
})
