import assert from "node:assert/strict"
import { describe, it } from "@effect/vitest"
import { connect, type ConfirmChannel } from "amqplib"
import { CloudEvent } from "cloudevents"
import { Array as Arr, Context, DateTime, Duration, Effect, Fiber, Layer, Queue, Schedule, type Scope, Stream } from "effect"
import { Checkpoints, EventStore, Relay, Transport } from "eventfold"
import type { RabbitMqTransport } from "eventfold/rabbitmq"
import { spawn } from "node:child_process"
import { once } from "node:events"
import { type AddressInfo, createServer } from "node:net"
import { createInterface } from "node:readline"
import { fileURLToPath } from "node:url"
import { isExpected } from "../support/brokers.ts"
import { over, useBroker } from "../support/transports.ts"
import { freshExchange, layer, useLineTo } from "./support.ts"
import { assertReadsAll, Sampled } from "../support/cloudEvents.ts"
import { logs } from "../support/logs.ts"
import { eventually } from "../support/words.ts"

const message = (n: number, more: Partial<Transport.Message> = {}): Transport.Message => ({
  specversion: "1.0",
  id: `message ${n}`,
  source: "/shop",
  type: "Placed",
  subject: "Order-é 1",
  time: DateTime.makeUnsafe("2026-02-03T04:05:06.789Z"),
  datacontenttype: "application/json",
  data: { n },
  schemaversion: 1,
  correlationid: "c-1",
  position: n,
  ...more
})

const facts = ({ attempt, message }: Transport.Delivery) => [Number(message.position), attempt] as const

/** Again and again, until the broker is back. */
const patiently = { schedule: Schedule.spaced("20 millis"), while: ({ isRetryable }: Transport.TransportError) => isRetryable }

const reasonOf = <A, R>(effect: Effect.Effect<A, Transport.TransportError, R>) =>
  Effect.map(Effect.flip(effect), ({ reason }) => reason)

