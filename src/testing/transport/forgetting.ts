/** A group that has no member can be forgotten, and begins anew. */
import * as Effect from "effect/Effect"
import assert from "node:assert/strict"
import { realSleep } from "../../internal/realTime.ts"
import { done, every, facts, message, shared } from "./words.ts"

export const forgetting = [
  every(
    "a group that has no member is forgotten: its name begins anew, and others are what they were",
    function* ({ forget, join, publish }) {
      const [member, other] = [yield* join({ group: "g" }), yield* join({ group: "other" })]
      yield* publish(message(1))
      assert.deepEqual(facts(yield* done(member)), [1, 1])
      yield* member.leave
      assert.equal(yield* forget("g"), true)
      assert.equal(yield* forget("g"), false)
      assert.equal(yield* forget("unknown"), false)
      const next = yield* join({ group: "g" })
      yield* publish(message(2))
      let delivery = yield* done(next)
      // Where a group begins at the first message ever, it is given that once more: for the first time, as far as the group knows.
      if (delivery.message.position === 1) {
        assert.deepEqual(facts(delivery), [1, 1])
        delivery = yield* done(next)
      }
      assert.deepEqual(facts(delivery), [2, 1])
      assert.deepEqual(
        [facts(yield* done(other)), facts(yield* done(other))],
        [
          [1, 1],
          [2, 1]
        ]
      )
    }
  ),

  every(
    "what was given back to a group that is forgotten does not come to the next one of its name",
    function* ({ forget, join, publish }) {
      const member = yield* join({ group: "g", concurrency: 2 })
      yield* publish(message(1), message(2))
      const first = yield* member.next
      yield* first.nack({ delay: "1 hour" })
      yield* member.next
      yield* member.leave
      assert.equal(yield* forget("g"), true)
      const next = yield* join({ group: "g", concurrency: 3 })
      yield* publish(message(3))
      let delivery = yield* done(next)
      while (delivery.message.position !== 3) {
        assert.equal(delivery.attempt, 1)
        delivery = yield* done(next)
      }
      assert.deepEqual(facts(delivery), [3, 1])
    }
  ),

  every("a group that has members is not forgotten, and they go on", function* ({ forget, join, publish }) {
    const member = yield* join({ group: "g" })
    yield* publish(message(1))
    const { ack } = yield* member.next
    assert.equal((yield* Effect.flip(forget("g")))._tag, "GroupInUseError")
    yield* ack
    yield* publish(message(2))
    assert.deepEqual(facts(yield* done(member)), [2, 1])
  }),

  shared("nor is one that has members elsewhere, as far as the broker can tell", function* ([one, other]) {
    const member = yield* one.join({ group: "g", concurrency: 2 })
    yield* one.publish(message(1))
    // It has something in hand, and waits for more.
    const { ack } = yield* member.next
    assert.equal((yield* Effect.flip(other.forget("g")))._tag, "GroupInUseError")
    yield* ack
    yield* member.leave
    assert.equal(yield* other.forget("g"), true)
    assert.equal(yield* one.forget("g"), false)
  }),

  every("tells how much a group has not done with, where it can", function* ({ join, publish, transport }) {
    const { waiting } = transport
    if (waiting === undefined) return
    const waits = (count: number | undefined) =>
      Effect.gen(function* () {
        for (let times = 0; times < 200; times++) {
          if ((yield* waiting("g")) === count) return
          yield* realSleep("25 millis")
        }
        assert.equal(yield* waiting("g"), count)
      })
    yield* waits(undefined)
    const member = yield* join({ group: "g" })
    yield* publish(message(1), message(2), message(3))
    yield* done(member)
    // What it has in hand it gives back: some brokers count that only then.
    yield* member.leave
    yield* waits(2)
    const next = yield* join({ group: "g" })
    yield* done(next)
    yield* done(next)
    yield* waits(0)
  })
]
