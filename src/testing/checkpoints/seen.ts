/** The event that the owner had seen is kept with the position, as long as it says something of it. */
import * as Option from "effect/Option"
import assert from "node:assert/strict"
import { error, every, fenced, known, long, refusal, reopened, withoutCause } from "./words.ts"
import * as Effect from "effect/Effect"

const third = { position: 3, id: "event 3" }

export const seen = [
  every("what was seen is kept with the position, and comes with the next lease", function* (checkpoints) {
    const lease = yield* checkpoints.claim("mail", { owner: "a", ttl: long })
    assert.equal("seen" in lease, false)
    assert.equal("seen" in (yield* known(checkpoints, "mail")), false)
    const next = yield* checkpoints.advance(lease, 5, third)
    assert.deepEqual(next, { ...lease, position: 5, seen: third })
    assert.deepEqual([(yield* known(checkpoints, "mail")).seen, (yield* checkpoints.list)[0]?.seen], [third, third])
    yield* checkpoints.renew(next)
    yield* checkpoints.release(next)
    assert.deepEqual((yield* checkpoints.claim("mail", { owner: "b", ttl: long })).seen, third)
  }),

  every("what was seen may lie before the position, at it and beyond it, and change while that stays", function* (checkpoints) {
    let lease = yield* checkpoints.claim("mail", { owner: "a", ttl: long, from: 5 })
    const ids = ["1", "é", "😀", `"quoted" \\ ; --`, "x".repeat(255)]
    for (const [index, id] of ids.entries()) {
      const seen = { position: 3 + index, id }
      lease = yield* checkpoints.advance(lease, 5, seen)
      assert.deepEqual([lease.seen, (yield* known(checkpoints, "mail")).seen], [seen, seen])
    }
    const far = { position: Number.MAX_SAFE_INTEGER, id: "far" }
    yield* checkpoints.advance(lease, 2 ** 31 + 1, far)
    assert.deepEqual((yield* known(checkpoints, "mail")).seen, far)
  }),

  every("it is forgotten by a move that tells of none, at position 0, by a reset and by a removal", function* (checkpoints) {
    const forgotten = function* () {
      assert.equal("seen" in (yield* known(checkpoints, "mail")), false)
    }
    const mark = function* () {
      yield* checkpoints.reset("mail", 4)
      const lease = yield* checkpoints.claim("mail", { owner: "a", ttl: long })
      const next = yield* checkpoints.advance(lease, 5, third)
      assert.deepEqual((yield* known(checkpoints, "mail")).seen, third)
      return next
    }
    const moved = yield* checkpoints.advance(yield* mark(), 6)
    assert.equal("seen" in moved, false)
    yield* forgotten()
    const anew = yield* checkpoints.advance(yield* mark(), 0, third)
    assert.equal("seen" in anew, false)
    yield* forgotten()
    yield* mark()
    assert.deepEqual(Option.getOrThrow(yield* checkpoints.reset("mail", 5)).seen, third)
    yield* forgotten()
    yield* mark()
    yield* checkpoints.remove("mail", { force: true })
    assert.equal("seen" in (yield* checkpoints.claim("mail", { owner: "a", ttl: long, from: 5 })), false)
    yield* forgotten()
  }),

  every("who is fenced changes nothing of it, and what makes no sense is refused", function* (checkpoints) {
    const lease = yield* checkpoints.claim("mail", { owner: "a", ttl: long })
    yield* checkpoints.advance(lease, 5, third)
    assert.deepEqual(yield* refusal(checkpoints.advance(lease, 6, { position: 6, id: "other" })), fenced(lease))
    const again = yield* checkpoints.claim("mail", { owner: "a", ttl: long })
    for (const seen of [
      { position: 0, id: "a" },
      { position: 1.5, id: "a" },
      { position: 2 ** 53, id: "a" },
      { position: 1, id: "" },
      { position: 1, id: "x".repeat(256) },
      { position: 1, id: "a\u0000" }
    ]) {
      const refused = yield* refusal(checkpoints.advance(again, 6, seen))
      assert.deepEqual(withoutCause(refused), { ...error("advance", "mail"), cause: undefined })
    }
    const { position, seen } = yield* known(checkpoints, "mail")
    assert.deepEqual([position, seen], [5, third])
  }),

  reopened("what was seen is there after closing and opening again", function* (open) {
    yield* Effect.scoped(
      Effect.gen(function* () {
        const checkpoints = yield* open
        const lease = yield* checkpoints.claim("mail", { owner: "a", ttl: long })
        yield* checkpoints.release(yield* checkpoints.advance(lease, 5, third))
      })
    )
    const checkpoints = yield* open
    assert.deepEqual((yield* known(checkpoints, "mail")).seen, third)
    assert.deepEqual((yield* checkpoints.claim("mail", { owner: "b", ttl: long })).seen, third)
  })
]
