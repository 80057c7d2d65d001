import assert from "node:assert/strict"
import { afterAll, beforeAll, describe, it } from "@effect/vitest"
import { CloudEvent, HTTP } from "cloudevents"
import { Array as Arr, DateTime, Deferred, Effect, Fiber, Layer, Logger, Queue, Ref, Schedule, Schema, Stream } from "effect"
import { Redis } from "effect/persistence"
import { Checkpoints, EventStore, Relay, Transport } from "eventfold"
import { RedisTransport } from "eventfold/redis"
import { type Broker, isExpected, startBroker } from "../support/brokers.ts"
import { isUtf8 } from "node:buffer"
import { assertReadsAll, Sampled } from "../support/cloudEvents.ts"
import { logs } from "../support/logs.ts"
import { startChild } from "../support/child.ts"
import { eventually as until } from "../support/words.ts"
import { connected, freshName, open, type Opened, ownServer } from "./support.ts"

const message = (n: number, more: Partial<Transport.Message> = {}): Transport.Message => ({
  specversion: "1.0",
  id: `${n}`,
  source: "/shop",
  type: "Happened",
  subject: "Thing-1",
  time: DateTime.makeUnsafe("2026-02-03T04:05:06.789Z"),
  datacontenttype: "application/json",
  data: { n },
  schemaversion: 1,
  position: n,
  ...more
})

const messages = (from: number, to: number) => Arr.map(Arr.range(from, to), (n) => message(n))
const facts = ({ attempt, message }: Transport.Delivery) => [Number(message.position), attempt] as const

/** The next messages of a group, acknowledged. */
const take = ({ transport }: Opened, group: string, count: number, more: Partial<Transport.SubscribeOptions> = {}) =>
  transport.subscribe({ group, ...more }).pipe(
    Stream.tap(({ ack }) => ack),
    Stream.map(facts),
    Stream.take(count),
    Stream.runCollect
  )

const ids = (entries: ReadonlyArray<unknown>) => entries.map((entry) => (entry as [string])[0])

const reasonOf = <A>(effect: Effect.Effect<A, Transport.TransportError>) =>
  Effect.map(Effect.flip(effect), ({ reason }) => reason)

