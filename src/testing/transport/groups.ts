/** Each group gets every message, and its members share them. */
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import assert from "node:assert/strict"
import { range, turns } from "../suite.ts"
import { byPosition, done, every, facts, message, messages, positionOf } from "./words.ts"

export const groups = [
  every("a subscription may come before the first message", function* ({ join, publish }) {
    const member = yield* join({ group: "g" })
    yield* turns(20)
    yield* publish(message(1))
    assert.deepEqual(facts(yield* done(member)), [1, 1])
  }),

  every("each group gets every message", function* ({ join, publish }) {
    const members = yield* Effect.forEach(["a", "b", "c"], (group) => join({ group }))
    yield* publish(...messages(1, 10))
    for (const member of members) {
      assert.deepEqual(
        (yield* Effect.forEach(range(1, 10), () => done(member))).map(facts),
        range(1, 10).map((n) => [n, 1])
      )
    }
  }),

  every("groups are told apart by every character of their names", function* ({ join, publish }) {
    const names = ["a b", "a_b", "a.b", "a*b", "a>b", "a#b", "A b", "a%20b", "\u00e4 b"]
    const members = yield* Effect.forEach(names, (group) => join({ group }))
    yield* publish(message(1))
    for (const member of members) assert.deepEqual(facts(yield* done(member)), [1, 1])
  }),

  every(
    "a new group begins at the first message ever",
    function* ({ join, publish }) {
      yield* publish(...messages(1, 3))
      const member = yield* join({ group: "late" })
      yield* publish(message(4))
      assert.deepEqual(
        (yield* Effect.forEach(range(1, 4), () => done(member))).map(facts),
        range(1, 4).map((n) => [n, 1])
      )
    },
    "history"
  ),

  every("what is published while a group has no member waits for one", function* ({ join, publish }) {
    yield* (yield* join({ group: "g" })).leave
    yield* publish(...messages(1, 3))
    const member = yield* join({ group: "g" })
    assert.deepEqual(
      (yield* Effect.forEach(range(1, 3), () => done(member))).map(facts),
      range(1, 3).map((n) => [n, 1])
    )
  }),

  every("the members of a group share its messages: each goes to one of them", function* ({ join, publish }) {
    const [one, two] = [yield* join({ group: "g" }), yield* join({ group: "g" })]
    yield* publish(...messages(1, 3))
    // Neither settles its message, so each has one, and the third waits.
    const first = yield* one.next
    const second = yield* two.next
    assert.deepEqual([facts(first), facts(second)].sort(byPosition), [
      [1, 1],
      [2, 1]
    ])
    yield* second.ack
    const third = yield* two.next
    assert.deepEqual(facts(third), [3, 1])
  }),

  every("a thousand messages and many members: each message is acknowledged once in each group", function* ({ join, publish }) {
    const groups = ["a", "b"]
    const seen: Record<string, Array<number>> = { a: [], b: [] }
    const working = yield* Effect.forEach(
      groups.flatMap((group) => range(1, 10).map(() => group)),
      (group) =>
        Effect.flatMap(join({ group, concurrency: 5 }), (member) =>
          Effect.forkScoped(
            Effect.forever(Effect.tap(done(member), ({ message }) => Effect.sync(() => seen[group]?.push(positionOf(message)))))
          )
        )
    )
    const lasts = yield* Effect.forEach(groups, (group) => join({ group: `${group}, the last` }))
    yield* Effect.forEach(range(0, 99), (batch) => publish(...messages(batch * 10 + 1, batch * 10 + 10)), { concurrency: 10 })
    // When groups that began later have everything, so has the broker; the others may still be at work.
    for (const last of lasts) yield* Effect.forEach(range(1, 1000), () => done(last))
    while (groups.some((group) => (seen[group] ?? []).length < 1000)) yield* Effect.yieldNow
    yield* Effect.forEach(working, Fiber.interrupt)
    for (const group of groups)
      assert.deepEqual(
        seen[group]?.toSorted((a, b) => a - b),
        range(1, 1000)
      )
  })
]
