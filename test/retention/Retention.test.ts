import assert from "node:assert/strict"
import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import { describe, it } from "@effect/vitest"
import { Clock, Context, Duration, Effect, Exit, Fiber, Layer, Option, Schema, type Scope, Stream } from "effect"
import { TestClock } from "effect/testing"
import {
  Aggregate,
  Archive,
  Checkpoints,
  Event,
  EventStore,
  ParkedEvents,
  Repository,
  Retention,
  Snapshots,
  Subscription
} from "eventfold"
import { JsonlArchive, JsonlEventStore } from "eventfold/jsonl"
import { PgEventStore } from "eventfold/postgres"
import { SqliteEventStore } from "eventfold/sqlite"
import { lasting } from "../../src/internal/lasting.ts"
import { temporaryDirectory } from "../support/files.ts"
import { logs } from "../support/logs.ts"
import { until } from "../support/words.ts"

const Opened = Event.make("Opened", { owner: Schema.String })
const Added = Event.make("Added", { item: Schema.String })
const Cart = Aggregate.make("Cart", {
  events: [Opened, Added],
  initial: { owner: "", items: 0 },
  state: Schema.Struct({ owner: Schema.String, items: Schema.Number }),
  evolve: { Opened: (state, { owner }) => ({ ...state, owner }), Added: ({ items, owner }) => ({ owner, items: items + 1 }) },
  snapshot: { every: 5 }
})

const items = (count: number) => Array.from({ length: count }, (_, n) => Added.make({ item: `secret-${n}` }))
const fill = (id: string, count = 2) => Repository.append(Cart, id, [Opened.make({ owner: "Ada" }), ...items(count)])
const manual = { every: "never", pace: 1_000_000_000 } as const

const types = (stream: string) =>
  Effect.map(Stream.runCollect(EventStore.read(stream)), (events) => events.map(({ type }) => type))

/** Runs a retention to its end, whatever it waits for. */
const runIt = (options: Retention.Options) =>
  Effect.scoped(
    Effect.flatMap(Retention.make(options), ({ run }) =>
      Effect.gen(function* () {
        const fiber = yield* Effect.forkChild(run)
        yield* TestClock.adjust("1 day")
        return yield* Fiber.join(fiber)
      })
    )
  )

const base = Layer.mergeAll(EventStore.layerMemory, Checkpoints.layerMemory, Snapshots.layerMemory, ParkedEvents.layerMemory)
const reasonOf = (error: unknown) => (error as EventStore.EventStoreError).reason

