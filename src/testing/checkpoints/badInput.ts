/** Any text can be a name; what makes no sense is refused, with an error that says so. */
import * as Duration from "effect/Duration"
import * as Option from "effect/Option"
import assert from "node:assert/strict"
import { error, every, held, known, long, refusal, withoutCause } from "./words.ts"

const oddNames = [
  "a",
  "A",
  "it's",
  `"quoted"`,
  "; drop table checkpoint; --",
  "back\\slash",
  "%",
  "$1",
  "line\nbreak",
  " ",
  "é",
  "e\u0301",
  "\uFF5E",
  "😀",
  "__proto__",
  "x".repeat(255)
]

export const badInput = [
  every("any text can be a name or an owner, and names are listed in code point order", function* (checkpoints) {
    for (const [index, name] of oddNames.entries()) {
      const lease = yield* checkpoints.claim(name, { owner: name, ttl: long })
      yield* checkpoints.advance(lease, index)
    }
    const order = Array.from(oddNames.entries()).sort(([, a], [, b]) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
    assert.deepEqual(
      (yield* checkpoints.list).map(({ epoch, name, owner, position }) => [name, Option.getOrUndefined(owner), position, epoch]),
      order.map(([index, name]) => [name, name, index, 1])
    )
    for (const [index, name] of oddNames.entries()) {
      assert.equal((yield* known(checkpoints, name)).position, index)
      assert.deepEqual(yield* refusal(checkpoints.claim(name, { owner: `${index}`, ttl: long })), held(name, name))
    }
  }),

  every("what makes no sense is refused with an error that says so, and writes nothing", function* (checkpoints) {
    const bad = { ...error("claim", "mail"), cause: undefined }
    for (const name of ["", "x".repeat(256), "a\u0000b", "\ud800"]) {
      assert.deepEqual(withoutCause(yield* refusal(checkpoints.claim(name, { owner: "a", ttl: long }))), {
        ...bad,
        checkpoint: name
      })
      assert.deepEqual(withoutCause(yield* refusal(checkpoints.claim("mail", { owner: name, ttl: long }))), bad)
      assert.deepEqual(withoutCause(yield* refusal(checkpoints.get(name))), { ...bad, operation: "get", checkpoint: name })
    }
    for (const ttl of [Duration.zero, Duration.millis(-1), Duration.infinity]) {
      assert.deepEqual(withoutCause(yield* refusal(checkpoints.claim("mail", { owner: "a", ttl }))), bad)
    }
    for (const number of [-1, 1.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53]) {
      assert.deepEqual(withoutCause(yield* refusal(checkpoints.claim("mail", { owner: "a", ttl: long, from: number }))), bad)
    }
    assert.deepEqual(yield* checkpoints.list, [])
    const lease = yield* checkpoints.claim("mail", { owner: "a", ttl: long })
    for (const number of [-1, 1.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53]) {
      assert.deepEqual(withoutCause(yield* refusal(checkpoints.advance(lease, number))), { ...bad, operation: "advance" })
    }
    assert.equal((yield* checkpoints.advance(lease, 1)).position, 1)
  })
]
