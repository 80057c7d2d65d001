/** A superseded owner can commit nothing, however long it slept. */
import * as Option from "effect/Option"
import assert from "node:assert/strict"
import type { Lease } from "../../store/Checkpoints.ts"
import { every, fenced, held, known, long, refusal, takeOver } from "./words.ts"

export const fencing = [
  every(
    "a superseded owner can do nothing more, and its release does not touch the new lease",
    function* (checkpoints, { time }) {
      const first = yield* checkpoints.advance(yield* checkpoints.claim("mail", { owner: "a", ttl: time.short }), 5)
      const second = yield* takeOver(checkpoints, time, "mail", { owner: "b", ttl: long })
      const before = yield* known(checkpoints, "mail")
      assert.deepEqual(yield* refusal(checkpoints.renew(first)), fenced(first))
      assert.deepEqual(yield* refusal(checkpoints.advance(first, 6)), fenced(first))
      yield* checkpoints.release(first)
      assert.deepEqual(yield* known(checkpoints, "mail"), before)
      assert.equal((yield* checkpoints.advance(second, 6)).position, 6)
      // Not even once the new owner is gone.
      yield* checkpoints.release({ ...second, position: 6 })
      assert.deepEqual(yield* refusal(checkpoints.renew(first)), fenced(first))
      assert.deepEqual(yield* refusal(checkpoints.advance({ ...first, position: 6 }, 7)), fenced(first))
    }
  ),

  every("a lease that was released is good for nothing, and releasing it again does nothing", function* (checkpoints) {
    const lease = yield* checkpoints.claim("mail", { owner: "a", ttl: long })
    yield* checkpoints.release(lease)
    const before = yield* known(checkpoints, "mail")
    assert.deepEqual(yield* refusal(checkpoints.renew(lease)), fenced(lease))
    assert.deepEqual(yield* refusal(checkpoints.advance(lease, 1)), fenced(lease))
    yield* checkpoints.release(lease)
    assert.deepEqual(yield* known(checkpoints, "mail"), before)
    yield* checkpoints.claim("mail", { owner: "b", ttl: long })
    yield* checkpoints.release(lease)
    assert.deepEqual(yield* refusal(checkpoints.claim("mail", { owner: "a", ttl: long })), held("mail", "b"))
  }),

  every("a lease of a name that does not exist is fenced", function* (checkpoints) {
    const lease: Lease = { name: "absent", owner: "a", epoch: 1, position: 0, ttl: long }
    assert.deepEqual(yield* refusal(checkpoints.renew(lease)), fenced(lease))
    assert.deepEqual(yield* refusal(checkpoints.advance(lease, 1)), fenced(lease))
    yield* checkpoints.release(lease)
    assert.deepEqual(yield* checkpoints.get("absent"), Option.none())
  })
]
