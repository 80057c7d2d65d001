import assert from "node:assert/strict"
import { describe, it } from "@effect/vitest"
import { Cause, DateTime, Deferred, Effect, Fiber, Layer, Metric, Option, Queue, Schedule, Schema, Stream } from "effect"
import { SqlClient } from "effect/sql"
import { TestClock } from "effect/testing"
import { Command, Consumer, DeadLetters, Event, EventStore, Inbox, MessageBus, Transport, UnitOfWork } from "eventfold"
import { SqliteClient } from "eventfold/sqlite"
import { Faults } from "eventfold/testing"
import { logs } from "./support/logs.ts"
import { rest, start, until } from "./support/words.ts"
import { recordingSpans } from "./support/spans.ts"

const Placed = Event.make(
  "Placed",
  { total: Schema.Int },
  { version: 2, published: true, upcast: { 1: (old) => ({ total: (old as { sum: number }).sum }) } }
)
const Shipped = Event.make("Shipped", {}, { published: true })

const message = (id: string, more: Partial<Transport.Message> = {}): Transport.Message => ({
  specversion: "1.0",
  id,
  source: "/shop",
  type: "Placed",
  subject: "Order-1",
  time: DateTime.makeUnsafe("2026-01-01T00:00:00Z"),
  datacontenttype: "application/json",
  data: { total: 1 },
  schemaversion: 2,
  position: 1,
  ...more
})

const services = Layer.mergeAll(Transport.layerMemory, DeadLetters.layerMemory, Inbox.layerMemory)
const group = "g"

const letters = DeadLetters.DeadLetters.use(({ list }) => list(group))

