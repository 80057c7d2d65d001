import assert from "node:assert/strict"
import { describe } from "@effect/vitest"
import { Effect, Exit, Layer, Schema, Stream } from "effect"
import { Decision, Event, EventStore, MessageBus, Command, Tag, UnitOfWork } from "eventfold"
import { core, elsewhere, makeWirings } from "../support/wirings.ts"

const { concurrentlyOnEveryStore } = makeWirings()

const shop = Tag.make("shop")
const Sold = Event.make("Sold", { shop: Schema.String, pieces: Schema.Int }, { tags: (event) => [shop(event.shop)] })
const Closed = Event.make("Closed", { shop: Schema.String }, { tags: (event) => [shop(event.shop)] })
const Stock = Decision.make("Stock", {
  tags: { shop },
  events: [Sold, Closed],
  initial: 10 as number,
  evolve: { Sold: (left, { pieces }) => left - pieces, Closed: () => 0 }
})

class SoldOut extends Schema.TaggedError<SoldOut>()("SoldOut", { left: Schema.Int }) {}

/** How often the log was read and written, and how often something was decided. */
interface Counts {
  reads: number
  writes: number
  decisions: number
}

const sell = (of: string, pieces: number, counts: Counts) =>
  Decision.execute(Stock({ shop: of }), `Shop-${of}`, (left) => {
    counts.decisions++
    return left < pieces ? new SoldOut({ left }) : Sold.make({ shop: of, pieces })
  })

/** As somebody in another process would, whom no cache here hears of. */
const foreign = (of: string, pieces: number) =>
  EventStore.append(`Shop-${of}`, [{ type: "Sold", payload: { shop: of, pieces }, tags: [`shop:${of}`] }])

/** A program over a store that counts, with what the counts have become since they were last asked for. */
const counted = Effect.gen(function* () {
  const store = yield* EventStore.EventStore
  const counts: Counts = { reads: 0, writes: 0, decisions: 0 }
  const count = (what: keyof Counts) => Effect.sync(() => void counts[what]++)
  const counting = EventStore.EventStore.of({
    ...store,
    readBoundary: (...args) => Effect.andThen(count("reads"), store.readBoundary(...args)),
    appendAll: (...args) => Effect.andThen(count("writes"), store.appendAll(...args))
  })
  const units = yield* Layer.build(UnitOfWork.layer.pipe(Layer.provideMerge(Layer.succeed(EventStore.EventStore, counting))))
  const since = () => {
    const { decisions, reads, writes } = counts
    Object.assign(counts, { reads: 0, writes: 0, decisions: 0 })
    return { reads, decisions, writes }
  }
  const run = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.provideContext(effect, units)
  return { counts, since, run }
})

const optimistic = Decision.layerCacheWith({ optimistic: true })
const on = Effect.provide(Layer.merge(optimistic, EventStore.layerMemory))

const piecesOf = Schema.decodeUnknownSync(Schema.Struct({ pieces: Schema.Int }))

