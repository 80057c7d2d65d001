/** Several connections to one broker. */
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import assert from "node:assert/strict"
import { realSleep } from "../../internal/realTime.ts"
import { byPosition, done, facts, type Kit, type Member, message, messages, positionOf, shared } from "./words.ts"

/** Publishes messages of ever more subjects until both members have one: it takes a moment until they share. */
const untilBothHave = Effect.fnUntraced(function* ({ publish }: Kit, one: Member, two: Member) {
  const first = yield* Effect.forkScoped(one.next)
  const second = yield* Effect.forkScoped(two.next)
  for (let n = 1; first.pollUnsafe() === undefined || second.pollUnsafe() === undefined; n++) {
    yield* publish(message(n, { subject: `Thing-${n}` }))
    yield* realSleep("20 millis")
  }
  return [yield* Fiber.join(first), yield* Fiber.join(second)] as const
})

export const sharing = [
  shared("two connections to one broker share groups and messages", function* ([here, there]) {
    const [one, two] = [yield* here.join({ group: "g" }), yield* there.join({ group: "g" })]
    if (here.spreads === "subjects") {
      const [first, second] = yield* untilBothHave(here, one, two)
      yield* one.leave
      // What it had, and all that comes, goes to the one that is left.
      const rest = new Set([positionOf(first.message)])
      yield* second.ack
      const last = message(1_000_000, { subject: first.message.subject ?? "" })
      yield* there.publish(last)
      rest.add(last.position)
      while (rest.size > 0) rest.delete(positionOf((yield* done(two)).message))
      return
    }
    yield* here.publish(...messages(1, 2))
    const first = yield* one.next
    const second = yield* two.next
    assert.deepEqual([facts(first), facts(second)].sort(byPosition), [
      [1, 1],
      [2, 1]
    ])
    yield* second.ack
    yield* one.leave
    assert.deepEqual(facts(yield* done(two)), [first.message.position, 2])
    yield* there.publish(message(3))
    assert.deepEqual(facts(yield* done(two)), [3, 1])
  })
]
