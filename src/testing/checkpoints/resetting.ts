/** A reset takes a name from whoever holds it, and is the one way back. */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import assert from "node:assert/strict"
import type { Lease } from "../../store/Checkpoints.ts"
import { range } from "../suite.ts"
import { every, fenced, held, known, long, plain, refusal, takeOver } from "./words.ts"

export const resetting = [
  every("a reset takes a name from whoever holds it, moves it and leaves it free", function* (checkpoints) {
    yield* checkpoints.advance(yield* checkpoints.claim("mail", { owner: "a", ttl: long }), 5)
    yield* checkpoints.claim("other", { owner: "a", ttl: long, from: 3 })
    const before = yield* known(checkpoints, "mail")
    const other = yield* known(checkpoints, "other")
    assert.deepEqual(Option.map(yield* checkpoints.reset("mail", 2), plain), Option.some(before))
    const { epoch, owner, position } = yield* known(checkpoints, "mail")
    assert.deepEqual([position, owner, epoch], [2, undefined, 2])
    assert.deepEqual(yield* known(checkpoints, "other"), other)
    const next = yield* checkpoints.claim("mail", { owner: "b", ttl: long, from: 9 })
    assert.deepEqual([next.position, next.epoch], [2, 3])
  }),

  every("a checkpoint may be reset to any position, free or held", function* (checkpoints) {
    for (const position of [7, 3, 3, 0, Number.MAX_SAFE_INTEGER, 1]) {
      yield* checkpoints.reset("mail", position)
      assert.equal((yield* known(checkpoints, "mail")).position, position)
      const lease = yield* checkpoints.claim("mail", { owner: "a", ttl: long })
      assert.equal(lease.position, position)
    }
  }),

  every("a reset of a name that nobody has claimed makes it", function* (checkpoints) {
    assert.deepEqual(yield* checkpoints.reset("mail", 4), Option.none())
    const { owner, position } = yield* known(checkpoints, "mail")
    assert.deepEqual([position, owner], [4, undefined])
    assert.deepEqual(
      (yield* checkpoints.list).map(({ name }) => name),
      ["mail"]
    )
  }),

  every(
    "an owner that a reset has superseded can do nothing more, and may claim the name like anybody else",
    function* (checkpoints) {
      const lease = yield* checkpoints.advance(yield* checkpoints.claim("mail", { owner: "a", ttl: long }), 5)
      yield* checkpoints.reset("mail", 5)
      const before = yield* known(checkpoints, "mail")
      assert.deepEqual(yield* refusal(checkpoints.renew(lease)), fenced(lease))
      for (const position of [5, 6, 0]) assert.deepEqual(yield* refusal(checkpoints.advance(lease, position)), fenced(lease))
      yield* checkpoints.release(lease)
      assert.deepEqual(yield* known(checkpoints, "mail"), before)
      const anew = yield* checkpoints.claim("mail", { owner: "a", ttl: long })
      assert.deepEqual(yield* refusal(checkpoints.advance(lease, 6)), fenced(lease))
      assert.equal((yield* checkpoints.advance(anew, 6)).position, 6)
      assert.deepEqual(yield* refusal(checkpoints.claim("mail", { owner: "b", ttl: long })), held("mail", "a"))
    }
  ),

  every("a reset also ends a lease that has run out and was not taken", function* (checkpoints, { time }) {
    const lease = yield* checkpoints.advance(yield* checkpoints.claim("mail", { owner: "a", ttl: time.short }), 5)
    yield* takeOver(checkpoints, time, "mail", { owner: "b", ttl: time.short })
    yield* checkpoints.reset("mail", 5)
    assert.deepEqual(yield* refusal(checkpoints.advance(lease, 6)), fenced(lease))
    assert.equal((yield* known(checkpoints, "mail")).position, 5)
  }),

  every(
    "of a reset and an advance at once, the reset stands, and says whether the advance came before it",
    function* (checkpoints) {
      for (const _ of range(1, 20)) {
        yield* checkpoints.reset("mail", 5)
        const lease: Lease = yield* checkpoints.claim("mail", { owner: "a", ttl: long })
        const [advanced, before] = yield* Effect.all(
          [Effect.result(checkpoints.advance(lease, 6)), checkpoints.reset("mail", 2)],
          {
            concurrency: "unbounded"
          }
        )
        assert.equal((yield* known(checkpoints, "mail")).position, 2)
        const { position } = Option.getOrThrow(before)
        assert.equal(position, advanced._tag === "Success" ? 6 : 5)
      }
    }
  )
]
