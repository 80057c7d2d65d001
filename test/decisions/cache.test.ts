import assert from "node:assert/strict"
import { describe, it } from "@effect/vitest"
import { Effect, Layer, Schema, Stream } from "effect"
import { Decision, Event, EventStore, Tag, UnitOfWork } from "eventfold"
import { elsewhere } from "../support/wirings.ts"

const shop = Tag.make("shop")
const Sold = Event.make("Sold", { shop: Schema.String, pieces: Schema.Int }, { tags: (event) => [shop(event.shop)] })
const options = {
  tags: { shop },
  events: [Sold],
  initial: 0 as number,
  evolve: { Sold: (total: number, { pieces }: typeof Sold.Type) => total + pieces }
} as const
const Pieces = Decision.make("Pieces", options)
const Sales = Decision.make("Sales", { ...options, evolve: { Sold: (count: number) => count + 1 } })
const Newest = Decision.make("Newest", { ...options, read: "last", evolve: { Sold: (_: number, { pieces }) => pieces } })

const sold = (of: string, ...pieces: ReadonlyArray<number>) =>
  EventStore.append(
    `Shop-${of}`,
    pieces.map((pieces) => ({ type: "Sold", payload: { shop: of, pieces }, tags: [`shop:${of}`] }))
  )

/** The store of the environment, and the positions of what is read of it. */
const reading = Effect.gen(function* () {
  const store = yield* EventStore.EventStore
  let now = store
  const positions: Array<number> = []
  const note = ({ position }: EventStore.RecordedEvent) => void positions.push(position)
  const counting = EventStore.EventStore.of({
    ...store,
    readBoundary: (...args) =>
      Effect.tap(now.readBoundary(...args), ({ answers }) =>
        Effect.sync(() => answers.forEach(({ events }) => events.forEach(note)))
      ),
    readAll: (options) => Stream.tap(now.readAll(options), (event) => Effect.sync(() => note(event)))
  })
  const read = <A, R>(loading: Effect.Effect<A, unknown, R>) =>
    Effect.gen(function* () {
      positions.length = 0
      const loaded = yield* Effect.provideService(loading, EventStore.EventStore, counting)
      return [loaded, [...positions]] as const
    })
  return {
    read,
    state: <S>(boundary: Decision.Boundary<S>) => read(Effect.map(Decision.read(boundary), ({ state }) => state)),
    restore: (other: typeof store) => void (now = other)
  }
})

const cached = (capacity?: number) =>
  Effect.provide(
    Layer.mergeAll(Decision.layerCacheWith({ capacity }), UnitOfWork.layer).pipe(Layer.provideMerge(EventStore.layerMemory))
  )