describe("policies", () => {
  it.effect("a closed stream goes as a whole when its last event is old enough, and others stay", () =>
    Effect.gen(function* () {
      yield* fill("old")
      yield* EventStore.append("Order-1", [{ type: "Placed", payload: {} }])
      yield* TestClock.adjust("10 days")
      yield* fill("young")
      yield* TestClock.adjust("25 days")
      const before = yield* Stream.runCollect(EventStore.readAll())
      const options = { ...manual, policies: { Cart: { keep: "30 days" } } } as const
      const planned = yield* Effect.scoped(Effect.flatMap(Retention.make(options), ({ plan }) => plan))
      assert.deepEqual(planned, [{ category: "Cart", afterwards: "tombstone", streams: 1, events: 3, blockedBy: [] }])
      assert.deepEqual(yield* Stream.runCollect(EventStore.readAll()), before, "a plan changes nothing")
      assert.deepEqual(yield* runIt(options), [
        { category: "Cart", afterwards: "tombstone", streams: 1, events: 3, blockedBy: [] }
      ])
      assert.deepEqual(yield* types("Cart-old"), ["$Tombstone", "$Tombstone", "$Tombstone"])
      assert.deepEqual(yield* types("Cart-young"), ["Opened", "Added", "Added"])
      assert.deepEqual(yield* types("Order-1"), ["Placed"])
      assert.deepEqual(yield* runIt({ ...options, policies: { Cart: { keep: "300 days" } } }), [])
    }).pipe(Effect.provide(base))
  )

  it.effect("what is young, and what has gone, is read by no run", () =>
    Effect.gen(function* () {
      yield* Effect.forEach(["a", "b", "c"], (id) => fill(id))
      const store = yield* EventStore.EventStore
      const maintenance = store.maintenance as EventStore.Maintenance
      let reads = 0
      const counted = EventStore.EventStore.of({
        ...store,
        maintenance: { ...maintenance, read: (...asked) => Stream.suspend(() => (reads++, maintenance.read(...asked))) }
      })
      const run = Effect.provideService(
        runIt({ ...manual, policies: { Cart: { keep: "30 days" } } }),
        EventStore.EventStore,
        counted
      )
      assert.deepEqual(yield* run, [])
      assert.equal(reads, 0)
      yield* TestClock.adjust("31 days")
      assert.equal((yield* run)[0]?.events, 9)
      assert.ok(reads > 0)
      reads = 0
      assert.deepEqual(yield* run, [])
      assert.equal(reads, 0)
    }).pipe(Effect.provide(base))
  )

  it.effect("so many events go in a second, and nobody waits behind the last", () =>
    Effect.gen(function* () {
      yield* Effect.forEach(Array.from({ length: 100 }), (_, n) => fill(`c${n}`, 4))
      const { run, status } = yield* Retention.make({ every: "never", pace: 100, policies: { Cart: { keep: Duration.zero } } })
      const running = yield* Effect.forkChild(run)
      const gone = Effect.map(status, ({ removed }) => removed)
      const untilGone = (count: number) => until(Effect.map(gone, (removed) => removed === count))
      // Two hundred at once, as many as one statement takes.
      for (const count of [200, 400]) {
        yield* untilGone(count)
        yield* TestClock.adjust("1999 millis")
        assert.equal(yield* gone, count)
        yield* TestClock.adjust("1 millis")
      }
      assert.equal((yield* Fiber.join(running))[0]?.events, 500)
    }).pipe(Effect.scoped, Effect.provide(base))
  )

  it.effect("a clock that is put back makes a run wait for no longer than the events before it may take", () =>
    Effect.gen(function* () {
      yield* TestClock.setTime(Date.UTC(2026, 0, 2))
      yield* fill("a")
      const { run } = yield* Retention.make({ every: "never", pace: 1, policies: { Cart: { keep: Duration.zero } } })
      assert.equal((yield* run)[0]?.events, 3)
      yield* TestClock.setTime(Date.UTC(2026, 0, 1))
      yield* fill("b")
      const running = yield* Effect.forkChild(run)
      yield* until(Effect.map(TestClock.adjust("1 second"), () => running.pollUnsafe() !== undefined))
      assert.ok((yield* Clock.currentTimeMillis) - Date.UTC(2026, 0, 1) < Duration.toMillis("1 hour"))
      assert.equal((yield* Fiber.join(running))[0]?.events, 3)
    }).pipe(Effect.scoped, Effect.provide(base))
  )

  it.effect("one that ends in a defect holds up no other, and is told", () =>
    Effect.gen(function* () {
      yield* fill("a")
      yield* EventStore.append("Order-1", [{ type: "Placed", payload: {} }])
      yield* TestClock.adjust("1 day")
      const broken = Archive.Archive.of({
        name: "broken",
        heads: Effect.succeed([]),
        read: () => Effect.succeed([]),
        write: () => Effect.die(new RangeError("Invalid string length"))
      })
      const policies = { Cart: { keep: Duration.zero, afterwards: "archive" }, Order: { keep: Duration.zero } } as const
      const { run, status } = yield* Effect.provideService(Retention.make({ ...manual, policies }), Archive.Archive, broken)
      const error = yield* Effect.flip(run)
      assert.match(error.message, /of Cart: RangeError: Invalid string length/)
      assert.equal((yield* status).error, error)
      assert.deepEqual([yield* types("Cart-a"), yield* types("Order-1")], [["Opened", "Added", "Added"], ["$Tombstone"]])
    }).pipe(Effect.scoped, Effect.provide(base))
  )

  it.effect("behind a snapshot: what it holds goes, and loading goes on from it", () =>
    Effect.gen(function* () {
      yield* fill("1", 11)
      const whole = yield* Repository.read(Cart, "1")
      const [kept] = yield* Snapshots.Snapshots.use(({ list }) => list())
      assert.equal(kept?.version, 12)
      yield* fill("2", 1)
      yield* runIt({ ...manual, policies: { Cart: { keep: Retention.behindSnapshot(2) } } })
      assert.deepEqual(
        (yield* types("Cart-1")).map((type) => type === "$Tombstone"),
        Array.from({ length: 12 }, (_, index) => index < 10)
      )
      assert.deepEqual(yield* types("Cart-2"), ["Opened", "Added"], "a stream without a snapshot is kept")
      yield* Repository.append(Cart, "1", items(1))
      assert.deepEqual(yield* Repository.read(Cart, "1"), { state: { owner: "Ada", items: 12 }, version: 13 })
      assert.deepEqual(whole, { state: { owner: "Ada", items: 11 }, version: 12 })
      // Without the snapshot there is no state, and nobody makes one up.
      yield* Snapshots.Snapshots.use(({ remove }) => remove("Cart-1"))
      const error = yield* Effect.flip(Repository.read(Cart, "1"))
      assert.equal(reasonOf(error)._tag, "EventsRemoved")
      assert.match(error.message, /version 1 of "Cart-1", a "Opened", was removed \(retention: 2 versions behind a snapshot\)/)
    }).pipe(Effect.provide(base))
  )

  it.effect("each event for itself: a stream that goes on loses what is old", () =>
    Effect.gen(function* () {
      for (let day = 0; day < 4; day++) {
        yield* EventStore.append("Log-1", [{ type: "Noted", payload: {} }])
        yield* TestClock.adjust("1 day")
      }
      yield* runIt({ ...manual, policies: { Log: { keep: Retention.eachFor("60 hours") } } })
      assert.deepEqual(yield* types("Log-1"), ["$Tombstone", "$Tombstone", "Noted", "Noted"])
    }).pipe(Effect.provide(base))
  )

  it.effect(
    "what eventfold writes goes by itself: conversations, answers to requests, operators, processes that wait for nothing",
    () =>
      Effect.gen(function* () {
        yield* EventStore.append("$bus-1", [{ type: "$Command", payload: {} }])
        yield* EventStore.append("$request-Place/1", [{ type: "$CommandAnswered", payload: {} }])
        yield* EventStore.append("$command-Place/order-1", [{ type: "$CommandAnswered", payload: {} }])
        yield* EventStore.append("$operations", [{ type: "$OperatorActed", payload: {} }])
        const set = { type: "$DeadlineSet", payload: { type: "Late", id: "d-1" } }
        const handled = { type: "$EventHandled", payload: { type: "Placed", id: "e-1" } }
        yield* EventStore.append("Shipping-1", [handled])
        yield* EventStore.append("Shipping-2", [set, handled])
        yield* EventStore.append("Shipping-3", [set, { type: "$DeadlineCancelled", payload: { type: "Late" } }])
        const checkpoints = yield* Checkpoints.Checkpoints
        const lease = yield* checkpoints.claim("subscription:process:Shipping", { owner: "a", ttl: "1 minute" })
        yield* checkpoints.advance(lease, yield* EventStore.head)
        yield* TestClock.adjust("100 days")
        yield* runIt({ ...manual, policies: {} })
        const left = yield* Stream.runCollect(EventStore.readAll())
        assert.deepEqual(
          left.filter((event) => !EventStore.isTombstone(event)).map(({ stream, type }) => [stream, type]),
          [
            ["$command-Place/order-1", "$CommandAnswered"],
            ["$operations", "$OperatorActed"],
            ["Shipping-2", "$DeadlineSet"],
            ["Shipping-2", "$EventHandled"]
          ]
        )
        yield* TestClock.adjust("300 days")
        yield* runIt({ ...manual, policies: { $bus: { keep: "for ever" } } })
        assert.deepEqual(yield* types("$operations"), ["$Tombstone"])
      }).pipe(Effect.provide(base))
  )

  it.effect("one that cannot be carried out holds up no other, and each that was not is named at the end", () =>
    Effect.gen(function* () {
      for (const stream of ["Cold-1", "Order-1", "Seen-1"]) yield* EventStore.append(stream, [{ type: "Placed", payload: {} }])
      const checkpoints = yield* Checkpoints.Checkpoints
      const lease = yield* checkpoints.claim("relay:orders", { owner: "a", ttl: "1 minute" })
      yield* checkpoints.advance(lease, 2)
      const cold = Archive.makeStore("cold", yield* EventStore.makeMemory)
      const full = Archive.Archive.of({
        ...cold,
        write: () => Effect.fail(new Archive.ArchiveError({ archive: "cold", isDamaged: false, problem: "the disk is full" }))
      })
      const all = { keep: Duration.zero } as const
      const policies = { Cold: { ...all, afterwards: "archive" }, Seen: all, Order: all } as const
      yield* TestClock.adjust("1 day")
      const error = yield* Effect.flip(Effect.provideService(runIt({ ...manual, policies }), Archive.Archive, full))
      assert.ok(error._tag === "RetentionFailed")
      assert.match(error.message, /of Cold: .*the disk is full.*; Nothing was removed of Seen: relay:orders would miss it/)
      assert.deepEqual(yield* types("Order-1"), ["$Tombstone"])
      for (const stream of ["Cold-1", "Seen-1"]) assert.deepEqual(yield* types(stream), ["Placed"])
    }).pipe(Effect.provide(base))
  )

  it.effect("a policy that asks for what is not provided is named by a plan, and a run does the rest", () =>
    Effect.gen(function* () {
      for (const stream of ["Cart-1", "Order-1"]) yield* EventStore.append(stream, [{ type: "Placed", payload: {} }])
      const policies = { Cart: { keep: Retention.behindSnapshot(1) }, Order: { keep: Duration.zero } }
      yield* TestClock.adjust("1 day")
      const planned = yield* Effect.flip(
        Effect.scoped(Effect.flatMap(Retention.make({ ...manual, policies }), ({ plan }) => plan))
      )
      const run = yield* Effect.flip(runIt({ ...manual, policies }))
      for (const error of [planned, run])
        assert.match(error.message, /the policy of Cart needs Snapshots, which are not provided/)
      assert.deepEqual(yield* types("Order-1"), ["$Tombstone"])
    }).pipe(Effect.provide([EventStore.layerMemory, Checkpoints.layerMemory]))
  )

  it.effect("bad input is refused by name", () =>
    Effect.gen(function* () {
      for (const [options, message] of [
        [{ policies: {}, pace: 0 }, /pace must be a number above 0, not 0/],
        [{ policies: { "Cart-1": { keep: "1 day" } } }, /a category ends before the first "-"/],
        [{ policies: { Cart: { keep: "a while" as "1 day" } } }, /keep is no duration: "a while"/],
        [{ policies: { Cart: { keep: Number.NaN } } }, /keep is no duration: NaN/],
        [{ policies: { Cart: { keep: { days: Number.NaN } } } }, /keep is no duration: \{"days":null\}/],
        [{ policies: { Cart: { keep: -5 } } }, /keep is no duration: -5/],
        [{ policies: { Cart: { keep: "-1 days" } } }, /keep is no duration: "-1 days"/],
        [{ policies: { Cart: { keep: "1 day", afterwards: "archive" } } }, /needs an Archive, which is not provided/],
        [{ policies: { $erasure: { keep: "1 day" } } }, /the policy of "\$erasure": kept for ever: it says who is forgotten/],
        [{ policies: { $tenant: { keep: Retention.eachFor("1 day") } } }, /the policy of "\$tenant": kept for ever/]
      ] as const) {
        const error = yield* Effect.flip(Effect.scoped(Retention.make(options)))
        assert.equal(error._tag, "RetentionFailed")
        assert.match(error.message, message)
      }
      yield* Effect.scoped(Retention.make({ ...manual, policies: { $erasure: { keep: "for ever" } } }))
      for (const stream of ["$erasure-ada", "$tenant"]) {
        yield* EventStore.append(stream, [{ type: "Lasts", payload: {} }])
        const error = yield* Effect.flip(Retention.tombstone(stream, { reason: "closed" }))
        assert.ok(error._tag === "RetentionFailed" && error.message.includes("kept for ever"), String(error))
        assert.deepEqual(yield* types(stream), ["Lasts"])
      }
      assert.throws(() => Retention.behindSnapshot(-1), /a whole number from 0, not -1/)
      for (const keep of [Number.NaN, "-1 days", { days: Number.NaN }] as const) {
        assert.throws(() => Retention.eachFor(keep), /Retention\.eachFor must be a duration from 0, not/)
        assert.throws(() => lasting("Inbox: keep", keep), RangeError)
      }
      const { maintenance: _, ...store } = yield* EventStore.EventStore
      const error = yield* Effect.flip(
        Effect.provideService(Retention.tombstone("Cart-1", { reason: "x" }), EventStore.EventStore, store)
      )
      assert.match(error.message, /cannot remove events/)
    }).pipe(Effect.provide(base))
  )
})

