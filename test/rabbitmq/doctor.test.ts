/** What the doctor is told by a real RabbitMQ. */
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { RabbitMqTransport } from "eventfold/rabbitmq"
import { type Broker, isExpected, startBroker } from "../support/brokers.ts"
import { toldByDoctor } from "../support/doctor.ts"

describe.runIf(isExpected("rabbitmq"))("the doctor on RabbitMQ", () => {
  let broker: Broker
  beforeAll(async () => {
    broker = await startBroker("rabbitmq")
  })
  afterAll(() => broker.dispose())

  it.live("tells its version, and whether it takes messages", () =>
    Effect.gen(function* () {
      const found = yield* toldByDoctor(RabbitMqTransport.layer({ url: broker.url, exchange: "found" }))
      assert.match(found["broker"] ?? "", /: RabbitMQ \d.* answers$/)
      assert.strictEqual(found["broker limits"], "ok: the broker takes messages")
      assert.match(found["broker exchange"] ?? "", /^ok/)
    })
  )
})
