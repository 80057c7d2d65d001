/** Promise 3: what a part without events expects must hold where other parts of the append write. */
import * as Effect from "effect/Effect"
import assert from "node:assert/strict"
import { inspect } from "node:util"
import type * as EventStore from "../../store/EventStore.ts"
import { range } from "../suite.ts"
import {
  Any,
  Exists,
  NoStream,
  concurrently,
  contents,
  duplicate,
  enrolled,
  event,
  every,
  lockError,
  named,
  numbered,
  race,
  refused,
  shared,
  type Store
} from "./words.ts"

const guard = (stream: string, expected: EventStore.ExpectedVersion): EventStore.StreamAppend => ({
  stream,
  expected,
  events: []
})
const write = (stream: string, expected: EventStore.ExpectedVersion = Any): EventStore.StreamAppend => ({
  stream,
  expected,
  events: [event()]
})

/** Appends to each of two streams that guard the other: one at most can hold. */
const skew = (stores: ReadonlyArray<Store>, round: number) =>
  Effect.gen(function* () {
    const sides = [`Left-${round}`, `Right-${round}`] as const
    const attempts = range(0, 15).map((n) => {
      const [own, other] = n % 2 === 0 ? sides : [sides[1], sides[0]]
      const store = stores[(n >> 1) % stores.length] as Store
      return store.appendAll(n % 4 < 2 ? [guard(other, NoStream), write(own)] : [write(own), guard(other, 0)])
    })
    const outcomes = yield* concurrently(attempts, Effect.result)
    const winners = new Set<string>()
    for (const [n, outcome] of outcomes.entries()) {
      const [own, other] = n % 2 === 0 ? sides : [sides[1], sides[0]]
      if (outcome._tag === "Success") winners.add(own)
      else {
        assert.ok(outcome.failure._tag === "OptimisticLockError", inspect(outcome.failure))
        assert.equal(outcome.failure.stream, other, "it names the stream that was guarded")
        assert.ok(outcome.failure.actual > 0)
      }
    }
    assert.equal(winners.size, 1, "one side was first, and the other is empty")
  })

