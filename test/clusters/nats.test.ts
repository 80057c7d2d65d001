/** JetStream over three servers, each stream on all of them, of which one is killed. */
import assert from "node:assert/strict"
import { describe, it } from "@effect/vitest"
import { Context, Effect, Layer } from "effect"
import { Transport } from "eventfold"
import { NatsTransport } from "eventfold/nats"
import { isExpected } from "../support/brokers.ts"
import { startNats } from "./nats.ts"
import { again, makeTraffic, scoped } from "./support.ts"

describe.runIf(isExpected("nats"))("JetStream over three servers", () => {
  it.live(
    "loses a server amid publishing and consuming: nothing confirmed is lost, one member keeps the order",
    () =>
      Effect.gen(function* () {
        const cluster = yield* scoped(() => startNats(3))
        const layer = NatsTransport.layerWith({
          connection: { servers: cluster.urls, reconnectTimeWait: 100 },
          stream: "shop",
          streamConfig: { num_replicas: 3 },
          ackWait: "2 seconds"
        })
        const { publish, subscribe } = Context.get(yield* Layer.build(layer), Transport.Transport)
        const { end, more, received } = yield* makeTraffic({ subscribe }, publish, { ack: ({ ack }) => again(ack) })
        yield* more(300)
        // The one that leads the stream, and has all to do with it.
        yield* Effect.promise(() => cluster.killLeader("shop"))
        yield* more(900)
        yield* Effect.promise(() => cluster.restart())
        yield* more(800)
        const count = yield* end
        assert.deepEqual(
          Array.from(new Set(received.map(({ message }) => message.position))),
          Array.from({ length: count }, (_, index) => index + 1)
        )
      }).pipe(Effect.scoped),
    150_000
  )
})
