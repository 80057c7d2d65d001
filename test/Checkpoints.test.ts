import assert from "node:assert/strict"
import { describe, it } from "@effect/vitest"
import { DateTime, Effect, Fiber, Layer, Option } from "effect"
import { TestClock } from "effect/testing"
import { Checkpoints } from "eventfold"
import { CheckpointsConformance } from "eventfold/testing"
import { rest } from "./support/words.ts"

const conforms = (storage: string, options: Parameters<typeof CheckpointsConformance.cases>[0]) =>
  describe(`conformance of ${storage}`, () => {
    for (const { name, run } of CheckpointsConformance.cases(options)) it.effect(name, () => run)
  })

conforms("checkpoints in memory", {
  storage: Effect.succeed(Checkpoints.layerMemory),
  abilities: { clock: "test", durable: false, shared: false }
})

// One memory behind Layers that come and go has all abilities.
conforms("checkpoints in a memory that outlives its Layers", {
  storage: Effect.map(Layer.build(Layer.fresh(Checkpoints.layerMemory)), Layer.succeedContext),
  abilities: { clock: "test", durable: true, shared: true }
})

describe("leases in memory", () => {
  it.effect("run out to the millisecond by Effect's clock", () =>
    Effect.gen(function* () {
      const checkpoints = yield* Checkpoints.Checkpoints
      const lease = yield* checkpoints.claim("mail", { owner: "a", ttl: "10 seconds" })
      const claim = checkpoints.claim("mail", { owner: "b", ttl: "10 seconds" })
      yield* TestClock.adjust("9 seconds")
      yield* checkpoints.renew(lease)
      yield* TestClock.adjust("9 seconds")
      yield* checkpoints.advance(lease, 1)
      yield* TestClock.adjust(9_999)
      assert.equal((yield* Effect.flip(claim))._tag, "CheckpointHeldError")
      yield* TestClock.adjust(1)
      assert.deepEqual((yield* claim).epoch, 2)
    }).pipe(Effect.provide(Checkpoints.layerMemory))
  )

  it.effect("do not run out while they are kept, are lost at once when they are superseded, and then last for their time", () =>
    Effect.gen(function* () {
      const checkpoints = yield* Checkpoints.Checkpoints
      const claim = (owner: string) => checkpoints.claim("mail", { owner, ttl: "10 seconds" })
      const refused = Effect.map(Effect.flip(claim("b")), ({ _tag }) => assert.equal(_tag, "CheckpointHeldError"))
      const keep = (lease: Checkpoints.Lease) => Effect.forkChild(checkpoints.keep?.(lease) ?? Effect.void)
      const first = yield* claim("a")
      const kept = yield* keep(first)
      yield* TestClock.adjust("15 days")
      yield* refused
      const [shown] = yield* checkpoints.list
      assert.deepEqual(shown?.expiresAt, DateTime.makeUnsafe(15 * 86_400_000 + 10_000))
      assert.deepEqual(yield* checkpoints.get("mail"), Option.some(shown))
      // Its own owner may claim it, as always.
      const second = yield* claim("a")
      const fenced = new Checkpoints.CheckpointFencedError({ checkpoint: "mail", epoch: first.epoch })
      assert.deepEqual(yield* Effect.flip(Fiber.join(kept)), fenced)
      assert.deepEqual(yield* Effect.flip(Fiber.join(yield* keep(first))), fenced)
      for (const supersede of [checkpoints.reset("mail", 0), checkpoints.remove("mail", { force: true })]) {
        const keeping = yield* keep(yield* claim("a"))
        yield* rest
        yield* supersede
        assert.equal((yield* Effect.flip(Fiber.join(keeping)))._tag, "CheckpointFencedError")
      }
      assert.ok(second.epoch > first.epoch)
      const last = yield* keep(yield* claim("a"))
      yield* TestClock.adjust("1 day")
      yield* Fiber.interrupt(last)
      yield* TestClock.adjust(9_999)
      yield* refused
      yield* TestClock.adjust(1)
      assert.equal((yield* claim("b")).owner, "b")
    }).pipe(Effect.provide(Checkpoints.layerMemory))
  )
})

describe("errors", () => {
  it("say what happened", () => {
    const cause = new Error("the disk is full")
    assert.deepEqual(
      [
        new Checkpoints.CheckpointHeldError({ checkpoint: "mail", owner: "a" }),
        new Checkpoints.CheckpointFencedError({ checkpoint: "mail", epoch: 3 }),
        new Checkpoints.CheckpointError({ operation: "advance", checkpoint: "mail", cause }),
        new Checkpoints.CheckpointError({ operation: "get", checkpoint: "mail", cause: "gone" })
      ].map(({ message }) => message),
      [
        `The checkpoint "mail" is held by "a"`,
        `The lease 3 of the checkpoint "mail" has been superseded`,
        `The checkpoint "mail" failed to advance: the disk is full`,
        `The checkpoint "mail" failed to get: gone`
      ]
    )
  })
})
