/** Listing streams. */
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import assert from "node:assert/strict"
import type * as EventStore from "../../store/EventStore.ts"
import { range } from "../suite.ts"
import { collect, compareCodePoints, event, every, numbered } from "./words.ts"

export const streams = [
  every("lists streams in code point order, with what is known of their newest events", function* (store) {
    // In UTF-16 order the surrogates of U+1F600 would come before U+FF5E.
    const names = [
      "a-1",
      "A",
      "A-1",
      "A-10",
      "A-2",
      "A--",
      "-",
      "Z-1",
      "\u00e9-1",
      "\uff5e-1",
      "\u{1f600}-1",
      "\u{1f600}",
      "\uffff-1",
      "A-\u{10ffff}"
    ]
    yield* store.appendAll(names.map((stream) => ({ stream, events: numbered(1) })))
    yield* store.append("A-1", [...numbered(2), event({ type: "Newest" })])
    const [newest] = yield* collect(store.readAll({ after: names.length + 2 }))
    const sorted = names.toSorted(compareCodePoints)
    const infos = yield* Stream.runCollect(store.streams())
    assert.deepEqual(
      infos.map(({ stream }) => stream),
      sorted
    )
    assert.deepEqual(
      infos.filter(({ stream }) => stream === "A-1").map((info) => ({ ...info, recordedAt: info.recordedAt.epochMilliseconds })),
      [
        {
          stream: "A-1",
          category: "A",
          version: 4,
          position: names.length + 3,
          type: "Newest",
          recordedAt: newest?.recordedAt
        }
      ]
    )
    const list = (options: EventStore.StreamsOptions) =>
      Effect.map(Stream.runCollect(store.streams(options)), (infos) => infos.map(({ stream }) => stream))
    assert.deepEqual(yield* list({ category: "A" }), ["A", "A--", "A-1", "A-10", "A-2", "A-\u{10ffff}"])
    assert.deepEqual(yield* list({ category: "A", after: "A-1" }), ["A-10", "A-2", "A-\u{10ffff}"])
    assert.deepEqual(yield* list({ category: "A", after: "A-1", limit: 1 }), ["A-10"])
    assert.deepEqual(yield* list({ category: "\u{1f600}" }), ["\u{1f600}", "\u{1f600}-1"])
    assert.deepEqual(yield* list({ category: "Absent" }), [])
    assert.deepEqual(yield* list({ limit: 0 }), [])
    assert.deepEqual(yield* list({ limit: 3 }), sorted.slice(0, 3))
    assert.deepEqual(yield* list({ after: "\uff5e-1" }), ["\uffff-1", "\u{1f600}", "\u{1f600}-1"])
    assert.deepEqual(
      yield* list({ after: "A-11" }),
      sorted.filter((name) => compareCodePoints(name, "A-11") > 0)
    )
    for (const [index, after] of sorted.entries()) {
      assert.deepEqual(yield* list({ after, limit: 2 }), sorted.slice(index + 1, index + 3), `after ${after}`)
    }
  }),

  every("lists more streams than fit into one page", function* (store) {
    const names = range(1, 1500).map((n) => `${n % 3 === 0 ? "Third" : "Other"}-${n}`)
    yield* store.appendAll(names.map((stream) => ({ stream, events: [event()] })))
    const sorted = names.toSorted(compareCodePoints)
    const list = (options?: EventStore.StreamsOptions) =>
      Effect.map(Stream.runCollect(store.streams(options)), (infos) => infos.map(({ stream }) => stream))
    assert.deepEqual(yield* list(), sorted)
    assert.deepEqual(
      yield* list({ category: "Third" }),
      sorted.filter((name) => name.startsWith("Third"))
    )
    assert.deepEqual(yield* list({ limit: 700, after: sorted[99] }), sorted.slice(100, 800))
  })
]
