import { afterAll, beforeAll, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { NatsTransport } from "eventfold/nats"
import { TransportConformance } from "eventfold/testing"
import { type Broker, isExpected, startBroker } from "../support/brokers.ts"
import { options } from "./support.ts"

describe.runIf(isExpected("nats"))("conformance of NATS JetStream", () => {
  let broker: Broker
  beforeAll(async () => {
    broker = await startBroker("nats")
  })
  afterAll(() => broker.dispose())

  for (const { name, run } of TransportConformance.cases({
    storage: Effect.sync(() => NatsTransport.layer(options(broker))),
    abilities: { clock: "live", deduplicates: true, history: true, durable: true, shared: true }
  })) {
    it.live(name, () => run, 60_000)
  }
})