core.describe("an optimistic cache", () => {
  core.it.effect("decides without a read where it is alone, and knows what it has written itself", () =>
    Effect.gen(function* () {
      const { counts, run, since } = yield* counted
      const once = run(UnitOfWork.transact(sell("a", 1, counts)))
      // Nothing is known yet, and then nothing stands there yet that could be known.
      assert.equal((yield* once).state, 9)
      assert.deepEqual(since(), { reads: 1, decisions: 1, writes: 1 })
      for (const left of [8, 7, 6]) {
        assert.equal((yield* once).state, left)
        assert.deepEqual(since(), { reads: 0, decisions: 1, writes: 1 })
      }
      // Two decisions of one unit of work: the second one sees what the first has staged.
      const two = UnitOfWork.transact(Effect.andThen(sell("a", 1, counts), sell("a", 2, counts)))
      assert.equal((yield* run(two)).state, 3)
      assert.deepEqual(since(), { reads: 0, decisions: 2, writes: 1 })
      assert.equal((yield* once).state, 2)
      assert.deepEqual(since(), { reads: 0, decisions: 1, writes: 1 })
    }).pipe(Effect.scoped, on)
  )

  core.it.effect("runs again where others were first, and asks the next time", () =>
    Effect.gen(function* () {
      const { counts, run, since } = yield* counted
      const once = run(UnitOfWork.transact(sell("a", 1, counts)))
      yield* once
      yield* foreign("a", 4)
      since()
      // Written on what was not true any more, refused, read, written.
      assert.equal((yield* once).state, 4)
      assert.deepEqual(since(), { reads: 1, decisions: 2, writes: 2 })
      yield* foreign("a", 1)
      assert.equal((yield* once).state, 2)
      assert.deepEqual(since(), { reads: 1, decisions: 1, writes: 1 })
      // It asks as long as others come, and once more.
      assert.equal((yield* once).state, 1)
      assert.deepEqual(since(), { reads: 1, decisions: 1, writes: 1 })
      assert.equal((yield* once).state, 0)
      assert.deepEqual(since(), { reads: 0, decisions: 1, writes: 1 })
    }).pipe(Effect.scoped, on)
  )

  core.it.effect("refuses nobody for what is not true any more, and nobody without having asked", () =>
    Effect.gen(function* () {
      const { counts, run, since } = yield* counted
      const buy = (pieces: number) => run(UnitOfWork.transact(sell("a", pieces, counts)))
      yield* buy(8)
      since()
      assert.deepEqual(yield* Effect.flip(buy(5)), new SoldOut({ left: 2 }))
      assert.deepEqual(since(), { reads: 1, decisions: 1, writes: 0 })
      // Some come back.
      yield* foreign("a", -8)
      assert.equal((yield* buy(5)).state, 5)
      assert.deepEqual(since(), { reads: 2, decisions: 2, writes: 1 })
      yield* buy(1)
      yield* buy(1)
      since()
      // What only looks, too; and what is rolled back on purpose.
      const look = Decision.load(Stock({ shop: "a" }))
      yield* foreign("a", 1)
      assert.equal(yield* run(UnitOfWork.transact(look)), 2)
      yield* buy(1)
      yield* foreign("a", 1)
      assert.equal(yield* run(UnitOfWork.transact(Effect.andThen(UnitOfWork.rollback, look))), 0)
    }).pipe(Effect.scoped, on)
  )

  core.it.effect("checks what a nested unit of work has seen, although what that staged is dropped", () =>
    Effect.gen(function* () {
      const { counts, run, since } = yield* counted
      yield* run(UnitOfWork.transact(sell("a", 8, counts)))
      yield* run(UnitOfWork.transact(sell("b", 1, counts)))
      // Of what is left nobody would be refused, but nobody has asked.
      yield* foreign("a", -8)
      since()
      const either = UnitOfWork.transact(sell("a", 5, counts)).pipe(
        Effect.as("a"),
        Effect.catchTag("SoldOut", () => Effect.as(sell("b", 5, counts), "b"))
      )
      assert.equal(yield* run(UnitOfWork.transact(either)), "a")
      assert.deepEqual(since(), { reads: 2, decisions: 3, writes: 1 })
    }).pipe(Effect.scoped, on)
  )

  core.it.effect("runs all of a command again, and the record of it stands once", () =>
    Effect.gen(function* () {
      const { counts, run } = yield* counted
      const Buy = Command.make("Buy", { payload: { pieces: Schema.Int }, success: Schema.Int, error: SoldOut })
      let calls = 0
      const Live = MessageBus.handle(Buy, ({ pieces }) =>
        Effect.andThen(
          Effect.sync(() => void calls++),
          Effect.map(sell("a", pieces, counts), ({ state }) => state)
        )
      ).pipe(Layer.provideMerge(MessageBus.layerWith({ record: "all" })))
      yield* Effect.gen(function* () {
        assert.equal(yield* MessageBus.execute(Buy, { pieces: 1 }), 9)
        yield* foreign("a", 2)
        assert.equal(yield* MessageBus.execute(Buy, { pieces: 1 }, { id: "second" }), 6)
        assert.equal(yield* MessageBus.execute(Buy, { pieces: 1 }, { id: "second" }), 6)
        assert.equal(calls, 3)
      }).pipe(Effect.provide(Live), run)
      const streams = yield* EventStore.head
      // Two sales, two records of commands, an answer, and what came from elsewhere.
      assert.equal(streams, 6)
    }).pipe(Effect.scoped, on)
  )

  core.it.effect("does not take a part of what it reads for all of it, nor what is not kept whole", () =>
    Effect.gen(function* () {
      const { counts, run, since } = yield* counted
      const Newest = Decision.make("Newest", {
        tags: { shop },
        events: [Sold],
        initial: 0,
        read: "last",
        evolve: { Sold: (_, { pieces }) => pieces }
      })
      yield* run(UnitOfWork.transact(sell("a", 1, counts)))
      since()
      const careless = Stock({ shop: "a" }).pipe(Decision.ignoring(Closed))
      const write = <S>(boundary: Decision.Boundary<S, typeof Sold>) =>
        run(UnitOfWork.transact(Decision.execute(boundary, "Shop-a", () => Sold.make({ shop: "a", pieces: 1 }))))
      yield* write(careless as Decision.Boundary<number, typeof Sold>)
      assert.equal(since().reads, 1)
      for (let n = 0; n < 2; n++) {
        yield* write(Newest({ shop: "a" }))
        assert.equal(since().reads, 1)
      }
    }).pipe(Effect.scoped, on)
  )

  core.it.effect("decides on nothing that a restored log does not have", () =>
    Effect.gen(function* () {
      const first = yield* EventStore.makeMemory
      let now = first
      const store = EventStore.EventStore.of({
        ...first,
        readBoundary: (...args) => now.readBoundary(...args),
        readAll: (...args) => now.readAll(...args),
        appendAll: (...args) => now.appendAll(...args)
      })
      const counts: Counts = { reads: 0, writes: 0, decisions: 0 }
      const Live = UnitOfWork.layer.pipe(Layer.provideMerge(Layer.succeed(EventStore.EventStore, store)))
      yield* Effect.gen(function* () {
        yield* UnitOfWork.transact(sell("a", 8, counts))
        // As it was before; and as it has become in another way, as long as it was, and longer.
        for (const pieces of [[], [1], [1, 1, 1]]) {
          const restored = yield* EventStore.makeMemory
          for (const some of pieces) yield* Effect.provideService(foreign("a", some), EventStore.EventStore, restored)
          now = restored
          assert.equal((yield* UnitOfWork.transact(sell("a", 5, counts))).state, 5 - pieces.length)
        }
      }).pipe(Effect.provide(Layer.fresh(Live)))
    }).pipe(on)
  )

  core.it.effect("gives back what the store answers, and does not write again what may have been written", () =>
    Effect.gen(function* () {
      const store = yield* EventStore.EventStore
      const counts: Counts = { reads: 0, writes: 0, decisions: 0 }
      const unknown = new EventStore.EventStoreError({
        reason: new EventStore.OutcomeUnknown({ operation: "append", detail: "the answer was lost" })
      })
      let lose = false
      const losing = EventStore.EventStore.of({
        ...store,
        appendAll: (...args) =>
          Effect.flatMap(store.appendAll(...args), (results) => (lose ? Effect.fail(unknown) : Effect.succeed(results)))
      })
      const Live = UnitOfWork.layer.pipe(Layer.provideMerge(Layer.succeed(EventStore.EventStore, losing)))
      yield* Effect.gen(function* () {
        yield* UnitOfWork.transact(sell("a", 1, counts))
        lose = true
        assert.equal(yield* Effect.flip(UnitOfWork.transact(sell("a", 1, counts))), unknown)
        assert.deepEqual([counts.decisions, yield* store.head], [2, 2])
        lose = false
        assert.equal((yield* UnitOfWork.transact(sell("a", 1, counts))).state, 7)
      }).pipe(Effect.provide(Layer.fresh(Live)))
    }).pipe(on)
  )

  core.it.effect("takes what had been written before for no event more", () =>
    Effect.gen(function* () {
      const sold = { id: "a sale", type: "Sold", payload: { shop: "a", pieces: 1 }, tags: ["shop:a"] }
      yield* UnitOfWork.transact(
        Effect.gen(function* () {
          assert.equal(yield* Decision.load(Stock({ shop: "a" })), 10)
          // Meanwhile somebody sells eight, and is then asked for the same sale.
          yield* foreign("a", 8)
          yield* EventStore.append("Sales-1", [sold])
          yield* UnitOfWork.stage("Sales-1", [sold])
        })
      ).pipe(Effect.provide(UnitOfWork.layer))
      const counts: Counts = { reads: 0, writes: 0, decisions: 0 }
      const more = UnitOfWork.transact(sell("a", 2, counts)).pipe(Effect.provide(UnitOfWork.layer))
      assert.deepEqual(yield* Effect.flip(more), new SoldOut({ left: 1 }))
    }).pipe(on)
  )
})

