/** A lease lasts for its time from each claim, renewal and advance; then another may claim the name. */
import * as Duration from "effect/Duration"
import assert from "node:assert/strict"
import { range } from "../suite.ts"
import { every, held, known, long, race, refusal, takeOver } from "./words.ts"

export const runningOut = [
  every("a lease that has run out gives way to another's claim", function* (checkpoints, { time }) {
    yield* checkpoints.advance(yield* checkpoints.claim("mail", { owner: "a", ttl: time.short }), 5)
    const second = yield* takeOver(checkpoints, time, "mail", { owner: "b", ttl: long })
    assert.deepEqual([second.owner, second.epoch, second.position], ["b", 2, 5])
    assert.deepEqual(yield* refusal(checkpoints.claim("mail", { owner: "a", ttl: long })), held("mail", "b"))
  }),

  every("of many that wait for a lease to run out exactly one wins", function* (checkpoints, { time }) {
    yield* checkpoints.claim("mail", { owner: "a", ttl: time.short })
    const attempts = range(1, 10).map((n) => checkpoints.claim("mail", { owner: `owner ${n}`, ttl: long }))
    let outcome = yield* race(attempts)
    while (outcome.won.length === 0) {
      yield* time.pass
      outcome = yield* race(attempts)
    }
    assert.equal(outcome.won.length, 1)
    assert.equal(outcome.won[0]?.epoch, 2)
  }),

  every("renewing makes a lease last longer, and leaves the position alone", function* (checkpoints, { time }) {
    const lease = yield* checkpoints.claim("mail", { owner: "a", ttl: long })
    const before = yield* known(checkpoints, "mail")
    yield* time.pass
    yield* checkpoints.renew(lease)
    const after = yield* known(checkpoints, "mail")
    assert.ok(after.expiresAt > before.expiresAt)
    assert.deepEqual({ ...after, expiresAt: 0 }, { ...before, expiresAt: 0 })
  }),

  every("a lease that has run out is good until another claims the name", function* (checkpoints, { time }) {
    const lease = yield* checkpoints.claim("mail", { owner: "a", ttl: Duration.millis(1) })
    yield* time.pass
    yield* checkpoints.renew(lease)
    yield* time.pass
    assert.equal((yield* checkpoints.advance(lease, 3)).position, 3)
  })
]
