import { describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { TransportConformance } from "eventfold/testing"
import { isExpected } from "../support/brokers.ts"
import { layer, useBroker } from "./support.ts"

describe.runIf(isExpected("rabbitmq"))("conformance of RabbitMQ", () => {
  const broker = useBroker()

  for (const { name, run } of TransportConformance.cases({
    storage: Effect.sync(() => layer(broker())),
    abilities: { clock: "live", deduplicates: false, history: false, durable: true, shared: true }
  })) {
    it.live(name, () => run, 30_000)
  }
})