describe("followers", () => {
  it.effect("whoever is behind is named, and nothing of that is removed; other categories are", () =>
    Effect.gen(function* () {
      yield* EventStore.append("Order-1", [{ type: "Placed", payload: {} }])
      yield* fill("1")
      const checkpoints = yield* Checkpoints.Checkpoints
      const lease = yield* checkpoints.claim("relay:orders", { owner: "a", ttl: "1 minute" })
      yield* checkpoints.release(yield* checkpoints.advance(lease, 2))
      yield* checkpoints.versions.put({
        projection: "Totals",
        version: 2,
        mode: "async",
        target: Option.none(),
        heard: 0,
        revision: 0
      })
      const options = { ...manual, policies: { Cart: { keep: Duration.zero }, Order: { keep: Duration.zero } } }
      yield* TestClock.adjust("1 day")
      const error = yield* Effect.flip(runIt(options))
      assert.ok(error._tag === "RetentionRefused")
      assert.deepEqual(
        [error.of, error.by],
        [
          ["Cart", "Order"],
          ["relay:orders", "subscription:projection:Totals@2"]
        ]
      )
      assert.deepEqual(yield* types("Order-1"), ["Placed"])
      const begun = yield* checkpoints.claim("subscription:projection:Totals@2", { owner: "a", ttl: "1 minute" })
      yield* checkpoints.advance(begun, 4)
      const second = yield* Effect.flip(runIt(options))
      assert.ok(second._tag === "RetentionRefused")
      assert.deepEqual([second.of, second.by], [["Cart"], ["relay:orders"]])
      assert.deepEqual([yield* types("Order-1"), (yield* types("Cart-1")).includes("$Tombstone")], [["$Tombstone"], false])
      const alone = yield* Effect.flip(Retention.tombstone("Cart-1", { reason: "closed" }))
      assert.equal(alone._tag, "RetentionRefused")
    }).pipe(Effect.provide(base))
  )

  it.effect("a parked event keeps its stream", () =>
    Effect.gen(function* () {
      yield* fill("1")
      const checkpoints = yield* Checkpoints.Checkpoints
      const lease = yield* checkpoints.claim("subscription:mails", { owner: "a", ttl: "1 minute" })
      yield* checkpoints.advance(lease, 3)
      const parked = yield* ParkedEvents.ParkedEvents
      const [event] = yield* Stream.runCollect(EventStore.read("Cart-1"))
      assert.ok(event !== undefined)
      yield* parked.park({ subscription: "mails", ...event, cause: "no address", attempts: 1, parkedAt: event.recordedAt })
      yield* TestClock.adjust("1 day")
      const error = yield* Effect.flip(Retention.tombstone("Cart-1", { reason: "closed" }))
      assert.ok(error._tag === "RetentionRefused")
      assert.deepEqual(error.by, ["the parked events of mails"])
      yield* parked.discard("mails", event.position)
      assert.equal(yield* Retention.tombstone("Cart-1", { reason: "closed" }), 3)
    }).pipe(Effect.provide(base))
  )

  it.effect("a subscription to everything gets no tombstone, and its checkpoint passes them", () =>
    Effect.gen(function* () {
      yield* fill("1")
      yield* Retention.tombstone("Cart-1", { reason: "closed" })
      yield* EventStore.append("Order-1", [{ type: "Placed", payload: {} }])
      const seen: Array<string> = []
      const all = Subscription.layer({
        name: "all",
        removed: "skip",
        handler: ({ type }) => Effect.sync(() => void seen.push(type))
      })
      yield* Effect.scoped(
        Effect.gen(function* () {
          yield* Layer.build(all)
          const checkpoints = yield* Checkpoints.Checkpoints
          yield* until(
            Effect.map(
              checkpoints.get("subscription:all"),
              Option.exists(({ position }) => position === 4)
            )
          )
        })
      )
      assert.deepEqual(seen, ["Placed"])
    }).pipe(Effect.provide(base))
  )
})