describe("a consumer", () => {
  it.effect("handles the events of its types, upcast, and subscribes to no other", () =>
    Effect.gen(function* () {
      const seen: Array<unknown> = []
      yield* Layer.build(
        Consumer.layer(
          [Placed, Shipped],
          {
            Placed: ({ total }, { attempt, message }) => Effect.sync(() => seen.push([message.id, total, attempt])),
            Shipped: (_, { group, message }) => Effect.sync(() => seen.push([message.id, group]))
          },
          { group }
        )
      )
      yield* Transport.publish([
        message("1", { data: { sum: 7 }, schemaversion: 1 }),
        message("2", { type: "Other" }),
        message("3", { type: "Shipped", data: {}, schemaversion: 1 })
      ])
      yield* until(() => seen.length === 2)
      yield* rest
      assert.deepEqual(seen, [
        ["1", 7, 1],
        ["3", "g"]
      ])
      const [other] = yield* Stream.runCollect(Stream.take(Transport.subscribe({ group }), 1))
      assert.deepEqual([other?.message.id, other?.attempt], ["2", 1])
      assert.deepEqual(yield* letters, [])
    }).pipe(Effect.scoped, Effect.provide(services))
  )

  it.effect("is seen by a span a try, and by metrics of its group", () =>
    Effect.gen(function* () {
      logs(/is a dead letter/)
      const { spans, tracer } = recordingSpans()
      const dead = yield* Deferred.make<void>()
      yield* Layer.build(
        Consumer.layer(
          [Placed, Shipped],
          { Placed: () => Effect.void, Shipped: () => Effect.andThen(Deferred.succeed(dead, undefined), Effect.fail("no")) },
          { group, maxAttempts: 1 }
        )
      ).pipe(Effect.withTracer(tracer))
      yield* Transport.publish([
        message("1", { correlationid: "c" }),
        message("2", { type: "Shipped", data: {}, schemaversion: 1 })
      ])
      yield* Deferred.await(dead)
      yield* rest
      assert.deepEqual(
        spans.map(({ attributes, kind, name }) => [name, kind, Object.fromEntries(attributes)]),
        [
          ["Placed", "1", "c"],
          ["Shipped", "2", "2"]
        ].map(([type, id, conversation]) => [
          `process ${type}`,
          "consumer",
          {
            "messaging.system.name": "eventfold",
            "messaging.operation.name": "process",
            "messaging.operation.type": "process",
            "messaging.destination.name": type,
            "messaging.consumer.group.name": group,
            "messaging.message.id": id,
            "messaging.message.conversation_id": conversation,
            "eventfold.message.stream": "Order-1",
            "eventfold.message.attempt": 1
          }
        ])
      )
      assert.deepEqual(
        (yield* Metric.snapshot).flatMap(({ attributes, id, state }) =>
          "count" in state ? [[id, attributes, state.count]] : []
        ),
        ["handled_messages", "failures", "dead_letters"].map((name) => [`eventfold_consumer_${name}`, { group }, 1])
      )
      assert.deepEqual(
        (yield* Metric.snapshot).flatMap(({ attributes, id, state }) =>
          "value" in state ? [[id, attributes, state.value]] : []
        ),
        [
          ["eventfold_consumer_state", { group, state: "starting" }, 0],
          ["eventfold_consumer_state", { group, state: "live" }, 1]
        ]
      )
    }).pipe(Effect.scoped, Effect.provideService(Metric.MetricRegistry, new Map()), Effect.provide(services))
  )

  it.effect("holds up the subject of a message that is tried again, and no other subject", () =>
    Effect.gen(function* () {
      const seen: Array<string> = []
      yield* Layer.build(
        Consumer.layer(
          [Placed],
          {
            Placed: (_, { attempt, message }) =>
              Effect.suspend(() => {
                seen.push(`${message.id}.${attempt}`)
                return message.id === "1" && attempt < 3 ? Effect.fail("not yet") : Effect.void
              })
          },
          { group, concurrency: 10, retry: Schedule.spaced("5 seconds") }
        )
      )
      yield* Transport.publish([message("1"), message("2"), message("3", { subject: "Order-2" })])
      yield* rest
      assert.deepEqual(seen, ["1.1", "3.1"])
      yield* TestClock.adjust("5 seconds")
      yield* rest
      assert.deepEqual(seen, ["1.1", "3.1", "1.2"])
      yield* TestClock.adjust("5 seconds")
      yield* until(() => seen.length === 5)
      assert.deepEqual(seen, ["1.1", "3.1", "1.2", "1.3", "2.1"])
    }).pipe(Effect.scoped, Effect.provide(services))
  )

  it.effect("begins none of a subject's messages behind one that could not be given back, and counts what it was given", () =>
    Effect.gen(function* () {
      logs(/starts again/)
      const seen: Array<string> = []
      yield* Layer.build(
        Consumer.layer(
          [Placed],
          {
            Placed: (_, { attempt, message }) =>
              Effect.suspend(() => {
                seen.push(`${message.id}.${attempt}`)
                return message.id === "1" && attempt === 1 ? Effect.fail("not yet") : Effect.void
              })
          },
          { group, concurrency: 10, retry: Schedule.spaced("10 seconds") }
        )
      )
      yield* Transport.publish([message("1"), message("2"), message("3")])
      yield* rest
      yield* TestClock.adjust("1 second")
      yield* until(() => seen.includes("3.2"))
      assert.deepEqual(seen, ["1.1", "1.2", "2.2", "3.2"])
    }).pipe(Effect.scoped, Effect.provide(Layer.provideMerge(Transport.layerFaulty({ settle: ["unavailable"] }), services)))
  )

  it.effect("gives a message back for longer waits, and goes by the broker's count and the schedule's place", () =>
    Effect.gen(function* () {
      logs(/is a dead letter/)
      const seen: Array<string> = []
      yield* Layer.build(
        Consumer.layer(
          [Placed],
          {
            Placed: (_, { attempt, message }) =>
              Effect.suspend(() => {
                seen.push(`${message.id}.${attempt}`)
                return message.id === "1" ? Effect.fail("never") : Effect.void
              })
          },
          { group, retry: Schedule.exponential("10 seconds"), maxAttempts: 3 }
        )
      )
      yield* Transport.publish([message("1"), message("2")])
      yield* rest
      assert.deepEqual(seen, ["1.1", "2.1"])
      yield* TestClock.adjust("10 seconds")
      yield* rest
      yield* TestClock.adjust("19 seconds")
      yield* rest
      assert.deepEqual(seen, ["1.1", "2.1", "1.2"])
      yield* TestClock.adjust("1 second")
      yield* rest
      assert.deepEqual(seen, ["1.1", "2.1", "1.2", "1.3"])
      const [letter] = yield* letters
      assert.deepEqual([letter?.message.id, letter?.attempts], ["1", 3])
      assert.match(letter?.cause ?? "", /never/)
    }).pipe(Effect.scoped, Effect.provide(services))
  )

  it.effect("parks defects and what ends its schedule, and unseen what has been delivered too often", () =>
    Effect.gen(function* () {
      logs(/is a dead letter/)
      yield* Transport.publish([message("1")])
      // Members that die with it in hand.
      for (let n = 0; n < 4; n++) yield* Stream.runDrain(Stream.take(Transport.subscribe({ group }), 1))
      const seen: Array<string> = []
      yield* Layer.build(
        Consumer.layer(
          [Placed],
          {
            Placed: (_, { attempt, message }) =>
              Effect.suspend(() => {
                seen.push(`${message.id}.${attempt}`)
                return message.id === "2" ? Effect.die(new Error("broken")) : Effect.fail("no")
              })
          },
          { group, retry: Schedule.recurs(1), maxAttempts: 2 }
        )
      )
      yield* Transport.publish([message("2"), message("3")])
      yield* until(() => seen.length === 4)
      yield* rest
      assert.deepEqual(seen, ["2.1", "2.2", "3.1", "3.2"])
      assert.deepEqual(
        (yield* letters).map(({ attempts, message }) => [message.id, attempts]),
        [
          ["1", 5],
          ["2", 2],
          ["3", 2]
        ]
      )
      assert.match((yield* letters)[1]?.cause ?? "", /broken/)
    }).pipe(Effect.scoped, Effect.provide(services))
  )

  it.effect("does not take an outage of its storage for a failure of the message", () =>
    Effect.gen(function* () {
      logs(/without its storage/)
      let outages = 3
      let handled = 0
      const inbox = yield* Inbox.Inbox
      const away = new Inbox.InboxError({ operation: "test", cause: new Error("away") })
      const once: typeof inbox.once = (group, id, effect) =>
        Effect.suspend(() => (outages-- > 0 ? Effect.fail(away) : inbox.once(group, id, effect)))
      const Flaky = Layer.succeed(Inbox.Inbox, { once })
      yield* Layer.build(
        Layer.provide(
          Consumer.layer(
            [Placed],
            { Placed: (_, { attempt }) => Effect.sync(() => void (handled += attempt)) },
            { group, inbox: true, maxAttempts: 1 }
          ),
          Flaky
        )
      )
      yield* Transport.publish([message("1")])
      for (let n = 0; n < 10; n++) yield* Effect.andThen(rest, TestClock.adjust("1 second"))
      assert.equal(handled, 1)
      assert.deepEqual(yield* letters, [])
    }).pipe(Effect.scoped, Effect.provide(services))
  )

  it.effect("ends at once while it waits for its storage, and gives the message back", () =>
    Effect.gen(function* () {
      logs(/without its storage/)
      let asked = 0
      const away = new DeadLetters.DeadLettersError({ operation: "park", cause: new Error("away") })
      const letters = yield* DeadLetters.DeadLetters
      const consuming = yield* Consumer.run([Placed], { Placed: () => Effect.fail("no") }, { group, maxAttempts: 1 }).pipe(
        Effect.provideService(DeadLetters.DeadLetters, {
          ...letters,
          park: () => Effect.suspend(() => (asked++, Effect.fail(away)))
        }),
        Effect.forkChild
      )
      yield* Transport.publish([message("1")])
      yield* until(() => asked === 1)
      yield* TestClock.adjust("1 minute")
      const before = asked
      const ending = yield* Effect.forkChild(Fiber.interrupt(consuming))
      yield* rest
      assert.notEqual(ending.pollUnsafe(), undefined)
      assert.equal(asked, before)
      const [again] = yield* Stream.runCollect(Stream.take(Transport.subscribe({ group }), 1))
      assert.deepEqual([again?.message.id, again?.attempt], ["1", 2])
    }).pipe(Effect.scoped, Effect.provide(services))
  )

  it.effect("interrupts what is in hand when the grace is over, and gives it back", () =>
    Effect.gen(function* () {
      const begun = yield* Deferred.make<void>()
      const consuming = yield* Effect.forkChild(
        Consumer.run(
          [Placed],
          { Placed: () => Effect.andThen(Deferred.succeed(begun, undefined), Effect.never) },
          { group, grace: "3 seconds" }
        )
      )
      yield* Transport.publish([message("1")])
      yield* Deferred.await(begun)
      const ending = yield* Effect.forkChild(Fiber.interrupt(consuming))
      yield* Effect.andThen(rest, TestClock.adjust(2999))
      assert.equal(ending.pollUnsafe(), undefined)
      yield* Effect.andThen(rest, TestClock.adjust(1))
      yield* Fiber.join(ending)
      const [again] = yield* Stream.runCollect(Stream.take(Transport.subscribe({ group }), 1))
      assert.deepEqual([again?.message.id, again?.attempt], ["1", 2])
      assert.deepEqual(yield* letters, [])
    }).pipe(Effect.scoped, Effect.provide(services))
  )

  it.effect("gives nothing back that is still in a handler's hands", () =>
    Effect.gen(function* () {
      const begun = yield* Deferred.make<void>()
      const cleanedUp = yield* Deferred.make<void>()
      const consuming = yield* Effect.forkChild(
        Consumer.run(
          [Placed],
          {
            Placed: () =>
              Effect.onInterrupt(Effect.andThen(Deferred.succeed(begun, undefined), Effect.never), () =>
                Deferred.await(cleanedUp)
              )
          },
          { group, grace: "1 second" }
        )
      )
      yield* Transport.publish([message("1")])
      yield* Deferred.await(begun)
      const again = yield* Effect.forkChild(Stream.runHead(Transport.subscribe({ group })))
      const ending = yield* Effect.forkChild(Fiber.interrupt(consuming))
      yield* Effect.andThen(rest, TestClock.adjust("1 second"))
      yield* rest
      assert.equal(again.pollUnsafe(), undefined)
      yield* Deferred.succeed(cleanedUp, undefined)
      yield* Fiber.join(ending)
      assert.equal(Option.getOrThrow(yield* Fiber.join(again)).attempt, 2)
    }).pipe(Effect.scoped, Effect.provide(services))
  )

  it.effect("has its group forgotten when it has ended, and not while it works or is paused", () =>
    Effect.gen(function* () {
      const seen: Array<string> = []
      const consumer = Consumer.layer(
        [Placed],
        { Placed: (_, { message }) => Effect.sync(() => seen.push(message.id)) },
        { group }
      )
      const stop = yield* start(consumer)
      yield* Transport.publish([message("1")])
      yield* until(() => seen.length === 1)
      const refused = Effect.map(Effect.flip(Consumer.forget(group)), ({ message }) => message)
      assert.equal(
        yield* refused,
        `The group "g" is in use: consumers of this process belong to it. End its members before it is forgotten`
      )
      yield* Consumer.pause(group)
      assert.match(yield* refused, /is in use/)
      yield* stop
      assert.deepEqual([yield* Consumer.forget(group), yield* Consumer.forget(group)], [true, false])
      yield* start(consumer)
      yield* until(() => seen.length === 2)
      assert.deepEqual(seen, ["1", "1"])
    }).pipe(Effect.scoped, Effect.provide(services))
  )

  it.effect("subscribes again when the transport fails, until its schedule ends", () =>
    Effect.gen(function* () {
      logs(/starts again/, /gives up/)
      const lost = new Transport.TransportError({
        reason: new Transport.TransportUnavailable({ operation: "subscribe", detail: "nobody answers" })
      })
      let subscriptions = 0
      const exit = yield* Consumer.run([Placed], { Placed: () => Effect.void }, { group, restart: Schedule.recurs(3) }).pipe(
        Effect.provideService(Transport.Transport, {
          publish: () => Effect.void,
          forget: () => Effect.succeed(false),
          subscribe: () => Stream.suspend(() => (++subscriptions % 2 === 0 ? Stream.empty : Stream.fail(lost)))
        }),
        Effect.exit
      )
      assert.equal(subscriptions, 4)
      assert.ok(exit._tag === "Failure")
      assert.equal(Option.getOrThrow(Cause.findErrorOption(exit.cause))._tag, "TransportError")
    }).pipe(Effect.scoped, Effect.provide(services))
  )
})

