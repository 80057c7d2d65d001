/** Redis with a replica, which takes over amid publishing and consuming. */
import assert from "node:assert/strict"
import { NodeRedis } from "@effect/platform-node"
import { describe, it } from "@effect/vitest"
import { Context, Effect, Layer } from "effect"
import { Redis } from "effect/persistence"
import { Transport } from "eventfold"
import { RedisTransport } from "eventfold/redis"
import { isExpected, startBroker } from "../support/brokers.ts"
import { until } from "../support/child.ts"
import { message } from "../support/transports.ts"
import { again, makeSwitch, makeTraffic, scoped } from "./support.ts"

const client = (url: string) =>
  NodeRedis.layer({
    url,
    disableOfflineQueue: true,
    pingInterval: 500,
    socket: { socketTimeout: 2000, reconnectStrategy: () => 100 }
  })

const admin = (url: string) => Effect.map(Layer.build(Layer.fresh(client(url))), (context) => Context.get(context, Redis.Redis))

describe.runIf(isExpected("redis"))("Redis with a replica", () => {
  it.live(
    "fails over to it amid publishing and consuming: nothing that a replica has confirmed is lost, one member keeps the order",
    () =>
      Effect.gen(function* () {
        const master = yield* scoped(() => startBroker("redis", { own: true }))
        const replica = yield* scoped(() => startBroker("redis", { own: true }))
        const second = yield* admin(replica.url)
        yield* second.send("REPLICAOF", "127.0.0.1", new URL(master.url).port)
        yield* until(
          "the replica follows",
          Effect.map(second.send<string>("INFO", "replication"), (info) => info.includes("master_link_status:up"))
        )
        const address = yield* makeSwitch(master.url)
        // One replica must have a message; after the failover there is none, and the program says so of itself.
        const open = (replicas: number) =>
          Effect.map(
            Layer.build(
              RedisTransport.layerWith({ name: "shop", replicas, lease: "2 seconds", timeout: "1 second" }).pipe(
                Layer.provide(Layer.fresh(client(address.url)))
              )
            ),
            (context) => Context.get(context, Transport.Transport)
          )
        const careful = yield* open(1)
        const alone = yield* open(0)
        let failedOver = false
        const { end, more, received } = yield* makeTraffic(
          careful,
          (messages) => Effect.suspend(() => (failedOver ? alone : careful).publish(messages)),
          { ack: ({ ack }) => again(ack) }
        )
        yield* more(500)
        yield* Effect.promise(() => master.server?.stop("SIGKILL") ?? Promise.resolve())
        address.to(replica.url)
        // Who comes before it is made the master is refused: it is read-only.
        const early = yield* Effect.flip(alone.publish([message(5000)]))
        assert.equal(early.reason._tag, "TransportUnavailable")
        yield* second.send("REPLICAOF", "NO", "ONE")
        failedOver = true
        yield* more(1500)
        const count = yield* end
        assert.deepEqual(
          Array.from(new Set(received.map(({ message }) => message.position))),
          Array.from({ length: count }, (_, index) => index + 1)
        )
      }).pipe(Effect.scoped),
    120_000
  )
})
