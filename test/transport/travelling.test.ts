import assert from "node:assert/strict"
import { describe, it } from "@effect/vitest"
import { Context, Deferred, Effect, Layer, Option, Schema, Stream, Tracer } from "effect"
import { Checkpoints, Consumer, DeadLetters, Event, EventStore, ParkedEvents, Relay, Transport, UnitOfWork } from "eventfold"
import { logs } from "../support/logs.ts"
import { recordingSpans } from "../support/spans.ts"

const Placed = Event.make("Placed", { total: Schema.Int }, { published: true })

const services = Layer.mergeAll(
  EventStore.layerMemory,
  Transport.layerMemory,
  Checkpoints.layerMemory,
  DeadLetters.layerMemory,
  ParkedEvents.layerMemory
)
const layers = UnitOfWork.layer.pipe(Layer.provideMerge(services))

const place = (metadata: EventStore.Metadata) =>
  EventStore.append("Order-1", [{ type: "Placed", payload: { total: 1 }, published: true, tags: ["large"], metadata }])

/** Consumes one message, and gives what its handler was told and what it has staged. */
const consumeOne = Effect.fnUntraced(function* (options: Partial<Consumer.Options<false>> = {}) {
  const got = yield* Deferred.make<Transport.CloudEvent>()
  const consuming = yield* Effect.forkChild(
    Consumer.run(
      [Placed],
      {
        Placed: (_, { message }) =>
          UnitOfWork.transact(UnitOfWork.stage("Mail-1", [{ type: "Sent", payload: {} }])).pipe(
            Effect.andThen(Deferred.succeed(got, message))
          )
      },
      { group: "mail", ...options }
    )
  )
  const message = yield* Deferred.await(got)
  yield* Effect.yieldNow
  while (consuming.pollUnsafe() === undefined && (yield* Consumer.status("mail")).inFlight > 0) yield* Effect.yieldNow
  const [sent] = yield* Stream.runCollect(EventStore.read("Mail-1"))
  return { message, metadata: sent?.metadata }
})

describe("metadata that is marked", () => {
  it.effect("travels, and stands in what the handler writes; tags and what is not marked stay", () =>
    Effect.gen(function* () {
      yield* place({ correlationId: "c", region: "t-1", actorId: 7, secret: "s" })
      const metadata = { region: "region", actorId: "actor" }
      yield* Relay.drain({ name: "shop", metadata })
      const { message, metadata: written } = yield* consumeOne({ metadata })
      const { traceparent, ...extensions } = message.extensions ?? {}
      assert.match(String(traceparent), /^00-/)
      assert.deepEqual(extensions, { region: "t-1", actor: "7" })
      assert.deepEqual(written, { region: "t-1", actorId: "7", correlationId: "c", causationId: message.id })
    }).pipe(Effect.provide(layers))
  )

  it.effect("is nothing to a consumer that does not name it", () =>
    Effect.gen(function* () {
      yield* place({ correlationId: "c", region: "t-1" })
      yield* Relay.drain({ name: "shop", metadata: ["region"] })
      const { message, metadata } = yield* consumeOne()
      assert.equal(message.extensions?.["region"], "t-1")
      assert.deepEqual(metadata, { correlationId: "c", causationId: message.id })
    }).pipe(Effect.provide(layers))
  )

  it.effect("is refused by name where it cannot be the name of an attribute", () =>
    Effect.gen(function* () {
      for (const [metadata, fault] of [
        [["tenantId"], /"tenantId" cannot be the name of a CloudEvents attribute/],
        [["abcdefghijklmnopqrstu"], /1 to 20/],
        [["subject"], /"subject" is an attribute/],
        [["tenant"], /"tenant" is an attribute/],
        [["traceparent"], /"traceparent" travels by itself/],
        [{ a: "region", b: "region" }, /two keys travel as "region"/]
      ] as const) {
        const drained = yield* Effect.exit(Relay.drain({ name: "shop", metadata }))
        assert.match(String(drained), /Relay "shop": the metadata/)
        assert.match(String(drained), fault)
        const consumed = yield* Effect.exit(Consumer.run([Placed], { Placed: () => Effect.void }, { group: "g", metadata }))
        assert.match(String(consumed), fault)
      }
    }).pipe(Effect.provide(layers))
  )

  it.effect("that is no text, number or boolean is refused as a message, by the relay's policy", () =>
    Effect.gen(function* () {
      logs(/the broker refuses the event at position 1/)
      yield* place({ region: { name: "t" } })
      yield* place({ region: "t-2" })
      yield* Relay.drain({ name: "shop", metadata: ["region"], onRefused: "park" })
      const [parked] = yield* ParkedEvents.ParkedEvents.use(({ list }) => list("relay:shop"))
      assert.match(parked?.cause ?? "", /its extension "region" is no text/)
      assert.deepEqual(
        (yield* Transport.published).map(({ position }) => position),
        [2]
      )
    }).pipe(Effect.provide(layers))
  )
})

