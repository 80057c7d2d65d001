/** Reading the log, with filters. */
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import assert from "node:assert/strict"
import { inspect } from "node:util"
import type * as EventStore from "../../store/EventStore.ts"
import { range } from "../suite.ts"
import { variety, filters } from "./samples.ts"
import { event, every, numbered, positionsOf } from "./words.ts"

export const readAll = [
  every("goes by position, forward beyond a position and backward before it", function* (store) {
    for (let n = 1; n <= 5; n++) yield* store.append(`Account-${n % 2}`, numbered(2))
    const reads: ReadonlyArray<readonly [options: EventStore.ReadAllOptions, positions: ReadonlyArray<number>]> = [
      [{}, range(1, 10)],
      [{ after: 0 }, range(1, 10)],
      [{ after: 4 }, range(5, 10)],
      [{ after: 9 }, [10]],
      [{ after: 10 }, []],
      [{ after: 99 }, []],
      [{ limit: 0 }, []],
      [{ limit: 3 }, [1, 2, 3]],
      [{ after: 4, limit: 2 }, [5, 6]],
      [{ direction: "backward" }, range(1, 10).toReversed()],
      [{ direction: "backward", limit: 3 }, [10, 9, 8]],
      [{ direction: "backward", after: 4 }, [3, 2, 1]],
      [{ direction: "backward", after: 4, limit: 2 }, [3, 2]],
      [{ direction: "backward", after: 1 }, []],
      [{ direction: "backward", after: 0 }, []],
      [{ direction: "backward", after: 99 }, range(1, 10).toReversed()],
      [{ upTo: 4 }, [1, 2, 3, 4]],
      [{ upTo: 0 }, []],
      [{ upTo: 10 }, range(1, 10)],
      [{ upTo: 99 }, range(1, 10)],
      [{ after: 4, upTo: 7 }, [5, 6, 7]],
      [{ after: 4, upTo: 5 }, [5]],
      [{ after: 4, upTo: 4 }, []],
      [{ after: 7, upTo: 4 }, []],
      [{ after: 2, upTo: 7, limit: 3 }, [3, 4, 5]],
      [{ direction: "backward", upTo: 4 }, [4, 3, 2, 1]],
      [{ direction: "backward", upTo: 0 }, []],
      [{ direction: "backward", upTo: 99 }, range(1, 10).toReversed()],
      [{ direction: "backward", upTo: 4, limit: 2 }, [4, 3]],
      [{ direction: "backward", after: 4, upTo: 9 }, [3, 2, 1]],
      [{ direction: "backward", after: 9, upTo: 4 }, [4, 3, 2, 1]],
      [{ after: undefined, upTo: undefined, filter: undefined, direction: undefined, limit: undefined }, range(1, 10)]
    ]
    for (const [options, wanted] of reads) assert.deepEqual(yield* positionsOf(store.readAll(options)), wanted, inspect(options))
  }),

  every("a query means all of its keys, a filter any of its queries", function* (store) {
    yield* store.appendAll(variety)
    for (const [filter, wanted] of filters) {
      const what = inspect(filter)
      assert.deepEqual(yield* positionsOf(store.readAll({ filter })), wanted, what)
      assert.deepEqual(yield* positionsOf(store.readAll({ filter, direction: "backward" })), wanted.toReversed(), what)
      assert.deepEqual(
        yield* positionsOf(store.readAll({ filter, after: 3 })),
        wanted.filter((n) => n > 3),
        what
      )
      assert.deepEqual(
        yield* positionsOf(store.readAll({ filter, after: 5, direction: "backward" })),
        wanted.filter((n) => n < 5).toReversed(),
        what
      )
      assert.deepEqual(
        yield* positionsOf(store.readAll({ filter, after: 1, limit: 2 })),
        wanted.filter((n) => n > 1).slice(0, 2),
        what
      )
      const early = wanted.filter((n) => n <= 4)
      assert.deepEqual(yield* positionsOf(store.readAll({ filter, upTo: 4 })), early, what)
      assert.deepEqual(yield* positionsOf(store.readAll({ filter, upTo: 4, direction: "backward" })), early.toReversed(), what)
    }
  }),

  every("a limit counts what passed the filter", function* (store) {
    yield* store.append(
      "Mixed-1",
      range(1, 3000).map((n) => event({ type: n % 100 === 0 ? "Rare" : "Common", tags: n % 500 === 0 ? ["rarer"] : [] }))
    )
    const rare = range(1, 30).map((n) => n * 100)
    const read = (options: EventStore.ReadAllOptions) => positionsOf(store.readAll({ filter: { types: ["Rare"] }, ...options }))
    assert.deepEqual(yield* read({ limit: 25 }), rare.slice(0, 25))
    assert.deepEqual(yield* read({}), rare)
    assert.deepEqual(yield* read({ limit: 30 }), rare)
    assert.deepEqual(yield* read({ limit: 4, after: 1000 }), [1100, 1200, 1300, 1400])
    assert.deepEqual(yield* read({ limit: 4, direction: "backward" }), [3000, 2900, 2800, 2700])
    assert.deepEqual(yield* read({ upTo: 2050 }), rare.slice(0, 20))
    assert.deepEqual(yield* read({ upTo: 2050, direction: "backward", limit: 2 }), [2000, 1900])
    assert.deepEqual(yield* read({ upTo: 2050, after: 1850, limit: 9 }), [1900, 2000])
    assert.deepEqual(yield* read({ filter: { tags: ["rarer"] }, upTo: 1999 }), [500, 1000, 1500])
    assert.deepEqual(yield* read({ filter: { tags: ["rarer"] }, limit: 2, after: 500 }), [1000, 1500])
    assert.deepEqual(yield* read({ filter: [{ tags: ["rarer"] }, { types: ["Rare"] }], limit: 100 }), rare)
    assert.deepEqual(
      yield* read({ filter: { types: ["Common"] }, after: 98, limit: 200 }),
      range(99, 400)
        .filter((n) => n % 100 !== 0)
        .slice(0, 200)
    )
  }),

  every("does not go beyond a position, also while its consumer appends", function* (store) {
    yield* store.append("Account-1", numbered(300))
    for (const upTo of [200, 300, 320, 400]) {
      for (const filter of [{}, { types: ["Numbered"] }, { categories: ["Account"] }] as const) {
        const before = yield* store.head
        const seen: Array<number> = []
        const appending = Stream.tap(store.readAll({ upTo, filter }), ({ position }) => {
          seen.push(position)
          return position % 50 === 0 ? store.append("Account-1", numbered(3)) : Effect.void
        })
        yield* Stream.runDrain(appending)
        assert.deepEqual(
          seen.filter((position) => position <= before),
          range(1, Math.min(upTo, before)),
          inspect({ upTo, filter })
        )
        assert.ok(seen.every((position, index) => position === index + 1 && position <= upTo))
        assert.deepEqual(
          yield* positionsOf(store.readAll({ upTo, filter, direction: "backward" })),
          range(1, Math.min(upTo, yield* store.head)).toReversed()
        )
      }
    }
  }),

  every("a filter of many queries, or of many tags, is like any other", function* (store) {
    yield* store.append(
      "A-1",
      range(1, 3).map((n) => event({ tags: [`course:${n * 200}`, "all"] }))
    )
    const many = range(1, 700)
    const filter = many.map((n) => ({ tags: [`course:${n}`] }))
    for (const direction of ["forward", "backward"] as const) {
      const wanted = direction === "forward" ? [1, 2, 3] : [3, 2, 1]
      assert.deepEqual(yield* positionsOf(store.readAll({ filter, direction })), wanted)
      assert.deepEqual(yield* positionsOf(store.readAll({ filter: { tags: many.map(() => "all") }, direction })), wanted)
      assert.deepEqual(yield* positionsOf(store.readAll({ filter: { tags: many.map((n) => `course:${n}`) }, direction })), [])
    }
    assert.deepEqual(
      (yield* store.readPage({ filter, size: 2 })).events.map(({ position }) => position),
      [1, 2]
    )
    assert.deepEqual(yield* positionsOf(Stream.take(store.subscribe({ filter, after: 1 }), 2)), [2, 3])
  }),

  every("what is rare is found behind thousands of others, from either end and by a subscriber", function* (store) {
    const rare = event({ type: "Rare" })
    yield* store.append("Rare-1", [rare, ...numbered(2999)])
    yield* store.append("Common-1", numbered(3000))
    yield* store.append("Rare-1", [rare])
    const filter = { types: ["Rare"] }
    assert.deepEqual(yield* positionsOf(store.readAll({ filter })), [1, 6001])
    assert.deepEqual(yield* positionsOf(store.readAll({ filter, direction: "backward" })), [6001, 1])
    assert.deepEqual(yield* positionsOf(store.readAll({ filter, after: 1, limit: 1 })), [6001])
    assert.deepEqual(yield* positionsOf(Stream.take(store.subscribe({ filter }), 2)), [1, 6001])
    assert.deepEqual(yield* positionsOf(Stream.take(store.subscribe({ after: 1 }), 6000)), range(2, 6001))
  })
]
