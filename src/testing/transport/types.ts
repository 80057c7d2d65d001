/** A member gets the types that it asks for. */
import * as Effect from "effect/Effect"
import assert from "node:assert/strict"
import { range } from "../suite.ts"
import { done, every, facts, message } from "./words.ts"

export const types = [
  every("a member gets the types it asked for, and every type by default", function* ({ join, publish }) {
    const some = yield* join({ group: "some", types: ["B", "C"] })
    const all = yield* join({ group: "all" })
    yield* publish(...["A", "B", "D", "C", "A", "B"].map((type, n) => message(n + 1, { type })))
    assert.deepEqual((yield* Effect.forEach(range(1, 3), () => done(some))).map(facts), [
      [2, 1],
      [4, 1],
      [6, 1]
    ])
    assert.deepEqual(
      (yield* Effect.forEach(range(1, 6), () => done(all))).map(facts),
      range(1, 6).map((n) => [n, 1])
    )
  }),

  every("types are names, and no patterns", function* ({ join, publish }) {
    const types = ["a", "a.b", "a.*", "a b", "A", "*", "#", ">"]
    const members = yield* Effect.forEach(types, (type) => join({ group: `of ${type}`, types: [type] }))
    for (const round of [0, 100]) yield* publish(...types.map((type, n) => message(round + n, { type })))
    for (const [n, member] of members.entries()) {
      assert.deepEqual(
        [facts(yield* done(member)), facts(yield* done(member))],
        [
          [n, 1],
          [100 + n, 1]
        ]
      )
    }
  })
]
