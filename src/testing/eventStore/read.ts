/** Reading one stream. */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import assert from "node:assert/strict"
import { inspect } from "node:util"
import type { RecordedEvent } from "../../definitions/stored.ts"
import type * as EventStore from "../../store/EventStore.ts"
import { range } from "../suite.ts"
import { event, every, numbered, positionsOf, untyped, versionsOf } from "./words.ts"

/** Text in which nothing comes twice: no storage makes it any shorter. */
const noise = (length: number): string => {
  const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+-"
  let [state, text] = [1, ""]
  while (text.length < length) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    text += letters[state >>> 26]
  }
  return text
}

export const read = [
  every("bounds are inclusive at both ends, and a limit counts from where the read begins", function* (store) {
    yield* store.append("Other-1", numbered(3))
    yield* store.append("Account-1", numbered(10))
    yield* store.append("Other-1", numbered(3))
    const reads: ReadonlyArray<readonly [options: EventStore.ReadOptions, versions: ReadonlyArray<number>]> = [
      [{}, range(1, 10)],
      [{ from: 0 }, range(1, 10)],
      [{ from: 1, to: 10 }, range(1, 10)],
      [{ from: 4 }, range(4, 10)],
      [{ from: 10 }, [10]],
      [{ from: 11 }, []],
      [{ to: 4 }, range(1, 4)],
      [{ to: 1 }, [1]],
      [{ to: 0 }, []],
      [{ to: 99 }, range(1, 10)],
      [{ from: 4, to: 4 }, [4]],
      [{ from: 5, to: 4 }, []],
      [{ from: 3, to: 6 }, [3, 4, 5, 6]],
      [{ from: Number.MAX_SAFE_INTEGER }, []],
      [{ limit: 0 }, []],
      [{ limit: 3 }, [1, 2, 3]],
      [{ limit: 99 }, range(1, 10)],
      [{ from: 4, limit: 2 }, [4, 5]],
      [{ from: 4, to: 5, limit: 9 }, [4, 5]],
      [{ direction: "forward", from: 8 }, [8, 9, 10]],
      [{ direction: "backward" }, range(1, 10).toReversed()],
      [{ direction: "backward", limit: 2 }, [10, 9]],
      [{ direction: "backward", limit: 0 }, []],
      [{ direction: "backward", from: 9 }, [10, 9]],
      [{ direction: "backward", to: 2 }, [2, 1]],
      [{ direction: "backward", from: 3, to: 6 }, [6, 5, 4, 3]],
      [{ direction: "backward", from: 3, to: 6, limit: 2 }, [6, 5]],
      [{ direction: "backward", from: 11 }, []],
      [{ direction: "backward", to: 0 }, []],
      [{ direction: "backward", from: 6, to: 5 }, []],
      [{ from: undefined, to: undefined, direction: undefined, limit: undefined, until: undefined }, range(1, 10)]
    ]
    for (const [options, wanted] of reads) {
      assert.deepEqual(yield* versionsOf(store.read("Account-1", options)), wanted, inspect(options))
      assert.deepEqual(yield* versionsOf(store.read("Absent-1", options)), [], inspect(options))
    }
  }),

  every("until an instant a stream is what stood by then, whatever way the clock moved", function* (store) {
    // The third clock was an hour behind, the fifth one ahead: the order is that of versions.
    const at = [1000, 2000, 500, 3000, 9000, 4000]
    yield* store.append(
      "Account-1",
      at.map((time) => event({ recordedAt: DateTime.makeUnsafe(time) }))
    )
    yield* store.append("Other-1", [event({ recordedAt: DateTime.makeUnsafe(2500) })])
    const reads: ReadonlyArray<readonly [until: number, version: number]> = [
      [499, 0],
      [500, 3],
      [999, 3],
      [2999, 3],
      [3000, 4],
      [3999, 4],
      [4000, 6],
      [9000, 6]
    ]
    for (const [until, version] of reads) {
      const options = { until: DateTime.makeUnsafe(until) }
      assert.deepEqual(yield* versionsOf(store.read("Account-1", options)), range(1, version), `until ${until}`)
      assert.deepEqual(
        yield* versionsOf(store.read("Account-1", { ...options, direction: "backward", limit: 2 })),
        range(1, version).toReversed().slice(0, 2)
      )
      assert.deepEqual(yield* versionsOf(store.read("Account-1", { ...options, from: 2, to: 3 })), range(2, Math.min(3, version)))
      assert.deepEqual(yield* versionsOf(store.read("Absent-1", options)), [])
    }
  }),

  every("ten thousand events are the same sequence in pages of any size", function* (store) {
    for (let from = 1; from <= 10_000; from += 1000) {
      yield* store.appendAll(
        range(0, 9).map((part) => ({ stream: part % 2 === 0 ? "Long-1" : "Long-2", events: numbered(100, from + part * 100) }))
      )
    }
    const all = range(1, 10_000)
    const long = all.filter((n) => Math.floor((n - 1) / 100) % 2 === 0)
    const numbers = <E>(events: Stream.Stream<RecordedEvent, E>) =>
      Effect.map(Stream.runCollect(events), (events) => events.map(({ payload }) => untyped<{ n: number }>(payload).n))
    for (const size of [1, 7, 1000]) {
      assert.deepEqual(yield* numbers(Stream.rechunk(store.readAll(), size)), all)
      assert.deepEqual(yield* numbers(Stream.rechunk(store.read("Long-1"), size)), long)
    }
    assert.deepEqual(yield* numbers(store.readAll({ direction: "backward" })), all.toReversed())
    assert.deepEqual(yield* numbers(store.read("Long-1", { direction: "backward" })), long.toReversed())
    assert.deepEqual(yield* positionsOf(store.readAll({ filter: { categories: ["Long"] }, limit: 5000 })), range(1, 5000))
    for (const [limit, last] of [
      [1, 150],
      [7, 1500],
      [1000, 10_000]
    ] as const) {
      const pages: Array<number> = []
      while (pages.length < last) pages.push(...(yield* numbers(store.readAll({ after: pages.length, limit }))))
      assert.deepEqual(pages, all.slice(0, pages.length))
      const own: Array<number> = []
      while (own.length < last / 2) own.push(...(yield* numbers(store.read("Long-1", { from: own.length + 1, limit }))))
      assert.deepEqual(own, long.slice(0, own.length))
    }
  }),

  every("a page holds some megabytes at most, however small what comes before it is, and nothing is left out", function* (store) {
    const [few, large] = [40, noise(300_000)]
    const tagged = (text: string) => event({ type: "Sized", payload: { text }, tags: ["sized"] })
    yield* store.append(
      "Sizes-1",
      Array.from({ length: 350 }, () => tagged("small"))
    )
    for (let nth = 0; nth < few; nth += 10)
      yield* store.append(
        "Sizes-1",
        Array.from({ length: 10 }, () => tagged(large))
      )
    yield* store.append(
      "Sizes-1",
      Array.from({ length: 20 }, () => tagged("small"))
    )
    const last = 350 + few + 20
    const pages = [
      store.read("Sizes-1"),
      store.read("Sizes-1", { from: 300 }),
      store.read("Sizes-1", { direction: "backward" }),
      store.subscribe().pipe(Stream.takeUntil(({ version }) => version === last)),
      ...[
        {},
        { tags: ["sized"] },
        { types: ["Sized"] },
        { categories: ["Sizes"] },
        [{ types: ["Sized"] }, { tags: ["sized"] }]
      ].flatMap((filter) => [store.readAll({ filter }), store.readAll({ filter, direction: "backward" })])
    ]
    for (const [nth, events] of pages.entries()) {
      const seen: Array<number> = []
      yield* Stream.runForEachArray(events, (page) =>
        Effect.sync(() => {
          const bytes = page.reduce((sum, { payload }) => sum + untyped<{ text: string }>(payload).text.length, 0)
          assert.ok(bytes < 5_000_000, `${bytes} bytes in a page of read ${nth}`)
          for (const { version } of page) seen.push(version)
        })
      )
      assert.deepEqual(
        seen.toSorted((one, other) => one - other),
        range(nth === 1 ? 300 : 1, last),
        `read ${nth}`
      )
    }
  }),

  every("a consumer that appends while it reads gets what stood when it began, and comes to an end", function* (store) {
    for (const count of [10, 100]) {
      const stream = `Growing-${count}`
      yield* store.append(stream, numbered(count))
      const more = () => store.append(stream, numbered(5))
      const own = yield* store.read(stream).pipe(Stream.tap(more), Stream.take(5 * count), versionsOf)
      assert.deepEqual(own, range(1, count))
      const head = yield* store.head
      const all = yield* store.readAll().pipe(Stream.tap(more), Stream.take(5 * head), positionsOf)
      assert.deepEqual(all, range(1, head))
      const newest = yield* store.version(stream)
      const backward = yield* store.read(stream, { direction: "backward", limit: 80 }).pipe(Stream.tap(more), versionsOf)
      assert.deepEqual(backward, range(1, newest).toReversed().slice(0, 80))
    }
  }),

  every("a reader that stops early, or fails, leaves the store as it was", function* (store) {
    yield* store.append("Account-1", numbered(200))
    for (let n = 1; n <= 70; n++) {
      assert.deepEqual(yield* store.read("Account-1").pipe(Stream.take(1), versionsOf), [1])
      assert.deepEqual(yield* store.readAll({ direction: "backward" }).pipe(Stream.take(2), positionsOf), [200, 199])
      const error = yield* Effect.flip(store.readAll().pipe(Stream.runForEach(() => Effect.fail("enough" as const))))
      assert.equal(error, "enough")
    }
  })
]
