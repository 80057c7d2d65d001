/** What arrives is what was published. */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type * as Schema from "effect/Schema"
import assert from "node:assert/strict"
import { parseJson, writeJson } from "../../internal/exactJson.ts"
import { type Message, spanOf } from "../../transport/Transport.ts"
import { done, every, facts, message, plain } from "./words.ts"

export const arrival = [
  every("a message arrives with every attribute as it was published", function* ({ join, publish, spreads }) {
    const sent = [
      message(1, { correlationid: "c-1", causationid: "m-0", schemaversion: 7 }),
      message(2, { subject: 'Thing-it\'s "odd" / 😀 é', id: 'it\'s "odd" / 😀 é', type: "thing.happened/v2:é" }),
      message(3, { tenant: "acme", extensions: { region: "é 1", actor: "" } }),
      message(2 ** 31 + 1, { source: "https://example.com/a?b=c#d" }),
      message(Number.MAX_SAFE_INTEGER, { time: DateTime.makeUnsafe("1970-01-01T00:00:00.000Z") }),
      message(5, { time: DateTime.makeUnsafe("9999-12-31T23:59:59.999Z") }),
      ...[null, true, 0, -1.5e300, "", "text", [], {}, { a: [{ b: null }], "😀": "\n\t\\" }].map((data, n) =>
        message(6 + n, { data })
      )
    ]
    const member = yield* join({ group: "g" })
    yield* publish(...sent)
    const received = yield* Effect.forEach(sent, () => done(member))
    const messages = received.map(({ message }) => plain(message))
    // Subjects may have no order among each other.
    const ordered = <A extends { readonly id: string }>(all: ReadonlyArray<A>) =>
      spreads === "messages" ? all : all.toSorted((one, other) => (one.id < other.id ? -1 : 1))
    assert.deepEqual(ordered(messages), ordered(sent.map(plain)))
    assert.ok(received.every(({ attempt }) => attempt === 1))
  }),

  every("no digit of a number is lost on the way, nor the sign of 0", function* ({ join, publish }) {
    const text = `{"whole":9007199254740993,"long":[-12345678901234567890],"decimal":0.12345678901234567891,"huge":1e400,"zero":-0}`
    const member = yield* join({ group: "g" })
    yield* publish(message(1, { data: parseJson(text) as Schema.Json }))
    assert.equal(writeJson((yield* done(member)).message.data), text)
  }),

  every("a message names the span that has published it, unless it names one already", function* ({ join, publish }) {
    const member = yield* join({ group: "g" })
    const own = { traceparent: `00-${"a".repeat(32)}-${"b".repeat(16)}-01`, tracestate: "vendor=1" }
    const span = yield* Effect.makeSpan("publish")
    yield* Effect.withParentSpan(publish(message(1), message(2, { extensions: own })), span)
    yield* publish(message(3))
    const [first, second, third] = [yield* done(member), yield* done(member), yield* done(member)]
    assert.equal(spanOf(first.message)?.spanId, span.spanId)
    assert.deepEqual(second.message.extensions, own)
    assert.equal(third.message.extensions, undefined)
  }),

  every("what is no message is refused by its id, and nothing of its batch is published", function* ({ join, publish }) {
    const member = yield* join({ group: "g" })
    const wrong: ReadonlyArray<Partial<Message>> = [
      { subject: "" },
      { schemaversion: 1.5 },
      { correlationid: "\ud800" },
      { extensions: { tenantId: "a" } },
      { extensions: { source: "a" } }
    ]
    for (const more of wrong) {
      const error = yield* Effect.flip(publish(message(1), message(2, more)))
      assert.ok(error.reason._tag === "MessageRefused", error.message)
      assert.equal(error.reason.id, "message 2")
    }
    yield* publish(message(3))
    assert.deepEqual(facts(yield* done(member)), [3, 1])
  }),

  every("a message of 1 MiB arrives whole, or is refused with an error that names it", function* ({ join, publish }) {
    const member = yield* join({ group: "g" })
    const large = message(1, { data: "é".repeat(512 * 1024) })
    const published = yield* Effect.result(publish(large))
    if (Result.isSuccess(published)) {
      assert.equal((yield* done(member)).message.data, large.data)
    } else {
      const { reason } = published.failure
      assert.ok(reason._tag === "MessageRefused")
      assert.equal(reason.id, large.id)
    }
    yield* publish(message(2))
    assert.equal((yield* done(member)).message.position, 2)
  })
]
