/** A checkpoint moves step by step, by compare-and-set, and never backwards unless to the very beginning. */
import assert from "node:assert/strict"
import { range } from "../suite.ts"
import { error, every, fenced, known, long, race, refusal, withoutCause } from "./words.ts"

export const advancing = [
  every("advancing moves the checkpoint and makes the lease last longer", function* (checkpoints, { time }) {
    const lease = yield* checkpoints.claim("mail", { owner: "a", ttl: long })
    const before = yield* known(checkpoints, "mail")
    yield* time.pass
    assert.deepEqual(yield* checkpoints.advance(lease, 3), { ...lease, position: 3 })
    const after = yield* known(checkpoints, "mail")
    assert.ok(after.expiresAt > before.expiresAt)
    assert.ok(after.updatedAt > before.updatedAt)
    assert.deepEqual({ ...after, expiresAt: 0, updatedAt: 0 }, { ...before, position: 3, expiresAt: 0, updatedAt: 0 })
  }),

  every("a checkpoint advances step by step, each from where the one before ended", function* (checkpoints) {
    let lease = yield* checkpoints.claim("mail", { owner: "a", ttl: long })
    for (const position of [1, 2, 2, 100, 2 ** 31 + 1, Number.MAX_SAFE_INTEGER]) {
      lease = yield* checkpoints.advance(lease, position)
      assert.equal(lease.position, position)
      assert.equal((yield* known(checkpoints, "mail")).position, position)
    }
    assert.equal((yield* known(checkpoints, "mail")).epoch, 1)
  }),

  every("a checkpoint that has moved cannot be moved from where it was", function* (checkpoints) {
    const lease = yield* checkpoints.claim("mail", { owner: "a", ttl: long })
    yield* checkpoints.advance(lease, 5)
    for (const position of [0, 4, 5, 6]) assert.deepEqual(yield* refusal(checkpoints.advance(lease, position)), fenced(lease))
    assert.equal((yield* known(checkpoints, "mail")).position, 5)
  }),

  every("of many that advance from one position at once exactly one wins", function* (checkpoints) {
    const lease = yield* checkpoints.claim("mail", { owner: "a", ttl: long })
    const { lost, won } = yield* race(range(1, 20).map((position) => checkpoints.advance(lease, position)))
    assert.equal(won.length, 1)
    assert.deepEqual(
      lost,
      Array.from({ length: 19 }, () => fenced(lease))
    )
    assert.equal((yield* known(checkpoints, "mail")).position, won[0]?.position)
  }),

  every("a checkpoint never goes backwards, unless to the very beginning", function* (checkpoints) {
    const lease = yield* checkpoints.advance(yield* checkpoints.claim("mail", { owner: "a", ttl: long }), 5)
    for (const position of [4, 1, -1]) {
      assert.deepEqual(withoutCause(yield* refusal(checkpoints.advance(lease, position))), {
        ...error("advance", "mail"),
        cause: undefined
      })
    }
    assert.equal((yield* known(checkpoints, "mail")).position, 5)
    const further = yield* checkpoints.advance(lease, 6)
    const anew = yield* checkpoints.advance(further, 0)
    assert.deepEqual([anew, (yield* known(checkpoints, "mail")).position], [{ ...lease, position: 0 }, 0])
    assert.deepEqual(yield* refusal(checkpoints.advance(further, 7)), fenced(further))
    assert.equal((yield* checkpoints.advance(anew, 1)).position, 1)
  })
]
