/** Promise 3: an append is all or nothing, over several streams too, and of two that expect one version exactly one wins. */
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import assert from "node:assert/strict"
import type * as EventStore from "../../store/EventStore.ts"
import { range } from "../suite.ts"
import { Any, Exists, NoStream, collect, concurrently, event, every, lockError, named, numbered, race, refused } from "./words.ts"

export const atomicity = [
  every("of 20 appends that expect the same version exactly one wins", function* (store) {
    for (let version = 0; version < 4; version++) {
      const { lost, won } = yield* race(range(1, 20).map(() => store.append("Hot-1", [event()], { expected: version })))
      assert.deepEqual(won, [{ stream: "Hot-1", version: version + 1, position: version + 1, deduplicated: false }])
      assert.deepEqual(
        lost,
        range(1, 19).map(() => lockError("Hot-1", version, version + 1))
      )
    }
  }),

  every("of 20 appends that each begin the same stream exactly one wins", function* (store) {
    const { lost, won } = yield* race(range(1, 20).map((n) => store.append("New-1", numbered(n), { expected: NoStream })))
    assert.equal(won.length, 1)
    const version = won[0]?.version ?? 0
    assert.deepEqual(
      lost,
      range(1, 19).map(() => lockError("New-1", NoStream, version))
    )
    assert.equal(yield* store.version("New-1"), version)
  }),

  every("appends that expect nothing never conflict with those that expect a version", function* (store) {
    const { lost, won } = yield* race(
      range(1, 40).map((n) => store.append("Hot-1", named(`${n}`), { expected: n % 4 === 0 ? 0 : Any }))
    )
    assert.ok(won.length >= 30)
    for (const error of lost) assert.deepEqual({ ...error, actual: 0 }, lockError("Hot-1", 0, 0))
    assert.equal(yield* store.version("Hot-1"), won.length)
  }),

  every("a conflict in any of several streams writes to none", function* (store) {
    yield* store.append("A-1", numbered(2))
    yield* store.append("B-1", numbered(3))
    const part = (stream: string, expected: EventStore.ExpectedVersion) => ({ stream, events: [event()], expected })
    const attempts: ReadonlyArray<readonly [ReadonlyArray<EventStore.StreamAppend>, object]> = [
      [[part("A-1", 2), part("B-1", 2)], lockError("B-1", 2, 3)],
      [[part("A-1", 1), part("B-1", 3)], lockError("A-1", 1, 2)],
      [[part("C-1", NoStream), part("B-1", NoStream), part("D-1", 0)], lockError("B-1", NoStream, 3)],
      [[part("A-1", Any), part("C-1", Exists)], lockError("C-1", Exists, 0)]
    ]
    for (const [appends, error] of attempts) assert.deepEqual(yield* refused(store, store.appendAll(appends)), error)
    assert.deepEqual(yield* store.appendAll([part("B-1", 3), part("A-1", 2), part("C-1", NoStream)]), [
      { stream: "B-1", version: 4, position: 6, deduplicated: false },
      { stream: "A-1", version: 3, position: 7, deduplicated: false },
      { stream: "C-1", version: 1, position: 8, deduplicated: false }
    ])
  }),

  every("an append over several streams answers in the order in which it was asked", function* (store) {
    const results = yield* store.appendAll([
      { stream: "Z-1", events: numbered(2) },
      { stream: "A-1", events: numbered(1) },
      { stream: "M-1", events: numbered(3) }
    ])
    assert.deepEqual(results, [
      { stream: "Z-1", version: 2, position: 2, deduplicated: false },
      { stream: "A-1", version: 1, position: 3, deduplicated: false },
      { stream: "M-1", version: 3, position: 6, deduplicated: false }
    ])
    assert.deepEqual(
      (yield* collect(store.readAll())).map(({ stream, version }) => `${stream} ${version}`),
      ["Z-1 1", "Z-1 2", "A-1 1", "M-1 1", "M-1 2", "M-1 3"]
    )
  }),

  every("a stream may come several times in one append: later parts see what earlier ones wrote", function* (store) {
    yield* store.append("A-1", numbered(1))
    const results = yield* store.appendAll([
      { stream: "A-1", events: numbered(2, 2), expected: 1 },
      { stream: "B-1", events: numbered(1), expected: NoStream },
      { stream: "A-1", events: numbered(1, 4), expected: 3 },
      { stream: "B-1", events: numbered(1, 2), expected: Exists },
      { stream: "A-1", events: numbered(1, 5), expected: Any }
    ])
    assert.deepEqual(results, [
      { stream: "A-1", version: 3, position: 3, deduplicated: false },
      { stream: "B-1", version: 1, position: 4, deduplicated: false },
      { stream: "A-1", version: 4, position: 5, deduplicated: false },
      { stream: "B-1", version: 2, position: 6, deduplicated: false },
      { stream: "A-1", version: 5, position: 7, deduplicated: false }
    ])
    assert.deepEqual(
      (yield* collect(store.read("A-1"))).map(({ payload }) => payload),
      range(1, 5).map((n) => ({ n }))
    )
    const error = yield* refused(
      store,
      store.appendAll([
        { stream: "C-1", events: [event()], expected: NoStream },
        { stream: "C-1", events: [event()], expected: NoStream }
      ])
    )
    assert.deepEqual({ ...error, actual: 0 }, lockError("C-1", NoStream, 0))
  }),

  every("a concurrent reader sees all of an append or nothing of it", function* (store) {
    const writers = yield* Effect.forkChild(
      concurrently(range(1, 4), (writer) =>
        Effect.forEach(range(1, 15), (n) =>
          Effect.andThen(
            store.appendAll(["Left-1", "Right-1", `Own-${writer}`].map((stream) => ({ stream, events: numbered(2, n) }))),
            Effect.yieldNow
          )
        )
      )
    )
    while (writers.pollUnsafe() === undefined) {
      const events = yield* collect(store.readAll())
      assert.equal(events.length % 6, 0)
      assert.equal((yield* store.head) % 6, 0)
      assert.equal((yield* store.version("Left-1")) % 2, 0)
      yield* Effect.yieldNow
    }
    yield* Fiber.join(writers)
  })
]
