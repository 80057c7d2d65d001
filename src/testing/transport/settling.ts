/** Acknowledged means done; anything else comes again, and counts how often. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import assert from "node:assert/strict"
import { range } from "../suite.ts"
import { byPosition, done, every, facts, message, messages } from "./words.ts"

export const settling = [
  every("what is acknowledged is not delivered to the group again", function* ({ join, publish }) {
    const member = yield* join({ group: "g" })
    yield* publish(...messages(1, 3))
    yield* done(member)
    yield* done(member)
    yield* member.leave
    const next = yield* join({ group: "g" })
    assert.equal((yield* done(next)).message.position, 3)
    yield* publish(message(4))
    assert.deepEqual(facts(yield* done(next)), [4, 1])
  }),

  every("a message that was not acknowledged comes again, and counts how often", function* ({ join, publish }) {
    const member = yield* join({ group: "g" })
    yield* publish(message(1))
    for (const attempt of range(1, 5)) {
      const delivery = yield* member.next
      assert.deepEqual(facts(delivery), [1, attempt])
      yield* attempt === 5 ? delivery.ack : delivery.nack()
    }
    yield* publish(message(2))
    assert.deepEqual(facts(yield* done(member)), [2, 1])
  }),

  every("a message can wait before it comes again, and others go on meanwhile", function* ({ join, publish, spreads, time }) {
    const member = yield* join({ group: "g" })
    yield* publish(message(1))
    const first = yield* member.next
    const start = performance.now()
    yield* first.nack({ delay: time.delay })
    if (spreads === "subjects") {
      // The rest of its subject waits behind it, and other subjects go on: those at least that are kept elsewhere.
      yield* publish(message(2), ...range(3, 40).map((n) => message(n, { subject: `Thing-${n}` })))
      const order = (yield* Effect.forEach(range(1, 40), () => done(member))).map(facts)
      assert.deepEqual(order.toSorted(byPosition), [[1, 2], ...range(2, 40).map((n) => [n, 1])])
      const placeOf = (n: number) => order.findIndex(([position]) => position === n)
      assert.ok(placeOf(1) > 0, "nothing went on meanwhile")
      assert.ok(placeOf(1) < placeOf(2), "the rest of the subject did not wait")
      if (time.live) assert.ok(performance.now() - start >= Duration.toMillis(time.delay) - 20)
      return
    }
    yield* publish(...messages(2, 3))
    assert.deepEqual((yield* Effect.forEach([2, 3], () => done(member))).map(facts), [
      [2, 1],
      [3, 1]
    ])
    yield* time.pass
    assert.deepEqual(facts(yield* done(member)), [1, 2])
    // Clocks of different machines do not agree to the millisecond.
    if (time.live) assert.ok(performance.now() - start >= Duration.toMillis(time.delay) - 20)
  }),

  every("a message that waits comes again, too, when its member has left", function* ({ join, publish, time }) {
    const leaver = yield* join({ group: "g" })
    yield* publish(message(1))
    yield* (yield* leaver.next).nack({ delay: time.delay })
    yield* leaver.leave
    const next = yield* join({ group: "g" })
    yield* time.pass
    assert.deepEqual(facts(yield* done(next)), [1, 2])
  }),

  every("a delivery is settled once: whatever is said of it later does nothing", function* ({ join, publish }) {
    const member = yield* join({ group: "g" })
    yield* publish(...messages(1, 2))
    const first = yield* member.next
    yield* first.ack
    yield* first.ack
    yield* first.nack()
    const second = yield* member.next
    assert.deepEqual(facts(second), [2, 1])
    yield* second.nack()
    yield* second.ack
    yield* second.nack()
    assert.deepEqual(facts(yield* done(member)), [2, 2])
    yield* publish(message(3))
    assert.deepEqual(facts(yield* done(member)), [3, 1])
  }),

  every("one group's answer is nothing to another group", function* ({ join, publish }) {
    const [one, two] = [yield* join({ group: "one" }), yield* join({ group: "two" })]
    yield* publish(message(1))
    yield* (yield* one.next).nack()
    yield* done(two)
    assert.deepEqual(facts(yield* done(one)), [1, 2])
    yield* publish(message(2))
    assert.deepEqual(
      [facts(yield* done(one)), facts(yield* done(two))],
      [
        [2, 1],
        [2, 1]
      ]
    )
  })
]
