import { afterAll, beforeAll, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { TransportConformance } from "eventfold/testing"
import { type Broker, isExpected, startBroker } from "../support/brokers.ts"
import { connected, freshName } from "./support.ts"

describe.runIf(isExpected("redis"))("conformance of Redis", () => {
  let broker: Broker
  beforeAll(async () => {
    broker = await startBroker("redis")
  })
  afterAll(() => broker.dispose())

  for (const { name, run } of TransportConformance.cases({
    storage: Effect.sync(() => connected(broker.url, { name: freshName() })),
    abilities: { clock: "live", deduplicates: true, history: true, durable: true, shared: true }
  })) {
    it.live(name, () => run, 30_000)
  }
})
