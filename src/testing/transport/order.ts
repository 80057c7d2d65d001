/** Messages arrive in order, as many at once as a member asks for. */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import assert from "node:assert/strict"
import { range, turns } from "../suite.ts"
import { every, messages } from "./words.ts"

export const order = [
  every(
    "messages arrive in the order of publishing, one at a time unless asked for more",
    function* ({ deliveries, join, publish }) {
      yield* (yield* join({ group: "g" })).leave
      for (const batch of range(0, 19)) yield* publish(...messages(batch * 10 + 1, batch * 10 + 10))
      let open = 0
      const received = yield* deliveries({ group: "g" }).pipe(
        Stream.mapEffect(
          ({ ack, message }) =>
            Effect.gen(function* () {
              assert.equal(++open, 1, "one at a time")
              yield* turns(5)
              open--
              yield* ack
              return message.position
            }),
          { concurrency: "unbounded" }
        ),
        Stream.take(200),
        Stream.runCollect
      )
      assert.deepEqual(received, range(1, 200))
    }
  ),

  every("a member has as many messages at once as it asked for, and no more", function* ({ deliveries, join, publish }) {
    yield* (yield* join({ group: "g" })).leave
    yield* publish(...messages(1, 50))
    const full = yield* Deferred.make<void>()
    let open = 0
    let most = 0
    yield* deliveries({ group: "g", concurrency: 3 }).pipe(
      Stream.mapEffect(
        ({ ack }) =>
          Effect.gen(function* () {
            most = Math.max(most, ++open)
            if (open === 3) yield* Deferred.succeed(full, undefined)
            yield* Deferred.await(full)
            yield* turns(20)
            open--
            yield* ack
          }),
        { concurrency: "unbounded" }
      ),
      Stream.take(50),
      Stream.runDrain
    )
    assert.equal(most, 3)
  }),

  every(
    "of many messages that are settled in any order no more are at hand than were asked for, and none comes again that is acknowledged",
    function* ({ deliveries, join, publish }) {
      const [count, most] = [1000, 100]
      yield* (yield* join({ group: "g" })).leave
      for (const batch of range(0, 9)) yield* publish(...messages(batch * 100 + 1, batch * 100 + 100))
      let open = 0
      const refused = new Set<number>()
      const done = new Set<number>()
      yield* deliveries({ group: "g", concurrency: most }).pipe(
        Stream.mapEffect(
          ({ ack, message, nack }) =>
            Effect.gen(function* () {
              const place = Number(message.position)
              assert.ok(++open <= most, `${open} are at hand`)
              assert.ok(!done.has(place), `${place} is done`)
              // In bursts, and not in the order in which they came.
              yield* turns((place * 7) % 23)
              open--
              if (place % 13 > 0 || refused.has(place)) {
                done.add(place)
                return yield* ack
              }
              refused.add(place)
              yield* nack()
            }),
          { concurrency: "unbounded" }
        ),
        Stream.takeUntil(() => done.size === count),
        Stream.runDrain
      )
      assert.equal(done.size, count)
    }
  )
]
