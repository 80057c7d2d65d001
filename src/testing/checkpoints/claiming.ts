/** A name has one owner at a time, and begins where it is told to. */
import * as Duration from "effect/Duration"
import * as Option from "effect/Option"
import assert from "node:assert/strict"
import { range } from "../suite.ts"
import { every, fenced, held, known, long, plain, race, refusal } from "./words.ts"

export const claiming = [
  every("a name that nobody has claimed is not known", function* (checkpoints) {
    assert.deepEqual(yield* checkpoints.get("absent"), Option.none())
    assert.deepEqual(yield* checkpoints.list, [])
  }),

  every("a new name begins at position 0 with epoch 1, and its lease says so", function* (checkpoints) {
    const lease = yield* checkpoints.claim("mail", { owner: "a", ttl: "1 hour" })
    assert.deepEqual(
      { ...lease, ttl: Duration.toMillis(lease.ttl) },
      { name: "mail", owner: "a", epoch: 1, position: 0, ttl: 3_600_000 }
    )
    const { expiresAt, updatedAt, ...rest } = yield* known(checkpoints, "mail")
    assert.deepEqual(rest, { name: "mail", position: 0, epoch: 1, owner: "a" })
    assert.ok(Math.abs(expiresAt - updatedAt - 3_600_000) <= 1, "it lasts for its whole time")
    assert.deepEqual((yield* checkpoints.list).map(plain), [yield* known(checkpoints, "mail")])
  }),

  every("a new name begins where it is told to, and one that is known stays where it is", function* (checkpoints) {
    const lease = yield* checkpoints.claim("mail", { owner: "a", ttl: long, from: 7 })
    assert.equal(lease.position, 7)
    yield* checkpoints.release(yield* checkpoints.advance(lease, 9))
    for (const from of [3, 30]) {
      assert.equal((yield* checkpoints.claim("mail", { owner: "b", ttl: long, from })).position, 9)
    }
    assert.equal(
      (yield* checkpoints.claim("other", { owner: "b", ttl: long, from: Number.MAX_SAFE_INTEGER })).position,
      2 ** 53 - 1
    )
    assert.equal((yield* known(checkpoints, "other")).position, 2 ** 53 - 1)
  }),

  every("a name that is held cannot be claimed by another, and the attempt changes nothing", function* (checkpoints) {
    yield* checkpoints.advance(yield* checkpoints.claim("mail", { owner: "a", ttl: long }), 5)
    const before = yield* known(checkpoints, "mail")
    assert.deepEqual(yield* refusal(checkpoints.claim("mail", { owner: "b", ttl: long })), held("mail", "a"))
    assert.deepEqual(yield* known(checkpoints, "mail"), before)
    assert.equal((yield* checkpoints.claim("other", { owner: "b", ttl: long })).epoch, 1)
  }),

  every("an owner may claim what it holds: the new lease supersedes the old one", function* (checkpoints) {
    const first = yield* checkpoints.advance(yield* checkpoints.claim("mail", { owner: "a", ttl: long }), 5)
    const second = yield* checkpoints.claim("mail", { owner: "a", ttl: long })
    assert.deepEqual([second.epoch, second.position], [2, 5])
    assert.deepEqual(yield* refusal(checkpoints.renew(first)), fenced(first))
    assert.deepEqual(yield* refusal(checkpoints.advance(first, 6)), fenced(first))
    yield* checkpoints.release(first)
    assert.equal((yield* checkpoints.advance(second, 6)).position, 6)
  }),

  every("a name that was released can be claimed at once, at the position it was left at", function* (checkpoints) {
    const first = yield* checkpoints.advance(yield* checkpoints.claim("mail", { owner: "a", ttl: long }), 5)
    yield* checkpoints.release(first)
    const { owner, position } = yield* known(checkpoints, "mail")
    assert.deepEqual([owner, position], [undefined, 5])
    const second = yield* checkpoints.claim("mail", { owner: "b", ttl: long })
    assert.deepEqual([second.owner, second.epoch, second.position], ["b", 2, 5])
  }),

  every("of many that claim a new name at once exactly one wins", function* (checkpoints) {
    const attempts = range(1, 20).map((n) => checkpoints.claim("mail", { owner: `owner ${n}`, ttl: long }))
    const { lost, won } = yield* race(attempts)
    assert.equal(won.length, 1)
    assert.equal(won[0]?.epoch, 1)
    assert.deepEqual(
      lost,
      Array.from({ length: 19 }, () => held("mail", won[0]?.owner ?? ""))
    )
  })
]
