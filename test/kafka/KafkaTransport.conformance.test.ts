import { describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { TransportConformance } from "eventfold/testing"
import { isExpected } from "../support/brokers.ts"
import { useBroker } from "../support/transports.ts"
import { layer, useLineTo } from "./support.ts"

describe.runIf(isExpected("kafka"))("conformance of Kafka", () => {
  const broker = useBroker("kafka", { own: true })
  const line = useLineTo(broker)
  const restart = Effect.promise(async () => {
    await broker().server?.stop("SIGKILL")
    await broker().server?.start()
  })

  for (const groupProtocol of ["classic", "consumer"] as const) {
    describe(`with the group protocol "${groupProtocol}":`, () => {
      for (const { name, run } of TransportConformance.cases({
        storage: Effect.sync(() => layer(`127.0.0.1:${line().port}`, { groupProtocol })),
        abilities: {
          clock: "live",
          deduplicates: false,
          history: true,
          durable: true,
          shared: true,
          counts: false,
          spreads: "subjects"
        },
        faults: { interrupt: Effect.sync(() => line().cut()), restart }
      })) {
        it.live(name, () => run, 120_000)
      }
    })
  }
})
