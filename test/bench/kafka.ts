/**
 * The transport over Kafka beside the bare client, which publishes the same headers, keys and values in the same batches by an idempotent
 * producer, and reads its stream of messages with a commit every tenth of a second. Each run has a broker of its own.
 */
import { Admin, Consumer, Producer, stringSerializers } from "@platformatic/kafka"
import { DateTime, Effect } from "effect"
import { KafkaTransport } from "eventfold/kafka"
import { isAvailable, startBroker } from "../support/brokers.ts"
import { layerWith } from "./adapter.ts"
import { type Case } from "./harness.ts"
import { type Broker, type RawTransport, transportCases } from "./transport.ts"

const names = ["specversion", "id", "source", "type", "subject", "correlationid", "causationid"] as const
const partitions = 12

const raw = Effect.fnUntraced(function* (url: string) {
  const options = { clientId: "raw", bootstrapBrokers: [url] }
  const producer = yield* Effect.acquireRelease(
    Effect.promise(async () => {
      const admin = new Admin(options)
      await admin.createTopics({ topics: [{ topic: "raw", partitions, replicas: 1 }] })
      await admin.close()
      return new Producer({ ...options, idempotent: true, serializers: stringSerializers })
    }),
    (producer) => Effect.promise(() => producer.close(true))
  )
  const transport: RawTransport = {
    publish: (batch) =>
      Effect.tryPromise(() =>
        producer.send({
          messages: batch.map((message) => ({
            topic: "raw",
            key: message.subject,
            value: JSON.stringify(message.data),
            headers: {
              ...Object.fromEntries(names.map((name) => [`ce_${name}`, message[name] ?? ""])),
              "content-type": message.datacontenttype,
              ce_time: DateTime.formatIso(message.time),
              ce_schemaversion: String(message.schemaversion),
              ce_position: String(message.position)
            }
          }))
        })
      ),
    consume: (group, _, count, arrived) =>
      Effect.tryPromise(async () => {
        const consumer = new Consumer({ ...options, groupId: group, autocommit: 100 })
        const stream = await consumer.consume({ topics: ["raw"], mode: "committed", fallbackMode: "earliest" })
        let done = 0
        for await (const message of stream) {
          JSON.parse(String(message.value))
          const id = message.headerEntries.find(([name]) => String(name) === "ce_id")?.[1]
          arrived(String(id))
          if (++done === count) break
        }
        await consumer.close(true)
      })
  }
  return transport
})

const broker = Effect.map(
  Effect.acquireRelease(
    Effect.promise(() => startBroker("kafka", { own: true })),
    ({ dispose }) => Effect.promise(dispose)
  ),
  ({ url }): Broker => ({ layer: layerWith(KafkaTransport)({ brokers: [url], partitions }), raw: raw(url) })
)

export const kafkaCases = (some: (times: number) => number): ReadonlyArray<Case> =>
  isAvailable("kafka") ? transportCases("kafka", () => broker, some, { place: "memory", inHand: [100] }) : []
