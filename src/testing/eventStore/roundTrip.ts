/** What comes back of what was given. */
import * as BigDecimal from "effect/BigDecimal"
import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import assert from "node:assert/strict"
import * as Event from "../../definitions/Event.ts"
import { writeJson } from "../../internal/exactJson.ts"
import * as Kit from "../../store/kit/index.ts"
import { range } from "../suite.ts"
import { payloads } from "./samples.ts"
import { collect, concurrently, contents, duplicate, event, every, positionsOf, refused, untyped } from "./words.ts"

const Exact = Event.make("Happened", {
  whole: Schema.BigInt,
  decimal: Schema.BigDecimal,
  small: Schema.BigInt,
  any: Schema.Json
})

/** The same as numbers. */
const Rounded = Event.make("Happened", { whole: Schema.Number, decimal: Schema.Number, small: Schema.Int })

export const roundTrip = [
  every("payloads come back as JSON gives them, key order and all", function* (store) {
    yield* store.append(
      "Round-1",
      payloads.map((payload) => event({ payload }))
    )
    yield* concurrently(payloads, (payload, index) => store.append(`Single-${index}`, [event({ payload })]))
    const texts = payloads.map((payload) => JSON.stringify(payload))
    for (const read of [
      store.read("Round-1"),
      store.readAll({ limit: payloads.length }),
      Stream.take(store.subscribe(), payloads.length)
    ]) {
      const found = yield* collect(read)
      assert.deepEqual(
        found.map(({ payload }) => JSON.stringify(payload)),
        texts
      )
      assert.deepEqual(
        found.map(({ payload }) => payload),
        payloads
      )
    }
    for (const [index, text] of texts.entries()) {
      const [found] = yield* collect(store.read(`Single-${index}`))
      assert.equal(JSON.stringify(found?.payload), text)
    }
    assert.equal(untyped<{ polluted?: boolean }>({}).polluted, undefined)
  }),

  every("no digit of a number is lost, nor the sign of 0; its definition decodes exactly, or refuses by name", function* (store) {
    const text = `{"whole":9007199254740993,"decimal":0.12345678901234567891,"small":7,"any":[-12345678901234567890,1e400,3.141592653589793238,-0]}`
    const given = { payload: Kit.parsePayload(text), metadata: { long: Kit.parsePayload("9007199254740993"), zero: -0 } }
    yield* store.append("Digits-1", [event({ id: "mine", ...given })])
    for (const read of [store.read("Digits-1"), store.readAll(), Stream.take(store.subscribe(), 1)]) {
      const [found] = yield* Stream.runCollect(read)
      assert.ok(found !== undefined)
      assert.equal(writeJson(found.payload), text)
      assert.equal(writeJson(found.metadata), `{"long":9007199254740993,"zero":-0}`)
      const { any, decimal, small, whole } = yield* Effect.fromResult(Event.decode(Exact, found))
      assert.deepEqual([whole, decimal, small], [9007199254740993n, BigDecimal.fromStringUnsafe("0.12345678901234567891"), 7n])
      assert.equal(writeJson(any), "[-12345678901234567890,1e400,3.141592653589793238,-0]")
      const error = yield* Effect.flip(Effect.fromResult(Event.decode(Rounded, found)))
      assert.match(error.message, /got 9007199254740993: only a BigInt or BigDecimal keeps its digits\s+at \["whole"\]/)
    }
    const again = yield* store.append("Digits-1", [event({ id: "mine", payload: Kit.parsePayload(text.replace("-0", "0")) })])
    assert.equal(again.deduplicated, true)
    for (const [digits, others] of [
      ["9007199254740993", "9007199254740992"],
      ["0.12345678901234567891", "0.12345678901234567892"]
    ] as const) {
      const other = event({ id: "mine", payload: Kit.parsePayload(text.replace(digits, others)) })
      assert.deepEqual(yield* refused(store, store.append("Digits-1", [other])), duplicate("Digits-1", "mine"))
    }
  }),

  every("all that was given with an event comes back, and the rest has its defaults", function* (store) {
    const metadata = { correlationId: "c", causationId: "a", user: { id: 1, roles: ["x", null] }, z: null, a: "\u{1f600}" }
    const tags = range(1, 64).map((n) => `tag:${(n * 37) % 64}`)
    yield* store.append("Account-1", [
      event({
        type: "Full",
        id: "mine",
        schemaVersion: 2 ** 31 - 1,
        published: true,
        tags: ["b", "a", "b", "c", "a"],
        metadata,
        payload: { p: 1 }
      }),
      event({ type: "Bare", id: "bare" }),
      event({ tags: [], metadata: {}, published: false, schemaVersion: 1 }),
      event({ tags })
    ])
    const [full, bare, empty, tagged] = yield* collect(store.read("Account-1"))
    assert.ok(full !== undefined && bare !== undefined && empty !== undefined && tagged !== undefined)
    const { recordedAt, ...rest } = full
    assert.equal(typeof recordedAt, "number")
    assert.deepEqual(rest, {
      stream: "Account-1",
      version: 1,
      position: 1,
      id: "mine",
      type: "Full",
      schemaVersion: 2 ** 31 - 1,
      published: true,
      tags: ["b", "a", "c"],
      payload: { p: 1 },
      metadata
    })
    assert.deepEqual(Object.keys(rest.metadata), Object.keys(metadata))
    const defaults = { schemaVersion: 1, published: false, tags: [], metadata: {}, payload: {}, stream: "Account-1" }
    assert.deepEqual(
      { ...bare, recordedAt: 0 },
      { ...defaults, type: "Bare", id: "bare", version: 2, position: 2, recordedAt: 0 }
    )
    assert.deepEqual(
      { ...empty, id: "", recordedAt: 0 },
      { ...defaults, type: "Happened", id: "", version: 3, position: 3, recordedAt: 0 }
    )
    assert.deepEqual(tagged.tags, tags)
    for (const tag of tags) assert.deepEqual(yield* positionsOf(store.readAll({ filter: { tags: [tag] } })), [4])
  }),

  every("a given instant is kept to the millisecond, otherwise the caller's clock is asked", function* (store) {
    const instants = [
      "0001-01-01T00:00:00.000Z",
      "1066-10-14T09:00:00.001Z",
      "1582-10-10T12:00:00.000Z",
      "1969-12-31T23:59:59.999Z",
      "1970-01-01T00:00:00.000Z",
      "1970-01-01T00:00:00.001Z",
      "2016-12-31T23:59:59.999Z",
      "2024-02-29T01:02:03.457Z",
      "2038-01-19T03:14:08.123Z",
      "9999-12-31T23:59:59.999Z"
    ].map((text) => Date.parse(text))
    yield* store.append(
      "Times-1",
      instants.map((instant) => event({ recordedAt: DateTime.makeUnsafe(instant) }))
    )
    const found = yield* Stream.runCollect(store.read("Times-1"))
    assert.deepEqual(
      found.map(({ recordedAt }) => DateTime.toEpochMillis(recordedAt)),
      instants
    )
    assert.ok(found.every(({ recordedAt }) => DateTime.isUtc(recordedAt)))
    const now = 1_234_567_890_123
    yield* Effect.flatMap(Clock.clockWith(Effect.succeed), (clock) => {
      const still: Clock.Clock = Object.assign(Object.create(clock), {
        currentTimeMillisUnsafe: () => now,
        currentTimeMillis: Effect.succeed(now)
      })
      return Effect.provideService(store.append("Times-2", [event(), event()]), Clock.Clock, still)
    })
    assert.deepEqual(
      (yield* collect(store.read("Times-2"))).map(({ recordedAt }) => recordedAt),
      [now, now]
    )
  }),

  every("what the caller holds is not what the store holds", function* (store) {
    const payload = { list: [1, 2], inner: { text: "before" } }
    const tags = ["kept"]
    const metadata = { correlationId: "c", inner: { text: "before" } }
    const given = { type: "Happened", payload, tags, metadata }
    yield* store.append("Account-1", [given])
    yield* store.append("Account-1", [event()])
    const before = yield* contents(store)
    payload.list.push(3)
    payload.inner.text = "after"
    tags.push("added")
    metadata.inner.text = "after"
    assert.deepEqual(yield* contents(store), before)
    const once = yield* Stream.runCollect(store.read("Account-1"))
    const twice = yield* Stream.runCollect(store.read("Account-1"))
    assert.deepEqual(once, twice)
    for (const [index, event] of once.entries()) {
      const other = twice[index]
      assert.ok(other !== undefined && event !== other && event.payload !== other.payload)
      assert.ok(event.metadata !== other.metadata && event.tags !== other.tags)
      untyped<Array<string>>(event.tags).push("added")
      Object.assign(event.metadata, { correlationId: "changed" })
      Object.assign(untyped<object>(event.payload), { list: null })
      Object.assign(event, { type: "Changed", version: 9 })
    }
    assert.deepEqual(yield* contents(store), before)
    assert.deepEqual(yield* positionsOf(store.readAll({ filter: { tags: ["added"] } })), [])
  })
]