export const guards = [
  every(
    "a part without events that expects is a guard: the others write where it holds, and nothing where not",
    function* (store) {
      yield* store.append("A-1", numbered(2))
      yield* store.append("B-1", numbered(1))
      const attempts: ReadonlyArray<readonly [expected: EventStore.ExpectedVersion, stream: string, actual: number | undefined]> =
        [
          [2, "A-1", undefined],
          [Exists, "A-1", undefined],
          [Any, "A-1", undefined],
          [1, "A-1", 2],
          [3, "A-1", 2],
          [0, "A-1", 2],
          [NoStream, "A-1", 2],
          [Number.MAX_SAFE_INTEGER, "A-1", 2],
          [0, "Absent-1", undefined],
          [NoStream, "Absent-1", undefined],
          [Any, "Absent-1", undefined],
          [1, "Absent-1", 0],
          [Exists, "Absent-1", 0]
        ]
      let version = 0
      for (const [expected, stream, actual] of attempts) {
        for (const before of [true, false]) {
          const parts = before ? [guard(stream, expected), write("Target-1")] : [write("Target-1"), guard(stream, expected)]
          if (actual !== undefined) {
            assert.deepEqual(yield* refused(store, store.appendAll(parts)), lockError(stream, expected, actual))
            continue
          }
          const results = yield* store.appendAll(parts)
          const wanted = [
            { stream, version: stream === "A-1" ? 2 : 0, position: stream === "A-1" ? 2 : 0, deduplicated: false },
            { stream: "Target-1", version: ++version, position: 3 + version, deduplicated: false }
          ]
          assert.deepEqual(results, before ? wanted : wanted.toReversed(), inspect(parts))
        }
      }
      assert.equal(yield* store.version("A-1"), 2)
      assert.equal(yield* store.exists("Absent-1"), false, "a guard makes no stream")
    }
  ),

  every(
    "of several guards the first that does not hold is named, beside versions that are not those expected",
    function* (store) {
      yield* store.append("A-1", numbered(2))
      yield* store.append("B-1", numbered(1))
      const attempts: ReadonlyArray<readonly [ReadonlyArray<EventStore.StreamAppend>, object]> = [
        [[guard("A-1", 2), guard("B-1", 7), write("C-1")], lockError("B-1", 7, 1)],
        [[guard("A-1", 1), guard("B-1", 7), write("C-1")], lockError("A-1", 1, 2)],
        [[guard("A-1", 2), write("B-1", 7), guard("C-1", 5)], lockError("B-1", 7, 1)],
        [[write("B-1", 1), guard("A-1", 9), write("C-1", 4)], lockError("A-1", 9, 2)],
        [[guard("A-1", 2), guard("A-1", Exists), guard("A-1", NoStream), write("C-1")], lockError("A-1", NoStream, 2)]
      ]
      for (const [parts, error] of attempts)
        assert.deepEqual(yield* refused(store, store.appendAll(parts)), error, inspect(parts))
      // A guard comes before the conditions, as every expected version does.
      const unless = { filter: {} }
      assert.deepEqual(
        yield* refused(store, store.appendAll([write("C-1"), guard("A-1", 1)], { unless })),
        lockError("A-1", 1, 2)
      )
    }
  ),

  every("guards alone write nothing and never fail: nothing is to be in conflict with", function* (store) {
    yield* store.append("A-1", numbered(2))
    const before = yield* contents(store)
    const answer = { stream: "A-1", version: 2, position: 2, deduplicated: false }
    const absent = { stream: "B-1", version: 0, position: 0, deduplicated: false }
    for (const expected of [Any, Exists, NoStream, 0, 2, 99]) {
      assert.deepEqual(yield* store.append("A-1", [], { expected }), answer)
      assert.deepEqual(yield* store.appendAll([guard("A-1", expected), guard("B-1", expected)]), [answer, absent])
      const conditions = { unless: [{ filter: {} }, { filter: { types: ["Numbered"] }, after: 1 }] }
      assert.deepEqual(yield* store.appendAll([guard("B-1", expected), guard("A-1", expected)], conditions), [absent, answer])
    }
    assert.deepEqual(yield* contents(store), before)
  }),

  every("a guard on a stream that the same append writes to sees the parts before it, and not those behind", function* (store) {
    yield* store.append("A-1", numbered(2))
    const results = yield* store.appendAll([
      guard("A-1", 2),
      write("A-1"),
      guard("A-1", 3),
      write("B-1", NoStream),
      guard("B-1", Exists),
      write("A-1", 3),
      guard("A-1", 4)
    ])
    assert.deepEqual(
      results.map(({ position, stream, version }) => [stream, version, position]),
      [
        ["A-1", 2, 2],
        ["A-1", 3, 3],
        ["A-1", 3, 3],
        ["B-1", 1, 4],
        ["B-1", 1, 4],
        ["A-1", 4, 5],
        ["A-1", 4, 5]
      ]
    )
    const attempts: ReadonlyArray<readonly [ReadonlyArray<EventStore.StreamAppend>, stream: string, EventStore.ExpectedVersion]> =
      [
        [[write("A-1"), guard("A-1", 4)], "A-1", 4],
        [[guard("A-1", 5), write("A-1")], "A-1", 5],
        [[write("C-1"), guard("C-1", NoStream)], "C-1", NoStream],
        [[guard("C-1", Exists), write("C-1")], "C-1", Exists]
      ]
    for (const [parts, stream, expected] of attempts) {
      const error = yield* refused(store, store.appendAll(parts))
      assert.deepEqual({ ...error, actual: 0 }, lockError(stream, expected, 0), inspect(parts))
    }
  }),

  every("a repetition succeeds although its guards and conditions no longer hold", function* (store) {
    yield* store.append("Guarded-1", numbered(1))
    const parts = [guard("Guarded-1", 1), { stream: "A-1", events: named("a", "b") }, guard("A-1", 2)]
    const unless = [{ filter: { categories: ["A"] } }, { filter: { tags: ["course:1"] }, after: 1 }]
    const append = store.appendAll(parts, { unless })
    const [, first] = yield* append
    assert.deepEqual(first, { stream: "A-1", version: 2, position: 3, deduplicated: false })
    yield* store.append("Guarded-1", [enrolled("1")])
    yield* store.append("A-1", [event()])
    const before = yield* contents(store)
    const again = yield* append
    assert.deepEqual(again[1], { ...first, deduplicated: true })
    assert.deepEqual(
      again.map(({ stream, version }) => [stream, version]),
      [
        ["Guarded-1", 2],
        ["A-1", 2],
        ["A-1", 3]
      ],
      "of a part without events it is told where the stream is now"
    )
    assert.deepEqual(yield* contents(store), before)
    // A repetition of a part of it is none, and its guards have no say in that.
    const other = store.appendAll([guard("Guarded-1", 1), { stream: "A-1", events: named("a", "c") }], { unless })
    assert.deepEqual(yield* refused(store, other), duplicate("A-1", "a"))
  }),

  every("of appends to two streams that guard each other one side wins: no write skew", function* (store) {
    for (let round = 0; round < 6; round++) yield* skew([store], round)
  }),

  every("a guard holds at the commit: whoever moves its stream meanwhile is before it or behind it", function* (store) {
    yield* store.append("Limit-1", numbered(1))
    const { lost, won } = yield* race(
      range(1, 40).map((n) =>
        n % 10 === 0
          ? store.appendAll([write("Limit-1")])
          : store.appendAll([guard("Limit-1", 1), { stream: `Order-${n}`, events: [event()] }])
      )
    )
    const moved = won.flat().filter(({ stream, version }) => stream === "Limit-1" && version === 2)
    const firstMove = moved[0]?.position ?? 0
    assert.ok(firstMove > 0)
    for (const { position, stream } of won.flat()) {
      if (stream.startsWith("Order-")) assert.ok(position < firstMove, "no order stands behind the first move of its limit")
    }
    for (const error of lost) assert.deepEqual({ ...error, actual: 0 }, lockError("Limit-1", 1, 0))
    assert.equal(won.length + lost.length, 40)
  }),

  shared("guards hold over both instances", function* (stores) {
    for (let round = 0; round < 6; round++) yield* skew(stores, round)
  })
]