describe("with an inbox in SQL every message has its effect once", () => {
  const services = Layer.provideMerge(
    Inbox.layerSql,
    Layer.mergeAll(SqliteClient.layer({ filename: ":memory:" }), DeadLetters.layerMemory)
  )
  const makeNotes = SqlClient.SqlClient.use((sql) => sql`create table note (id text not null)`)
  const note = (id: string) => SqlClient.SqlClient.use((sql) => sql`insert into note values (${id})`)
  const notes = SqlClient.SqlClient.use((sql) =>
    Effect.map(sql<{ id: string }>`select id from note`, (rows) => rows.map(({ id }) => id).toSorted())
  )
  const ids = Array.from({ length: 60 }, (_, n) => `${n}`)
  const messages = ids.map((id, n) => message(id, { subject: `Order-${n % 7}` }))

  it.live("however often the consumer is interrupted, and wherever", () =>
    Effect.gen(function* () {
      yield* makeNotes
      yield* Effect.forEach(messages, (message) => Transport.publish([message]))
      for (let round = 0; (yield* notes).length < ids.length; round++) {
        const consuming = yield* Effect.forkChild(
          Consumer.run(
            [Placed],
            {
              Placed: (_, { message }) => Effect.yieldNow.pipe(Effect.andThen(note(message.id)), Effect.andThen(Effect.yieldNow))
            },
            { group, inbox: true, concurrency: 1 + (round % 4), grace: round % 3 === 0 ? 0 : "20 millis", maxAttempts: 1000 }
          )
        )
        yield* Effect.forEach(Array.from({ length: round % 37 }), () => Effect.yieldNow, { discard: true })
        yield* Fiber.interrupt(consuming)
      }
      assert.deepEqual([yield* notes, yield* letters], [ids.toSorted(), []])
    }).pipe(Effect.scoped, Effect.provide(Layer.merge(services, Transport.layerMemory)))
  )

  it.live("or becomes a dead letter and has none, whatever fails on the way", () =>
    Effect.gen(function* () {
      logs(/is a dead letter/, /starts again/, /without its storage/)
      yield* makeNotes
      const store = yield* DeadLetters.DeadLetters
      const away = new DeadLetters.DeadLettersError({ operation: "park", cause: new Error("away") })
      let parked = 0
      const consuming = yield* Consumer.run(
        [Placed],
        {
          Placed: (_, { message }) => Effect.andThen(note(message.id), message.id.endsWith("3") ? Effect.fail("no") : Effect.void)
        },
        { group, inbox: true, concurrency: 5, maxAttempts: 1000, retry: Schedule.recurs(2), restart: Schedule.spaced("1 milli") }
      ).pipe(
        Effect.provideService(DeadLetters.DeadLetters, {
          ...store,
          park: (letter) => Effect.suspend(() => (++parked % 2 === 0 ? store.park(letter) : Effect.fail(away)))
        }),
        Effect.forkChild
      )
      yield* Effect.forEach(messages, (message) => Effect.retry(Transport.publish([message]), Schedule.forever))
      const bad = ids.filter((id) => id.endsWith("3"))
      while ((yield* notes).length < ids.length - bad.length || (yield* letters).length < bad.length) yield* Effect.yieldNow
      yield* Fiber.interrupt(consuming)
      assert.deepEqual(yield* notes, ids.filter((id) => !bad.includes(id)).toSorted())
      assert.deepEqual(
        (yield* letters).map(({ message }) => message.id),
        bad.toSorted()
      )
    }).pipe(
      Effect.scoped,
      Effect.provide(services),
      Effect.provide(
        Transport.layerFaulty({
          publish: Faults.seeded("publish", [
            [0.2, "lost"],
            [0.2, "unavailable"]
          ]),
          deliver: Faults.seeded("deliver", [
            [0.05, "lost"],
            [0.05, "duplicate"],
            [0.03, "unavailable"]
          ]),
          settle: Faults.seeded("settle", [
            [0.1, "lost"],
            [0.1, "unavailable"],
            [0.1, "duplicate"]
          ])
        }).pipe(Layer.provide(Transport.layerMemory))
      )
    )
  )
})