const archives = {
  "in another store": Effect.map(EventStore.makeMemory, (store) => Archive.layerStore("cold", store)),
  "in files": Effect.map(temporaryDirectory, (directory) =>
    Layer.provide(JsonlArchive.layer({ name: "cold", directory: join(directory, "cold") }), NodeFileSystem.layer)
  )
}

for (const [where, archive] of Object.entries(archives)) {
  describe(`an archive ${where}`, () => {
    it.effect("has what was moved, and reads go on through it, by stream and by filter", () =>
      Effect.gen(function* () {
        const layer = Layer.provideMerge(yield* archive, base)
        yield* Effect.gen(function* () {
          yield* fill("1", 6)
          yield* EventStore.append("Order-1", [{ type: "Placed", payload: {}, tags: ["a"] }])
          const before = yield* Stream.runCollect(EventStore.readAll())
          yield* TestClock.adjust("40 days")
          const policies = { Cart: { keep: "30 days", afterwards: "archive" } } as const
          yield* runIt({ ...manual, policies })
          yield* runIt({ ...manual, policies })
          assert.equal((yield* types("Cart-1")).filter((type) => type === "$Tombstone").length, 7)
          const error = yield* Effect.flip(Repository.read(Cart, "1", { version: 7 }))
          const reason = reasonOf(error)
          assert.ok(reason._tag === "EventsArchived")
          assert.deepEqual([reason.archive, reason.stream, reason.version], ["cold", "Cart-1", 1])
          yield* Effect.gen(function* () {
            assert.deepEqual(yield* Stream.runCollect(EventStore.readAll()), before)
            assert.deepEqual((yield* Repository.read(Cart, "1", { version: 7 })).state, { owner: "Ada", items: 6 })
            const added = EventStore.readAll({ filter: { types: ["Added"] }, limit: 2 })
            assert.deepEqual(
              (yield* Stream.runCollect(added)).map(({ version }) => version),
              [2, 3]
            )
            const backward = EventStore.readAll({ direction: "backward", filter: [{ types: ["Opened"] }, { tags: ["a"] }] })
            assert.deepEqual(
              (yield* Stream.runCollect(backward)).map(({ position }) => position),
              [8, 1]
            )
            const page = yield* EventStore.readPage({ filter: { categories: ["Cart"] }, size: 3 })
            assert.deepEqual(page.events, before.slice(0, 3))
            assert.deepEqual(yield* EventStore.find(before[2]?.id ?? ""), Option.some(before[2]))
            const live = EventStore.subscribe({ filter: { types: ["Added", "Placed"] } })
            assert.deepEqual((yield* Stream.runCollect(Stream.take(live, 7))).length, 7)
            assert.equal((yield* EventStore.verify()).removed, 7, "what is stored is verified, and not what is read through")
            assert.deepEqual(yield* runIt({ ...manual, policies }), [], "what was moved is not moved again")
          }).pipe(Effect.provide(Archive.layer))
        }).pipe(Effect.provide(layer))
      })
    )
  })
}

