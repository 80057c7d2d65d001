import { afterAll, beforeAll, describe, it } from "@effect/vitest"
import { Effect, Logger } from "effect"
import { TransportConformance } from "eventfold/testing"
import { type Broker, isExpected, startBroker } from "../support/brokers.ts"
import { connected, freshName, open } from "./support.ts"

describe.runIf(isExpected("redis"))("conformance of Redis", () => {
  let broker: Broker
  beforeAll(async () => {
    broker = await startBroker("redis")
  })
  afterAll(() => broker.dispose())

  const interrupt = Effect.scoped(
    Effect.gen(function* () {
      const { redis } = yield* open(broker.url, { name: "administrator" })
      yield* redis.send("CLIENT", "KILL", "TYPE", "pubsub")
      yield* redis.send("CLIENT", "KILL", "TYPE", "normal")
    })
  )

  const restart = Effect.promise(async () => {
    await broker.server?.stop("SIGKILL")
    await broker.server?.start()
  })

  for (const { name, run } of TransportConformance.cases({
    storage: Effect.sync(() => connected(broker.url, { name: freshName() })),
    abilities: { clock: "live", deduplicates: true, history: true, durable: true, shared: true },
    // Nobody restarts a server that belongs to somebody else.
    faults: process.env["EVENTFOLD_TEST_REDIS_URL"] ? {} : { interrupt, restart }
  })) {
    // What a subscription says of an outage is no news here.
    it.live(name, () => Effect.provide(run, Logger.layer([])), 120_000)
  }
})
