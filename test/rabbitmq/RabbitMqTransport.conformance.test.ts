import { describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { TransportConformance } from "eventfold/testing"
import { isExpected } from "../support/brokers.ts"
import { layer, useBroker, useLine } from "./support.ts"

describe.runIf(isExpected("rabbitmq"))("conformance of RabbitMQ", () => {
  const broker = useBroker({ own: true })
  const line = useLine(broker)
  const restart = Effect.promise(async () => {
    await broker().server?.stop("SIGKILL")
    await broker().server?.start()
  })

  for (const { name, run } of TransportConformance.cases({
    storage: Effect.sync(() => layer(broker(), { url: line().url })),
    abilities: { clock: "live", deduplicates: false, history: false, durable: true, shared: true },
    faults: { interrupt: Effect.sync(() => line().cut()), restart, overtakes: true }
  })) {
    it.live(name, () => run, 120_000)
  }
})