for (const [where, archive] of Object.entries(archives)) {
  it.effect(`an archive ${where} has text that is very long as it was`, () =>
    Effect.gen(function* () {
      const layer = Layer.provideMerge(yield* archive, base)
      // As long as an event may be, and of characters of one to eight code units.
      const note = `"\\\n\u2028 Grüße 注文 👩‍👩‍👧 `.repeat(190_000)
      yield* Effect.gen(function* () {
        yield* EventStore.append("Order-1", [
          { type: "Placed", payload: { note } },
          { type: "Placed", payload: { note: note.slice(1) } },
          { type: "Placed", payload: {} }
        ])
        const before = yield* Stream.runCollect(EventStore.read("Order-1"))
        yield* Retention.archive("Order-1", { reason: "closed" })
        assert.deepEqual(yield* types("Order-1"), ["$Tombstone", "$Tombstone", "$Tombstone"])
        const after = yield* Effect.provide(Stream.runCollect(EventStore.read("Order-1")), Archive.layer)
        assert.deepEqual(after, before)
        assert.deepEqual(after[0]?.payload, { note })
      }).pipe(Effect.provide(layer))
    })
  )
}

describe("an archive in files that two have open", () => {
  it.effect("what the other one has moved there since is read, and what is not there is still an error", () =>
    Effect.gen(function* () {
      const directory = join(yield* temporaryDirectory, "cold")
      const open = Effect.provide(JsonlArchive.make({ name: "cold", directory }), NodeFileSystem.layer)
      const [mine, others] = [yield* open, yield* open]
      const store = yield* EventStore.makeMemoryWith({ chain: true })
      const live = Layer.mergeAll(Layer.succeed(EventStore.EventStore, store), Checkpoints.layerMemory)
      const move = (id: string, archive: Archive.Archive["Service"]) =>
        Retention.archive(`Cart-${id}`, { reason: "closed" }).pipe(
          Effect.provideService(Archive.Archive, archive),
          Effect.provide(live)
        )
      const reading = (archive: Archive.Archive["Service"]) =>
        Effect.provide(
          Stream.runCollect(EventStore.readAll()),
          Archive.layer.pipe(Layer.provide(Layer.succeed(Archive.Archive, archive)), Layer.provide(live))
        )
      const read = reading(mine)
      for (const id of ["1", "2", "3"]) yield* Effect.provide(fill(id), live)
      const before = yield* read
      yield* move("1", mine)
      yield* move("2", others)
      assert.deepEqual(yield* read, before)
      yield* move("3", others)
      assert.deepEqual(yield* mine.heads ?? Effect.die("it has some"), yield* others.heads ?? Effect.die("it has some"))
      assert.deepEqual(yield* read, before)
      const reopened = yield* open
      const lost = readdirSync(directory).filter((name) => name.startsWith("7-"))
      assert.equal(lost.length, 2)
      for (const name of lost) rmSync(join(directory, name))
      assert.deepEqual(yield* reopened.read("Cart-2", { from: 1, to: 3 }), before.slice(3, 6))
      assert.equal(reasonOf(yield* Effect.flip(reading(reopened)))._tag, "StoreUnavailable", "its file cannot be read")
      const missing = yield* Effect.flip(reading(yield* open))
      assert.equal(reasonOf(missing)._tag, "StoreCorrupted")
      assert.match(missing.message, /version 1 of "Cart-3" is not there/)
    })
  )
})

