/** Interruption at any point leaks nothing. */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import assert from "node:assert/strict"
import { TransportError } from "../../transport/Transport.ts"
import { range, turns } from "../suite.ts"
import { done, every, message, messages, opened, positionOf } from "./words.ts"

export const interruption = [
  every("publishing that is interrupted has happened or has not, and what succeeded is delivered", function* ({ join, publish }) {
    const member = yield* join({ group: "g" })
    const succeeded: Array<number> = []
    for (const n of range(1, 40)) {
      const publishing = yield* Effect.forkChild(
        Effect.andThen(
          publish(message(n)),
          Effect.sync(() => succeeded.push(n))
        )
      )
      yield* turns(n % 8)
      yield* Fiber.interrupt(publishing)
    }
    yield* publish(message(41))
    const received: Array<number> = []
    while (received.at(-1) !== 41) received.push(positionOf((yield* done(member)).message))
    assert.deepEqual(
      received,
      received.toSorted((a, b) => a - b)
    )
    assert.deepEqual(
      succeeded.filter((n) => !received.includes(n)),
      []
    )
  }),

  every("subscriptions that are interrupted give everything back", function* ({ deliveries, join, publish }) {
    yield* (yield* join({ group: "g" })).leave
    yield* publish(...messages(1, 5))
    for (const n of range(1, 40)) {
      const reading = yield* Effect.forkChild(Stream.runDrain(deliveries({ group: "g", concurrency: 1 + (n % 5) })))
      yield* turns(n % 10)
      yield* Fiber.interrupt(reading)
    }
    const member = yield* join({ group: "g" })
    const received = yield* Effect.forEach(range(1, 5), () => done(member))
    assert.deepEqual(received.map(({ message }) => message.position).sort(), range(1, 5))
  }),

  opened(
    "a transport whose Layer closes fails with a TransportError, whoever publishes or subscribes then or later",
    function* (open) {
      const layer = yield* Scope.fork(yield* Effect.scope)
      const { transport } = yield* Scope.provide(open, layer)
      const publish = transport.publish([message(1)])
      const subscribe = Stream.runDrain(transport.subscribe({ group: "g" }))
      // The fibers belong to the case, and so outlive the Layer.
      const under = yield* Effect.forEach([Effect.forever(Effect.andThen(publish, Effect.yieldNow)), subscribe], (work) =>
        Effect.forkScoped(Effect.exit(work))
      )
      yield* turns(50)
      yield* Scope.close(layer, Exit.void)
      const exits = [...(yield* Effect.forEach(under, Fiber.join)), yield* Effect.exit(publish), yield* Effect.exit(subscribe)]
      for (const exit of exits) {
        const failed = Exit.match(exit, { onSuccess: () => undefined, onFailure: Cause.findErrorOption })
        assert.ok(failed !== undefined && Option.isSome(failed), `${String(exit)} is no failure`)
        assert.ok(failed.value instanceof TransportError, String(failed.value))
      }
    }
  )
]
