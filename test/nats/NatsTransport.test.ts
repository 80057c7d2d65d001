import { afterAll, beforeAll, describe, it } from "@effect/vitest"
import { jetstreamManager } from "@nats-io/jetstream"
import { connect, headers } from "@nats-io/transport-node"
import { CloudEvent } from "cloudevents"
import { Array, Context, Effect, Fiber, Layer, Logger, Queue, References, Schema, Stream } from "effect"
import { Checkpoints, EventStore, Relay, Transport } from "eventfold"
import { NatsTransport } from "eventfold/nats"
import assert from "node:assert/strict"
import { spawn } from "node:child_process"
import { once } from "node:events"
import { createInterface } from "node:readline"
import { fileURLToPath } from "node:url"
import { type Broker, type BrokerServer, isExpected, startBroker } from "../support/brokers.ts"
import { assertReadsAll } from "../support/cloudEvents.ts"
import { logs } from "../support/logs.ts"
import { layLine, message, over } from "../support/transports.ts"
import { options } from "./support.ts"

let broker: Broker
let server: BrokerServer

/** Connects: each time anew. */
const open = (settings: NatsTransport.Options) =>
  Effect.map(Layer.build(Layer.fresh(NatsTransport.layerWith(settings))), (context) => Context.get(context, Transport.Transport))

/** The bare client, as any other program has it. */
const bare = Effect.acquireRelease(
  Effect.promise(() => connect({ servers: broker.url })),
  (connection) => Effect.promise(() => connection.close())
)

const reasonOf = <A, R>(effect: Effect.Effect<A, Transport.TransportError, R>) =>
  Effect.map(Effect.flip(effect), ({ reason }) => reason)

const range = (from: number, to: number) => Array.range(from, to)

/** Joins a group; each take waits for a delivery. */
const join = Effect.fnUntraced(function* (
  { subscribe }: Transport.Transport["Service"],
  more: Partial<Transport.SubscribeOptions> = {}
) {
  const received = yield* Queue.unbounded<Transport.Delivery, Transport.TransportError>()
  yield* subscribe({ group: "g", ...more }).pipe(
    Stream.runForEach((delivery) => Queue.offer(received, delivery)),
    Effect.catch((error) => Queue.fail(received, error)),
    Effect.forkScoped
  )
  return Queue.take(received)
})

const facts = ({ attempt, message }: Transport.Delivery) => [message.position, attempt]