describe("an archive that is damaged", () => {
  it.effect("a byte that was changed: nothing is removed, and reads through it say so", () =>
    Effect.gen(function* () {
      const directory = join(yield* temporaryDirectory, "cold")
      const open = Layer.fresh(Layer.provide(JsonlArchive.layer({ name: "cold", directory }), NodeFileSystem.layer))
      const store = yield* EventStore.makeMemory
      const live = Layer.mergeAll(Layer.succeed(EventStore.EventStore, store), Checkpoints.layerMemory)
      yield* Effect.provide(fill("1", 3), live)
      const events = yield* Stream.runCollect(store.read("Cart-1"))
      // It was written, and the process was ended before anything was removed.
      yield* Effect.provide(
        Archive.Archive.use((archive) => archive.write(events)),
        open
      )
      const [file = ""] = readdirSync(directory).filter((name) => !name.endsWith(".json"))
      const bytes = readFileSync(join(directory, file))
      const middle = bytes.length >> 1
      writeFileSync(join(directory, file), bytes.with(middle, (bytes[middle] ?? 0) ^ 1))
      const moving = Effect.provide(Retention.archive("Cart-1", { reason: "closed" }), [live, open])
      const error = yield* Effect.flip(moving)
      assert.ok(error._tag === "ArchiveError" && error.isDamaged)
      assert.deepEqual(yield* Stream.runCollect(store.read("Cart-1")), events)
      writeFileSync(join(directory, file), bytes)
      assert.equal(yield* moving, 4)
      writeFileSync(join(directory, file), bytes.with(middle, (bytes[middle] ?? 0) ^ 1))
      const read = Effect.provide(
        Stream.runCollect(EventStore.read("Cart-1")),
        Layer.provide(Archive.layer, Layer.merge(live, open))
      )
      assert.equal(reasonOf(yield* Effect.flip(read))._tag, "StoreCorrupted")
    })
  )

  it.effect("one that writes something else: nothing is removed", () =>
    Effect.gen(function* () {
      yield* fill("1", 3)
      const cold = Archive.makeStore("cold", yield* EventStore.makeMemory)
      const lying = Archive.Archive.of({
        ...cold,
        read: (stream, range) =>
          Effect.map(cold.read(stream, range), (events) => events.map((event) => ({ ...event, payload: {} })))
      })
      const error = yield* Effect.flip(
        Effect.provideService(Retention.archive("Cart-1", { reason: "closed" }), Archive.Archive, lying)
      )
      assert.ok(error._tag === "ArchiveError" && error.isDamaged)
      assert.deepEqual(yield* types("Cart-1"), ["Opened", "Added", "Added", "Added"])
    }).pipe(Effect.provide(base))
  )
})