describe("a dead letter", () => {
  it.effect("is replayed by the handler of this process, and forgotten when that succeeds", () =>
    Effect.gen(function* () {
      logs(/is a dead letter/)
      let broken = true
      const attempts: Array<number> = []
      const consuming = yield* Effect.forkChild(
        Consumer.run(
          [Placed],
          {
            Placed: (_, { attempt }) =>
              Effect.suspend(() => {
                attempts.push(attempt)
                return broken ? Effect.fail(`broken ${attempt}`) : Effect.void
              })
          },
          { group, maxAttempts: 1, inbox: true }
        )
      )
      yield* Transport.publish([message("1")])
      while ((yield* letters).length === 0) yield* Effect.yieldNow
      assert.equal((yield* Effect.flip(Consumer.retry(group, "2")))._tag, "NotDeadLetterError")
      const again = yield* Effect.flip(Consumer.retry(group, "1"))
      assert.equal(again._tag, "MessageRetryError")
      assert.match(again.message, /broken 2/)
      assert.equal((yield* letters)[0]?.attempts, 2)
      broken = false
      yield* Consumer.retry(group, "1")
      assert.deepEqual(attempts, [1, 2, 3])
      assert.deepEqual(yield* letters, [])
      yield* Fiber.interrupt(consuming)
      const { park } = yield* DeadLetters.DeadLetters
      yield* park({ group, message: message("9"), cause: "?", attempts: 1, parkedAt: yield* DateTime.now })
      assert.equal((yield* Effect.flip(Consumer.retry(group, "9")))._tag, "UnknownConsumerError")
    }).pipe(Effect.provide(services), Effect.provideService(Consumer.Registry, new Map()))
  )
})

