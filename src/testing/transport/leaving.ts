/** What a member leaves unsettled is delivered again. */
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import assert from "node:assert/strict"
import { type Delivery } from "../../transport/Transport.ts"
import { range, turns } from "../suite.ts"
import { byPosition, done, every, facts, message, messages, positionOf, take } from "./words.ts"

export const leaving = [
  every("what a member leaves unsettled is delivered again, to whoever is there or comes", function* ({ join, publish }) {
    const leaver = yield* join({ group: "g", concurrency: 3 })
    yield* publish(...messages(1, 3))
    const [, second] = yield* take(leaver, 3)
    const stayer = yield* join({ group: "g", concurrency: 3 })
    yield* second?.ack ?? Effect.die("no second")
    yield* leaver.leave
    assert.deepEqual((yield* take(stayer, 2)).map(facts).sort(byPosition), [
      [1, 2],
      [3, 2]
    ])
    yield* stayer.leave
    const next = yield* join({ group: "g", concurrency: 3 })
    assert.deepEqual((yield* take(next, 2)).map(facts).sort(byPosition), [
      [1, 3],
      [3, 3]
    ])
  }),

  every("what a member says after it has left does nothing", function* ({ join, publish }) {
    const leaver = yield* join({ group: "g", concurrency: 2 })
    yield* publish(...messages(1, 2))
    const [acked, nacked] = [yield* leaver.next, yield* leaver.next]
    yield* leaver.leave
    yield* acked.ack
    yield* nacked.nack()
    const second = yield* join({ group: "g", concurrency: 2 })
    assert.deepEqual((yield* take(second, 2)).map(facts).sort(byPosition), [
      [1, 2],
      [2, 2]
    ])
    yield* acked.ack
    yield* nacked.nack()
    yield* second.leave
    const third = yield* join({ group: "g", concurrency: 2 })
    assert.deepEqual([facts(yield* done(third)), facts(yield* done(third))].sort(byPosition), [
      [1, 3],
      [2, 3]
    ])
    yield* publish(message(3))
    assert.deepEqual(facts(yield* done(third)), [3, 1])
  }),

  every("members that all leave at once, in the middle of everything, lose nothing", function* ({ join, publish }) {
    const seen = new Set<number>()
    const record = ({ message }: Delivery) => Effect.sync(() => seen.add(positionOf(message)))
    const members = yield* Effect.forEach(range(1, 10), () => join({ group: "g", concurrency: 4 }))
    for (const [n, member] of members.entries()) {
      // Each settles some, and holds on to the rest.
      yield* Effect.forkScoped(Effect.forEach(range(1, n), () => Effect.tap(done(member), record)))
    }
    const publishing = yield* Effect.forkScoped(
      Effect.forEach(range(1, 100), (n) => Effect.andThen(publish(message(n)), Effect.yieldNow), { discard: true })
    )
    yield* turns(40)
    yield* Effect.forEach(members, ({ leave }) => leave, { concurrency: "unbounded" })
    yield* Fiber.join(publishing)
    const rest = yield* join({ group: "g" })
    while (seen.size < 100) yield* Effect.flatMap(done(rest), record)
  })
]
