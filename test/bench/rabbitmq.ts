/**
 * The transport over RabbitMQ beside the bare client, which publishes the same bodies and headers to a quorum queue on a channel
 * that confirms, reads as many at once, parses their bodies and acknowledges each. Each run has a server of its own.
 */
import { connect } from "amqplib"
import { Array, Context, DateTime, Effect, Layer, Schema, type Scope, Stream } from "effect"
import { Transport } from "eventfold"
import { RabbitMqTransport } from "eventfold/rabbitmq"
import { isAvailable, startBroker } from "../support/brokers.ts"
import { type Case, collectGarbage, concurrently, type Run, type Sample } from "./harness.ts"

const batchSize = 500
const group = "group"

const makeBatch = (nth: number) =>
  Array.makeBy(batchSize, (n): Transport.Message => ({
    specversion: "1.0",
    id: crypto.randomUUID(),
    source: "/shop",
    type: "OrderPlaced",
    subject: `Order-${n % 50}`,
    time: DateTime.makeUnsafe("2026-01-01T00:00:00Z"),
    datacontenttype: "application/json",
    data: { customer: "ada", total: n, items: [1, 2, 3] },
    schemaversion: 1,
    correlationid: crypto.randomUUID(),
    causationid: crypto.randomUUID(),
    position: nth * batchSize + n + 1
  }))

/** One side: what it does with a batch, and with so many messages of the group. */
interface Side {
  readonly publish: (batch: Array.NonEmptyReadonlyArray<Transport.Message>) => Effect.Effect<unknown, unknown>
  readonly consume: (concurrency: number, count: number) => Effect.Effect<unknown, unknown>
}

const url = Effect.map(
  Effect.acquireRelease(
    Effect.promise(() => startBroker("rabbitmq", { own: true })),
    ({ dispose }) => Effect.promise(dispose)
  ),
  (broker) => broker.url
)

const ours: Effect.Effect<Side, unknown, Scope.Scope> = Effect.gen(function* () {
  const layer = RabbitMqTransport.layer({ url: yield* url, groups: [{ group }] })
  const transport = Context.get(yield* Layer.build(layer), Transport.Transport)
  return {
    publish: transport.publish,
    consume: (concurrency, count) =>
      transport.subscribe({ group, concurrency }).pipe(
        Stream.take(count),
        Stream.runForEach(({ ack }) => ack)
      )
  }
})

const raw: Effect.Effect<Side, unknown, Scope.Scope> = Effect.gen(function* () {
  const address = yield* url
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
  return {
    publish: (batch) =>
      Effect.tryPromise(() => {
        for (const message of batch) {
          const { data, datacontenttype, ...headers } = encode(message)
          const options = { persistent: true, contentType: datacontenttype, headers }
          channel.publish("raw", message.type, Buffer.from(JSON.stringify(data)), options)
        }
        return channel.waitForConfirms()
      }),
    consume: (concurrency, count) =>
      Effect.tryPromise(async () => {
        const channel = await connection.createChannel()
        await channel.prefetch(concurrency)
        let done = 0
        await new Promise((resolve) => {
          void channel.consume(group, (message) => {
            if (message === null) return
            JSON.parse(message.content.toString())
            channel.ack(message)
            if (++done === count) resolve(undefined)
          })
        })
        await channel.close()
      })
  }
})

const publishing =
  (side: typeof ours, times: number): Run =>
  () =>
    Effect.gen(function* () {
      const { publish } = yield* side
      const batches = Array.makeBy(times, makeBatch)
      yield* publish(makeBatch(times))
      yield* collectGarbage
      const measured = yield* concurrently(1, times, (_, nth) => publish(batches[nth] ?? makeBatch(nth)))
      return { ...measured, units: times * batchSize, events: 0 }
    })

const consuming =
  (side: typeof ours, concurrency: number, times: number): Run =>
  () =>
    Effect.gen(function* () {
      const { consume, publish } = yield* side
      // What a side has in hand when it has enough goes back, so a little more is there than is counted.
      for (let nth = 0; nth < times + 2; nth++) yield* publish(makeBatch(nth))
      const units = times * batchSize
      yield* consume(concurrency, batchSize)
      yield* collectGarbage
      const start = performance.now()
      yield* consume(concurrency, units)
      const millis = performance.now() - start
      return { units, millis, latencies: [millis / units], events: 0 } satisfies Sample
    })

export const rabbitmqCases = (some: (times: number) => number): ReadonlyArray<Case> => {
  if (!isAvailable("rabbitmq")) return []
  const side = (name: string, run: (side: typeof ours) => Run): Case => ({
    name: `rabbitmq: ${name}`,
    place: "memory",
    unit: "events",
    ours: run(ours),
    raw: run(raw)
  })
  return [
    side("publish in batches of 500", (side) => publishing(side, some(100))),
    side("consume, 100 in hand", (side) => consuming(side, 100, some(50)))
  ]
}