describe.runIf(isExpected("rabbitmq"))("the transport over RabbitMQ", () => {
  const broker = useBroker("rabbitmq", { own: true })
  const line = useLineTo(broker)
  const slowLine = useLineTo(broker, 2_000_000)
  const server = () => {
    const { server } = broker()
    if (server === undefined) throw new Error("not a server of one's own")
    return server
  }
  const stopAndStart = (signal: "SIGTERM" | "SIGKILL") =>
    Effect.promise(async () => {
      await server().stop(signal)
      await server().start()
    })
  /** What has been declared survives a crash from now on: otherwise RabbitMQ 3.10 forgets a queue that is about a second old. */
  const settle = stopAndStart("SIGTERM")

  /** A Layer of its own. */
  const open = (options: Partial<RabbitMqTransport.Options> = {}) =>
    Effect.map(Layer.build(Layer.fresh(layer(broker(), options))), (context) => Context.get(context, Transport.Transport))

  /** What a member is given, one by one. */
  const join = ({ subscribe }: Transport.Transport["Service"], options: Transport.SubscribeOptions) =>
    Effect.gen(function* () {
      const received = yield* Queue.unbounded<Transport.Delivery>()
      const reading = yield* Effect.forkScoped(
        Stream.runForEach(subscribe(options), (delivery) => Queue.offer(received, delivery))
      )
      const ended = Effect.andThen(Fiber.join(reading), Effect.die(new Error("the stream ended")))
      return Effect.raceFirst(Queue.take(received), ended)
    })

  /** The bare client of another program. */
  const bare: Effect.Effect<ConfirmChannel, never, Scope.Scope> = Effect.acquireRelease(
    Effect.promise(() => connect(broker().url)),
    (connection) => Effect.promise(() => connection.close())
  ).pipe(Effect.flatMap((connection) => Effect.promise(() => connection.createConfirmChannel())))

  it.live("what is acknowledged together, in any order, takes nothing with it that is not", () =>
    Effect.gen(function* () {
      const exchange = freshExchange()
      const { publish, subscribe } = yield* open({ exchange, groups: [{ group: "mail" }] })
      yield* publish(Arr.makeBy(40, (n) => message(n + 1)) as Arr.NonEmptyArray<Transport.Message>)
      const unsettled = (n: number) => n % 7 === 0 || n > 30
      yield* Effect.scoped(
        Effect.gen(function* () {
          const next = yield* join({ publish, subscribe } as Transport.Transport["Service"], { group: "mail", concurrency: 40 })
          const deliveries = yield* Effect.all(Arr.makeBy(40, () => next))
          const settled = deliveries.filter(({ message }) => !unsettled(Number(message.position))).reverse()
          // One is given back among those that are acknowledged in the same turn.
          yield* Effect.forEach(
            settled,
            ({ ack, message, nack }) => (message.position === 10 ? nack({ delay: "1 hour" }) : ack),
            {
              concurrency: "unbounded",
              discard: true
            }
          )
        })
      )
      const left = Arr.makeBy(40, (n) => n + 1).filter(unsettled)
      const again = yield* Stream.runCollect(Stream.take(subscribe({ group: "mail", concurrency: 40 }), left.length))
      assert.deepEqual(
        again.map((delivery) => facts(delivery)),
        left.map((n) => [n, 2])
      )
    })
  )

  it.live("a client that knows nothing of eventfold reads a CloudEvent in binary mode", () =>
    Effect.gen(function* () {
      const exchange = freshExchange()
      const { publish } = yield* open({ exchange, groups: [{ group: "mail", types: ["thing.happened/v2:é"] }] })
      yield* publish([message(1, { type: "something else" }), message(7, { type: "thing.happened/v2:é" })])
      const channel = yield* bare
      const got = yield* Effect.promise(() => channel.get(`${exchange}.mail`))
      assert.ok(got !== false)
      assert.equal(got.fields.routingKey, "thing.happened%2Fv2%3A%C3%A9")
      assert.equal(got.properties.deliveryMode, 2)
      const attributes = Object.entries(got.properties.headers ?? {}).flatMap(([name, value]) => {
        if (name === "x-delivery-count") return [] // RabbitMQ's own
        assert.match(name, /^cloudEvents_/)
        return [[name.slice("cloudEvents_".length), value as unknown]]
      })
      const event = new CloudEvent<unknown>({
        ...(Object.fromEntries(attributes) as object),
        datacontenttype: String(got.properties.contentType),
        data: JSON.parse(got.content.toString()) as unknown
      } as ConstructorParameters<typeof CloudEvent>[0])
      assert.equal(event.validate(), true)
      assert.deepEqual(JSON.parse(event.toString()), {
        specversion: "1.0",
        id: "message 7",
        source: "/shop",
        type: "thing.happened/v2:é",
        subject: "Order-é 1",
        time: "2026-02-03T04:05:06.789Z",
        datacontenttype: "application/json",
        data: { n: 7 },
        schemaversion: 1,
        correlationid: "c-1",
        position: "7"
      })
    })
  )

  it.live("what others publish is read in every mode of the binding, and what is no message is rejected", () =>
    Effect.gen(function* () {
      logs(/rejected what is no message/)
      const exchange = freshExchange()
      const channel = yield* bare
      const { queue } = yield* Effect.promise(() => channel.assertQueue("", { exclusive: true }))
      // The operator's own queue: of another kind, and with a dead-letter exchange.
      yield* Effect.promise(() =>
        channel.assertQueue(`${exchange}.g`, { durable: true, deadLetterExchange: "", deadLetterRoutingKey: queue })
      )
      const transport = yield* open({ exchange, groups: [{ group: "g" }] })
      const next = yield* join(transport, { group: "g" })
      yield* transport.publish([message(1)])
      const own = yield* next
      yield* own.ack
      const attributes = {
        specversion: "1.0",
        id: "2",
        source: "/legacy",
        type: "Placed",
        subject: "Order-2",
        schemaversion: 1,
        position: "2"
      }
      const named = (prefix: string, more: object) =>
        Object.fromEntries(Object.entries({ ...attributes, ...more }).map(([name, value]) => [prefix + name, value as unknown]))
      const send = (contentType: string, content: string, headers: object) =>
        channel.publish(exchange, "Placed", Buffer.from(content), { contentType, headers })
      const time = "2026-02-03T04:05:06Z"
      send("application/json", "[2]", named("cloudEvents:", { time: { "!": "timestamp", value: Date.parse(time) / 1000 } }))
      send("application/json", "not JSON", named("cloudEvents_", { time }))
      send("application/json", "{}", {})
      const document = { ...attributes, time, datacontenttype: "application/json", data: [2] }
      send("application/cloudevents+json; charset=utf-8", JSON.stringify(document), {})
      const expected = { ...attributes, datacontenttype: "application/json", data: [2], position: 2 }
      for (let n = 0; n < 2; n++) {
        const { ack, message } = yield* next
        assert.deepEqual({ ...message, time: undefined }, { ...expected, time: undefined })
        assert.equal(message.time?.epochMilliseconds, Date.parse(time))
        yield* ack
      }
      const rejected = [yield* Effect.promise(() => channel.get(queue)), yield* Effect.promise(() => channel.get(queue))]
      assert.deepEqual(
        rejected.map((message) => message !== false && message.content.toString()),
        ["not JSON", "{}"]
      )
    })
  )

  it.live("what any producer of CloudEvents publishes is handled, or becomes a dead letter with its cause", () =>
    Effect.gen(function* () {
      logs(/is a dead letter/)
      const exchange = freshExchange()
      const channel = yield* bare
      const transport = yield* open({ exchange, groups: [{ group: "g", types: [Sampled.type] }] })
      const send = (body: string | Uint8Array, contentType: string | undefined, headers: object = {}) =>
        Effect.promise(() => {
          const options = { ...(contentType !== undefined && { contentType }), headers }
          channel.publish(exchange, Sampled.type, Buffer.from(body), options)
          return channel.waitForConfirms()
        })
      let sent = 0
      yield* assertReadsAll(transport, {
        structured: (document) => send(document, "application/CloudEvents+json; charset=utf-8"),
        binary: ({ datacontenttype, schemaversion, ...attributes }, body) => {
          const prefix = ++sent % 2 === 0 ? "cloudEvents:" : "cloudEvents_"
          const all = { ...attributes, ...(schemaversion !== undefined && { schemaversion: Number(schemaversion) }) }
          return send(
            body,
            datacontenttype,
            Object.fromEntries(Object.entries(all).map(([name, value]) => [prefix + name, value]))
          )
        },
        garbage: (text) => send(text, "application/json")
      })
    })
  )

  it.live("what others publish comes back after a delay as it was, also without a content type", () =>
    Effect.gen(function* () {
      const exchange = freshExchange()
      const channel = yield* bare
      const transport = yield* open({ exchange, groups: [{ group: "g" }] })
      const next = yield* join(transport, { group: "g", unreadable: "deliver" })
      const headers = {
        cloudEvents_specversion: "1.0",
        cloudEvents_id: "1",
        cloudEvents_source: "/a",
        cloudEvents_type: "Placed"
      }
      for (const options of [{ headers }, { messageId: "no event" }]) {
        channel.publish(exchange, "Placed", Buffer.from('{"n":1}'), options)
        const first = yield* next
        yield* first.nack({ delay: "100 millis" })
        const again = yield* next
        assert.deepEqual([again.message, again.attempt], [first.message, 2])
        assert.equal(again.message.id, options.messageId ?? "1")
        yield* again.ack
      }
    })
  )

  it.live("a member hands on what it did not ask for to one that did, uncounted", () =>
    Effect.gen(function* () {
      const transport = yield* open({ groups: [{ group: "g", types: ["A", "B"] }] })
      yield* transport.publish([message(1, { type: "A" }), message(2, { type: "B" })])
      const old = yield* join(transport, { group: "g", types: ["A"] })
      const first = yield* old
      assert.deepEqual(facts(first), [1, 1])
      yield* first.ack
      yield* transport.publish([message(3, { type: "A" })])
      // The old one has been given the B before this A.
      const third = yield* old
      assert.deepEqual(facts(third), [3, 1])
      yield* third.ack
      const young = yield* join(transport, { group: "g", types: ["B"] })
      assert.deepEqual(facts(yield* young), [2, 1])
    })
  )

  it.live(
    "attempts are counted on over delays, and what waits outlives the broker",
    () =>
      Effect.gen(function* () {
        const exchange = freshExchange()
        const transport = yield* open({ exchange, groups: [{ group: "g" }] })
        yield* transport.publish([message(1)])
        const next = yield* join(transport, { group: "g" })
        yield* (yield* next).nack()
        yield* (yield* next).nack({ delay: "1 millis" })
        const third = yield* next
        assert.deepEqual(facts(third), [1, 3])
        yield* third.nack({ delay: "4321 seconds" })
        yield* stopAndStart("SIGTERM")
        const channel = yield* bare
        // It counts a queue's messages once the queue has found its leader again.
        const waiting = Effect.promise(() => channel.checkQueue(`${exchange}~delay.5000000`))
        yield* eventually(
          "it counts the message",
          Effect.map(waiting, ({ messageCount }) => messageCount > 0)
        )
      }),
    60_000
  )

  it.live("names of any length and with any character find each other", () =>
    Effect.gen(function* () {
      const names = ["*", "#", "a.*.#", "é".repeat(200), "é".repeat(201), "x".repeat(255), "a~b"]
      const transport = yield* open({ groups: names.map((name) => ({ group: name, types: [name] })) })
      yield* Effect.forEach(names, (type, n) => transport.publish([message(n, { type })]))
      for (const [n, name] of names.entries()) {
        const next = yield* join(transport, { group: name, types: [name] })
        assert.deepEqual(facts(yield* next), [n, 1])
      }
    })
  )

  it.live("what is too large or cannot be expressed is refused by name, and nothing of its batch is published", () =>
    Effect.gen(function* () {
      const exchange = freshExchange()
      const transport = yield* open({ exchange, groups: [{ group: "g" }], maxMessageBytes: 1000 })
      const next = yield* join(transport, { group: "g" })
      for (const [more, detail] of [
        [{ data: "é".repeat(500) }, /1002 bytes/],
        [{ subject: "\ud800" }, /surrogate/]
      ] as const) {
        const reason = yield* reasonOf(transport.publish([message(1), message(2, more), message(3)]))
        assert.equal(reason._tag, "MessageRefused")
        assert.equal(reason._tag === "MessageRefused" && reason.id, "message 2")
        assert.match(reason.detail, detail)
      }
      // A header that AMQP has no room for shows only when it is sent.
      const reason = yield* reasonOf(transport.publish([message(4, { correlationid: "x".repeat(70_000) })]))
      assert.equal(reason._tag === "MessageRefused" && reason.id, "message 4")
      yield* transport.publish([message(5, { data: "x".repeat(998) })])
      assert.deepEqual(facts(yield* next), [5, 1])
    })
  )

  it.live(
    "what only the broker finds too large is refused, and publishing goes on",
    () =>
      Effect.gen(function* () {
        const transport = yield* open({ groups: [{ group: "g" }], maxMessageBytes: Infinity, timeout: "30 seconds" })
        const next = yield* join(transport, { group: "g" })
        const large = message(2, { data: "x".repeat(128 * 1024 * 1024) })
        for (let n = 0; n < 2; n++) {
          const reason = yield* reasonOf(transport.publish([message(1), large]))
          assert.equal(reason._tag === "MessageRefused" && reason.id, "message 2")
          assert.match(reason.detail, /134217730 bytes of data are more than the 134217728/)
        }
        yield* transport.publish([message(3)])
        let delivery = yield* next
        // The neighbour that came before it may have been taken.
        while (delivery.message.position === 1) {
          yield* delivery.ack
          delivery = yield* next
        }
        assert.deepEqual(facts(delivery), [3, 1])
      }),
    60_000
  )

  it.live("Layers that are built at once make one topology", () =>
    Effect.gen(function* () {
      const exchange = freshExchange()
      const groups = [{ group: "a" }, { group: "b", types: ["Placed"] }]
      const transports = yield* Effect.forEach([1, 2, 3, 4], () => open({ exchange, groups }), { concurrency: "unbounded" })
      const members = yield* Effect.forEach(transports, (transport) => join(transport, { group: "a" }), {
        concurrency: "unbounded"
      })
      yield* Effect.forEach(transports, ({ publish }, n) => publish([message(n)]), { concurrency: "unbounded" })
      const received = yield* Effect.forEach(
        members.flatMap((next) => [next]),
        (next) => Effect.map(next, ({ message }) => message.position)
      )
      assert.deepEqual(received.toSorted(), [0, 1, 2, 3])
    })
  )

  it.live("without leave to declare, what is missing fails, and what operators have made is used", () =>
    Effect.gen(function* () {
      const exchange = freshExchange()
      const transport = yield* open({ exchange, declare: false })
      assert.match((yield* reasonOf(transport.publish([message(1)]))).detail, /no exchange/)
      assert.match((yield* reasonOf(Stream.runDrain(transport.subscribe({ group: "g" })))).detail, /no queue/)
      const channel = yield* bare
      yield* Effect.promise(async () => {
        await channel.assertExchange(exchange, "topic")
        await channel.assertQueue(`${exchange}.g`, { arguments: { "x-queue-type": "quorum" } })
        await channel.bindQueue(`${exchange}.g`, exchange, "Placed")
      })
      const next = yield* join(transport, { group: "g" })
      yield* transport.publish([message(1)])
      const delivery = yield* next
      // Nothing is lost where the delay has no queue: the message is still in hand.
      assert.match((yield* reasonOf(delivery.nack({ delay: "1 minute" }))).detail, /no queue .*~delay\.60000/)
      yield* delivery.nack()
      assert.deepEqual(facts(yield* next), [1, 2])
    })
  )

  it.live("a member that leaves and comes again at once goes on where it was", () =>
    Effect.gen(function* () {
      const { publish, subscribe } = yield* open({ groups: [{ group: "g" }] })
      yield* publish([message(1), message(2), message(3), message(4), message(5), message(6)])
      for (const concurrency of [1, 3]) {
        const expected = [1, 2, 3].slice(0, concurrency)
        for (let n = 0; n < 20; n++) {
          const given = yield* subscribe({ group: "g", concurrency }).pipe(Stream.take(concurrency), Stream.runCollect)
          assert.deepEqual(
            given.map(({ message }) => message.position),
            expected
          )
        }
      }
    })
  )

  it.live(
    "a member whose process is killed gives everything back, counted",
    () =>
      Effect.gen(function* () {
        const exchange = freshExchange()
        const transport = yield* open({ exchange, groups: [{ group: "g" }] })
        yield* transport.publish([message(1), message(2), message(3), message(4), message(5)])
        const child = yield* Effect.acquireRelease(
          Effect.sync(() =>
            spawn(
              process.execPath,
              [
                "--conditions=@eventfold/source",
                "--no-warnings",
                fileURLToPath(new URL("member-child.ts", import.meta.url)),
                broker().url,
                exchange
              ],
              { stdio: ["ignore", "pipe", "inherit"] }
            )
          ),
          (child) => Effect.sync(() => child.kill("SIGKILL"))
        )
        yield* Effect.promise(async () => {
          const ended = once(child, "close")
          const taken: Array<string> = []
          for await (const line of createInterface({ input: child.stdout })) if (taken.push(line) === 5) break
          assert.deepEqual(taken, ["1", "2", "3", "4", "5"])
          child.kill("SIGKILL")
          await ended
        })
        const next = yield* join(transport, { group: "g", concurrency: 5 })
        const again = yield* Effect.forEach([1, 2, 3, 4, 5], () => next)
        assert.deepEqual(
          again.map(facts),
          [1, 2, 3, 4, 5].map((n) => [n, 2])
        )
      }),
    30_000
  )

  it.live("subscriptions fail when their connection or their queue goes, and open again", () =>
    Effect.gen(function* () {
      const exchange = freshExchange()
      const transport = yield* open({ exchange, url: over(broker().url, line()), groups: [{ group: "g" }] })
      const reading = yield* Effect.forkChild(reasonOf(Stream.runDrain(transport.subscribe({ group: "g" }))))
      const next = yield* join(transport, { group: "g" })
      yield* transport.publish([message(1), message(2)])
      const held = yield* next
      line().cut()
      assert.equal((yield* Fiber.join(reading))._tag, "TransportUnavailable")
      assert.equal((yield* reasonOf(held.ack))._tag, "TransportUnavailable")
      assert.equal((yield* reasonOf(held.nack({ delay: "1 second" })))._tag, "TransportUnavailable")

      const cancelled = yield* Effect.forkChild(reasonOf(Stream.runDrain(transport.subscribe({ group: "h" }))))
      const channel = yield* bare
      const count = async () => (await channel.checkQueue(`${exchange}.g`)).consumerCount
      assert.equal(yield* Effect.promise(count), 0)
      const h = `${exchange}.h`
      yield* eventually(
        "the queue is deleted under its member",
        Effect.map(
          Effect.promise(() => channel.deleteQueue(h)),
          () => cancelled.pollUnsafe() !== undefined
        )
      )
      assert.match((yield* Fiber.join(cancelled)).detail, /cancelled|no queue/)
    })
  )

  it.live("an address without a broker, or a password that is wrong, fails the Layer; of several addresses one is enough", () =>
    Effect.gen(function* () {
      const wrong = broker().url.replace("guest:guest", "guest:secret-of-mine")
      for (const url of ["amqp://127.0.0.1:1", wrong, "http://127.0.0.1", "nonsense"]) {
        const error = yield* Effect.flip(open({ url }))
        assert.equal(error.reason._tag, "TransportUnavailable")
        assert.ok(error.reason.detail.length > 0)
        assert.doesNotMatch(error.message, /secret-of-mine/)
      }
      yield* open({ url: ["amqp://127.0.0.1:1", broker().url] })
    })
  )

  it.live("of several addresses the first that answers is taken, also after one that keeps silent", () =>
    Effect.gen(function* () {
      const silent = yield* Effect.acquireRelease(
        Effect.promise(async () => {
          const server = createServer(() => {}).listen(0, "127.0.0.1")
          await once(server, "listening")
          return server
        }),
        (server) => Effect.sync(() => server.close())
      )
      const { port } = silent.address() as AddressInfo
      const url = [`amqp://127.0.0.1:${port}`, broker().url] as const
      const transport = yield* open({ url, timeout: "2 seconds", groups: [{ group: "g" }] })
      yield* transport.publish([message(1)])
      assert.deepEqual(facts(yield* yield* join(transport, { group: "g" })), [1, 1])
      const alone = yield* reasonOf(open({ url: url[0], timeout: "500 millis" }))
      assert.equal(alone.detail, "the server did not answer within 500ms")
    })
  )

  it.live(
    "a page that takes longer than the time-out comes to its end, and what was confirmed of one that failed is not sent again",
    () =>
      Effect.gen(function* () {
        const transport = yield* open({ url: over(broker().url, slowLine()), timeout: "1 second", groups: [{ group: "g" }] })
        const copies = new Map<number, number>()
        const total = () => [...copies.values()].reduce((sum, count) => sum + count, 0)
        const page = (from: number) => Arr.map(Arr.range(from, from + 44), (n) => message(n, { data: "x".repeat(100_000) }))
        yield* Stream.runForEach(transport.subscribe({ group: "g", concurrency: 100 }), ({ ack, message: { position = 0 } }) => {
          copies.set(position, (copies.get(position) ?? 0) + 1)
          return ack
        }).pipe(Effect.retry(patiently), Effect.forkScoped)
        const all = (count: number) =>
          eventually(
            `${count} have come`,
            Effect.sync(() => copies.size >= count)
          )
        yield* transport.publish(page(1))
        yield* all(45)
        assert.equal(total(), 45)
        const publishing = yield* Effect.forkScoped(
          Effect.retry(transport.publish(page(101)), { while: ({ isRetryable }) => isRetryable })
        )
        yield* all(45 + 30)
        assert.equal(publishing.pollUnsafe(), undefined)
        slowLine().cut()
        yield* Fiber.join(publishing)
        yield* all(90)
        // Copies there are of what was in flight, and of what was not known to be settled.
        assert.ok(total() < 90 + 25, `${total()} deliveries`)
      }),
    60_000
  )

  it.live(
    "an exchange that is deleted is made again, and nothing is confirmed before the groups of all processes are bound again",
    () =>
      Effect.gen(function* () {
        const exchange = freshExchange()
        const options = { exchange, heartbeat: "1 second" } as const
        const groups = [{ group: "a" }, { group: "b", types: ["Placed"] }, { group: "c" }]
        yield* Effect.scoped(open({ ...options, groups }))
        const publisher = yield* open(options)
        const consumer = yield* open(options)
        const operated = yield* open({ ...options, declare: false })
        const members = [yield* join(consumer, { group: "a" }), yield* join(publisher, { group: "b", types: ["Placed"] })]
        const noticing = yield* Effect.forkChild(reasonOf(Stream.runDrain(operated.subscribe({ group: "c" }))))
        const channel = yield* bare
        yield* publisher.publish([message(0)])
        for (const next of members) yield* (yield* next).ack
        yield* Effect.promise(() => channel.deleteExchange(exchange))
        // Who must not make it again says so.
        const noticed = yield* Fiber.join(noticing)
        assert.match(noticed.detail, /vanished.*no exchange/)
        const failures: Array<string> = []
        for (const n of [1, 2, 3]) {
          yield* publisher.publish([message(n)]).pipe(
            Effect.tapError((error) => Effect.sync(() => failures.push(error.message))),
            Effect.retry(patiently)
          )
          for (const next of members) {
            const delivery = yield* next
            assert.deepEqual(facts(delivery), [n, 1])
            yield* delivery.ack
          }
        }
        assert.match(failures.join(), /no exchange.*had vanished/)
      }),
    60_000
  )

  it.live(
    "a queue or a binding that is deleted under a publisher who knows its group is made again before anything is confirmed",
    () =>
      Effect.gen(function* () {
        const exchange = freshExchange()
        const transport = yield* open({ exchange, groups: [{ group: "g", types: ["Placed"] }] })
        const channel = yield* bare
        const waiting = (count: number) =>
          eventually(
            `${count} wait in the queue`,
            Effect.map(
              Effect.promise(() => channel.checkQueue(`${exchange}.g`)),
              ({ messageCount }) => messageCount === count
            )
          )
        yield* transport.publish([message(1)])
        yield* Effect.promise(() => channel.unbindQueue(`${exchange}.g`, exchange, "Placed"))
        yield* transport.publish([message(2), message(3, { type: "nobody wants it" })])
        yield* waiting(2)
        yield* Effect.promise(() => channel.deleteQueue(`${exchange}.g`))
        yield* transport.publish([message(4)])
        yield* waiting(1)
      })
  )

  it.live(
    "a broker that is frozen or away is a typed failure in time, and publishing goes on when it is back",
    () =>
      Effect.gen(function* () {
        const timeout = Duration.millis(500)
        const transport = yield* open({ timeout, heartbeat: "1 second", groups: [{ group: "g" }] })
        yield* transport.publish([message(1)])
        const failsInTime = <A>(effect: Effect.Effect<A, Transport.TransportError>) =>
          Effect.gen(function* () {
            const start = performance.now()
            assert.equal((yield* reasonOf(effect))._tag, "TransportUnavailable")
            assert.ok(performance.now() - start < 5000)
          })
        const subscribe = Stream.runDrain(transport.subscribe({ group: "g" }))
        const untilBack = Effect.retry(transport.publish([message(2)]), { times: 100 })
        const reading = yield* Effect.forkChild(reasonOf(Stream.runDrain(transport.subscribe({ group: "h" }))))
        server().freeze()
        yield* Effect.gen(function* () {
          for (let n = 0; n < 2; n++) yield* failsInTime(transport.publish([message(1)]))
          yield* failsInTime(subscribe)
          assert.equal((yield* Fiber.join(reading))._tag, "TransportUnavailable")
        }).pipe(Effect.ensuring(Effect.sync(() => server().thaw())))
        yield* untilBack
        yield* Effect.promise(() => server().stop("SIGTERM"))
        yield* failsInTime(transport.publish([message(1)]))
        yield* failsInTime(subscribe)
        yield* Effect.promise(() => server().start())
        yield* untilBack
      }),
    60_000
  )

  it.live(
    "a relay brings every event over a crash of the broker, repeated only by id, and late only what was in hand",
    () =>
      Effect.gen(function* () {
        logs(/starts again/)
        const events = 10_000
        const streams = 20
        const exchange = freshExchange()
        yield* Effect.scoped(open({ exchange, groups: [{ group: "g" }] }))
        yield* settle
        const transport = yield* open({ exchange })
        const sent = new Map<number, number>()
        const counting = Transport.Transport.of({
          ...transport,
          publish: (messages) => {
            for (const { position } of messages) sent.set(position, (sent.get(position) ?? 0) + 1)
            return transport.publish(messages)
          }
        })
        const Store = EventStore.layerMemory
        const context = yield* Layer.build(
          Relay.layer({ name: "shop" }).pipe(
            Layer.provideMerge(Layer.mergeAll(Store, Checkpoints.layerMemory, Layer.succeed(Transport.Transport, counting)))
          )
        )
        const store = Context.get(context, EventStore.EventStore)
        const ids = new Map<number, string>()
        const perStream = new Map<string, Array<readonly [number, number]>>()
        yield* transport.subscribe({ group: "g", concurrency: 200 }).pipe(
          Stream.runForEach(({ ack, attempt, message }) => {
            const { id, position, subject } = message as Transport.Message
            const known = ids.get(position)
            if (known === undefined) {
              ids.set(position, id)
              perStream.set(subject, [...(perStream.get(subject) ?? []), [position, attempt]])
            } else {
              assert.equal(id, known)
            }
            return ack
          }),
          Effect.retry(patiently),
          Effect.forkScoped
        )
        const have = (count: number) =>
          eventually(
            `${count} have come`,
            Effect.sync(() => ids.size >= count),
            "100 seconds"
          )
        const crash = yield* Effect.forkScoped(Effect.andThen(have(events / 4), stopAndStart("SIGKILL")))
        for (let n = 0; n < events / 100; n++) {
          yield* store.append(
            `Order-${n % streams}`,
            Array.from({ length: 100 }, () => ({ type: "Placed", payload: { n }, published: true }))
          )
        }
        yield* Fiber.join(crash)
        yield* have(events)
        assert.equal(perStream.size, streams)
        for (const received of perStream.values()) {
          assert.equal(received.length, events / streams)
          // What had been given to the lost connection comes back counted; a copy that the relay sent since has a place of its own.
          const positions = received.filter(([n, attempt]) => attempt === 1 && sent.get(n) === 1).map(([n]) => n)
          assert.deepEqual(
            positions,
            positions.toSorted((a, b) => a - b)
          )
        }
      }),
    120_000
  )

  it.live(
    "a queue with a single active consumer keeps the order for its whole group, over a crash of the broker too",
    () =>
      Effect.gen(function* () {
        const exchange = freshExchange()
        const queue = `${exchange}.g`
        yield* Effect.scoped(
          Effect.flatMap(bare, (channel) =>
            Effect.promise(() =>
              channel.assertQueue(queue, {
                arguments: { "x-queue-type": "quorum", "x-delivery-limit": 1000, "x-single-active-consumer": true }
              })
            )
          )
        )
        yield* Effect.scoped(open({ exchange, groups: [{ group: "g" }] }))
        yield* settle
        const transport = yield* open({ exchange })
        const received = new Set<number>()
        for (const concurrency of [1, 100]) {
          yield* transport.subscribe({ group: "g", concurrency }).pipe(
            Stream.runForEach(({ ack, message: { position = 0 } }) => {
              received.add(position)
              return ack
            }),
            Effect.retry(patiently),
            Effect.forkScoped
          )
        }
        const all = Array.from({ length: 1000 }, (_, n) => n)
        const [head, ...tail] = all.map((n) => message(n))
        assert.ok(head !== undefined)
        yield* transport.publish([head, ...tail])
        const have = (count: number) =>
          eventually(
            `${count} have come`,
            Effect.sync(() => received.size >= count),
            "50 seconds"
          )
        yield* have(100)
        yield* stopAndStart("SIGKILL")
        yield* have(all.length)
        assert.deepEqual([...received], all)
      }),
    60_000
  )
})
