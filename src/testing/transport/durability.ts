/** Published means durable. */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import assert from "node:assert/strict"
import { realSleep } from "../../internal/realTime.ts"
import { range } from "../suite.ts"
import { byPosition, done, facts, message, messages, positionOf, reopened } from "./words.ts"

export const durability = [
  reopened("what was published and not acknowledged is there after closing and opening again", function* (open) {
    yield* Effect.scoped(
      Effect.gen(function* () {
        const { join, publish } = yield* open
        const member = yield* join({ group: "g" })
        yield* publish(...messages(1, 3))
        yield* done(member)
        yield* member.next
      })
    )
    const { counts, join } = yield* open
    const member = yield* join({ group: "g" })
    assert.deepEqual((yield* Effect.forEach([2, 3], () => done(member))).map(facts).sort(byPosition), [
      [2, counts ? 2 : 1],
      [3, 1]
    ])
  }),

  reopened("a Layer that closes under publishers and members ends them, and nothing published is lost", function* (open) {
    const published = new Set<number>()
    const acknowledged = new Set<number>()
    let next = 0
    const layer = yield* Scope.fork(yield* Effect.scope)
    const { deliveries, join, publish } = yield* Scope.provide(open, layer)
    yield* Effect.scoped(Effect.flatMap(join({ group: "g" }), ({ leave }) => leave))
    // The fibers belong to the case, and so outlive the Layer.
    const publisher = Effect.suspend(() => {
      const n = ++next
      return Effect.andThen(
        publish(message(n)),
        Effect.sync(() => published.add(n))
      )
    }).pipe(Effect.andThen(Effect.yieldNow), Effect.repeat({ times: 49 }))
    const member = Stream.runForEach(deliveries({ group: "g", concurrency: 4 }), ({ ack, message }) =>
      Effect.andThen(
        ack,
        Effect.sync(() => acknowledged.add(positionOf(message)))
      )
    )
    const publishers = yield* Effect.forEach(range(1, 4), () => Effect.forkScoped(Effect.exit(publisher)))
    const members = yield* Effect.forEach(range(1, 4), () => Effect.forkScoped(Effect.exit(member)))
    while (acknowledged.size < 20) yield* realSleep("1 millis")
    yield* Scope.close(layer, Exit.void)
    yield* Effect.forEach(publishers, Fiber.await)
    yield* Effect.forEach(members, Fiber.interrupt)
    const again = yield* open
    const rest = yield* again.join({ group: "g" })
    yield* again.publish(message(1000))
    // What was settled in the very moment of closing may come again; what comes is at least all that is missing.
    const missing = new Set([...published, 1000].filter((n) => !acknowledged.has(n)))
    while (missing.size > 0) missing.delete(positionOf((yield* done(rest)).message))
  })
]
