/**
 * The transport over NATS beside the bare client, which publishes the same headers and payloads in the same batches, and asks
 * the server to confirm each acknowledgement. Each run has a server of its own.
 */
import { AckPolicy, jetstreamManager } from "@nats-io/jetstream"
import { connect, headers } from "@nats-io/transport-node"
import { DateTime, Effect } from "effect"
import { NatsTransport } from "eventfold/nats"
import { isAvailable, startBroker } from "../support/brokers.ts"
import { layerWith } from "./adapter.ts"
import { type Case } from "./harness.ts"
import { type Broker, type RawTransport, transportCases } from "./transport.ts"

const names = ["specversion", "id", "source", "type", "subject", "datacontenttype", "correlationid", "causationid"] as const

const raw = Effect.fnUntraced(function* (servers: string) {
  const connection = yield* Effect.acquireRelease(
    Effect.promise(() => connect({ servers, noAsyncTraces: true })),
    (connection) => Effect.promise(() => connection.close())
  )
  const manager = yield* Effect.promise(() => jetstreamManager(connection))
  const client = manager.jetstream()
  yield* Effect.promise(() => manager.streams.add({ name: "raw", subjects: ["raw.*"], duplicate_window: 600e9 }))
  const transport: RawTransport = {
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
    consume: (group, concurrency, count, arrived) =>
      Effect.tryPromise(async () => {
        await manager.consumers.add("raw", { durable_name: group, ack_policy: AckPolicy.Explicit, max_ack_pending: -1 })
        const messages = await (await client.consumers.get("raw", group)).consume({ max_messages: concurrency })
        const confirmed: Array<Promise<unknown>> = []
        for await (const message of messages) {
          JSON.parse(message.string())
          arrived(message.headers?.get("ce-id") ?? "")
          const done = message.ackAck()
          if (concurrency === 1) await done
          if (confirmed.push(done) === count) break
        }
        await Promise.all(confirmed)
      })
  }
  return transport
})

const broker = Effect.map(
  Effect.acquireRelease(
    Effect.promise(() => startBroker("nats", { own: true })),
    ({ dispose }) => Effect.promise(dispose)
  ),
  ({ url }): Broker => ({ layer: layerWith(NatsTransport)({ connection: { servers: url } }), raw: raw(url) })
)

export const natsCases = (some: (times: number) => number): ReadonlyArray<Case> =>
  isAvailable("nats") ? transportCases("nats", () => broker, some, { place: "memory", inHand: [100, 1] }) : []