describe("a cache of what models have folded", () => {
  it.effect("reads what is new, in a unit of work as outside of one", () =>
    Effect.gen(function* () {
      const { read, state } = yield* reading
      yield* sold("a", 1, 2, 3)
      assert.deepEqual(yield* state(Pieces({ shop: "a" })), [6, [1, 2, 3]])
      assert.deepEqual(yield* state(Pieces({ shop: "a" })), [6, [3]])
      yield* sold("b", 7)
      yield* sold("a", 4)
      assert.deepEqual(yield* state(Pieces({ shop: "a" })), [10, [3, 5]])
      const sell = Decision.execute(Pieces({ shop: "a" }), "Shop-a", (total) => Sold.make({ shop: "a", pieces: total }))
      const [{ state: after }, positions] = yield* read(UnitOfWork.transact(sell))
      assert.deepEqual([after, positions], [20, [5]])
      assert.deepEqual(yield* state(Pieces({ shop: "a" })), [20, [5, 6]])
      // What a model folds, whatever of it is ignored; and nothing of it is kept for another model, or another value.
      assert.deepEqual(yield* state(Pieces({ shop: "a" }).pipe(Decision.ignoring(Sold))), [20, [6]])
      assert.deepEqual(yield* state(Sales({ shop: "a" })), [5, [1, 2, 3, 5, 6]])
      assert.deepEqual(yield* state(Pieces({ shop: "b" })), [7, [4]])
      assert.deepEqual(yield* state(Newest({ shop: "a" })), [10, [6]])
      assert.deepEqual(yield* state(Newest({ shop: "a" })), [10, [6]])
    }).pipe(cached())
  )

  it.effect("makes no decision wrong: what came is read, and what comes meanwhile spoils the commit", () =>
    Effect.gen(function* () {
      yield* sold("a", 1)
      yield* Decision.read(Pieces({ shop: "a" }))
      yield* sold("a", 2)
      const other = yield* elsewhere(sold("a", 3))
      const sell = Decision.execute(Pieces({ shop: "a" }), "Shop-a", (total) =>
        Effect.as(total === 3 ? other.go : Effect.void, Sold.make({ shop: "a", pieces: total }))
      ).pipe(UnitOfWork.transact)
      assert.equal((yield* Effect.flip(sell))._tag, "AppendConditionError")
      assert.equal((yield* sell).state, 12)
    }).pipe(cached())
  )

  it.effect("reads what a unit of work may see alone, and keeps what is newer", () =>
    Effect.gen(function* () {
      const { read, state } = yield* reading
      yield* sold("a", 1, 2)
      yield* sold("b", 5)
      const [[first, second], positions] = yield* read(
        UnitOfWork.transact(
          Effect.gen(function* () {
            const first = yield* Decision.load(Pieces({ shop: "b" }))
            // Somebody else sells, and leaves a newer state in the cache.
            yield* sold("a", 3)
            yield* Decision.read(Pieces({ shop: "a" }))
            return [first, yield* Decision.load(Pieces({ shop: "a" }))] as const
          })
        )
      )
      assert.deepEqual([first, second], [5, 3])
      assert.deepEqual(positions, [3, 1, 2, 4, 1, 2])
      assert.deepEqual(yield* state(Pieces({ shop: "a" })), [6, [4]])
    }).pipe(cached())
  )

  it.effect("notices a log that is another one now", () =>
    Effect.gen(function* () {
      const { restore, state } = yield* reading
      const inAnother = (...args: Parameters<typeof sold>) =>
        Effect.map(EventStore.makeMemory, (store) => ({
          store,
          fill: Effect.provideService(sold(...args), EventStore.EventStore, store)
        }))
      yield* sold("a", 1, 2, 3)
      assert.deepEqual(yield* state(Pieces({ shop: "a" })), [6, [1, 2, 3]])
      // As long as before, shorter, and empty; each time with other events.
      for (const [pieces, expected, positions] of [
        [[10, 20, 30], 60, [3, 1, 2, 3]],
        [[5], 5, [1]],
        [[], 0, []],
        [[7, 8], 15, [1, 2, 1, 2]]
      ] as const) {
        const { fill, store } = yield* inAnother("a", ...pieces)
        if (pieces.length > 0) yield* fill
        restore(store)
        assert.deepEqual(yield* state(Pieces({ shop: "a" })), [expected, positions])
      }
    }).pipe(cached())
  )

  it.effect("keeps as many as it may, those that were used last; a model that is made anew is another one", () =>
    Effect.gen(function* () {
      const { state } = yield* reading
      yield* sold("a", 1, 2)
      yield* sold("b", 3, 4)
      yield* state(Pieces({ shop: "a" }))
      yield* state(Pieces({ shop: "b" }))
      assert.deepEqual(yield* state(Pieces({ shop: "b" })), [7, [4]])
      assert.deepEqual(yield* state(Pieces({ shop: "a" })), [3, [1, 2]])
      assert.deepEqual(yield* state(Pieces({ shop: "a" })), [3, [2]])
      assert.deepEqual(yield* state(Decision.make("Pieces", options)({ shop: "a" })), [3, [1, 2]])
    }).pipe(cached(1))
  )

  it.effect("reads pages beyond the first", () =>
    Effect.gen(function* () {
      const { state } = yield* reading
      yield* sold("a", ...Array.from({ length: 600 }, () => 1))
      assert.equal((yield* state(Pieces({ shop: "a" })))[0], 600)
      yield* sold("a", ...Array.from({ length: 600 }, () => 1))
      const [total, positions] = yield* state(Pieces({ shop: "a" }))
      assert.deepEqual([total, positions.length, positions[0]], [1200, 601, 600])
    }).pipe(cached())
  )
})
