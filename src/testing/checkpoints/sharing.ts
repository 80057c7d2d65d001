/** Several instances over one storage are of one mind. */
import * as Option from "effect/Option"
import assert from "node:assert/strict"
import type { Lease } from "../../store/Checkpoints.ts"
import { range } from "../suite.ts"
import { fenced, held, known, long, race, refusal, shared, takeOver } from "./words.ts"

export const sharing = [
  shared("two instances over one storage see each other's leases and positions", function* ([one, two]) {
    const lease = yield* one.advance(yield* one.claim("mail", { owner: "a", ttl: long }), 5)
    assert.deepEqual(yield* known(two, "mail"), yield* known(one, "mail"))
    assert.deepEqual(yield* refusal(two.claim("mail", { owner: "b", ttl: long })), held("mail", "a"))
    yield* one.release(lease)
    const other = yield* two.claim("mail", { owner: "b", ttl: long })
    assert.deepEqual([other.epoch, other.position], [2, 5])
    assert.deepEqual(yield* refusal(one.advance(lease, 6)), fenced(lease))
  }),

  shared("of two instances that claim at once one wins, time after time", function* ([one, two]) {
    for (const epoch of range(1, 25)) {
      const { lost, won } = yield* race([
        one.claim("mail", { owner: "a", ttl: long }),
        two.claim("mail", { owner: "b", ttl: long })
      ])
      const winner = won[0] as Lease
      assert.equal(won.length, 1)
      assert.equal(winner.epoch, epoch)
      assert.deepEqual(lost, [held("mail", winner.owner)])
      yield* one.release(winner)
    }
  }),

  shared("an instance takes over when the other's lease has run out, and the other is fenced", function* ([one, two], { time }) {
    const lease = yield* one.claim("mail", { owner: "a", ttl: time.short })
    const taken = yield* takeOver(two, time, "mail", { owner: "b", ttl: long })
    assert.equal(taken.epoch, 2)
    const { lost, won } = yield* race([one.advance(lease, 9), two.advance(taken, 3)])
    assert.deepEqual([won.length, won[0]?.owner], [1, "b"])
    assert.deepEqual(lost, [fenced(lease)])
    assert.equal((yield* known(one, "mail")).position, 3)
  }),

  shared("what one instance resets or removes, the other has lost", function* ([one, two]) {
    const lease = yield* one.advance(yield* one.claim("mail", { owner: "a", ttl: long }), 5)
    yield* two.reset("mail", 2)
    assert.deepEqual(yield* refusal(one.advance(lease, 6)), fenced(lease))
    const next = yield* one.claim("mail", { owner: "a", ttl: long })
    assert.equal(next.position, 2)
    assert.deepEqual(yield* refusal(two.remove("mail")), held("mail", "a"))
    assert.equal(yield* two.remove("mail", { force: true }), true)
    assert.deepEqual(yield* refusal(one.advance(next, 3)), fenced(next))
    yield* two.claim("mail", { owner: "b", ttl: long, from: 2 })
    assert.deepEqual(yield* refusal(one.advance(next, 3)), fenced(next))
  }),

  shared("two instances over one storage know the same versions, and one of them activates first", function* ([one, two]) {
    let instead = Option.none<number>()
    for (const version of range(1, 20)) {
      const attempts = [
        one.versions.activate("Balances", 2 * version, instead),
        two.versions.activate("Balances", 2 * version + 1, instead)
      ]
      const { lost, won } = yield* race(attempts)
      assert.deepEqual([won.length, lost.length], [1, 1])
      const all = yield* two.versions.list("Balances")
      assert.deepEqual(yield* one.versions.list("Balances"), all)
      const active = all.filter(({ active }) => active)
      assert.equal(active.length, 1)
      instead = Option.fromUndefinedOr(active[0]?.version)
    }
  })
]
