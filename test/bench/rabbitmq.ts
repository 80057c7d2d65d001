/**
 * The transport over RabbitMQ beside the bare client, which publishes the same bodies and headers to a quorum queue on a channel
 * that confirms, reads as many at once, parses their bodies and acknowledges each. Each run has a server of its own.
 */
import { connect } from "amqplib"
import { Effect, Schema } from "effect"
import { Transport } from "eventfold"
import { RabbitMqTransport } from "eventfold/rabbitmq"
import { isAvailable, startBroker } from "../support/brokers.ts"
import { type Case } from "./harness.ts"
import { type Broker, type RawTransport, transportCases } from "./transport.ts"

/** The group of the cases, which has to be known before the first message. */
const group = "group"

const raw = Effect.fnUntraced(function* (address: string) {
  const connection = yield* Effect.acquireRelease(
    Effect.promise(() => connect(address, { noDelay: true })),
    (connection) => Effect.promise(() => connection.close())
  )
  const channel = yield* Effect.promise(async () => {
    const channel = await connection.createConfirmChannel()
    await channel.assertExchange("raw", "topic", { durable: true })
    await channel.assertQueue(group, { durable: true, arguments: { "x-queue-type": "quorum", "x-delivery-limit": 1_000_000 } })
    await channel.bindQueue(group, "raw", "#")
    return channel
  })
  const encode = Schema.encodeSync(Transport.Message)
  const transport: RawTransport = {
    publish: (batch) =>
      Effect.tryPromise(() => {
        for (const message of batch) {
          const { data, datacontenttype, ...headers } = encode(message)
          const options = { persistent: true, contentType: String(datacontenttype), headers }
          channel.publish("raw", message.type, Buffer.from(JSON.stringify(data)), options)
        }
        return channel.waitForConfirms()
      }),
    consume: (_, concurrency, count, arrived) =>
      Effect.tryPromise(async () => {
        const channel = await connection.createChannel()
        await channel.prefetch(concurrency)
        let done = 0
        await new Promise((resolve) => {
          void channel.consume(group, (message) => {
            if (message === null) return
            JSON.parse(message.content.toString())
            arrived(String(message.properties.headers?.["id"]))
            channel.ack(message)
            if (++done === count) resolve(undefined)
          })
        })
        await channel.close()
      })
  }
  return transport
})

const broker = Effect.map(
  Effect.acquireRelease(
    Effect.promise(() => startBroker("rabbitmq", { own: true })),
    ({ dispose }) => Effect.promise(dispose)
  ),
  ({ url }): Broker => ({ layer: RabbitMqTransport.layer({ url, groups: [{ group }] }), raw: raw(url) })
)

export const rabbitmqCases = (some: (times: number) => number): ReadonlyArray<Case> =>
  isAvailable("rabbitmq") ? transportCases("rabbitmq", () => broker, some, { place: "memory", inHand: [100] }) : []
