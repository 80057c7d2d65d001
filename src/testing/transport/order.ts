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
  })
]