const stores = {
  memory: Effect.map(EventStore.makeMemoryWith({ chain: true }), Layer.succeed(EventStore.EventStore)),
  SQLite: Effect.map(temporaryDirectory, (directory) =>
    SqliteEventStore.layerFile({ filename: join(directory, "events.db"), chain: true, synchronous: "NORMAL" })
  ),
  "JSON lines": Effect.map(temporaryDirectory, (directory) =>
    Layer.provide(JsonlEventStore.layer({ path: join(directory, "events.jsonl"), chain: true }), NodeFileSystem.layer)
  ),
  PGlite: Effect.succeed(PgEventStore.layerEmbeddedWith({ chain: true }))
} satisfies Readonly<Record<string, Effect.Effect<Layer.Layer<EventStore.EventStore, unknown>, unknown, Scope.Scope>>>

/** How often it is cut short: `EVENTFOLD_ROUNDS=200` for a night. */
const rounds = Number(process.env["EVENTFOLD_ROUNDS"] ?? 50)

for (const [name, storage] of Object.entries<Effect.Effect<Layer.Layer<EventStore.EventStore, unknown>, unknown, Scope.Scope>>(
  stores
)) {
  describe(`cut short at every step, on ${name}`, () => {
    it.live(
      "nothing is lost that should stay, nothing is left that should go, round after round",
      () =>
        Effect.scoped(
          Effect.gen(function* () {
            const context = yield* Layer.build(yield* storage)
            const store = Context.get(context, EventStore.EventStore)
            const { maintenance } = store
            assert.ok(maintenance !== undefined)
            const cold = Archive.makeStore("cold", yield* EventStore.makeMemory)
            let step = 0
            let last = 0
            /** Fails before or after the step, or is as if the process had been ended there. */
            const at = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
              Effect.suspend(() => {
                step++
                if (step !== last) return effect
                return last % 2 === 0 ? Effect.interrupt : Effect.andThen(effect, Effect.interrupt)
              })
            const flaky: EventStore.EventStore["Service"] = {
              ...store,
              maintenance: { ...maintenance, batch: 2, tombstone: (events, why) => at(maintenance.tombstone(events, why)) }
            }
            const archive = Archive.Archive.of({
              name: "cold",
              write: (events) => at(cold.write(events)),
              read: (stream, range) => at(cold.read(stream, range))
            })
            const live = Layer.mergeAll(
              Layer.succeed(EventStore.EventStore, flaky),
              Layer.succeed(Archive.Archive, archive),
              Checkpoints.layerMemory
            )
            for (let round = 1; round <= rounds; round++) {
              const archived = round % 2 === 0
              yield* store.append(
                `Gone-${round}`,
                Array.from({ length: 5 }, (_, n) => ({ type: "Said", payload: { secret: n } }))
              )
              yield* store.append(`Stays-${round}`, [{ type: "Said", payload: { round } }])
              // As a whole, at once; or two at a time.
              const policies = {
                Gone: archived
                  ? ({ keep: Duration.zero, afterwards: "archive" } as const)
                  : { keep: Retention.eachFor(Duration.zero) }
              }
              const once = Effect.provide(
                Effect.scoped(Effect.flatMap(Retention.make({ ...manual, policies }), ({ run }) => run)),
                live
              )
              step = 0
              last = 1 + (round % 8)
              const cut = yield* Effect.exit(once)
              if (round % 8 < 3) assert.ok(Exit.isFailure(cut), `round ${round} was cut short`)
              for (const event of yield* Stream.runCollect(store.read(`Gone-${round}`))) {
                if (!EventStore.isTombstone(event) || !archived) continue
                const [there] = yield* cold.read(event.stream, { from: event.version, to: event.version })
                assert.equal(there?.type, "Said", "what is gone is in the archive")
              }
              last = 0
              yield* once
              const events = yield* Stream.runCollect(store.read(`Gone-${round}`))
              assert.ok(events.length === 5 && events.every(EventStore.isTombstone))
              if (archived) assert.equal((yield* cold.read(`Gone-${round}`, { from: 1, to: 5 })).length, 5)
            }
            const stays = yield* Stream.runCollect(store.readAll({ filter: { types: ["Said"] } }))
            assert.equal(stays.length, rounds)
            const verified = yield* Effect.provideService(EventStore.verify(), EventStore.EventStore, store)
            assert.deepEqual([verified.events, verified.removed, verified.chain?.position], [6 * rounds, 5 * rounds, 6 * rounds])
          })
        ),
      60_000 + rounds * 1_000
    )
  })
}