describe.runIf(isExpected("redis"))("the transport on Redis", () => {
  let broker: Broker
  beforeAll(async () => {
    broker = await startBroker("redis")
  })
  afterAll(() => broker.dispose())

  /** A stream of its own, and how to open it again. */
  const fresh = Effect.fnUntraced(function* (options: RedisTransport.Options = {}) {
    const name = freshName()
    const opened = yield* open(broker.url, { name, ...options })
    return { ...opened, name, again: (more: RedisTransport.Options = {}) => open(broker.url, { name, ...options, ...more }) }
  })

  // ---------------------------------------------------------------------------
  // what stands in the stream
  // ---------------------------------------------------------------------------

  it.live("adds entries that a client of another language can read: the type, and a valid CloudEvents document", () =>
    Effect.gen(function* () {
      const { name, redis, transport } = yield* fresh()
      const sent = message(7, { type: "thing.happened/v2:é", correlationid: "c-1" })
      yield* transport.publish([sent])
      const [[, fields]] = (yield* redis.send("XRANGE", name, "-", "+")) as [[string, ReadonlyArray<string>]]
      assert.deepEqual(fields.slice(0, 3), ["type", "thing.happened/v2:é", "event"])
      const cloudEvent = new CloudEvent<unknown>(JSON.parse(fields[3] as string) as object)
      assert.equal(cloudEvent.validate(), true)
      assert.deepEqual([cloudEvent.id, cloudEvent.subject, cloudEvent.data], ["7", "Thing-1", { n: 7 }])
      const received = HTTP.toEvent({ headers: { "content-type": "application/cloudevents+json" }, body: fields[3] })
      assert.deepEqual(Schema.decodeUnknownSync(Transport.Message)(JSON.parse(String(received))), sent)
    }).pipe(Effect.scoped)
  )

  it.live("delivers what others add, and sets aside what is no message", () =>
    Effect.gen(function* () {
      const logged = yield* Ref.make<ReadonlyArray<unknown>>([])
      const opened = yield* fresh({ pollInterval: "20 millis" })
      const { name, redis } = opened
      const logger = Logger.make(({ message }) => Effect.runSync(Ref.update(logged, (all) => [...all, message])))
      const document = new CloudEvent({ id: "1", source: "/python", type: "Happened", subject: "Thing-1", data: 1 })
      const event = JSON.stringify({
        ...document.toJSON(),
        time: "2026-02-03T04:05:06Z",
        datacontenttype: "application/json",
        schemaversion: 1,
        position: "1"
      })
      const first = yield* redis.send<string>("XADD", name, "*", "type", "Happened", "event", "{}")
      const second = yield* redis.send<string>("XADD", name, "*", "other", "fields")
      yield* redis.send("XADD", name, "*", "type", "Happened", "event", event)
      const received = yield* Effect.provide(take(opened, "g", 1, { concurrency: 2 }), Logger.layer([logger]))
      assert.deepEqual(received, [[1, 1]])
      const pending = yield* redis.send<ReadonlyArray<unknown>>("XPENDING", name, "g", "-", "+", "10", "$unreadable")
      assert.deepEqual(ids(pending), [first, second])
      for (const id of [first, second]) assert.match(String(yield* Ref.get(logged)), new RegExp(`"${id}".*is no message`))
    }).pipe(Effect.scoped)
  )

  it.live("handles what any producer of CloudEvents adds, or makes it a dead letter with its cause", () =>
    Effect.gen(function* () {
      logs(/is a dead letter/)
      const { name, redis, transport } = yield* fresh({ pollInterval: "20 millis" })
      const add = (...fields: ReadonlyArray<string>) => redis.send("XADD", name, "*", ...fields)
      let added = 0
      yield* assertReadsAll(transport, {
        // The type beside the document is not needed.
        structured: (document) => (++added % 2 === 0 ? add("event", document) : add("type", Sampled.type, "event", document)),
        binary: (attributes, body) => {
          const prefix = ["", "ce-", "ce_", "cloudEvents_", "cloudEvents:"][++added % 5]
          const fields = Object.entries(attributes).flatMap(([name, value]) => [`${prefix}${name}`, value])
          const text = Buffer.from(body)
          return isUtf8(text) ? add(...fields, "data", text.toString()) : add(...fields, "data_base64", text.toString("base64"))
        },
        garbage: (text) => (++added % 2 === 0 ? add("event", text) : add("type", Sampled.type, "event", text))
      })
    }).pipe(Effect.scoped)
  )

  it.live("knows a message by source and id, for as long as it was asked to", () =>
    Effect.gen(function* () {
      const opened = yield* fresh({ deduplication: "2 seconds" })
      const { name, redis, transport } = opened
      yield* transport.publish([message(1), message(1), message(1, { source: "/other", position: 2 })])
      yield* transport.publish([message(1)])
      assert.deepEqual(yield* take(opened, "g", 2), [
        [1, 1],
        [2, 1]
      ])
      yield* until(
        "the server has forgotten the ids",
        Effect.map(redis.send<number>("EXISTS", `{${name}}:ids`), (count) => count === 0)
      )
      yield* transport.publish([message(1)])
      assert.deepEqual(yield* take(opened, "g", 1), [[1, 1]])
    }).pipe(Effect.scoped)
  )

  // ---------------------------------------------------------------------------
  // sizes
  // ---------------------------------------------------------------------------

  it.live("refuses what the server would cut the connection for, and publishes what is smaller", () =>
    Effect.gen(function* () {
      const { redis, transport } = yield* open((yield* ownServer).url, { name: freshName() })
      yield* redis.send("CONFIG", "SET", "proto-max-bulk-len", `${1024 * 1024}`)
      const reason = yield* reasonOf(transport.publish([message(1), message(2, { data: "x".repeat(2 * 1024 * 1024) })]))
      assert.ok(reason._tag === "MessageRefused")
      assert.deepEqual([reason.id, reason.detail.includes("1048576 are allowed")], ["2", true])
      yield* transport.publish([message(3, { data: "x".repeat(900_000) })])
      const [delivery] = yield* Stream.runCollect(Stream.take(transport.subscribe({ group: "g" }), 1))
      assert.equal(delivery?.message.position, 3)
    }).pipe(Effect.scoped)
  )

  it.live("refuses a batch with a message that is too large, and publishes nothing of it", () =>
    Effect.gen(function* () {
      const { name, redis, transport } = yield* fresh({ maxMessageBytes: 1000 })
      const large = message(2, { data: "é".repeat(450) })
      const reason = yield* reasonOf(transport.publish([message(1), large, message(3)]))
      assert.ok(reason._tag === "MessageRefused")
      assert.equal(reason.id, "2")
      assert.match(reason.detail, /^it has \d+ bytes, and 1000 are allowed$/)
      assert.equal(yield* redis.send("EXISTS", name), 0)
      const broken = yield* reasonOf(transport.publish([message(1), message(4, { schemaversion: 1.5 })]))
      assert.ok(broken._tag === "MessageRefused")
      assert.equal(broken.id, "4")
    }).pipe(Effect.scoped)
  )

  it.live("publishes batches that are longer and larger than one call of the server, in order", () =>
    Effect.gen(function* () {
      const opened = yield* fresh()
      const padding = "x".repeat(3_000_000)
      yield* opened.transport.publish(messages(1, 1001))
      yield* opened.transport.publish(Arr.map(Arr.range(1002, 1005), (n) => message(n, { data: padding })))
      assert.deepEqual(
        yield* take(opened, "g", 1005, { concurrency: 200 }),
        Arr.range(1, 1005).map((n) => [n, 1])
      )
    }).pipe(Effect.scoped)
  )

  it.live("confirms what is acknowledged at once however much it is, and not when it is next asked for messages", () =>
    Effect.gen(function* () {
      const [inHand, bursts] = [99, 10]
      const { redis, transport } = yield* fresh({ pollInterval: "1 hour", lease: "6 hours" })
      yield* transport.publish(messages(1, (bursts + 2) * inHand))
      /** All in one turn. */
      const confirmed = Effect.fnUntraced(function* (acks: ReadonlyArray<Effect.Effect<void, Transport.TransportError>>) {
        const gate = yield* Deferred.make<void>()
        const fibers = yield* Effect.forEach(acks, (ack) => Effect.forkChild(Effect.andThen(Deferred.await(gate), ack)))
        yield* Effect.yieldNow
        yield* Deferred.succeed(gate, undefined)
        yield* Effect.forEach(fibers, Fiber.join, { discard: true })
      })
      for (let most = 64; most < inHand; most += 5) {
        const received = yield* Queue.unbounded<Effect.Effect<void, Transport.TransportError>>()
        const reading = yield* transport.subscribe({ group: `g${most}`, concurrency: inHand }).pipe(
          Stream.runForEach(({ ack }) => Queue.offer(received, ack)),
          Effect.forkScoped
        )
        const next = Queue.takeN(received, inHand)
        for (let burst = 0; burst < bursts; burst++) yield* confirmed(yield* next)
        // Of what is in hand now a part is done with while the server is slow, and nothing more happens.
        const last = yield* next
        yield* redis.send("CLIENT", "PAUSE", "20", "ALL")
        yield* Effect.timeout(confirmed(last.slice(0, most)), "10 seconds")
        yield* Fiber.interrupt(reading)
      }
    }).pipe(Effect.scoped)
  )

  // ---------------------------------------------------------------------------
  // memory
  // ---------------------------------------------------------------------------

  it.live("removes what is older than the retention and done with by every group, and what is older than the greatest age", () =>
    Effect.gen(function* () {
      const opened = yield* fresh({ retention: 0 })
      const { again, name, redis, transport } = opened
      const length = redis.send<number>("XLEN", name)
      yield* transport.publish(messages(1, 1000))
      yield* take(opened, "fast", 1000, { concurrency: 100 })
      yield* take(opened, "slow", 500)
      // The first call of each Layer trims.
      yield* (yield* again()).transport.publish([message(1001)])
      const kept = yield* length
      assert.ok(kept > 500 && kept < 700, `${kept} are kept`)
      assert.deepEqual(yield* take(opened, "slow", 1), [[501, 1]])
      yield* (yield* again({ retention: "1 hour" })).transport.publish([message(1002)])
      assert.equal(yield* length, kept + 1)
      yield* (yield* again({ greatestAge: 0 })).transport.publish([message(1003)])
      assert.ok((yield* length) < 200)
    }).pipe(Effect.scoped)
  )

  it.live("a stream that is deleted is made again by the members that are there", () =>
    Effect.gen(function* () {
      const opened = yield* fresh({ pollInterval: "20 millis" })
      const { name, redis, transport } = opened
      yield* transport.publish([message(1)])
      const received: Array<readonly [number, number]> = []
      const member = yield* transport.subscribe({ group: "g" }).pipe(
        Stream.runForEach((delivery) => {
          received.push(facts(delivery))
          return delivery.ack
        }),
        Effect.forkChild
      )
      const has = (count: number) =>
        until(
          `${count} have come`,
          Effect.sync(() => received.length === count)
        )
      yield* has(1)
      yield* redis.send("DEL", name)
      yield* transport.publish([message(2)])
      yield* has(2)
      yield* redis.send("XGROUP", "DESTROY", name, "g")
      yield* transport.publish([message(3)])
      // A group that is new begins at the beginning.
      yield* has(4)
      yield* Fiber.interrupt(member)
      assert.deepEqual(received, [
        [1, 1],
        [2, 1],
        [2, 1],
        [3, 1]
      ])
    }).pipe(Effect.scoped, Effect.provide(Logger.layer([])))
  )

  it.live("leaves nothing behind of a member that has left", () =>
    Effect.gen(function* () {
      const opened = yield* fresh()
      const { name, redis, transport } = opened
      yield* transport.publish(messages(1, 3))
      yield* take(opened, "g", 3)
      assert.deepEqual(yield* redis.send("XINFO", "CONSUMERS", name, "g"), [])
      assert.deepEqual([...(yield* redis.send<ReadonlyArray<string>>("KEYS", `{${name}}:*`))], [`{${name}}:ids`])
    }).pipe(Effect.scoped)
  )

  // ---------------------------------------------------------------------------
  // members
  // ---------------------------------------------------------------------------

  it.live("counts what was handed out, and not what was only taken", () =>
    Effect.gen(function* () {
      const opened = yield* fresh()
      yield* opened.transport.publish(messages(1, 3))
      // It has room for three, and looks at one.
      yield* Stream.runDrain(Stream.take(opened.transport.subscribe({ group: "g", concurrency: 3 }), 1))
      assert.deepEqual(yield* take(opened, "g", 3), [
        [1, 2],
        [2, 1],
        [3, 1]
      ])
    }).pipe(Effect.scoped)
  )

  it.live("keeps the order of one member at a time, whatever is given back", () =>
    Effect.gen(function* () {
      const opened = yield* fresh()
      yield* opened.transport.publish(messages(1, 100))
      const received: Array<readonly [number, number]> = []
      yield* opened.transport.subscribe({ group: "g" }).pipe(
        Stream.tap((delivery) => {
          received.push(facts(delivery))
          return Number(delivery.message.position) % 3 === 0 && delivery.attempt === 1 ? delivery.nack() : delivery.ack
        }),
        Stream.take(133),
        Stream.runDrain
      )
      assert.deepEqual(
        received,
        Arr.range(1, 100).flatMap((n) =>
          n % 3 === 0
            ? [
                [n, 1],
                [n, 2]
              ]
            : [[n, 1]]
        )
      )
    }).pipe(Effect.scoped)
  )

  it.live("delivers again what was given back in a call whose answer got lost, once that has been said again", () =>
    Effect.gen(function* () {
      const { name, redis, transport } = yield* fresh()
      yield* transport.publish([message(1)])
      let lose = false
      const losing: typeof redis = {
        ...redis,
        eval:
          (script) =>
          (...input) =>
            Effect.flatMap(redis.eval(script)(...input), (answer) => {
              if (!lose) return Effect.succeed(answer)
              lose = false
              return Effect.fail(new Redis.RedisError({ cause: new Error("the answer got lost") }))
            })
      }
      const given: Array<readonly [number, number]> = []
      const read = Transport.subscribe({ group: "g" }).pipe(
        Stream.tap(({ ack, attempt, message, nack }) =>
          Effect.gen(function* () {
            given.push([Number(message.position), attempt])
            if (attempt > 1) return yield* ack
            lose = true
            assert.match((yield* reasonOf(nack())).detail, /got lost/)
            yield* Effect.retry(nack(), Schedule.spaced("10 millis"))
          })
        ),
        Stream.take(2),
        Stream.runDrain,
        Effect.timeoutOrElse({ duration: "5 seconds", orElse: () => Effect.die(new Error("it did not come again")) }),
        Effect.provide(Layer.provide(RedisTransport.layerWith({ name }), Layer.succeed(Redis.Redis, losing)))
      )
      yield* Effect.provide(read, Logger.layer([]))
      assert.deepEqual(given, [
        [1, 1],
        [1, 2]
      ])
    }).pipe(Effect.scoped)
  )

  it.live("gives the messages of a process that was killed to others, after its lease", () =>
    Effect.gen(function* () {
      const opened = yield* fresh({ lease: 600 })
      yield* opened.transport.publish(messages(1, 4))
      const victim = yield* startChild(new URL("processes/member.ts", import.meta.url), {
        url: broker.url,
        name: opened.name,
        lease: 600
      })
      yield* victim.says("3")
      const others = yield* Effect.forkScoped(take(opened, "g", 4))
      yield* victim.kill
      assert.deepEqual(
        (yield* Fiber.join(others)).toSorted(([a], [b]) => a - b),
        [
          [1, 2],
          [2, 2],
          [3, 2],
          [4, 1]
        ]
      )
    }).pipe(Effect.scoped)
  )

  it.live("leaves a member alone that works for longer than the lease", () =>
    Effect.gen(function* () {
      const lease = 2000
      const { again, name, redis, transport } = yield* fresh({ lease })
      yield* transport.publish([message(1)])
      const received: Array<readonly [number, number]> = []
      const worker = Stream.runForEach(Stream.take(transport.subscribe({ group: "g" }), 1), (delivery) =>
        Effect.gen(function* () {
          received.push(facts(delivery))
          const other = yield* again()
          yield* Effect.forkScoped(
            Stream.runForEach(other.transport.subscribe({ group: "g" }), (delivery) => {
              received.push(facts(delivery))
              return delivery.ack
            })
          )
          /** When the leases of the two end that we have now. */
          const ends = Effect.map(
            redis.send<ReadonlyArray<unknown>>("ZRANGE", `{${name}}:members:g`, "0", "-1", "WITHSCORES"),
            (members) =>
              members
                .flat()
                .filter((_, index) => index % 2 === 1)
                .map(Number)
          )
          yield* until(
            "both are members",
            Effect.map(ends, ({ length }) => length === 2)
          )
          const before = Math.max(...(yield* ends))
          yield* until(
            "both have outlived their leases",
            Effect.map(ends, (now) => Math.min(...now) > before + lease)
          )
          yield* delivery.ack
        })
      )
      yield* worker
      assert.deepEqual(received, [[1, 1]])
    }).pipe(Effect.scoped)
  )

  it.live("creates a group once, for two that join at the same time; or leaves that to operators", () =>
    Effect.gen(function* () {
      const opened = yield* fresh()
      const others = yield* Effect.forEach(Arr.range(1, 5), () => opened.again())
      yield* opened.transport.publish(messages(1, 6))
      const received = yield* Effect.forEach([opened, ...others], (each) => take(each, "g", 1), { concurrency: "unbounded" })
      assert.deepEqual(
        received
          .flat()
          .map(([n]) => n)
          .sort(),
        Arr.range(1, 6)
      )

      const cautious = yield* opened.again({ createGroups: false })
      const reason = yield* reasonOf(take(cautious, "later", 1))
      assert.equal(reason._tag, "TransportUnavailable")
      assert.match(reason.detail, /^NOGROUP/)
      yield* opened.redis.send("XGROUP", "CREATE", opened.name, "later", "0")
      assert.deepEqual(yield* take(cautious, "later", 1), [[1, 1]])
    }).pipe(Effect.scoped, Effect.provide(Logger.layer([])))
  )

  it.live("fails where waiting would not help: a key of another kind", () =>
    Effect.gen(function* () {
      const opened = yield* fresh()
      yield* opened.redis.send("SET", opened.name, "text")
      for (const reason of [yield* reasonOf(take(opened, "g", 1)), yield* reasonOf(opened.transport.publish([message(1)]))]) {
        assert.equal(reason._tag, "TransportUnavailable")
        assert.match(reason.detail, /^WRONGTYPE/)
      }
    }).pipe(Effect.scoped, Effect.provide(Logger.layer([])))
  )
})

