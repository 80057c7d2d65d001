/** What the doctor is told by a real NATS. */
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import { jetstreamManager } from "@nats-io/jetstream"
import { connect } from "@nats-io/transport-node"
import { Effect } from "effect"
import { NatsTransport } from "eventfold/nats"
import { type Broker, isExpected, startBroker } from "../support/brokers.ts"
import { toldByDoctor } from "../support/doctor.ts"

describe.runIf(isExpected("nats"))("the doctor on NATS", () => {
  let broker: Broker
  beforeAll(async () => {
    broker = await startBroker("nats")
  })
  afterAll(() => broker.dispose())

  it.live("tells whether the stream is on disk, and how long duplicates are known", () =>
    Effect.gen(function* () {
      const usual = yield* toldByDoctor(NatsTransport.layerWith({ connection: { servers: broker.url }, stream: "found" }))
      assert.match(usual["broker"] ?? "", /^ok: NATS \d.* answers; a message has at most 1 MiB$/)
      assert.match(usual["broker storage"] ?? "", /^ok: the stream found is on disk/)
      assert.strictEqual(usual["broker duplicates"], "ok: duplicates are known for 10m")
      yield* Effect.promise(async () => {
        const connection = await connect({ servers: broker.url })
        const manager = await jetstreamManager(connection)
        await manager.streams.add({ name: "weak", subjects: ["weak.*"], storage: "memory", max_msgs: 10, duplicate_window: 1e9 })
        await connection.close()
      })
      const weak = yield* toldByDoctor(NatsTransport.layerWith({ connection: { servers: broker.url }, stream: "weak" }))
      assert.deepStrictEqual(
        ["broker storage", "broker duplicates", "broker limits"].map((check) => weak[check]?.split(":")[0]),
        ["problem", "warning", "problem"]
      )
    })
  )
})
