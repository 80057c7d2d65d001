import { afterAll, beforeAll, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { NatsTransport } from "eventfold/nats"
import { TransportConformance } from "eventfold/testing"
import { type Broker, isExpected, startBroker } from "../support/brokers.ts"
import { type Proxy, startProxy } from "./proxy.ts"
import { options } from "./support.ts"

describe.runIf(isExpected("nats"))("conformance of NATS JetStream", () => {
  let broker: Broker
  let proxy: Proxy
  beforeAll(async () => {
    broker = await startBroker("nats", { own: true })
    proxy = await startProxy(broker.url)
  })
  afterAll(async () => {
    await proxy.dispose()
    await broker.dispose()
  })

  for (const { name, run } of TransportConformance.cases({
    storage: Effect.sync(() => NatsTransport.layerWith(options(proxy))),
    abilities: { clock: "live", deduplicates: true, history: true, durable: true, shared: true },
    faults: {
      interrupt: Effect.sync(() => proxy.cut()),
      restart: Effect.promise(async () => {
        await broker.server?.stop("SIGKILL")
        await broker.server?.start()
      })
    }
  })) {
    it.live(name, () => run, 60_000)
  }
})
