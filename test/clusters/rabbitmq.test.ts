/** RabbitMQ over three servers, its quorum queues on all of them: one is killed, another one is cut off. */
import assert from "node:assert/strict"
import { describe, it } from "@effect/vitest"
import { Context, Effect, Layer } from "effect"
import { Transport } from "eventfold"
import { RabbitMqTransport } from "eventfold/rabbitmq"
import { isExpected } from "../support/brokers.ts"
import { until } from "../support/child.ts"
import { startRabbitMq } from "./rabbitmq.ts"
import { makeTraffic, scoped } from "./support.ts"

describe.runIf(isExpected("rabbitmq"))("RabbitMQ over three servers", () => {
  it.live(
    "loses one that is killed and one that is cut off amid publishing and consuming: nothing confirmed is lost",
    () =>
      Effect.gen(function* () {
        const { isNetwork, nodes } = yield* scoped(() => startRabbitMq(3))
        const [first, second, third] = nodes
        assert.ok(first !== undefined && second !== undefined && third !== undefined)
        const layer = RabbitMqTransport.layer({
          url: [first.url, second.url, third.url],
          exchange: "shop",
          groups: [{ group: "g" }],
          timeout: "6 seconds",
          heartbeat: "2 seconds"
        })
        const { publish, subscribe } = Context.get(yield* Layer.build(layer), Transport.Transport)
        const { end, more, received } = yield* makeTraffic({ subscribe }, publish)
        yield* more(200)
        // The one that clients are connected to, and whose queues it leads.
        yield* Effect.promise(() => first.kill())
        yield* more(200)
        yield* Effect.promise(() => first.start())
        yield* more(200)
        // For longer than the others wait for it. Alone, it is the fewer, and stands still until it hears of the others.
        second.cutOff()
        if (isNetwork) {
          yield* until(
            "it is alone, and stands still",
            Effect.sync(() => second.log().includes("minority/secondary status detected"))
          )
        } else yield* Effect.sleep("8 seconds")
        yield* more(200)
        second.heal()
        yield* more(200)
        yield* end
        // What comes for the first time comes in order: of the others some may be late.
        let newest = 0
        const seen = new Set<number>()
        for (const { attempt, message } of received) {
          const { position = 0 } = message
          if (attempt === 1 && !seen.has(position)) {
            assert.ok(position > newest, `${position} came after ${newest}`)
            newest = position
          }
          seen.add(position)
        }
      }).pipe(Effect.scoped),
    180_000
  )
})