for (const name of ["memory", "SQLite"] as const) {
  describe(`a stream that is longer than what is removed at once, on ${name}`, () => {
    it.live(
      "cut short in its midst it is told to whoever needs it, and finished by the next run",
      () =>
        Effect.scoped(
          Effect.gen(function* () {
            const context = yield* Layer.build(yield* stores[name])
            const store = Context.get(context, EventStore.EventStore)
            const { maintenance } = store
            assert.ok(maintenance !== undefined)
            const count = 20_500
            const added = Array.from({ length: count }, (_, n) => ({ type: "Added", payload: { item: String(n) } }))
            for (let from = 0; from < count; from += 1000) yield* store.append("Cart-1", added.slice(from, from + 1000))
            yield* store.append("Cart-2", added.slice(0, 1))
            let pieces = 0
            const run = (at: Effect.Effect<unknown>) => {
              const tombstone: typeof maintenance.tombstone = (events, why) =>
                Effect.suspend(() =>
                  ++pieces === 2 ? Effect.andThen(at, maintenance.tombstone(events, why)) : maintenance.tombstone(events, why)
                )
              const policies = { Cart: { keep: Duration.zero } }
              return Effect.scoped(Effect.flatMap(Retention.make({ ...manual, policies }), ({ run }) => run)).pipe(
                Effect.provideService(EventStore.EventStore, { ...store, maintenance: { ...maintenance, tombstone } }),
                Effect.provide(Checkpoints.layerMemory)
              )
            }
            const standing = (stream: string) =>
              Effect.map(
                Stream.runCollect(store.read(stream)),
                (events) => events.filter((event) => !EventStore.isTombstone(event)).length
              )
            assert.ok(Exit.isFailure(yield* Effect.exit(run(Effect.interrupt))))
            assert.deepEqual([yield* standing("Cart-1"), yield* standing("Cart-2")], [count - 20_000, 1])
            const error = yield* Effect.flip(Repository.read(Cart, "1").pipe(Effect.provideService(EventStore.EventStore, store)))
            assert.equal(reasonOf(error)._tag, "EventsRemoved")
            pieces = 0
            yield* run(Effect.void)
            assert.deepEqual([yield* standing("Cart-1"), yield* standing("Cart-2")], [0, 0])
            // One that is appended to in the midst of its removal is finished all the same; what was appended stays.
            for (let from = 0; from < count; from += 1000) yield* store.append("Cart-3", added.slice(from, from + 1000))
            pieces = 0
            yield* run(Effect.orDie(store.append("Cart-3", [{ type: "Opened", payload: { owner: "late" } }])))
            const left = (yield* Stream.runCollect(store.read("Cart-3"))).filter((event) => !EventStore.isTombstone(event))
            assert.deepEqual(
              left.map(({ type }) => type),
              ["Opened"]
            )
            yield* Effect.provideService(EventStore.verify(), EventStore.EventStore, store)
          })
        ),
      60_000
    )
  })
}

it.effect("runs by itself, tells how far it is, and goes on after a failure", () =>
  Effect.gen(function* () {
    logs(/a run of retention failed/)
    yield* fill("1")
    const checkpoints = yield* Checkpoints.Checkpoints
    const lease = yield* checkpoints.claim("mine", { owner: "a", ttl: "1 minute" })
    yield* Effect.gen(function* () {
      yield* TestClock.adjust("1 minute")
      // Digests are made outside of the test's clock.
      yield* until(Effect.map(Retention.status, ({ error }) => error?._tag === "RetentionRefused"))
      yield* checkpoints.advance(lease, 3)
      yield* TestClock.adjust("2 hours")
      yield* until(Effect.map(types("Cart-1"), (types) => types.every((type) => type === "$Tombstone")))
      yield* until(Effect.map(Retention.status, ({ error, running }) => !running && error === undefined))
      const { category, planned, removed } = yield* Retention.status
      // Of this run, or of the next, which has found nothing.
      assert.ok(category === undefined && removed === planned && (removed === 3 || removed === 0), `${removed} of ${planned}`)
    }).pipe(Effect.provide(Retention.layer({ policies: { Cart: { keep: Duration.zero } } })))
  }).pipe(Effect.provide(base))
)
