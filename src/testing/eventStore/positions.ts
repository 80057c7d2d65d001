/** Promise 2: positions are 1-based, dense and in the order of commits. */
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import assert from "node:assert/strict"
import type * as EventStore from "../../store/EventStore.ts"
import { range } from "../suite.ts"
import { Any, NoStream, collect, concurrently, event, every, named, numbered, race, refused, untyped } from "./words.ts"

export const positions = [
  every("50 concurrent appends to one stream all succeed, with dense versions and positions", function* (store) {
    const results = yield* concurrently(range(1, 50), (n) =>
      store.append("Hot-1", [event({ payload: { n } })], { expected: Any })
    )
    const sorted = results.toSorted((a, b) => a.version - b.version)
    assert.deepEqual(
      sorted,
      range(1, 50).map((n) => ({ stream: "Hot-1", version: n, position: n, deduplicated: false }))
    )
    // Each caller was told of the place where its own event stands.
    const events = yield* collect(store.read("Hot-1"))
    assert.deepEqual(
      events.map(({ payload }) => payload),
      sorted.map((result) => ({ n: results.indexOf(result) + 1 }))
    )
  }),

  every("refused appends leave no gap, whatever they are refused for", function* (store) {
    yield* store.append("Account-1", named("a"))
    const attempts = yield* race(
      range(1, 60).map((n): Effect.Effect<unknown, EventStore.AppendError> => {
        const id = `event-${n}`
        switch (n % 6) {
          case 1:
            return store.append("Account-1", named(id), { expected: 777 })
          case 2:
            return store.append("Account-1", named(id, "a"))
          case 3:
            return store.append("Account-1", [event({ id }), event({ payload: Number.NaN })])
          case 4:
            return store.appendAll(
              [
                { stream: `Other-${n}`, events: named(id) },
                { stream: "Account-1", events: named(`${id}b`), expected: NoStream }
              ],
              { unless: { filter: {} } }
            )
          default:
            return store.append(`Account-${n % 4}`, named(id, `${id}b`))
        }
      })
    )
    assert.equal(attempts.won.length, 20)
    assert.equal(yield* store.head, 41)
    const result = yield* store.append("Account-1", named("last"))
    assert.equal(result.position, 42)
  }),

  every("three events, the second of them invalid: none is visible, and the next position is dense", function* (store) {
    yield* store.append("Account-1", [event()])
    const error = yield* refused(store, store.append("Account-1", [event(), event({ payload: untyped(undefined) }), event()]))
    assert.deepEqual(
      { ...error, problem: "" },
      { _tag: "InvalidAppendError", stream: "Account-1", field: "events[1].payload", problem: "" }
    )
    assert.deepEqual(yield* store.append("Account-1", [event()]), {
      stream: "Account-1",
      version: 2,
      position: 2,
      deduplicated: false
    })
  }),

  every("appends over several streams in opposite orders do not dead-lock", function* (store) {
    const streams = range(1, 6).map((n) => `S-${n}`)
    const results = yield* concurrently(range(1, 40), (n) =>
      store.appendAll((n % 2 === 0 ? streams : streams.toReversed()).map((stream) => ({ stream, events: numbered(2) })))
    )
    assert.equal(yield* store.head, 40 * 12)
    for (const [index, parts] of results.entries()) {
      assert.deepEqual(
        parts.map(({ stream }) => stream),
        index % 2 === 1 ? streams : streams.toReversed()
      )
      const first = parts[0]?.position ?? 0
      assert.deepEqual(
        parts.map(({ position }) => position),
        range(0, 5).map((n) => first + 2 * n),
        "one append stands in one piece"
      )
    }
  }),

  every("a reader who has seen a position has seen all below it, at any moment", function* (store) {
    const writers = yield* Effect.forkChild(
      concurrently(range(1, 4), (writer) =>
        Effect.forEach(range(1, 25), (n) =>
          Effect.andThen(store.append(`Writer-${writer}`, numbered(1 + (n % 3), n)), Effect.yieldNow)
        )
      )
    )
    let seen: ReadonlyArray<string> = []
    while (writers.pollUnsafe() === undefined) {
      const events = yield* collect(store.readAll())
      assert.deepEqual(
        events.map(({ position }) => position),
        range(1, events.length)
      )
      const ids = events.map(({ id }) => id)
      assert.deepEqual(ids.slice(0, seen.length), seen, "what was read once stands for ever")
      assert.ok((yield* store.head) >= events.length)
      seen = ids
      yield* Effect.yieldNow
    }
    yield* Fiber.join(writers)
  }),

  every("whoever was told that an append succeeded sees it in every way of reading", function* (store) {
    yield* concurrently(range(1, 20), (n) =>
      Effect.gen(function* () {
        const stream = `Own-${n}`
        for (let version = 1; version <= 5; version++) {
          const id = `${n}/${version}`
          const result = yield* store.append(stream, named(id), { expected: version - 1 })
          assert.equal(yield* store.version(stream), version)
          assert.equal(yield* store.exists(stream), true)
          assert.ok((yield* store.head) >= result.position)
          const own = yield* collect(store.read(stream, { direction: "backward", limit: 1 }))
          const all = yield* collect(store.readAll({ after: result.position - 1, limit: 1 }))
          assert.deepEqual(
            own.map(({ id, position }) => [id, position]),
            [[id, result.position]]
          )
          assert.deepEqual(all, own)
        }
      })
    )
  })
]