// -----------------------------------------------------------------------------
// servers that fail
// -----------------------------------------------------------------------------

describe.runIf(isExpected("redis"))("the transport, when Redis", () => {
  it.live(
    "is frozen: publishing and answers fail in time, and members go on when it is back",
    () =>
      Effect.gen(function* () {
        const server = yield* ownServer
        const opened = yield* open(server.url, { name: "frozen", timeout: "1500 millis" })
        const { transport } = opened
        yield* transport.publish(messages(1, 2))
        const received: Array<readonly [number, number]> = []
        const joined = yield* Deferred.make<void>()
        const other = yield* transport.subscribe({ group: "other" }).pipe(
          Stream.runForEach(() => Deferred.succeed(joined, undefined)),
          Effect.provide(Logger.layer([])),
          Effect.forkChild
        )
        yield* Deferred.await(joined)
        const reading = yield* Stream.runForEach(Stream.take(transport.subscribe({ group: "g" }), 3), (delivery) =>
          Effect.gen(function* () {
            received.push(facts(delivery))
            if (delivery.message.position === 1) {
              yield* Effect.sync(server.freeze)
              // Leaving does not wait for the server for ever either.
              yield* Fiber.interrupt(other)
              for (const reason of [
                yield* reasonOf(transport.publish([message(3)])),
                yield* reasonOf(delivery.ack),
                yield* reasonOf(delivery.nack())
              ]) {
                assert.equal(reason._tag, "TransportUnavailable")
                assert.equal(reason.detail, "the server did not answer within 1s 500ms")
              }
              yield* Effect.sync(server.thaw)
              yield* Effect.retry(delivery.ack, { times: 500, schedule: Schedule.spaced("20 millis") })
            } else {
              yield* delivery.ack
            }
          })
        ).pipe(Effect.ensuring(Effect.sync(server.thaw)), Effect.provide(Logger.layer([])), Effect.forkChild)
        yield* Fiber.join(reading)
        assert.deepEqual(received, [
          [1, 1],
          [2, 1],
          [3, 1]
        ])
        assert.deepEqual(yield* take(opened, "other", 1), [[1, 2]])
      }).pipe(Effect.scoped),
    30_000
  )

  it.live(
    "is full: publishing fails, typed, and members receive, acknowledge and make room",
    () =>
      Effect.gen(function* () {
        const server = yield* ownServer
        const opened = yield* open(server.url, { name: "full", retention: 0 })
        const { redis, transport } = opened
        const used = Effect.map(redis.send<string>("INFO", "memory"), (info) => Number(/used_memory:(\d+)/.exec(info)?.[1]))
        const limit = (yield* used) + 3_000_000
        yield* redis.send("CONFIG", "SET", "maxmemory", `${limit}`)
        const data = "x".repeat(1000)
        const batch = (n: number) => Arr.map(Arr.range(100 * n + 1, 100 * n + 100), (position) => message(position, { data }))
        let published = 0
        const reason = yield* reasonOf(
          Effect.forever(
            Effect.suspend(() =>
              Effect.andThen(
                transport.publish(batch(published)),
                Effect.sync(() => void published++)
              )
            )
          )
        )
        assert.equal(reason._tag, "TransportUnavailable")
        assert.match(reason.detail, /^OOM/)
        assert.ok(published > 3 && published < 100, `${published} batches`)
        // Some more than the limit are what a batch may take that begins below it.
        assert.ok((yield* used) < limit + 1_000_000)
        const [first] = yield* transport.subscribe({ group: "g" }).pipe(
          Stream.tap(({ nack }) => nack()),
          Stream.take(1),
          Stream.runCollect
        )
        assert.deepEqual(first && facts(first), [1, 1])
        const received = yield* take(opened, "g", 100 * published, { concurrency: 50 })
        assert.deepEqual(
          received.map(([n]) => n),
          Arr.range(1, 100 * published)
        )
        // What all groups are done with is removed, and there is room.
        yield* (yield* open(server.url, { name: "full", retention: 0 })).transport.publish([message(1_000_000)])
        assert.deepEqual(yield* take(opened, "g", 1), [[1_000_000, 1]])
      }).pipe(Effect.scoped, Effect.provide(Logger.layer([]))),
    30_000
  )

  it.live(
    "has too few replicas: publishing fails until enough have the messages",
    () =>
      Effect.gen(function* () {
        const [primary, replica] = [yield* ownServer, yield* ownServer]
        const administrator = yield* open(replica.url, { name: "replicated" })
        const opened = yield* open(primary.url, { name: "replicated", replicas: 1, timeout: "2 seconds" })
        const alone = yield* reasonOf(opened.transport.publish([message(1)]))
        assert.ok(alone._tag === "TransportUnavailable")
        yield* administrator.redis.send("REPLICAOF", "127.0.0.1", new URL(primary.url).port)
        // The message is known by now; publishing it again still waits for the replica.
        yield* Effect.retry(opened.transport.publish([message(1)]), { times: 60 })
        assert.equal(yield* administrator.redis.send("XLEN", "replicated"), 1)
        yield* opened.transport.publish([message(2)])
        assert.equal(yield* administrator.redis.send("XLEN", "replicated"), 2)
        yield* Effect.acquireUseRelease(
          Effect.sync(replica.freeze),
          () =>
            Effect.gen(function* () {
              for (const n of [3, 3]) {
                assert.equal((yield* reasonOf(opened.transport.publish([message(n)])))._tag, "TransportUnavailable")
              }
            }),
          () => Effect.sync(replica.thaw)
        )
      }).pipe(Effect.scoped),
    60_000
  )

  it.live(
    "is killed and restarted amid ten thousand relayed events: every one arrives, in order, repetitions with the same id",
    () =>
      Effect.gen(function* () {
        const server = yield* ownServer
        const count = 10_000
        const store = yield* EventStore.EventStore
        for (const page of Arr.chunksOf(Arr.range(1, count), 500)) {
          yield* Effect.forEach(page, (n) =>
            store.append(`Order-${n % 7}`, [{ type: "Placed", payload: { n }, id: `event ${n}`, published: true }])
          )
        }
        const transport = yield* Layer.build(connected(server.url, { name: "orders" }))
        const received: Array<Transport.Message> = []
        const ids = new Set<string>()
        const reading = yield* Transport.subscribe({ group: "g", concurrency: 100 }).pipe(
          Stream.mapEffect(
            ({ ack, message }) =>
              Effect.suspend(() => {
                received.push(message as Transport.Message)
                ids.add(message.id)
                return Effect.ignore(Effect.retry(ack, { times: 1000, schedule: Schedule.spaced("20 millis") }))
              }),
            { concurrency: 100 }
          ),
          Stream.takeUntil(() => ids.size === count),
          Stream.runDrain,
          Effect.provide(transport),
          Effect.forkScoped
        )
        const relay = yield* Relay.run({ name: "shop" }).pipe(Effect.provide(transport), Effect.forkScoped)
        yield* until(
          "a fifth has arrived",
          Effect.sync(() => ids.size > count / 5)
        )
        yield* Effect.promise(() => server.stop("SIGKILL"))
        yield* Effect.promise(() => server.start())
        yield* Fiber.join(reading)
        yield* Fiber.interrupt(relay)
        const seen = new Set<string>()
        const first = received.filter(({ id }) => !seen.has(id) && seen.add(id))
        assert.deepEqual(
          first.map(({ position }) => position),
          Arr.range(1, count)
        )
        assert.ok(first.every(({ id, position }) => id === `event ${position}`))
      }).pipe(Effect.provide([EventStore.layerMemory, Checkpoints.layerMemory, Logger.layer([])]), Effect.scoped),
    60_000
  )
})
