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
    "two tenants of one source may give one id to two messages: both arrive, and say whose they are",
    function* ({ join, publish }) {
      const member = yield* join({ group: "g" })
      const of = (n: number, tenant?: string) =>
        message(n, { id: "message 1", subject: `Thing-${n}`, ...(tenant === undefined ? {} : { tenant }) })
      yield* publish(of(1, "acme"), of(2, "globex"))
      // Nor is one of the source itself that of a tenant.
      yield* publish(of(3))
      const arrived: Array<readonly [position: number | undefined, tenant: string | undefined]> = []
      for (let n = 0; n < 3; n++) {
        const { message } = yield* done(member)
        arrived.push([message.position, message.tenant])
      }
      assert.deepEqual(
        arrived.toSorted(([one = 0], [other = 0]) => one - other),
        [
          [1, "acme"],
          [2, "globex"],
          [3, undefined]
        ]
      )
    }
  ),

  every(
    "a message of a tenant that is published again is not delivered again",
    function* ({ join, publish }) {
      const member = yield* join({ group: "g" })
      const of = (n: number, tenant: string) => message(n, { id: "message 1", tenant })
      yield* publish(of(1, "acme"))
      assert.deepEqual(facts(yield* done(member)), [1, 1])
      yield* publish(of(2, "globex"))
      assert.deepEqual(facts(yield* done(member)), [2, 1])
      yield* publish(of(2, "globex"), of(1, "acme"), message(3))
      assert.deepEqual(facts(yield* done(member)), [3, 1])
    },
    "deduplicates"
  ),

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
