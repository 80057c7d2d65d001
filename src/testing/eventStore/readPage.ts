/** Reading the log page by page, with how far each page has come. */
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import assert from "node:assert/strict"
import { inspect } from "node:util"
import type { RecordedEvent } from "../../definitions/stored.ts"
import type * as EventStore from "../../store/EventStore.ts"
import { range } from "../suite.ts"
import { badCounts, badNames, filters, variety } from "./samples.ts"
import {
  collect,
  concurrently,
  event,
  every,
  numbered,
  plain,
  positionsOf,
  refusal,
  shared,
  type Store,
  untyped
} from "./words.ts"

/** All pages of the log from `after` on, until nothing is left. */
const walk = Effect.fnUntraced(function* (store: Store, options: EventStore.ReadPageOptions, after = 0) {
  const pages: Array<EventStore.Page & { readonly after: number }> = []
  for (;;) {
    const page = yield* store.readPage({ ...options, after })
    pages.push({ ...page, after })
    if (page.position >= Math.min(page.head, options.upTo ?? Infinity)) return pages
    assert.ok(page.position > after, `a page that is not the last one gets on: ${inspect(page)}`)
    after = page.position
  }
})

const places = (events: ReadonlyArray<RecordedEvent>) => events.map(({ position }) => position)

export const readPage = [
  every("holds what passes the filter up to the position that it says it has read", function* (store) {
    assert.deepEqual(yield* store.readPage(), { events: [], position: 0, head: 0 })
    assert.deepEqual(yield* store.readPage({ after: 7 }), { events: [], position: 7, head: 0 })
    yield* store.appendAll(variety)
    const all = yield* collect(store.readAll())
    assert.deepEqual((yield* store.readPage()).events.map(plain), all)
    for (const [filter, wanted] of filters) {
      for (const size of [undefined, 1, 2, 3, 7, 8, 9]) {
        const pages = yield* walk(store, { filter, size })
        for (const { after, events, head, position } of pages) {
          assert.deepEqual(
            places(events),
            wanted.filter((n) => n > after && n <= position),
            inspect([filter, size, after])
          )
          assert.ok(events.length <= (size ?? 64))
          assert.equal(head, 8)
        }
        assert.equal(pages.at(-1)?.position, 8, "past what the filter drops at the end")
        assert.ok(pages.length <= Math.floor(wanted.length / (size ?? 64)) + 1, "a page that is not full is the last one")
      }
    }
  }),

  every("begins after one position, and does not go beyond another", function* (store) {
    for (let n = 1; n <= 5; n++) yield* store.append(`Account-${n % 2}`, numbered(2))
    type Wanted = readonly [options: EventStore.ReadPageOptions, events: ReadonlyArray<number>, position: number]
    const pages: ReadonlyArray<Wanted> = [
      [{}, range(1, 10), 10],
      [{ after: 4 }, range(5, 10), 10],
      [{ after: 4, size: 3 }, [5, 6, 7], 7],
      [{ after: 4, upTo: 6 }, [5, 6], 6],
      [{ after: 4, upTo: 6, size: 1 }, [5], 5],
      [{ after: 4, upTo: 6, size: 2 }, [5, 6], 6],
      [{ after: 4, upTo: 99 }, range(5, 10), 10],
      [{ after: 4, upTo: 4 }, [], 4],
      [{ after: 4, upTo: 2 }, [], 4],
      [{ after: 10 }, [], 10],
      [{ after: 99 }, [], 99],
      [{ filter: { categories: ["Other"] } }, [], 10],
      [{ filter: { categories: ["Other"] }, after: 3, upTo: 8 }, [], 8],
      [{ filter: [], after: 3 }, [], 10],
      [{ after: undefined, upTo: undefined, filter: undefined, size: undefined }, range(1, 10), 10]
    ]
    for (const [options, wanted, reached] of pages) {
      const { events, head, position } = yield* store.readPage(options)
      assert.deepEqual([places(events), position, head], [wanted, reached, 10], inspect(options))
    }
  }),

  every("passes over thousands of events that its filter drops", function* (store) {
    const rare = event({ type: "Rare" })
    yield* store.append("Common-1", [rare, ...numbered(2999)])
    yield* store.append("Common-1", [...numbered(3000), rare])
    yield* store.append("Common-1", numbered(3000))
    const pages = yield* walk(store, { filter: { types: ["Rare"] }, size: 1 })
    assert.deepEqual(
      pages.map(({ events, position }) => [places(events), position]),
      [
        [[1], 1],
        [[6001], 6001],
        [[], 9001]
      ]
    )
    const whole = yield* walk(store, { size: 1000 })
    assert.deepEqual(places(whole.flatMap(({ events }) => events)), range(1, 9001))
  }),

  every("nothing comes later at a position that a page has passed, whoever appends", function* (store) {
    const filter = { types: ["Wanted"] }
    const writing = yield* Effect.forkChild(
      concurrently(range(1, 8), (writer) =>
        Effect.forEach(range(1, 25), (n) =>
          Effect.andThen(
            store.append(`Account-${writer % 3}`, [event({ type: (n + writer) % 5 === 0 ? "Wanted" : "Other" }), event()]),
            Effect.yieldNow
          )
        )
      )
    )
    const seen: Array<number> = []
    const passed: Array<readonly [after: number, position: number, events: ReadonlyArray<number>]> = []
    let after = 0
    while (after < 400) {
      const { events, head, position } = yield* store.readPage({ after, filter, size: 3 })
      assert.ok(position >= after && position <= head, "a page says how far it is")
      seen.push(...places(events))
      passed.push([after, position, places(events)])
      after = position
      yield* Effect.yieldNow
    }
    yield* Fiber.join(writing)
    const wanted = yield* positionsOf(store.readAll({ filter }))
    assert.equal(wanted.length, 40)
    assert.deepEqual(seen, wanted)
    for (const [after, position, events] of passed) {
      assert.deepEqual(
        events,
        wanted.filter((n) => n > after && n <= position)
      )
    }
  }),

  every("a page that makes no sense fails with InvalidRead", function* (store) {
    yield* store.append("Account-1", numbered(3))
    const bad: Array<EventStore.ReadPageOptions> = [{ size: 0 }]
    for (const count of badCounts) bad.push({ after: count }, { upTo: count }, { size: count })
    for (const [, name] of badNames) bad.push({ filter: { types: [name] } }, { filter: [{}, { tags: ["good", name] }] })
    for (const options of bad) {
      const { _tag, reason } = untyped<{ _tag: string; reason: { _tag: string; operation: string } }>(
        yield* refusal(store.readPage(options))
      )
      assert.deepEqual([_tag, reason._tag, reason.operation], ["EventStoreError", "InvalidRead", "readPage"], inspect(options))
    }
  }),

  shared("tells of what another instance has appended", function* ([left, right]) {
    let after = 0
    for (let n = 1; n <= 10; n++) {
      const [writer, reader] = n % 2 === 0 ? [left, right] : [right, left]
      yield* writer.append("Account-1", numbered(3))
      const { events, head, position } = yield* reader.readPage({ after })
      assert.deepEqual([places(events), position, head], [range(after + 1, after + 3), after + 3, after + 3])
      after = position
    }
  })
]
