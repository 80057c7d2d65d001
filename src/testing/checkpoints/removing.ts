/** A name can be forgotten for good, and whoever held it stays fenced. */
import * as Option from "effect/Option"
import assert from "node:assert/strict"
import type { Lease } from "../../store/Checkpoints.ts"
import { every, fenced, held, known, long, refusal, takeOver } from "./words.ts"

export const removing = [
  every("a name that is free can be removed: it is not known any more, and begins anew", function* (checkpoints) {
    yield* checkpoints.release(yield* checkpoints.advance(yield* checkpoints.claim("mail", { owner: "a", ttl: long }), 5))
    yield* checkpoints.reset("other", 3)
    assert.equal(yield* checkpoints.remove("mail"), true)
    assert.deepEqual(yield* checkpoints.get("mail"), Option.none())
    assert.deepEqual(
      (yield* checkpoints.list).map(({ name }) => name),
      ["other"]
    )
    assert.equal((yield* checkpoints.claim("mail", { owner: "b", ttl: long, from: 2 })).position, 2)
    assert.equal((yield* known(checkpoints, "other")).position, 3)
  }),

  every("what is not known is not removed", function* (checkpoints) {
    assert.equal(yield* checkpoints.remove("mail"), false)
    yield* checkpoints.reset("mail", 1)
    assert.deepEqual([yield* checkpoints.remove("mail"), yield* checkpoints.remove("mail")], [true, false])
    assert.equal(yield* checkpoints.remove("mail", { force: true }), false)
    assert.deepEqual(yield* checkpoints.reset("mail", 4), Option.none())
    assert.equal((yield* known(checkpoints, "mail")).position, 4)
  }),

  every("a name that is held is removed by force alone", function* (checkpoints) {
    yield* checkpoints.advance(yield* checkpoints.claim("mail", { owner: "a", ttl: long }), 5)
    const before = yield* known(checkpoints, "mail")
    assert.deepEqual(yield* refusal(checkpoints.remove("mail")), held("mail", "a"))
    assert.deepEqual(yield* refusal(checkpoints.remove("mail", { force: false })), held("mail", "a"))
    assert.deepEqual(yield* known(checkpoints, "mail"), before)
    assert.equal(yield* checkpoints.remove("mail", { force: true }), true)
    assert.deepEqual(yield* checkpoints.get("mail"), Option.none())
  }),

  every("a name whose lease has run out can be removed", function* (checkpoints, { time }) {
    yield* checkpoints.claim("mail", { owner: "a", ttl: time.short })
    // Another's claim shows that it has run out.
    const lease = yield* takeOver(checkpoints, time, "mail", { owner: "b", ttl: "1 millis" })
    yield* time.pass
    assert.equal(yield* checkpoints.remove("mail"), true)
    assert.deepEqual(yield* refusal(checkpoints.renew(lease)), fenced(lease))
  }),

  every("a lease of a name that was removed is fenced for ever, whoever claims the name later", function* (checkpoints) {
    const leases: Array<Lease> = []
    const allFenced = function* () {
      for (const lease of leases) {
        assert.deepEqual(yield* refusal(checkpoints.renew(lease)), fenced(lease))
        for (const position of [5, 6, 0]) assert.deepEqual(yield* refusal(checkpoints.advance(lease, position)), fenced(lease))
        yield* checkpoints.release(lease)
      }
    }
    for (const owner of ["a", "a", "b"]) {
      const lease = yield* checkpoints.claim("mail", { owner, ttl: long, from: 5 })
      assert.equal(lease.position, 5)
      yield* allFenced()
      assert.deepEqual(yield* refusal(checkpoints.claim("mail", { owner: "c", ttl: long })), held("mail", owner))
      leases.push(lease)
      assert.equal(yield* checkpoints.remove("mail", { force: true }), true)
      yield* allFenced()
      assert.deepEqual(yield* checkpoints.get("mail"), Option.none())
    }
    yield* checkpoints.reset("mail", 5)
    yield* allFenced()
    assert.equal((yield* known(checkpoints, "mail")).position, 5)
  })
]
