/** Two instances over one storage. */
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import assert from "node:assert/strict"
import { range, turns } from "../suite.ts"
import {
  concurrently,
  conditionError,
  contents,
  duplicate,
  enrolled,
  event,
  life,
  lockError,
  named,
  numbered,
  opened,
  positionsOf,
  race,
  refused,
  shared,
  sound
} from "./words.ts"

export const sharing = [
  shared("what one instance has appended the other sees, and continues", function* ([left, right]) {
    for (let n = 1; n <= 10; n++) {
      const [writer, reader] = n % 2 === 0 ? [left, right] : [right, left]
      const result = yield* writer.append("Account-1", named(`${n}`), { expected: n - 1 })
      assert.deepEqual(result, { stream: "Account-1", version: n, position: n, deduplicated: false })
      assert.equal(yield* reader.version("Account-1"), n)
      assert.equal(yield* reader.exists("Account-1"), true)
      assert.equal(yield* reader.head, n)
      assert.deepEqual(yield* contents(reader), yield* contents(writer))
      assert.deepEqual(yield* reader.append("Account-1", named(`${n}`), { expected: n - 1 }), { ...result, deduplicated: true })
      assert.deepEqual(
        yield* refused(reader, reader.append("Account-1", [event()], { expected: n - 1 })),
        lockError("Account-1", n - 1, n)
      )
      assert.deepEqual(yield* refused(reader, reader.append("Other-1", named(`${n}`))), duplicate("Other-1", `${n}`))
    }
  }),

  shared("two instances append at once: versions and positions are dense, and nothing conflicts", function* (stores) {
    const results = yield* concurrently(range(0, 79), (n) => {
      const store = stores[(n % 2) as 0 | 1]
      return n % 4 < 2
        ? store.append("Shared-1", numbered(1 + (n % 3)))
        : Effect.map(
            store.appendAll(
              (n % 8 < 4 ? ["Shared-1", "Shared-2"] : ["Shared-2", "Shared-1"]).map((stream) => ({ stream, events: numbered(1) }))
            ),
            (parts) => parts.at(-1)
          )
    })
    assert.equal(new Set(results.map((result) => result?.position)).size, 80)
    assert.deepEqual(yield* contents(stores[0]), yield* contents(stores[1]))
  }),

  shared("a version has one winner, an id one copy and a fact one decision, over both instances", function* (stores) {
    const both = range(0, 15).map((n) => stores[(n % 2) as 0 | 1])
    for (let version = 0; version < 4; version++) {
      const { lost, won } = yield* race(both.map((store) => store.append("Hot-1", [event()], { expected: version })))
      assert.deepEqual(
        won.map((result) => result.version),
        [version + 1]
      )
      assert.deepEqual(
        lost,
        range(1, 15).map(() => lockError("Hot-1", version, version + 1))
      )

      const same = yield* race(both.map((store) => store.append("Same-1", named(`same-${version}`))))
      assert.equal(same.won.length, 16)
      assert.equal(same.won.filter(({ deduplicated }) => !deduplicated).length, 1)

      const contested = yield* race(both.map((store, n) => store.append(`Own-${n}`, named(`contested-${version}`))))
      assert.equal(contested.won.length, 1)
      assert.deepEqual(
        contested.lost.map((error) => ({ ...error, stream: "" })),
        range(1, 15).map(() => duplicate("", `contested-${version}`))
      )

      const seen = yield* stores[0].head
      const unless = { filter: { tags: ["course:1"] }, after: seen }
      const decided = yield* race(
        both.map((store, n) => store.appendAll([{ stream: `Student-${n}`, events: [enrolled("1")] }], { unless }))
      )
      assert.deepEqual(
        decided.won.map(([result]) => result?.position),
        [seen + 1]
      )
      assert.deepEqual(
        decided.lost,
        range(1, 15).map(() => conditionError(seen + 1, unless))
      )
    }
  }),

  shared("a subscriber of one instance follows what both append", function* ([left, right]) {
    yield* left.append("Account-1", numbered(5))
    const pull = yield* Stream.toPull(Stream.rechunk(right.subscribe(), 1))
    for (let n = 1; n <= 5; n++) assert.equal((yield* pull)[0].position, n)
    for (let n = 6; n <= 15; n++) {
      const waiting = yield* Effect.forkChild(pull)
      yield* turns(n % 4)
      yield* (n % 3 === 0 ? right : left).append("Account-1", [event()])
      assert.equal((yield* Fiber.join(waiting))[0].position, n)
    }
    const all = yield* Effect.forkChild(positionsOf(Stream.take(left.subscribe({ after: 15 }), 60)))
    yield* concurrently(range(1, 60), (n) => (n % 2 === 0 ? left : right).append(`Account-${n % 4}`, [event()]))
    assert.deepEqual(yield* Fiber.join(all), range(16, 75))
  }),

  opened(
    "an instance that is closed takes nothing of the other with it",
    function* (open) {
      const left = yield* open
      const following = yield* Effect.forkChild(positionsOf(Stream.take(left.subscribe(), 21)))
      yield* left.append("Account-1", numbered(1))
      for (let n = 1; n <= 10; n++) {
        yield* life(open, (right) => right.append("Account-1", numbered(1), { expected: 2 * n - 1 }))
        yield* left.append("Account-1", numbered(1), { expected: 2 * n })
      }
      assert.deepEqual(yield* Fiber.join(following), range(1, 21))
      yield* sound(left)
    },
    "shared"
  )
]
