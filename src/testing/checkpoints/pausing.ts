/** That a name is paused outlives whoever holds it. */
import * as Option from "effect/Option"
import assert from "node:assert/strict"
import { every, long } from "./words.ts"

export const pausing = [
  every("a name that is paused stays so for whoever claims it, until it may go on", function* (checkpoints) {
    const lease = yield* checkpoints.claim("mail", { owner: "a", ttl: long })
    assert.equal(lease.paused, undefined)
    assert.equal(yield* checkpoints.pause("mail", true), true)
    // Whoever holds it keeps the lease, and finishes what is in hand.
    const moved = yield* checkpoints.advance(lease, 5)
    yield* checkpoints.renew(moved)
    yield* checkpoints.release(moved)
    assert.equal(Option.getOrThrow(yield* checkpoints.get("mail")).paused, true)
    assert.deepEqual(
      (yield* checkpoints.list).map(({ name, paused, position }) => [name, paused, position]),
      [["mail", true, 5]]
    )
    const next = yield* checkpoints.claim("mail", { owner: "b", ttl: long })
    assert.deepEqual([next.position, next.paused], [5, true])
    assert.equal(yield* checkpoints.pause("mail", false), true)
    assert.equal((yield* checkpoints.claim("mail", { owner: "b", ttl: long })).paused, undefined)
    assert.equal(Option.getOrThrow(yield* checkpoints.get("mail")).paused, undefined)
  }),

  every("what is paused stays so when it is reset, and not when it is removed", function* (checkpoints) {
    yield* checkpoints.reset("mail", 3)
    yield* checkpoints.pause("mail", true)
    yield* checkpoints.reset("mail", 1)
    assert.equal(Option.getOrThrow(yield* checkpoints.get("mail")).paused, true)
    yield* checkpoints.remove("mail")
    assert.equal(yield* checkpoints.pause("mail", true), false)
    assert.equal((yield* checkpoints.claim("mail", { owner: "a", ttl: long })).paused, undefined)
  }),

  every("a name that nobody has claimed or reset cannot be paused", function* (checkpoints) {
    assert.equal(yield* checkpoints.pause("mail", true), false)
    assert.deepEqual(yield* checkpoints.list, [])
    assert.equal((yield* checkpoints.claim("mail", { owner: "a", ttl: long, from: 7 })).position, 7)
  })
]
