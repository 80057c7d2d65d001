/**
 * The transport over NATS beside the bare client, which publishes the same headers and payloads in the same batches, and asks
 * the server to confirm each acknowledgement. Each run has a server of its own.
 */
import { AckPolicy, jetstreamManager } from "@nats-io/jetstream"
import { connect, headers } from "@nats-io/transport-node"
import { Array, Context, DateTime, Effect, Layer, type Scope, Stream } from "effect"
import { Transport } from "eventfold"
import { NatsTransport } from "eventfold/nats"
import { missingBrokers, startBroker } from "../support/brokers.ts"
import { type Case, collectGarbage, concurrently, type Run, type Sample } from "./harness.ts"

const batchSize = 500

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

/** One side: what it does with a batch, and with so many messages. */
interface Side {
  readonly publish: (batch: Array.NonEmptyReadonlyArray<Transport.Message>) => Effect.Effect<unknown, unknown>
  readonly consume: (group: string, concurrency: number, count: number) => Effect.Effect<unknown, unknown>
}

const url = Effect.map(
  Effect.acquireRelease(
    Effect.promise(() => startBroker("nats", { own: true })),
    ({ dispose }) => Effect.promise(dispose)
  ),
  (broker) => broker.url
)

const ours: Effect.Effect<Side, unknown, Scope.Scope> = Effect.gen(function* () {
  const servers = yield* url
  const transport = Context.get(yield* Layer.build(NatsTransport.layer({ connection: { servers } })), Transport.Transport)
  return {
    publish: transport.publish,
    consume: (group, concurrency, count) =>
      transport.subscribe({ group, concurrency }).pipe(
        Stream.mapEffect(({ ack }) => ack, { concurrency: "unbounded" }),
        Stream.take(count),
        Stream.runDrain
      )
  }
})

const names = ["specversion", "id", "source", "type", "subject", "datacontenttype", "correlationid", "causationid"] as const

const raw: Effect.Effect<Side, unknown, Scope.Scope> = Effect.gen(function* () {
  const servers = yield* url
  const connection = yield* Effect.acquireRelease(
    Effect.promise(() => connect({ servers, noAsyncTraces: true })),
    (connection) => Effect.promise(() => connection.close())
  )
  const manager = yield* Effect.promise(() => jetstreamManager(connection))
  const client = manager.jetstream()
  yield* Effect.promise(() => manager.streams.add({ name: "raw", subjects: ["raw.*"], duplicate_window: 600e9 }))
  return {
    publish: (batch) =>
      Effect.tryPromise(() =>
        Promise.all(
          batch.map((message) => {
            const head = headers()
            for (const name of names) head.set(`ce-${name}`, message[name] ?? "")
            head.set("ce-time", DateTime.formatIso(message.time))
            head.set("ce-schemaversion", String(message.schemaversion))
            head.set("ce-position", String(message.position))
            return client.publish(`raw.${message.type}`, JSON.stringify(message.data), { msgID: message.id, headers: head })
          })
        )
      ),
    consume: (group, concurrency, count) =>
      Effect.tryPromise(async () => {
        await manager.consumers.add("raw", { durable_name: group, ack_policy: AckPolicy.Explicit, max_ack_pending: -1 })
        const messages = await (await client.consumers.get("raw", group)).consume({ max_messages: concurrency })
        const confirmed: globalThis.Array<Promise<unknown>> = []
        for await (const message of messages) {
          JSON.parse(message.string())
          message.headers?.get("ce-id")
          const done = message.ackAck()
          if (concurrency === 1) await done
          if (confirmed.push(done) === count) break
        }
        await Promise.all(confirmed)
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
      for (let nth = 0; nth < times; nth++) yield* publish(makeBatch(nth))
      const units = times * batchSize
      yield* consume("warm", concurrency, batchSize)
      yield* collectGarbage
      const start = performance.now()
      yield* consume("run", concurrency, units)
      const millis = performance.now() - start
      return { units, millis, latencies: [millis / units], events: 0 } satisfies Sample
    })

export const natsCases = (some: (times: number) => number): ReadonlyArray<Case> => {
  if (missingBrokers().includes("nats")) return []
  const side = (name: string, run: (side: typeof ours) => Run): Case => ({
    name: `nats: ${name}`,
    place: "memory",
    unit: "events",
    ours: run(ours),
    raw: run(raw)
  })
  return [
    side("publish in batches of 500", (side) => publishing(side, some(100))),
    side("consume, 100 in hand", (side) => consuming(side, 100, some(50))),
    side("consume, one at a time", (side) => consuming(side, 1, some(20)))
  ]
}
