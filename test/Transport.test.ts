import assert from "node:assert/strict"
import { describe, it } from "@effect/vitest"
import { CloudEvent, HTTP } from "cloudevents"
import { Context, DateTime, Effect, Fiber, Layer, Result, Schema, Stream } from "effect"
import { TestClock } from "effect/testing"
import { Event, type EventStore, Transport } from "eventfold"
import { TransportConformance } from "eventfold/testing"

// -----------------------------------------------------------------------------
// conformance
// -----------------------------------------------------------------------------

const all = { deduplicates: true, history: true, durable: true, shared: true }

/** The broker in memory, where a group begins at its first subscription. */
const withoutHistory = Layer.effect(
  Transport.Transport,
  Effect.gen(function* () {
    const context = yield* Layer.build(Layer.fresh(Transport.layerMemory))
    const { forget, publish, subscribe } = Context.get(context, Transport.Transport)
    const { messages } = Context.get(context, Transport.Published)
    const groups = new Map<string, number>()
    return {
      publish,
      forget: (group: string) => Effect.tap(forget(group), () => Effect.sync(() => groups.delete(group))),
      subscribe: (options: Transport.SubscribeOptions) =>
        Stream.unwrap(
          Effect.map(messages, (sofar) => {
            if (!groups.has(options.group)) groups.set(options.group, sofar.length)
            const before = new Set(sofar.slice(0, groups.get(options.group)).map(({ id }) => id))
            return Stream.filterEffect(subscribe(options), ({ ack, message }) =>
              before.has(message.id) ? Effect.as(ack, false) : Effect.succeed(true)
            )
          })
        )
    }
  })
)

describe("conformance of the broker in memory", () => {
  for (const { name, run } of TransportConformance.cases({
    storage: Effect.succeed(Transport.layerMemory),
    abilities: { ...all, clock: "test", durable: false, shared: false }
  })) {
    it.effect(name, () => run)
  }
})

describe("conformance of a broker whose groups begin at their first subscription", () => {
  for (const { name, run } of TransportConformance.cases({
    storage: Effect.succeed(withoutHistory),
    abilities: { clock: "test", deduplicates: true, history: false, durable: false, shared: false }
  })) {
    it.effect(name, () => run)
  }
})

// -----------------------------------------------------------------------------
// messages
// -----------------------------------------------------------------------------

const recorded = (more: Partial<EventStore.RecordedEvent> = {}): EventStore.RecordedEvent => ({
  stream: "Order-1",
  version: 3,
  position: 7,
  id: "0190a6a8-7f6e-7c1b-8b7e-2f6d1c3b5a49",
  type: "OrderPlaced",
  payload: { total: 5 },
  schemaVersion: 2,
  published: true,
  tags: ["large"],
  metadata: { correlationId: "c-1", causationId: "m-0", user: "ada" },
  recordedAt: DateTime.makeUnsafe("2026-02-03T04:05:06.789Z"),
  ...more
})

const encode = (message: Transport.Message) => Schema.encodeSync(Transport.Message)(message)
const decode = Schema.decodeUnknownSync(Transport.Message)

describe("a message", () => {
  it("is a CloudEvents 1.0 document", () => {
    assert.deepEqual(encode(Transport.toMessage(recorded(), "/shop")), {
      specversion: "1.0",
      id: "0190a6a8-7f6e-7c1b-8b7e-2f6d1c3b5a49",
      source: "/shop",
      type: "OrderPlaced",
      subject: "Order-1",
      time: "2026-02-03T04:05:06.789Z",
      datacontenttype: "application/json",
      data: { total: 5 },
      schemaversion: 2,
      correlationid: "c-1",
      causationid: "m-0",
      position: "7"
    })
  })

  const events: Record<string, EventStore.RecordedEvent> = {
    "with everything": recorded(),
    "without correlation and causation": recorded({ metadata: {} }),
    "with a position beyond 32 bits": recorded({ position: 2 ** 31 + 1 }),
    "with the largest position": recorded({ position: Number.MAX_SAFE_INTEGER }),
    "at the beginning of time": recorded({ recordedAt: DateTime.makeUnsafe("0001-01-01T00:00:00.000Z") }),
    "at the end of time": recorded({ recordedAt: DateTime.makeUnsafe("9999-12-31T23:59:59.999Z") }),
    "with data null": recorded({ payload: null }),
    "with data that is text": recorded({ payload: '"quoted" {' }),
    "with data that is a number": recorded({ payload: 0 }),
    "with odd names": recorded({ stream: "Order-é 😀/'\"", type: "order placed/é", id: "an id, 'odd' 😀" }),
    "of the bus": recorded({ stream: "$bus-c-1" })
  }

  it.each(Object.entries(events))("%s is valid, and comes back equal", (_, event) => {
    const message = Transport.toMessage(event, "/shop")
    const text = JSON.stringify(encode(message))
    const cloudEvent = new CloudEvent<unknown>(JSON.parse(text) as object)
    assert.equal(cloudEvent.validate(), true)
    assert.deepEqual(
      [cloudEvent.id, cloudEvent.type, cloudEvent.subject, cloudEvent.data, cloudEvent["position"]],
      [event.id, event.type, event.stream, event.payload, String(event.position)]
    )
    assert.deepEqual(decode(JSON.parse(text)), message)
    assert.deepEqual("correlationid" in message, event.metadata.correlationId !== undefined)
  })

  it("can be read by others: through the structured HTTP binding and back", () => {
    const message = Transport.toMessage(recorded(), "/shop")
    const received = HTTP.toEvent({
      headers: { "content-type": "application/cloudevents+json" },
      body: JSON.stringify(encode(message))
    })
    assert.ok(received instanceof CloudEvent)
    assert.deepEqual(decode(JSON.parse(received.toString())), message)
  })

  it("is refused without what CloudEvents require", () => {
    const whole = encode(Transport.toMessage(recorded(), "/shop"))
    for (const key of ["specversion", "id", "source", "type"] as const) {
      assert.throws(() => decode({ ...whole, [key]: undefined }), new RegExp(key))
      assert.throws(() => decode({ ...whole, [key]: "" }), new RegExp(key))
    }
    assert.throws(() => decode({ ...whole, time: "yesterday" }), /time/)
  })
})