describe("an optimistic cache on every store", () => {
  concurrentlyOnEveryStore((test) => {
    test("twelve buy at once, beside somebody who knows of no cache: each of them one that was left, until none was", () =>
      Effect.gen(function* () {
        const counts: Counts = { reads: 0, writes: 0, decisions: 0 }
        const buy = Effect.asVoid(UnitOfWork.transact(sell("a", 1, counts)).pipe(UnitOfWork.retryConflicts({ times: 100 })))
        const { go } = yield* elsewhere(foreign("a", 3))
        yield* buy
        const buyers = Array.from({ length: 6 }, () => buy)
        const exits = yield* Effect.forEach([...buyers, Effect.asVoid(go), ...buyers], Effect.exit, {
          concurrency: "unbounded"
        })
        let left = 10
        for (const { payload } of yield* Stream.runCollect(EventStore.readAll())) {
          const { pieces } = piecesOf(payload)
          // The somebody takes three, whatever is left.
          if (pieces === 1) assert.ok(left >= 1)
          left -= pieces
        }
        assert.ok(left <= 0)
        const refused = exits.filter(Exit.isFailure)
        assert.equal(yield* EventStore.head, 1 + exits.length - refused.length)
        for (const exit of refused) assert.match(String(exit), /SoldOut/)
      }).pipe(Effect.provide(optimistic)))
  })
})