it.effect("what a handler does on the bus belongs to the conversation of the message, and is caused by it", () => {
  const Mail = Command.make("Mail", { payload: {} })
  const Live = Layer.mergeAll(
    MessageBus.layer,
    MessageBus.handle(Mail, () => UnitOfWork.stage("Mail-1", [{ type: "Mailed", payload: {} }])).pipe(
      Layer.provide(MessageBus.layer)
    )
  ).pipe(Layer.provideMerge(UnitOfWork.layer), Layer.provideMerge(EventStore.layerMemory), Layer.provideMerge(services))
  return Effect.gen(function* () {
    const done = yield* Queue.unbounded<void>()
    yield* Layer.build(
      Consumer.layer(
        [Placed, Shipped],
        {
          Placed: () => Effect.andThen(MessageBus.execute(Mail, {}), Queue.offer(done, undefined)),
          Shipped: () =>
            Effect.andThen(
              UnitOfWork.transact(UnitOfWork.stage("Ship-1", [{ type: "Noted", payload: {} }])),
              Queue.offer(done, undefined)
            )
        },
        { group }
      )
    )
    yield* Transport.publish([
      message("m1", { correlationid: "c1" }),
      message("m2", { type: "Shipped", data: {}, schemaversion: 1 })
    ])
    yield* Queue.takeN(done, 2)
    const events = yield* Stream.runCollect(EventStore.readAll())
    const of = (type: string) => events.find((event) => event.type === type)
    assert.deepEqual(
      [of("Mail")?.metadata.correlationId, of("Mail")?.metadata.causationId, of("Mailed")?.metadata.correlationId],
      ["c1", "m1", "c1"]
    )
    assert.equal(of("Mailed")?.metadata.causationId, of("Mail")?.id)
    assert.deepEqual([of("Noted")?.metadata.correlationId, of("Noted")?.metadata.causationId], ["m2", "m2"])
  }).pipe(Effect.scoped, Effect.provide(Live))
})