describe("the trace", () => {
  const published = Effect.map(Transport.published, ([message]) => message as Transport.Message)

  it.effect("of a message is that of the relay's span, which its handling has a link to", () =>
    Effect.gen(function* () {
      const { spans, tracer } = recordingSpans()
      yield* Effect.gen(function* () {
        yield* place({})
        yield* Relay.drain({ name: "shop" })
        yield* consumeOne()
        const publishing = spans.find(({ name }) => name === "publish shop")
        const processing = spans.find(({ name }) => name === "process Placed")
        assert.ok(publishing !== undefined && processing !== undefined)
        assert.equal((yield* published).extensions?.["traceparent"], `00-${publishing.traceId}-${publishing.spanId}-01`)
        assert.deepEqual(
          processing.links.map(({ span }) => span.spanId),
          [publishing.spanId]
        )
        assert.notEqual(processing.traceId, publishing.traceId)
      }).pipe(Effect.withTracer(tracer))
    }).pipe(Effect.provide(layers))
  )

  it.effect("is a parent where that is asked for", () =>
    Effect.gen(function* () {
      const { spans, tracer } = recordingSpans()
      yield* Effect.gen(function* () {
        yield* place({})
        yield* Relay.drain({ name: "shop" })
        yield* consumeOne({ trace: "parent" })
        const publishing = spans.find(({ name }) => name === "publish shop")
        const processing = spans.find(({ name }) => name === "process Placed")
        assert.equal(processing?.traceId, publishing?.traceId)
        assert.equal(processing && Option.getOrUndefined(processing.parent)?.spanId, publishing?.spanId)
      }).pipe(Effect.withTracer(tracer))
    }).pipe(Effect.provide(layers))
  )

  it.effect("of whoever has appended is kept in metadata, and goes before the relay's", () =>
    Effect.gen(function* () {
      const { spans, tracer } = recordingSpans()
      yield* Effect.gen(function* () {
        yield* Effect.withSpan(Effect.flatMap(Transport.traceMetadata, place), "place an order")
        yield* Relay.drain({ name: "shop" })
        const [placing] = spans
        const publishing = spans.find(({ name }) => name === "publish shop")
        assert.equal(Transport.spanOf(yield* published)?.spanId, placing?.spanId)
        assert.deepEqual(
          publishing?.links.map(({ span }) => span.spanId),
          [placing?.spanId]
        )
      }).pipe(Effect.withTracer(tracer))
    }).pipe(Effect.provide(layers))
  )

  it.effect("keeps its state from message to message, and what a publisher has said himself", () =>
    Effect.gen(function* () {
      yield* place({})
      yield* Relay.drain({ name: "shop" })
      const message = yield* published
      const extensions = { traceparent: `00-${"a".repeat(32)}-${"b".repeat(16)}-00`, tracestate: "vendor=1" }
      yield* Transport.publish([{ ...message, id: "2", extensions }])
      const span = Transport.spanOf({ extensions }) as Tracer.ExternalSpan
      assert.deepEqual([span.traceId, span.spanId, span.sampled], ["a".repeat(32), "b".repeat(16), false])
      const { extensions: _, ...bare } = message
      yield* Transport.publish([{ ...bare, id: "3" }]).pipe(Effect.withSpan("handle", { parent: span }))
      yield* Transport.publish([{ ...bare, id: "4" }]).pipe(
        Effect.withSpan("silent", { annotations: Context.make(Tracer.DisablePropagation, true) })
      )
      yield* Transport.publish([{ ...bare, id: "5" }])
      const [, second, third, fourth, fifth] = yield* Transport.published
      assert.deepEqual(second?.extensions, extensions)
      assert.match(third?.extensions?.["traceparent"] ?? "", new RegExp(`^00-${"a".repeat(32)}-`))
      assert.equal(third?.extensions?.["tracestate"], "vendor=1")
      assert.deepEqual([fourth?.extensions, fifth?.extensions], [undefined, undefined])
    }).pipe(Effect.provide(layers))
  )

  it("of no valid traceparent is none", () => {
    for (const traceparent of [
      "",
      "00-1-2-01",
      `00-${"0".repeat(32)}-${"b".repeat(16)}-01`,
      `00-${"a".repeat(32)}-${"0".repeat(16)}-01`
    ]) {
      assert.equal(Transport.spanOf({ extensions: { traceparent } }), undefined)
    }
  })
})
