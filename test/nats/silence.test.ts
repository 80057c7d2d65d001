import { describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { NatsTransport } from "eventfold/nats"
import { isExpected, startBroker } from "../support/brokers.ts"
import { assertOutlivesSilence } from "../support/silence.ts"
import { options } from "./support.ts"

describe.runIf(isExpected("nats"))("the transport over NATS", () => {
  it.live(
    "gives up a connection that falls silent, in time, and goes on over another one; closing ends, too",
    () =>
      Effect.gen(function* () {
        const { url } = yield* Effect.acquireRelease(
          Effect.promise(() => startBroker("nats", { own: true })),
          ({ dispose }) => Effect.promise(dispose)
        )
        const settings = options({ url }, { timeout: "500 millis", connection: { pingInterval: 300, maxPingOut: 2 } })
        const over = (url: string) =>
          Effect.succeed(NatsTransport.layerWith({ ...settings, connection: { ...settings.connection, servers: url } }))
        yield* assertOutlivesSilence(url, over, 8000)
      }).pipe(Effect.scoped),
    60_000
  )
})
