import assert from "node:assert/strict"
import { it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { makeSignal } from "../../src/internal/signal.ts"

it.effect("a hint wakes those who wait for a position below it, and them alone", () =>
  Effect.gen(function* () {
    const signal = makeSignal()
    const low = yield* Effect.forkChild(signal.beyond(1), { startImmediately: true })
    const high = yield* Effect.forkChild(signal.beyond(5), { startImmediately: true })
    signal.notify(1)
    assert.equal(signal.waiting(), 2)
    signal.notify(3)
    assert.equal(yield* Fiber.join(low), 3)
    assert.equal(signal.waiting(), 1)
    signal.notify(6)
    assert.equal(yield* Fiber.join(high), 6)
  })
)

it.effect("a hint that comes before its waiter is not lost, and a late one does not take the newest back", () =>
  Effect.gen(function* () {
    const signal = makeSignal(2)
    assert.equal(yield* signal.beyond(1), 2)
    signal.notify(7)
    signal.notify(4)
    assert.equal(signal.position(), 7)
    assert.equal(yield* signal.beyond(6), 7)
  })
)

it.effect("a waiter that is interrupted is forgotten", () =>
  Effect.gen(function* () {
    const signal = makeSignal()
    const fiber = yield* Effect.forkChild(signal.beyond(0), { startImmediately: true })
    assert.equal(signal.waiting(), 1)
    yield* Fiber.interrupt(fiber)
    assert.equal(signal.waiting(), 0)
  })
)
