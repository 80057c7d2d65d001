/**
 * The transport over Redis beside the bare client, which adds the same documents with pipelined `XADD`s, knows nothing of
 * repetitions, reads as many at once and acknowledges each batch with one `XACK`. Each run has a server of its own, which flushes
 * everything before it answers.
 */
import { NodeRedis } from "@effect/platform-node"
import { Array, Context, DateTime, Effect, Layer, Schema, type Scope, Stream } from "effect"
import { Transport } from "eventfold"
import { RedisTransport } from "eventfold/redis"
import { createClient } from "redis"
import { isAvailable, startBroker } from "../support/brokers.ts"
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
    Effect.promise(() => startBroker("redis", { own: true })),
    ({ dispose }) => Effect.promise(dispose)
  ),
  (broker) => broker.url
)

const ours: Effect.Effect<Side, unknown, Scope.Scope> = Effect.gen(function* () {
  const layer = RedisTransport.layer().pipe(Layer.provide(NodeRedis.layer({ url: yield* url })))
  const transport = Context.get(yield* Layer.build(layer), Transport.Transport)
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

type Read = ReadonlyArray<[string, ReadonlyArray<[string, ReadonlyArray<string>]>]> | null

const raw: Effect.Effect<Side, unknown, Scope.Scope> = Effect.gen(function* () {
  const address = yield* url
  const client = yield* Effect.acquireRelease(
    Effect.promise(() => createClient({ url: address, RESP: 2 }).connect()),
    (client) => Effect.promise(() => client.close())
  )
  const encode = Schema.encodeSync(Transport.Message)
  return {
    publish: (batch) =>
      Effect.tryPromise(() =>
        Promise.all(
          batch.map((message) =>
            client.sendCommand(["XADD", "raw", "*", "type", message.type, "event", JSON.stringify(encode(message))])
          )
        )
      ),
    consume: (group, concurrency, count) =>
      Effect.tryPromise(async () => {
        await client.sendCommand(["XGROUP", "CREATE", "raw", group, "0"])
        for (let done = 0; done < count;) {
          const command = ["XREADGROUP", "GROUP", group, "me", "COUNT", `${concurrency}`, "STREAMS", "raw", ">"]
          const entries = (await client.sendCommand<Read>(command))?.[0]?.[1] ?? []
          for (const [, fields] of entries) JSON.parse(fields[3] as string)
          await client.sendCommand(["XACK", "raw", group, ...entries.map(([id]) => id)])
          done += entries.length
        }
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

export const redisCases = (some: (times: number) => number): ReadonlyArray<Case> => {
  if (!isAvailable("redis")) return []
  const side = (name: string, run: (side: typeof ours) => Run): Case => ({
    name: `redis: ${name}`,
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
