/** Several connections to one broker. */
import assert from "node:assert/strict"
import { byPosition, done, facts, message, messages, shared } from "./words.ts"

export const sharing = [
  shared("two connections to one broker share groups and messages", function* ([here, there]) {
    const [one, two] = [yield* here.join({ group: "g" }), yield* there.join({ group: "g" })]
    yield* here.publish(...messages(1, 2))
    const first = yield* one.next
    const second = yield* two.next
    assert.deepEqual([facts(first), facts(second)].sort(byPosition), [
      [1, 1],
      [2, 1]
    ])
    yield* second.ack
    yield* one.leave
    assert.deepEqual(facts(yield* done(two)), [first.message.position, 2])
    yield* there.publish(message(3))
    assert.deepEqual(facts(yield* done(two)), [3, 1])
  })
]
