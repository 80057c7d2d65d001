/** What the doctor is told by a real Redis. */
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import { NodeRedis } from "@effect/platform-node"
import { Effect, Layer } from "effect"
import { RedisTransport } from "eventfold/redis"
import { type Broker, isExpected, startBroker } from "../support/brokers.ts"
import { toldByDoctor } from "../support/doctor.ts"

describe.runIf(isExpected("redis"))("the doctor on Redis", () => {
  let broker: Broker
  beforeAll(async () => {
    broker = await startBroker("redis")
  })
  afterAll(() => broker.dispose())

  it.live("tells whether what was acknowledged can be lost", () =>
    Effect.gen(function* () {
      const Live = Layer.provide(RedisTransport.layerWith({ name: "found" }), NodeRedis.layer({ url: broker.url }))
      const found = yield* toldByDoctor(Live)
      assert.match(found["broker"] ?? "", /^ok: (Redis|Valkey) \d.* answers$/)
      assert.match(found["broker persistence"] ?? "", /^(ok: appendonly is on|problem: appendonly is off)/)
      assert.match(found["broker memory"] ?? "", /^ok/)
    })
  )
})