describe.runIf(isExpected("nats"))("NATS JetStream", () => {
  beforeAll(async () => {
    broker = await startBroker("nats", { own: true })
    server = broker.server as BrokerServer
  })
  afterAll(() => broker.dispose())

  // ---------------------------------------------------------------------------
  // what travels
  // ---------------------------------------------------------------------------

  describe("a message", () => {
    const odd = message(2 ** 31 + 1, {
      id: 'it\'s "odd" / 😀 100%',
      type: "thing.happened/v2:é*>~",
      subject: "Thing-é 😀",
      source: "https://example.com/a?b=c#d",
      data: { "😀": "é", none: null }
    })
    const full = message(7, { correlationid: "c-1", causationid: "m-0", schemaversion: 3 })

    it.live.each([full, odd])("is a CloudEvent in binary mode, on the subject of its type: %#", (sent) =>
      Effect.gen(function* () {
        const settings = options(broker)
        const connection = yield* bare
        const arrived = yield* Effect.sync(() => connection.subscribe(`${settings.stream}.*`, { max: 1 }))
        yield* (yield* open(settings)).publish([sent])
        const { headers, data, subject } = yield* Effect.promise(async () => {
          for await (const arrival of arrived) return arrival
          throw new Error("nothing arrived")
        })
        assert.equal(subject, `${settings.stream}.${sent === odd ? "thing=2Ehappened=2Fv2=3A=C3=A9=2A=3E=7E" : "OrderPlaced"}`)
        const attributes = Array.fromIterable(headers ?? [])
          .filter(([name]) => name.startsWith("ce-"))
          .map(([name, [value]]) => [name.slice(3), decodeURIComponent(value as string)])
        const payload: unknown = JSON.parse(new TextDecoder().decode(data))
        const event = new CloudEvent<unknown>({ ...Object.fromEntries(attributes), data: payload })
        assert.equal(event.validate(), true)
        const { schemaversion, ...rest } = Schema.encodeSync(Transport.Message)(sent)
        assert.deepEqual(Object.fromEntries(attributes), {
          ...Object.fromEntries(Object.entries(rest).filter(([name]) => name !== "data")),
          schemaversion: String(schemaversion)
        })
        assert.deepEqual(payload, sent.data)
        assert.equal(decodeURIComponent(headers?.get("Nats-Msg-Id") ?? ""), JSON.stringify([sent.source, sent.id]))
        assert.ok([...(headers ?? [])].every(([, [value]]) => /^[\x21-\x7e]*$/.test(value as string)))
      })
    )

    it.live("is read in structured mode, too; what is no message is logged and terminated", () =>
      Effect.gen(function* () {
        const settings = options(broker)
        const transport = yield* open(settings)
        const connection = yield* bare
        const logged: Array<string> = []
        const logger = Logger.make<unknown, void>(({ message }) => void logged.push(String(message)))
        const next = yield* join(transport).pipe(Effect.provide(Logger.layer([logger])))
        const encode = (n: number) => JSON.stringify(Schema.encodeSync(Transport.Message)(message(n)))
        const declared = headers()
        declared.set("Content-Type", "application/cloudevents+json; charset=utf-8")
        const broken = headers()
        broken.set("ce-specversion", "1.0")
        broken.set("ce-id", "%")
        yield* Effect.promise(async () => {
          const subject = `${settings.stream}.anything`
          await connection.request(subject, encode(1), { timeout: 5000, headers: declared })
          await connection.request(subject, "this is no JSON")
          await connection.request(subject, JSON.stringify({ specversion: "1.0", id: "without all else" }))
          await connection.request(subject, "{}", { timeout: 5000, headers: broken })
          await connection.request(subject, encode(2))
        })
        for (const n of [1, 2]) {
          const delivery = yield* next
          assert.deepEqual(delivery.message, message(n))
          yield* delivery.ack
        }
        assert.equal(logged.length, 3)
        assert.ok(logged.every((line) => line.includes(`"${settings.stream}.anything" is no CloudEvent`)))
        const manager = yield* Effect.promise(() => jetstreamManager(connection))
        const { num_ack_pending, num_pending } = yield* Effect.promise(() => manager.consumers.info(settings.stream, "g"))
        assert.deepEqual([num_ack_pending, num_pending], [0, 0])
      })
    )

    it.live("of any producer of CloudEvents is handled, or becomes a dead letter with its cause", () =>
      Effect.gen(function* () {
        logs(/is a dead letter/)
        const settings = options(broker)
        const transport = yield* open(settings)
        const connection = yield* bare
        const send = (body: string | Uint8Array, all: Readonly<Record<string, string>>) =>
          Effect.promise(() => {
            const hdrs = headers()
            for (const [name, value] of Object.entries(all)) hdrs.set(name, value)
            return connection.request(`${settings.stream}.com=2Eexample=2Esampled`, body, { timeout: 5000, headers: hdrs })
          })
        yield* assertReadsAll(transport, {
          structured: (document) => send(document, { "Content-Type": "application/cloudevents+json; charset=UTF-8" }),
          binary: ({ datacontenttype, ...attributes }, body) =>
            send(body, {
              ...Object.fromEntries(
                Object.entries(attributes).map(([name, value], index) => [
                  index % 2 === 0 ? `CE-${name}` : `ce-${name}`,
                  name === "id" ? `"${value}"` : encodeURIComponent(value)
                ])
              ),
              ...(datacontenttype !== undefined && {
                [attributes["time"] === undefined ? "ce-datacontenttype" : "content-type"]: datacontenttype
              })
            }),
          garbage: (text) => send(text, {})
        })
      })
    )

    it.live("that is too large is refused by name before anything of its batch is sent; so is one that UTF-8 cannot carry", () =>
      Effect.gen(function* () {
        const settings = options(broker, { streamConfig: { max_msg_size: 5000 } })
        const transport = yield* open(settings)
        for (const [bad, detail] of [
          [message(2, { data: "x".repeat(5000) }), /more than the 5000/],
          [message(2, { subject: "Order-\ud800" }), /malformed/]
        ] as const) {
          const reason = yield* reasonOf(transport.publish([message(1), bad, message(3)]))
          assert.ok(reason._tag === "MessageRefused")
          assert.equal(reason.id, "message-2")
          assert.match(reason.detail, detail)
        }
        yield* transport.publish([message(4, { data: "x".repeat(4500) })])
        const delivery = yield* yield* join(transport)
        assert.deepEqual(facts(delivery), [4, 1])
      })
    )
  })

  // ---------------------------------------------------------------------------
  // streams and consumers
  // ---------------------------------------------------------------------------

  describe("streams and consumers", () => {
    it.live("are created by several Layers at once, and then left as they are", () =>
      Effect.gen(function* () {
        const settings = options(broker)
        const transports = yield* Effect.forEach(
          range(1, 8),
          (n) => open({ ...settings, duplicateWindow: `${n} minutes`, streamConfig: { description: `${n}` } }),
          { concurrency: "unbounded" }
        )
        const members = yield* Effect.forEach(transports, (transport) => join(transport), { concurrency: "unbounded" })
        yield* Effect.forEach(transports, ({ publish }, n) => publish([message(n)]))
        const deliveries = yield* Effect.forEach(members, (next) => next, { concurrency: "unbounded" })
        assert.deepEqual(deliveries.map(({ message }) => message.position).sort(), range(0, 7))
      })
    )

    it.live("are not created where operators do so", () =>
      Effect.gen(function* () {
        const settings = options(broker, { createTopology: false })
        assert.deepEqual(
          yield* Effect.map(reasonOf(open(settings)), ({ _tag, detail, operation }) => [_tag, operation, detail]),
          ["TransportUnavailable", "open stream", "stream not found"]
        )
        yield* Effect.scoped(open({ ...settings, createTopology: true }))
        const transport = yield* open(settings)
        const reason = yield* reasonOf(Stream.runHead(transport.subscribe({ group: "g" })))
        assert.deepEqual([reason._tag, reason.detail], ["TransportUnavailable", "consumer not found"])
      })
    )

    it("have names for any text", () => {
      assert.equal(NatsTransport.consumerName("mail"), "mail")
      assert.equal(NatsTransport.consumerName("a.b *>/\\é~"), "a=2Eb=20=2A=3E=2F=5C=C3=A9=7E")
    })

    it.live("a group gets what its members have asked for: each its own, and nobody takes what is another's", () =>
      Effect.gen(function* () {
        const settings = options(broker)
        const transport = yield* open(settings)
        const positions = (next: Effect.Success<ReturnType<typeof join>>, count: number) =>
          Effect.map(
            Effect.replicateEffect(
              Effect.tap(next, ({ ack }) => ack),
              count
            ),
            (deliveries) => deliveries.map(({ message }) => message.position).sort()
          )
        const publish = (from: number) =>
          transport.publish(Array.map(Array.make("A", "B", "D", "C", "A", "B"), (type, n) => message(from + n, { type })))
        const a = yield* join(transport, { types: ["A"] })
        yield* publish(1)
        assert.deepEqual(yield* positions(a, 2), [1, 5])
        const bc = yield* join(transport, { types: ["B", "C"] })
        const manager = yield* Effect.flatMap(bare, (connection) => Effect.promise(() => jetstreamManager(connection)))
        // Since when the group gets these, too.
        const info = Effect.promise(() => manager.consumers.info(settings.stream, NatsTransport.consumerName("g")))
        yield* Effect.repeat(info, { until: ({ config }) => config.filter_subject === undefined })
        yield* publish(11)
        assert.deepEqual(yield* positions(a, 2), [11, 15])
        assert.deepEqual(yield* positions(bc, 3), [12, 14, 16])
        yield* Effect.repeat(info, { until: ({ num_ack_pending, num_pending }) => num_ack_pending + num_pending === 0 })
      })
    )

    it.live("a stream that is deleted is made again by whoever publishes or subscribes, if they may", () =>
      Effect.gen(function* () {
        const settings = options(broker)
        const transport = yield* open(settings)
        const next = yield* join(transport)
        yield* transport.publish([message(1)])
        yield* (yield* next).ack
        const operated = yield* open({ ...settings, createTopology: false })
        const connection = yield* bare
        const manager = yield* Effect.promise(() => jetstreamManager(connection))
        const vanish = Effect.promise(() => manager.streams.delete(settings.stream))
        const waiting = yield* Effect.forkChild(reasonOf(next))
        yield* vanish
        assert.equal((yield* Fiber.join(waiting))._tag, "TransportUnavailable")
        // Who must not make it does not take its absence for a success.
        assert.deepEqual(yield* Effect.map(reasonOf(operated.publish([message(2)])), ({ _tag, detail }) => [_tag, detail]), [
          "TransportUnavailable",
          "nothing listens: no stream has the subject, or JetStream is off"
        ])
        yield* transport.publish([message(2), message(3)])
        yield* operated.publish([message(4)])
        const again = yield* join(transport)
        for (const n of [2, 3, 4]) {
          const delivery = yield* again
          assert.deepEqual(facts(delivery), [n, 1])
          yield* delivery.ack
        }
        yield* vanish
        const first = yield* join(transport, { group: "first" })
        yield* Effect.eventually(operated.publish([message(5)]))
        assert.deepEqual(facts(yield* first), [5, 1])
      })
    )

    it.live("a consumer that is deleted ends the streams of its members with an error", () =>
      Effect.gen(function* () {
        const settings = options(broker)
        const transport = yield* open(settings)
        const next = yield* join(transport)
        yield* transport.publish([message(1)])
        yield* (yield* next).ack
        const connection = yield* bare
        const manager = yield* Effect.promise(() => jetstreamManager(connection))
        const waiting = yield* Effect.forkChild(reasonOf(next))
        yield* Effect.promise(() => manager.consumers.delete(settings.stream, "g"))
        const reason = yield* Fiber.join(waiting)
        assert.equal(reason._tag, "TransportUnavailable")
        assert.match(reason.detail, /Consumer Deleted/)
        assert.deepEqual(facts(yield* yield* join(transport)), [1, 1])
      })
    )
  })

  // ---------------------------------------------------------------------------
  // time
  // ---------------------------------------------------------------------------

  it.live("a member keeps what it works on for longer than the wait for its answer", () =>
    Effect.gen(function* () {
      const transport = yield* open(options(broker))
      const next = yield* join(transport, { concurrency: 2 })
      yield* transport.publish([message(1), message(2)])
      const slow = yield* next
      yield* (yield* next).nack({ delay: "3 seconds" })
      const other = yield* join(transport, { concurrency: 5 })
      // The other member would get what is taken from the first one.
      assert.deepEqual(facts(yield* Effect.raceFirst(next, other)), [2, 2])
      yield* slow.ack
    })
  )

  it.live("a delay outlives the connection of who asked for it", () =>
    Effect.gen(function* () {
      const settings = options(broker)
      const begun = yield* Effect.scoped(
        Effect.gen(function* () {
          const transport = yield* open(settings)
          const next = yield* join(transport)
          yield* transport.publish([message(1)])
          const { nack } = yield* next
          const begun = performance.now()
          yield* nack({ delay: "2 seconds" })
          return begun
        })
      )
      assert.deepEqual(facts(yield* yield* join(yield* open(settings))), [1, 2])
      assert.ok(performance.now() - begun >= 1980)
    })
  )

  // ---------------------------------------------------------------------------
  // what goes wrong
  // ---------------------------------------------------------------------------

  it.live("a process that is killed with messages in hand: they are delivered again, in their order", () =>
    Effect.gen(function* () {
      const settings = options(broker)
      const transport = yield* open(settings)
      yield* transport.publish(Array.map(range(1, 8), (n) => message(n)))
      const path = fileURLToPath(new URL("processes/member.ts", import.meta.url))
      const child = spawn(process.execPath, ["--conditions=@eventfold/source", path, JSON.stringify(settings)], {
        stdio: ["ignore", "pipe", "inherit"]
      })
      yield* Effect.addFinalizer(() => Effect.sync(() => child.kill("SIGKILL")))
      yield* Effect.promise(async () => {
        let lines = 0
        for await (const _ of createInterface(child.stdout)) if (++lines === 5) break
        child.kill("SIGKILL")
        await once(child, "close")
      })
      const next = yield* join(transport)
      const received = yield* Effect.forEach(range(1, 8), () => Effect.tap(next, ({ ack }) => ack))
      assert.deepEqual(received.map(facts), [
        [1, 2],
        [2, 2],
        [3, 2],
        [4, 2],
        [5, 2],
        [6, 1],
        [7, 1],
        [8, 1]
      ])
    })
  )

  it.live("no server: an error that says so", () =>
    Effect.gen(function* () {
      const reason = yield* reasonOf(open(options({ url: "nats://127.0.0.1:1" })))
      assert.deepEqual([reason._tag, reason.operation], ["TransportUnavailable", "connect"])
    })
  )

  it.live("a server that is gone: publishing fails at once, and goes on when it is back; members stay", () =>
    Effect.gen(function* () {
      const transport = yield* open(options(broker))
      const next = yield* join(transport)
      yield* transport.publish([message(1)])
      const first = yield* next
      yield* Effect.promise(() => server.stop("SIGKILL"))
      const publish = transport.publish([message(2)])
      const reason = yield* reasonOf(publish)
      assert.equal(reason._tag, "TransportUnavailable")
      const begun = performance.now()
      yield* reasonOf(publish)
      assert.ok(performance.now() - begun < 1000)
      assert.equal((yield* reasonOf(first.ack))._tag, "TransportUnavailable")
      yield* Effect.promise(() => server.start())
      yield* Effect.eventually(publish)
      yield* first.ack
      const { message: second } = yield* Effect.repeat(
        Effect.tap(next, ({ ack }) => ack),
        {
          // The server may have forgotten that it has delivered the first.
          while: ({ message }) => message.position === 1
        }
      )
      assert.equal(second.position, 2)
    })
  )

  it.live("a server that is frozen: publishing and acknowledging fail in time, and go on when it is thawed", () =>
    Effect.gen(function* () {
      const transport = yield* open(options(broker, { timeout: "1 second" }))
      const next = yield* join(transport)
      yield* transport.publish([message(1)])
      const first = yield* next
      server.freeze()
      yield* Effect.addFinalizer(() => Effect.sync(() => server.thaw()))
      // It may still answer for a moment.
      for (const operation of [Effect.forever(transport.publish([message(2)])), first.ack, first.nack()]) {
        const reason = yield* reasonOf(operation)
        assert.deepEqual([reason._tag, reason.detail], ["TransportUnavailable", "the server did not answer within 1s"])
      }
      server.thaw()
      yield* Effect.eventually(transport.publish([message(2)]))
      yield* first.ack
      assert.equal((yield* next).message.position, 2)
    })
  )

  it.live(
    "a server that stands still as the wait for a lost member ends: the next member begins with what that one had",
    () =>
      Effect.gen(function* () {
        const proxy = yield* Effect.acquireRelease(
          Effect.promise(() => layLine(() => new URL(broker.url))),
          ({ dispose }) => Effect.promise(dispose)
        )
        const manager = yield* Effect.flatMap(bare, (connection) => Effect.promise(() => jetstreamManager(connection)))
        for (let n = 0; n < 6; n++) {
          const settings = options(broker)
          const lost = yield* open({ ...settings, connection: { servers: over(broker.url, proxy), reconnect: false } })
          yield* lost.publish([message(1)])
          yield* yield* join(lost)
          proxy.cut()
          const transport = yield* open(settings)
          yield* transport.publish([message(2)])
          const next = yield* join(transport)
          const group = Effect.promise(() => manager.consumers.info(settings.stream, "g"))
          yield* Effect.repeat(group, { until: ({ num_ack_pending }) => num_ack_pending === 2 })
          server.freeze()
          yield* Effect.ensuring(
            Effect.sleep("1500 millis"),
            Effect.sync(() => server.thaw())
          )
          const first = yield* next
          assert.deepEqual(facts(first), [1, 2])
          yield* first.ack
          assert.equal((yield* next).message.position, 2)
        }
      }),
    60_000
  )

  it.live(
    "killed and started again amid ten thousand events that a relay moves: all arrive, each stream in its order",
    () =>
      Effect.gen(function* () {
        const total = 10_000
        const transport = yield* open(options(broker, { connection: { reconnectTimeWait: 50 } }))
        const Stores = Layer.merge(EventStore.layerMemory, Checkpoints.layerMemory)
        const context = yield* Layer.build(
          Relay.layer({ name: "shop" }).pipe(
            Layer.provideMerge(Layer.merge(Stores, Layer.succeed(Transport.Transport, transport))),
            Layer.provide(Layer.succeed(References.MinimumLogLevel, "None"))
          )
        )
        const store = Context.get(context, EventStore.EventStore)
        const ids = new Map<number, string>()
        const last = new Map<string, number>()
        const full = yield* Queue.unbounded<void>()
        const take = ({ id, position, subject }: Transport.Message) => {
          if (ids.has(position)) return assert.equal(ids.get(position), id, "a repetition has the same id")
          assert.ok((last.get(subject) ?? 0) < position, `${subject} is in order`)
          last.set(subject, position)
          ids.set(position, id)
        }
        const reading = yield* transport.subscribe({ group: "g", concurrency: 1 }).pipe(
          Stream.runForEach(({ ack, message }) => {
            take(message as Transport.Message)
            if (ids.size === 1000) Queue.offerUnsafe(full, undefined)
            return ids.size === total ? Effect.interrupt : ack
          }),
          Effect.eventually,
          Effect.forkScoped
        )
        yield* Effect.forEach(
          range(0, total / 100 - 1),
          (batch) =>
            store.append(
              `Order-${batch % 10}`,
              Array.map(range(1, 100), (n) => ({ type: "OrderPlaced", payload: { n }, published: true }))
            ),
          { discard: true }
        )
        yield* Queue.take(full)
        yield* Effect.promise(() => server.stop("SIGKILL"))
        yield* Effect.promise(() => server.start())
        yield* Fiber.await(reading)
        assert.equal(ids.size, total)
      }),
    60_000
  )
})
