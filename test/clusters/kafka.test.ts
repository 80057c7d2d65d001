/** Two brokers of Kafka, each partition on both of them, and both must have a message: one is killed. */
import assert from "node:assert/strict"
import { describe, it } from "@effect/vitest"
import { Context, Effect, Layer } from "effect"
import { Transport } from "eventfold"
import { KafkaTransport } from "eventfold/kafka"
import { isExpected, startBroker } from "../support/brokers.ts"
import { until } from "../support/child.ts"
import { again, makeTraffic, scoped } from "./support.ts"

describe.runIf(isExpected("kafka"))("Kafka over two brokers", () => {
  it.live(
    "refuses to publish while one is away, by the name of what is missing, and goes on when it is back: nothing confirmed is lost",
    () =>
      Effect.gen(function* () {
        const first = yield* scoped(() => startBroker("kafka", { own: true }))
        const second = yield* scoped(() => startBroker("kafka", { own: true, joins: first }))
        const layer = KafkaTransport.layerWith({
          brokers: [first.url, second.url],
          topic: "shop",
          partitions: 4,
          replicas: 2,
          topicConfig: { "min.insync.replicas": "2" },
          timeout: "4 seconds",
          session: "3 seconds"
        })
        const { publish, subscribe } = Context.get(yield* again(Layer.build(layer)), Transport.Transport)
        const refusals = new Set<string>()
        const noting: typeof publish = (messages) =>
          Effect.tapError(publish(messages), (error) =>
            Effect.sync(() => {
              assert.equal(error.isRetryable, true, error.message)
              refusals.add(error.reason.detail)
            })
          )
        const { end, more, received } = yield* makeTraffic({ subscribe }, noting, { concurrency: 10, subjects: 8 })
        yield* more(50)
        yield* Effect.promise(() => second.server?.stop("SIGKILL") ?? Promise.resolve())
        yield* until(
          "it is said that too few have it",
          Effect.sync(() => Array.from(refusals).some((detail) => detail.includes("NOT_ENOUGH_REPLICAS")))
        )
        yield* Effect.promise(() => second.server?.start() ?? Promise.resolve())
        yield* more(50)
        yield* end
        for (const deliveries of Map.groupBy(received, ({ message }) => message.subject).values()) {
          const distinct = Array.from(new Set(deliveries.map(({ message: { position = 0 } }) => position)))
          assert.deepEqual(
            distinct,
            distinct.toSorted((a, b) => a - b)
          )
        }
      }).pipe(Effect.scoped),
    150_000
  )
})