describe("decode", () => {
  const Placed = Event.make(
    "Placed",
    { total: Schema.Int },
    { version: 2, upcast: { 1: (old) => ({ total: (old as { sum: number }).sum }) } }
  )
  const Cancelled = Event.make("Cancelled", { at: Schema.DateTimeUtcFromString })
  const from = (more: Partial<EventStore.RecordedEvent>) =>
    Transport.decode([Placed, Cancelled], Transport.toMessage(recorded(more), "/shop"))

  it("gives the typed event, upcast first", () => {
    assert.deepEqual(from({ type: "Placed", payload: { total: 5 } }), Result.succeed({ _tag: "Placed", total: 5 }))
    assert.deepEqual(
      from({ type: "Placed", payload: { sum: 6 }, schemaVersion: 1 }),
      Result.succeed({ _tag: "Placed", total: 6 })
    )
    assert.deepEqual(
      from({ type: "Cancelled", payload: { at: "2026-01-01T00:00:00.000Z" }, schemaVersion: 1 }),
      Result.succeed({ _tag: "Cancelled", at: DateTime.makeUnsafe("2026-01-01T00:00:00Z") })
    )
  })

  it("fails with an error that says where, for types and payloads that it does not know", () => {
    const errors = [
      from({ type: "Lost" }),
      from({ type: "Placed", payload: { total: "five" } }),
      from({ type: "Placed", payload: { total: 5 }, schemaVersion: 3 })
    ].map((result) => Result.getOrThrow(Result.flip(result)))
    assert.deepEqual(
      errors.map(({ _tag, position, stream, type }) => ({ _tag, position, stream, type })),
      [
        { _tag: "UnknownEventTypeError", stream: "Order-1", position: 7, type: "Lost" },
        { _tag: "EventDecodeError", stream: "Order-1", position: 7, type: "Placed" },
        { _tag: "EventDecodeError", stream: "Order-1", position: 7, type: "Placed" }
      ]
    )
  })
})

// -----------------------------------------------------------------------------
// errors, accessors, layers
// -----------------------------------------------------------------------------

describe("errors", () => {
  it("say what happened, and whether doing the same again may help", () => {
    const unavailable = new Transport.TransportUnavailable({ operation: "publish", detail: "nobody answers" })
    const refused = new Transport.MessageRefused({ operation: "publish", id: "1", detail: "too large" })
    const errors = [unavailable, refused].map((reason) => new Transport.TransportError({ reason }))
    assert.deepEqual(
      errors.map(({ cause, isRetryable, message }) => [message, isRetryable, cause._tag]),
      [
        ["TransportUnavailable during publish: nobody answers", true, "TransportUnavailable"],
        ["MessageRefused during publish: too large", false, "MessageRefused"]
      ]
    )
  })
})

const message = (id: string): Transport.Message => Transport.toMessage(recorded({ id }), "/shop")
const idOf = ({ message }: Transport.Delivery) => message.id

describe("the broker in memory", () => {
  it.effect("shows what was published, in order, without repetitions", () =>
    Effect.gen(function* () {
      yield* Transport.publish([message("1"), message("2"), message("1")])
      yield* Transport.publish([message("2"), message("3")])
      assert.deepEqual(
        (yield* Transport.published).map(({ id }) => id),
        ["1", "2", "3"]
      )
    }).pipe(Effect.provide(Transport.layerMemory))
  )

  it.effect("gives a message back in its place, so that order is kept", () =>
    Effect.gen(function* () {
      yield* Transport.publish([message("1"), message("2"), message("3")])
      const received: Array<string> = []
      yield* Transport.subscribe({ group: "g" }).pipe(
        Stream.take(4),
        Stream.runForEach((delivery) => {
          received.push(idOf(delivery))
          return delivery.attempt === 1 && idOf(delivery) === "2" ? delivery.nack() : delivery.ack
        })
      )
      assert.deepEqual(received, ["1", "2", "2", "3"])
    }).pipe(Effect.provide(Transport.layerMemory))
  )

  it.effect("delivers what waits neither too early nor too late, even after the member has left", () =>
    Effect.gen(function* () {
      yield* Transport.publish([message("1")])
      const first = Transport.subscribe({ group: "g" }).pipe(Stream.take(1))
      yield* Fiber.join(yield* Effect.forkChild(Stream.runForEach(first, ({ nack }) => nack({ delay: "1 minute" }))))
      const waiting = yield* Effect.forkChild(Stream.runCollect(first))
      yield* TestClock.adjust(59_999)
      assert.equal(waiting.pollUnsafe(), undefined)
      yield* TestClock.adjust(1)
      assert.deepEqual((yield* Fiber.join(waiting)).map(idOf), ["1"])
    }).pipe(Effect.provide(Transport.layerMemory))
  )
})

describe("the sinkhole", () => {
  it.effect("takes everything and delivers nothing", () =>
    Effect.gen(function* () {
      const reading = yield* Effect.forkChild(Stream.runHead(Transport.subscribe({ group: "g" })))
      yield* Transport.publish([message("1")])
      yield* TestClock.adjust("1 hour")
      assert.equal(reading.pollUnsafe(), undefined)
    }).pipe(Effect.provide(Transport.layerSinkhole))
  )
})
