import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer, Stream } from "effect"
import { RpcTest } from "effect/rpc"
import { TestClock } from "effect/testing"
import { Checkpoints, EventStore } from "eventfold"
import { Operate, Operations } from "eventfold/operate"
import { rest } from "../support/words.ts"

/** Checkpoints that count how often all of them are looked at. */
const counting = (count: { looks: number }) =>
  Layer.effect(
    Checkpoints.Checkpoints,
    Checkpoints.Checkpoints.useSync((checkpoints) => ({
      ...checkpoints,
      list: Effect.suspend(() => {
        count.looks++
        return checkpoints.list
      })
    }))
  ).pipe(Layer.provide(Checkpoints.layerMemory))

describe("while nobody asks", () => {
  it.effect("nothing is looked at; and however many watch, there is one look a second, which ends with the last of them", () => {
    const count = { looks: 0 }
    const Live = Layer.merge(Operate.layerHandlers({ acts: true }), Operate.layerOperator({ name: "ada" })).pipe(
      Layer.provide(Layer.merge(EventStore.layerMemory, counting(count)))
    )
    return Effect.gen(function* () {
      const client = yield* RpcTest.makeClient(Operations.Operations)
      yield* rest
      yield* TestClock.adjust("1 hour")
      assert.strictEqual(count.looks, 0)
      const watchers = yield* Effect.forEach([1, 2, 3, 4], () =>
        Effect.forkChild(Stream.runDrain(client.Followers({ every: 1000 })))
      )
      yield* rest
      for (let second = 0; second < 10; second++) {
        yield* TestClock.adjust("1 second")
        yield* rest
      }
      assert.strictEqual(count.looks, 11)
      yield* Effect.forEach(watchers, Fiber.interrupt)
      yield* rest
      yield* TestClock.adjust("1 hour")
      assert.strictEqual(count.looks, 11)
    }).pipe(Effect.provide(Live))
  })
})
