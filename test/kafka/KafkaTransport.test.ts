import assert from "node:assert/strict"
import { describe, it } from "@effect/vitest"
import { Admin, ConfigResourceTypes, Consumer, IncrementalAlterConfigOperationTypes, Producer } from "@platformatic/kafka"
import { Context, Effect, Exit, Fiber, Layer, Logger, Queue, References, Schedule, type Scope, Stream } from "effect"
import { Transport } from "eventfold"
import { KafkaTransport } from "eventfold/kafka"
import { isExpected } from "../support/brokers.ts"
import { startChild, until } from "../support/child.ts"
import { assertOutlivesSilence } from "../support/silence.ts"
import { message, useBroker } from "../support/transports.ts"
import { freshTopic, layer } from "./support.ts"

type Service = Transport.Transport["Service"]

const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, index) => from + index)

/** An event as others may publish it, as one document. */
const eventText = (n: number, data: string) =>
  Buffer.from(JSON.stringify({ specversion: "1.0", id: `${n}`, source: "/others", type: "Placed", subject: "Order-1", data }))

describe.runIf(isExpected("kafka"))("the transport over Kafka", () => {
  const broker = useBroker("kafka", { own: true })
  const client = () => ({ clientId: "test", bootstrapBrokers: [broker().url], retries: 5, retryDelay: 100 })

  const open = (topic: string, options: Omit<KafkaTransport.Options, "brokers" | "topic"> = {}) =>
    Effect.map(Layer.build(layer(broker().url, { topic, ...options })), (context): Service =>
      Context.get(context, Transport.Transport)
    )
  const withAdmin = <A>(use: (admin: Admin) => Promise<A>): Effect.Effect<A> =>
    Effect.promise(async () => {
      const admin = new Admin(client())
      try {
        return await use(admin)
      } finally {
        await admin.close()
      }
    })
  const makeTopic = (topic: string, configs: Record<string, string> = {}, partitions = 1) =>
    withAdmin((admin) =>
      admin.createTopics({
        topics: [{ topic, partitions, replicas: 1 }],
        configs: Object.entries(configs).map(([name, value]) => ({ name, value }))
      })
    )
  const produce = (...messages: Parameters<Producer["send"]>[0]["messages"]) =>
    Effect.promise(async () => {
      const producer = new Producer(client())
      await producer.send({ messages, acks: -1 })
      await producer.close()
    })
  /** Receives into a queue, until the scope closes. */
  const receive = Effect.fnUntraced(function* (
    { subscribe }: Service,
    options: Transport.SubscribeOptions
  ): Effect.fn.Return<Queue.Queue<Transport.Delivery>, never, Scope.Scope> {
    const received = yield* Queue.unbounded<Transport.Delivery>()
    yield* Effect.forkScoped(Stream.runForEach(subscribe(options), (delivery) => Queue.offer(received, delivery)))
    return received
  })
  const committed = (topic: string, group: string) =>
    withAdmin(async (admin) => {
      const [found] = await admin.listConsumerGroupOffsets({ groups: [KafkaTransport.groupId(topic, group)] })
      return found?.topics[0]?.partitions.map(({ committedOffset }) => Number(committedOffset)) ?? []
    })
  const facts = ({ attempt, message }: Transport.Delivery) => [message.position, attempt]

  it.live("keeps the order of each stream over its partitions, however much is in hand", () =>
    Effect.gen(function* () {
      const transport = yield* open(freshTopic(), { partitions: 8 })
      const all = range(1, 2000).map((n) => message(n, { subject: `Order-${n % 40}` }))
      for (let n = 0; n < all.length; n += 250) {
        const [first, ...rest] = all.slice(n, n + 250)
        if (first !== undefined) yield* transport.publish([first, ...rest])
      }
      const newest = new Map<string, number>()
      yield* transport.subscribe({ group: "g", concurrency: 50 }).pipe(
        Stream.tap(({ message }) =>
          Effect.sync(() => {
            assert.ok((newest.get(message.subject ?? "") ?? 0) < (message.position ?? 0))
            newest.set(message.subject ?? "", message.position ?? 0)
          })
        ),
        Stream.mapEffect(({ ack }) => Effect.delay(ack, Math.random() * 5), { concurrency: "unbounded" }),
        Stream.take(2000),
        Stream.runDrain
      )
      assert.equal(newest.size, 40)
    }).pipe(Effect.scoped)
  )

  it.live("commits up to the oldest message in hand: what is acknowledged beyond comes again to another process alone", () =>
    Effect.gen(function* () {
      const topic = freshTopic()
      const position = (offset: number) =>
        until(
          `the group has come to ${offset}`,
          Effect.map(committed(topic, "g"), ([found]) => found === offset)
        )
      yield* Effect.scoped(
        Effect.gen(function* () {
          const transport = yield* open(topic, { partitions: 1 })
          yield* transport.publish([message(1), ...range(2, 6).map((n) => message(n))])
          const received = yield* receive(transport, { group: "g", concurrency: 5 })
          const [first, second, ...more] = yield* Queue.takeN(received, 5)
          yield* first?.ack ?? Effect.die("no first")
          for (const { ack } of more) yield* ack
          yield* position(1)
          yield* second?.nack() ?? Effect.die("no second")
        })
      )
      yield* position(1)
      const another = yield* open(topic)
      const received = yield* receive(another, { group: "g", concurrency: 5 })
      assert.deepEqual(
        (yield* Queue.takeN(received, 5)).map(facts),
        [2, 3, 4, 5, 6].map((n) => [n, 1])
      )
    }).pipe(Effect.scoped)
  )

  it.live("hands out no farther beyond the oldest in hand than it may, so that what comes again after a crash is bounded", () =>
    Effect.gen(function* () {
      const transport = yield* open(freshTopic(), { partitions: 1, reach: 3 })
      yield* transport.publish([message(1), ...range(2, 6).map((n) => message(n))])
      const received = yield* receive(transport, { group: "g", concurrency: 10 })
      const [first, second, third] = yield* Queue.takeN(received, 3)
      yield* second?.ack ?? Effect.void
      yield* third?.ack ?? Effect.void
      yield* Effect.sleep("300 millis")
      assert.equal(yield* Queue.size(received), 0)
      yield* first?.ack ?? Effect.void
      assert.deepEqual(
        (yield* Queue.takeN(received, 3)).map(facts),
        [4, 5, 6].map((n) => [n, 1])
      )
    }).pipe(Effect.scoped)
  )

  it.live("a message that waits lets its partition stand still, and no longer than is said", () =>
    Effect.gen(function* () {
      const transport = yield* open(freshTopic(), { partitions: 1, longestPause: "400 millis" })
      yield* transport.publish([message(1), message(2)])
      const received = yield* receive(transport, { group: "g" })
      const start = performance.now()
      yield* (yield* Queue.take(received)).nack({ delay: "1 hour" })
      const again = yield* Queue.take(received)
      assert.deepEqual(facts(again), [1, 2])
      assert.ok(performance.now() - start >= 400)
      yield* again.ack
      assert.deepEqual(facts(yield* Queue.take(received)), [2, 1])
    }).pipe(Effect.scoped)
  )

  for (const mode of ["binary", "structured"] as const) {
    it.live(`writes the ${mode} mode of the binding, under the key of the stream`, () =>
      Effect.gen(function* () {
        const topic = freshTopic()
        const { publish } = yield* open(topic, { mode, partitions: 1 })
        yield* publish([message(1, { subject: "Order-é", tenant: "acme", extensions: { region: "é 1" } })])
        const record = yield* Effect.promise(async () => {
          const consumer = new Consumer({ ...client(), groupId: "raw" })
          const stream = await consumer.consume({ topics: [topic], mode: "earliest", autocommit: false })
          for await (const record of stream) {
            await consumer.close(true)
            return record
          }
          throw new Error("nothing came")
        })
        assert.equal(String(record.key), "Order-é")
        const headers = Object.fromEntries(record.headerEntries.map(([name, text]) => [String(name), String(text)]))
        const attributes = {
          specversion: "1.0",
          id: "message-1",
          source: "/shop",
          type: "OrderPlaced",
          subject: "Order-é",
          time: "2026-02-03T04:05:06.789Z",
          position: "1",
          tenant: "acme",
          region: "é 1"
        }
        const value: unknown = JSON.parse(String(record.value))
        if (mode === "binary") {
          const prefixed = Object.entries(attributes).map(([name, text]) => [`ce_${name}`, text])
          assert.deepEqual(headers, {
            "content-type": "application/json",
            ce_schemaversion: "1",
            ...Object.fromEntries(prefixed)
          })
          assert.deepEqual(value, { n: 1 })
        } else {
          assert.deepEqual(headers, { "content-type": "application/cloudevents+json; charset=UTF-8" })
          assert.deepEqual(value, { ...attributes, datacontenttype: "application/json", schemaversion: 1, data: { n: 1 } })
        }
      }).pipe(Effect.scoped)
    )
  }

  it.live("reads what others publish in either mode, and sets aside or delivers what is no CloudEvent", () =>
    Effect.gen(function* () {
      const topic = freshTopic()
      const transport = yield* open(topic, { partitions: 1 })
      const text = (headers: Record<string, string>) =>
        new Map(Object.entries(headers).map(([name, value]) => [Buffer.from(name), Buffer.from(value)]))
      const head = { ce_specversion: "1.0", ce_source: "/other", ce_type: "T" }
      const document = { specversion: "1.0", id: "3", source: "/other", type: "T", data: "three" }
      yield* produce(
        { topic, value: Buffer.from("<a/>"), headers: text({ ...head, ce_id: "1", "content-type": "text/xml" }) },
        { topic, headers: text({ ...head, ce_id: "2" }) },
        {
          topic,
          value: Buffer.from(JSON.stringify(document)),
          headers: text({ "Content-Type": "Application/CloudEvents+JSON; charset=utf-8" })
        },
        { topic, value: Buffer.from(JSON.stringify({ ...document, id: "4" })) },
        { topic, value: Buffer.from("[]"), headers: text({ "content-type": "application/cloudevents-batch+json" }) },
        { topic, key: Buffer.from("deleted") },
        { topic, value: Buffer.from("nothing") },
        { topic, value: Buffer.from("5"), headers: text({ ...head, ce_id: "5", "content-type": "application/json" }) }
      )
      const errors: Array<string> = []
      const logger = Logger.make(({ message }) => void errors.push(String(message)))
      const read = (options: Transport.SubscribeOptions, count: number) =>
        transport.subscribe(options).pipe(
          Stream.tap(({ ack }) => ack),
          Stream.take(count),
          Stream.runCollect,
          Effect.provide(Logger.layer([logger])),
          Effect.provideService(References.MinimumLogLevel, "Error")
        )
      const known = yield* read({ group: "g" }, 5)
      assert.deepEqual(
        known.map(({ message: { data, id } }) => [id, data]),
        [
          ["1", "<a/>"],
          ["2", undefined],
          ["3", "three"],
          ["4", "three"],
          ["5", 5]
        ]
      )
      assert.equal(errors.filter((error) => error.includes("is no message, and set aside")).length, 3)
      const all = yield* read({ group: "all", unreadable: "deliver" }, 8)
      const unreadable = all.filter(({ unreadable }) => unreadable !== undefined)
      assert.deepEqual(
        unreadable.map(({ message }) => [message.source, message.id]),
        ["4", "5", "6"].map((offset) => [`kafka:${topic}/0`, offset])
      )
    }).pipe(Effect.scoped)
  )

  it.live("refuses by its id what is larger than the topic takes, also where the limit has changed since", () =>
    Effect.gen(function* () {
      const topic = freshTopic()
      const transport = yield* open(topic, { partitions: 1, topicConfig: { "max.message.bytes": "20000" } })
      const refused = (size: number) =>
        Effect.map(Effect.flip(transport.publish([message(1), message(2, { data: "a".repeat(size) })])), ({ reason }) => {
          assert.ok(reason._tag === "MessageRefused", reason.message)
          assert.equal(reason.id, "message-2")
          return reason.detail
        })
      assert.match(yield* refused(20_000), /20\d\d\d bytes are more than the 20000 .*max\.message\.bytes/)
      // Many small ones are cut into pieces that it takes.
      yield* transport.publish([message(3), ...range(4, 300).map((n) => message(n))])
      yield* withAdmin((admin) =>
        admin.incrementalAlterConfigs({
          resources: [
            {
              resourceType: ConfigResourceTypes.TOPIC,
              resourceName: topic,
              configs: [{ name: "max.message.bytes", configOperation: IncrementalAlterConfigOperationTypes.SET, value: "2000" }]
            }
          ]
        })
      )
      // The broker takes its time to heed that. What it takes meanwhile has a higher number.
      let probe = 1000
      const publishLarge = Effect.suspend(() => transport.publish([message(++probe, { data: "a".repeat(10_000) })]))
      yield* until("the limit is heeded", Effect.map(Effect.exit(publishLarge), Exit.isFailure))
      assert.match(yield* refused(10_000), /too large/)
      const received = yield* receive(transport, { group: "g", concurrency: 2000 })
      const positions: Array<number> = []
      // What came before it in its batch may be there.
      while (positions.at(-1) !== 1) {
        const { position } = (yield* Queue.take(received)).message
        if (position !== undefined && position < 1000) positions.push(position)
      }
      assert.deepEqual(positions, [...range(3, 300), 1])
    }).pipe(Effect.scoped)
  )

  it.live("refuses by its name a topic that is not there and may not be made, and one that is compacted", () =>
    Effect.gen(function* () {
      const absent = freshTopic()
      const missing = yield* Effect.flip(open(absent, { createTopic: false }).pipe(Effect.scoped))
      assert.match(missing.reason.detail, new RegExp(`the topic "${absent}" is not there`))
      const topic = freshTopic()
      yield* makeTopic(topic, { "cleanup.policy": "compact" })
      const compacted = yield* Effect.flip(open(topic).pipe(Effect.scoped))
      assert.match(compacted.reason.detail, /is compacted: of each stream it would keep the last message alone/)
      const { publish } = yield* open(topic, { key: ({ id }) => id })
      yield* publish([message(1)])
    }).pipe(Effect.scoped)
  )

  it.live("says how many messages the topic has lost before the group has seen them, and goes on with what there is", () =>
    Effect.gen(function* () {
      const topic = freshTopic()
      const transport = yield* open(topic, { partitions: 1 })
      yield* transport.publish([message(1), ...range(2, 10).map((n) => message(n))])
      yield* transport.subscribe({ group: "g" }).pipe(
        Stream.tap(({ ack }) => ack),
        Stream.take(2),
        Stream.runDrain
      )
      yield* until(
        "the group has come to 2",
        Effect.map(committed(topic, "g"), ([offset]) => offset === 2)
      )
      yield* withAdmin((admin) => admin.deleteRecords({ topics: [{ name: topic, partitions: [{ partition: 0, offset: 7n }] }] }))
      const errors: Array<string> = []
      const logger = Logger.make(({ message }) => void errors.push(String(message)))
      const next = yield* Stream.runHead(transport.subscribe({ group: "g" })).pipe(
        Effect.provide(Logger.layer([logger])),
        Effect.provideService(References.MinimumLogLevel, "Error")
      )
      assert.equal(next._tag === "Some" ? next.value.message.position : undefined, 8)
      assert.deepEqual(
        errors.filter((error) => error.includes("5 messages of the partition 0 were deleted before the group had seen them"))
          .length,
        1
      )
    }).pipe(Effect.scoped)
  )

  it.live("hands out nothing of what others have published in a transaction and given up, however long that is", () =>
    Effect.gen(function* () {
      const topic = freshTopic()
      const { subscribe } = yield* open(topic, { partitions: 1 })
      const record = (n: number, size = 0) => ({ topic, key: Buffer.from("Order-1"), value: eventText(n, "x".repeat(size)) })
      // The broker makes the topic of its transactions when it is first asked for one.
      const producer = new Producer({ ...client(), retries: 100, transactionalId: topic, idempotent: true, acks: -1 })
      yield* Effect.promise(async () => {
        for (const { ends, records } of [
          // More than one answer of the broker takes.
          { ends: "abort", records: range(1, 6).map((n) => record(n, 600_000)) },
          { ends: "commit", records: [record(7)] },
          { ends: "abort", records: [record(8)] },
          { ends: "abort", records: [record(9)] },
          { ends: "commit", records: [record(10)] }
        ] as const) {
          const transaction = await producer.beginTransaction()
          for (const one of records) await transaction.send({ messages: [one] })
          await transaction[ends]()
        }
        await producer.close()
      })
      const received = yield* Stream.runCollect(
        subscribe({ group: "g" }).pipe(
          Stream.tap(({ ack }) => ack),
          Stream.map(({ message }) => message.id),
          Stream.take(2)
        )
      )
      assert.deepEqual(received, ["7", "10"])
    }).pipe(Effect.scoped)
  )

  it.live("makes a topic that is deleted again, and its groups begin anew", () =>
    Effect.gen(function* () {
      const topic = freshTopic()
      const transport = yield* open(topic, { partitions: 1 })
      const received: Array<number | undefined> = []
      const following = yield* transport.subscribe({ group: "g" }).pipe(
        Stream.runForEach(({ ack, message }) => {
          received.push(message.position)
          return ack
        }),
        Effect.retry(Schedule.spaced("100 millis")),
        Effect.forkScoped
      )
      yield* transport.publish([message(1)])
      yield* until(
        "the first has come",
        Effect.sync(() => received.includes(1))
      )
      yield* withAdmin((admin) => admin.deleteTopics({ topics: [topic] }))
      // What comes in the moment of its end goes with it.
      let n = 2
      yield* until(
        "what is published then has come",
        Effect.map(Effect.exit(Effect.suspend(() => transport.publish([message(n++)]))), () => received.some((n = 0) => n > 1))
      )
      yield* Fiber.interrupt(following)
    }).pipe(Effect.scoped)
  )

  for (const groupProtocol of ["classic", "consumer"] as const) {
    it.live(`gives others what a process had that is killed (${groupProtocol})`, () =>
      Effect.gen(function* () {
        const topic = freshTopic()
        const transport = yield* open(topic, { groupProtocol, partitions: 2 })
        yield* transport.publish([message(1), ...range(2, 5).map((n) => message(n))])
        const child = yield* startChild(new URL("processes/member.ts", import.meta.url), {
          brokers: broker().url,
          groupProtocol,
          topic
        })
        for (const n of range(1, 5)) yield* child.says(String(n))
        const received = yield* receive(transport, { group: "g", concurrency: 10 })
        yield* child.kill
        assert.deepEqual(
          (yield* Queue.takeN(received, 5)).map(({ message }) => message.position),
          range(1, 5)
        )
      }).pipe(Effect.scoped)
    )
  }

  it.live(
    "gives up a connection that falls silent, in time, and goes on over another one; closing ends, too",
    () =>
      Effect.gen(function* () {
        const topic = freshTopic()
        const { listen, target } = broker().proxied ?? { listen: 0, target: 0 }
        const over = (url: string) => Effect.succeed(layer(new URL(url).host, { topic, partitions: 1, timeout: "1 second" }))
        yield* assertOutlivesSilence(`kafka://127.0.0.1:${target}`, over, 15_000, listen)
      }).pipe(Effect.scoped),
    90_000
  )
})
