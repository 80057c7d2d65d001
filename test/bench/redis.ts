/**
 * The transport over Redis beside the bare client, which adds the same documents with pipelined `XADD`s, knows nothing of
 * repetitions, reads as many at once and acknowledges each message with a pipelined `XACK`, as whoever handles them one by one does.
 * Each run has a server of its own, which flushes everything before it answers.
 */
import { NodeRedis } from "@effect/platform-node"
import { Effect, Layer, Schema } from "effect"
import { Transport } from "eventfold"
import { RedisTransport } from "eventfold/redis"
import { createClient } from "redis"
import { isAvailable, startBroker } from "../support/brokers.ts"
import { layerWith } from "./adapter.ts"
import { type Case } from "./harness.ts"
import { type Broker, type RawTransport, transportCases } from "./transport.ts"

type Read = ReadonlyArray<[string, ReadonlyArray<[string, ReadonlyArray<string>]>]> | null

const raw = Effect.fnUntraced(function* (address: string) {
  const open = Effect.acquireRelease(
    Effect.promise(() => createClient({ url: address, RESP: 2 }).connect()),
    (client) => Effect.sync(() => client.destroy())
  )
  const client = yield* open
  /** It waits for messages, and nobody else could use it meanwhile. */
  const reader = yield* open
  const encode = Schema.encodeSync(Transport.Message)
  const transport: RawTransport = {
    publish: (batch) =>
      Effect.tryPromise(() =>
        Promise.all(
          batch.map((message) =>
            client.sendCommand(["XADD", "raw", "*", "type", message.type, "event", JSON.stringify(encode(message))])
          )
        )
      ),
    consume: (group, concurrency, count, arrived) =>
      Effect.tryPromise(async () => {
        await client.sendCommand(["XGROUP", "CREATE", "raw", group, "0", "MKSTREAM"]).catch(() => {})
        for (let done = 0; done < count;) {
          const command = ["XREADGROUP", "GROUP", group, "me", "COUNT", `${concurrency}`, "BLOCK", "1000", "STREAMS", "raw", ">"]
          const entries = (await reader.sendCommand<Read>(command))?.[0]?.[1] ?? []
          if (entries.length === 0) continue
          for (const [, fields] of entries) arrived((JSON.parse(fields[3] as string) as { readonly id: string }).id)
          await Promise.all(entries.map(([id]) => client.sendCommand(["XACK", "raw", group, id])))
          done += entries.length
        }
      })
  }
  return transport
})

const broker = Effect.map(
  Effect.acquireRelease(
    Effect.promise(() => startBroker("redis", { own: true })),
    ({ dispose }) => Effect.promise(dispose)
  ),
  ({ url }): Broker => ({
    layer: layerWith(RedisTransport)({}).pipe(Layer.provide(Layer.fresh(NodeRedis.layer({ url })))),
    raw: raw(url)
  })
)

export const redisCases = (some: (times: number) => number): ReadonlyArray<Case> =>
  isAvailable("redis") ? transportCases("redis", () => broker, some, { place: "memory", inHand: [100, 1] }) : []
