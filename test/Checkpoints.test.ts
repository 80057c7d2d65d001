import assert from "node:assert/strict"
import { describe, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { TestClock } from "effect/testing"
import { Checkpoints } from "eventfold"
import { CheckpointsConformance } from "eventfold/testing"

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
