/** A message whose id has been published before is not delivered again. */
import assert from "node:assert/strict"
import { done, every, facts, message, messages, shared } from "./words.ts"

export const repetition = [
  every("two sources may give one id to two messages: both arrive", function* ({ join, publish }) {
    const member = yield* join({ group: "g" })
    yield* publish(message(1), message(2, { id: "message 1", source: "/another" }))
    yield* publish(message(3, { id: "message 1", source: "/a third" }))
    for (const n of [1, 2, 3]) assert.deepEqual(facts(yield* done(member)), [n, 1])
  }),

  every(
    "a message that is published again is not delivered again",
    function* ({ join, publish }) {
      const member = yield* join({ group: "g" })
      yield* publish(message(1), message(1))
      yield* publish(message(1))
      assert.deepEqual(facts(yield* done(member)), [1, 1])
      yield* publish(...messages(1, 2))
      assert.deepEqual(facts(yield* done(member)), [2, 1])
      yield* publish(...messages(1, 3))
      assert.deepEqual(facts(yield* done(member)), [3, 1])
    },
    "deduplicates"
  ),

  shared(
    "a message that is published again by another connection is not delivered again",
    function* ([here, there]) {
      const member = yield* here.join({ group: "g" })
      yield* here.publish(message(1))
      yield* there.publish(...messages(1, 2))
      assert.deepEqual(
        [facts(yield* done(member)), facts(yield* done(member))],
        [
          [1, 1],
          [2, 1]
        ]
      )
      yield* there.publish(...messages(2, 3))
      assert.deepEqual(facts(yield* done(member)), [3, 1])
    },
    "deduplicates"
  )
]
