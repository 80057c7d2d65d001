import { describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { TransportConformance } from "eventfold/testing"
import { isExpected } from "../support/brokers.ts"
import { over, useBroker } from "../support/transports.ts"
import { layer, useLineTo } from "./support.ts"

describe.runIf(isExpected("rabbitmq"))("conformance of RabbitMQ", () => {
  const broker = useBroker("rabbitmq", { own: true })
  const line = useLineTo(broker)
  const restart = Effect.promise(async () => {
    await broker().server?.stop("SIGKILL")
    await broker().server?.start()
  })

  for (const { name, run } of TransportConformance.cases({
    storage: Effect.sync(() => layer(broker(), { url: over(broker().url, line()) })),
    abilities: { clock: "live", deduplicates: false, history: false, durable: true, shared: true },
    faults: { interrupt: Effect.sync(() => line().cut()), restart, overtakes: true }
  })) {
    // One message at a time, ten thousand take a minute where nothing else runs.
    it.live(name, () => run, 360_000)
  }
})
