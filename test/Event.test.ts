import assert from "node:assert/strict"
import { describe, it } from "@effect/vitest"
import { Effect, Option, Result, Schema, Stream } from "effect"
import { Event, EventStore } from "eventfold"

/** What a store hands back of an event that it was given: its payload has been JSON text meanwhile. */
const stored = (event: EventStore.NewEvent, more: Partial<Event.Stored> = {}): Event.Stored => ({
  stream: "A-1",
  version: 3,
  position: 7,
  type: event.type,
  schemaVersion: event.schemaVersion ?? 1,
  payload: JSON.parse(JSON.stringify(event.payload)) as Schema.Json,
  ...more
})

/** Through the definition into JSON text and back. */
const roundTrip = <E extends Event.Any>(definition: E, event: E["Type"]): E["Type"] =>
  Result.getOrThrow(Event.decode(definition, stored(Result.getOrThrow(Event.encode(definition, event)))))

const failureOf = <A, E>(result: Result.Result<A, E>): E => Result.getOrThrow(Result.flip(result))

class Money extends Schema.Class<Money>("Money")({ amount: Schema.BigInt, currency: Schema.Literals(["EUR", "JPY"]) }) {}

// JSON has no negative zero.
const notNegativeZero = Schema.makeFilter((value: number) => !Object.is(value, -0))
const Int = Schema.Int.check(notNegativeZero)

const Everything = Event.make("Everything", {
  text: Schema.String,
  finite: Schema.Finite.check(notNegativeZero),
  int: Int,
  flag: Schema.Boolean,
  nothing: Schema.Null,
  big: Schema.BigInt,
  date: Schema.Date,
  instant: Schema.DateTimeUtc,
  duration: Schema.Duration,
  bytes: Schema.Uint8Array,
  branded: Schema.NonEmptyString.pipe(Schema.brand("Sku")),
  money: Money,
  option: Schema.Option(Schema.Date),
  either: Schema.Union([
    Schema.Struct({ kind: Schema.Literal("number"), value: Schema.BigInt }),
    Schema.Struct({ kind: Schema.Literal("text"), value: Schema.String })
  ]),
  list: Schema.Array(Schema.Struct({ id: Schema.BigInt, tags: Schema.ReadonlySet(Schema.String) })),
  map: Schema.ReadonlyMap(Schema.String, Int),
  // Keys of one escaped character are not for this test: JSON.parse of Node 24 mistakes one for another.
  record: Schema.Record(Schema.String.check(Schema.isPattern(/^[a-zß-ž]{0,5}$/)), Schema.BigInt),
  tuple: Schema.Tuple([Schema.String, Schema.optionalKey(Int)]),
  optional: Schema.optional(Schema.Struct({ inner: Schema.optional(Schema.BigInt), key: Schema.optionalKey(Int) })),
  nullable: Schema.NullOr(Schema.Struct({ deep: Schema.optionalKey(Schema.NullOr(Schema.String)) }))
})

const same = Schema.toEquivalence(Everything)

describe("make", () => {
  it("gives a Schema of the typed event", () => {
    const Deposited = Event.make("Deposited", { amount: Schema.Int })
    const event = Deposited.make({ amount: 5 })
    assert.deepEqual(event, { _tag: "Deposited", amount: 5 })
    assert.deepEqual(Schema.decodeUnknownSync(Deposited)({ _tag: "Deposited", amount: 5 }), event)
    assert.throws(() => Schema.decodeUnknownSync(Deposited)({ _tag: "Other", amount: 5 }))
    assert.throws(() => Deposited.make({ amount: 1.5 }))
    assert.ok(Schema.is(Schema.Union([Everything, Deposited]))(event))
  })

  it("has defaults: version 1, not published, no tags, no fields", () => {
    const Closed = Event.make("Closed")
    assert.deepEqual([Closed.type, Closed.version, Closed.published], ["Closed", 1, false])
    assert.deepEqual(
      Event.encode(Closed, Closed.make({})),
      Result.succeed({ type: "Closed", payload: {}, schemaVersion: 1, published: false })
    )
  })

  it("refuses a definition that cannot be right", () => {
    const upcast = (old: Schema.Json) => old
    const wrong: ReadonlyArray<readonly [make: () => unknown, why: RegExp]> = [
      [() => Event.make(""), /type must not be empty/],
      [() => Event.make("E", {}, { version: 0 }), /whole number from 1, not 0/],
      [() => Event.make("E", {}, { version: 1.5 }), /whole number from 1, not 1.5/],
      [() => Event.make("E", {}, { version: Number.NaN }), /whole number from 1, not NaN/],
      [() => Event.make("E", {}, { upcast: { 1: upcast } }), /upcast from version 1, but the definition is at version 1/],
      [() => Event.make("E", {}, { version: 2, upcast: { 2: upcast } }), /upcast from version 2/],
      [() => Event.make("E", {}, { version: 2, upcast: { 0: upcast } }), /upcast from version 0/],
      [() => Event.make("E", {}, { version: 3, upcast: { 1.5: upcast } }), /upcast from version 1.5/],
      [() => Event.make("E", { _tag: Schema.String }), /must not be called _tag/]
    ]
    for (const [make, message] of wrong) assert.throws(make, { name: "RangeError", message })
  })
})

describe("encode", () => {
  it("writes the payload without its tag, with all that storage needs", () => {
    const Deposited = Event.make(
      "Deposited",
      { amount: Schema.BigInt, at: Schema.Date },
      { version: 2, published: true, tags: ({ amount }) => (amount > 10n ? ["large"] : []) }
    )
    const encode = (amount: bigint) => Event.encode(Deposited, Deposited.make({ amount, at: new Date(0) }))
    const common = { type: "Deposited", schemaVersion: 2, published: true }
    const at = "1970-01-01T00:00:00.000Z"
    assert.deepEqual(encode(5n), Result.succeed({ ...common, payload: { amount: "5", at } }))
    assert.deepEqual(encode(50n), Result.succeed({ ...common, payload: { amount: "50", at }, tags: ["large"] }))
  })

  it("of an event that does not fit is a typed error that names the field", () => {
    const Deposited = Event.make("Deposited", { lines: Schema.Array(Schema.Struct({ amount: Schema.Int })) })
    const error = failureOf(Event.encode(Deposited, { _tag: "Deposited", lines: [{ amount: 1 }, { amount: 1.5 }] }))
    assert.ok(error instanceof Event.EventEncodeError)
    assert.equal(error.type, "Deposited")
    assert.match(error.message, /Event "Deposited" does not fit its definition: .*\n.*\["lines"\]\[1\]\["amount"\]/)
  })
})

describe("decode", () => {
  it("of an event without fields gives the tag alone, whatever is stored", () => {
    const Closed = Event.make("Closed")
    for (const payload of [{}, { left: "over" }]) {
      assert.deepEqual(Event.decode(Closed, stored({ type: "Closed", payload })), Result.succeed({ _tag: "Closed" }))
    }
    assert.ok(Result.isFailure(Event.decode(Closed, stored({ type: "Closed", payload: null }))))
  })

  it.prop("gives back what was encoded, whatever the payload is made of", [Everything], ([event]) => {
    assert.ok(same(roundTrip(Everything, event), event))
  })

  it("gives back unicode, classes and nested options as they were", () => {
    const Named = Event.make("Named", { name: Schema.String, price: Schema.Option(Money) })
    for (const name of ["", "Zoë", "🧑‍🚀", "\u2028", "e\u0301", '\\"\n', "漢字"]) {
      const price = Option.some(new Money({ amount: 2n ** 70n, currency: "JPY" }))
      const event = roundTrip(Named, Named.make({ name, price }))
      assert.deepEqual(event, { _tag: "Named", name, price })
      assert.ok(Option.getOrThrow(event.price) instanceof Money)
    }
  })

  it.effect("gives back through a store what was encoded", () =>
    Effect.gen(function* () {
      const Named = Event.make(
        "Named",
        { name: Schema.String, at: Schema.Date, nick: Schema.optional(Schema.BigInt) },
        { tags: () => ["n"] }
      )
      const events = [Named.make({ name: "🧑‍🚀", at: new Date(5), nick: undefined }), Named.make({ name: "", at: new Date(6) })]
      yield* EventStore.append(
        "A-1",
        events.map((event) => Result.getOrThrow(Event.encode(Named, event)))
      )
      const recorded = yield* Stream.runCollect(EventStore.read("A-1"))
      const decoded = recorded.map((one) => Result.getOrThrow(Event.decode(Named, one)))
      assert.deepEqual(decoded, events)
      assert.deepEqual(recorded[0]?.tags, ["n"])
      assert.deepEqual(recorded[1]?.payload, { name: "", at: "1970-01-01T00:00:00.006Z" })
    }).pipe(Effect.provide(EventStore.layerMemory))
  )

  describe("upcasts", () => {
    // version 1: { cents }, version 2: { amount }, version 3: { amount, currency }
    const Deposited = Event.make(
      "Deposited",
      { amount: Schema.Int, currency: Schema.String },
      {
        version: 3,
        upcast: {
          1: (old: { readonly cents: number }) => ({ amount: old.cents }),
          2: (old: { readonly amount: number }) => ({ ...old, currency: "EUR" })
        }
      }
    )
    const decode = (schemaVersion: number, payload: Schema.Json) =>
      Event.decode(Deposited, stored({ type: "Deposited", payload }, { schemaVersion }))
    const event = Result.succeed(Deposited.make({ amount: 5, currency: "EUR" }))

    it("are chained from the version that was written to the present one", () => {
      assert.deepEqual(decode(1, { cents: 5 }), event)
      assert.deepEqual(decode(2, { amount: 5 }), event)
      assert.deepEqual(decode(3, { amount: 5, currency: "EUR" }), event)
    })

    it("see what is stored and leave it alone", () => {
      const recorded = stored({ type: "Deposited", payload: { cents: 5 } })
      Event.decode(Deposited, recorded)
      assert.deepEqual(recorded.payload, { cents: 5 })
    })

    it("whose result does not fit are a typed error", () => {
      assert.match(failureOf(decode(1, { euros: 5 })).message, /could not be decoded: [\s\S]*\["amount"\]/)
    })
  })

  it("of anything that cannot be read is an EventDecodeError that says which event it is, and why", () => {
    const Old = Event.make("Old", { amount: Schema.Int }, { version: 3, upcast: { 2: () => ({ amount: 1 }) } })
    const Throwing = Event.make(
      "Old",
      { amount: Schema.Int },
      {
        version: 2,
        upcast: {
          1: () => {
            throw new Error("no such field")
          }
        }
      }
    )
    const cases: ReadonlyArray<readonly [Event.Any, schemaVersion: number, payload: Schema.Json, why: RegExp]> = [
      [Old, 1, {}, /there is no upcast from schema version 1 to 2/],
      [Old, 4, {}, /written at schema version 4, and this definition knows up to 3/],
      [Old, 3, { amount: "5" }, /\["amount"\]/],
      [Old, 3, {}, /\["amount"\]/],
      [Old, 3, null, /Expected object/],
      [Throwing, 1, {}, /the upcast from schema version 1 threw/]
    ]
    for (const [definition, schemaVersion, payload, why] of cases) {
      const error = failureOf(Event.decode(definition, stored({ type: "Old", payload }, { schemaVersion })))
      assert.ok(error instanceof Event.EventDecodeError)
      assert.deepEqual([error.stream, error.version, error.position, error.type], ["A-1", 3, 7, "Old"])
      assert.match(error.message, /^Event 3 of stream "A-1" \(Old, position 7\) could not be decoded: /)
      assert.match(error.message, why)
    }
    const threw = failureOf(Event.decode(Throwing, stored({ type: "Old", payload: {} })))
    assert.match(String((threw.cause as Error).cause), /no such field/)
  })
})

describe("decodeAny", () => {
  const A = Event.make("A", { a: Schema.Int })
  const B = Event.make("B", { b: Schema.Int })
  const definitions = new Map<string, typeof A | typeof B>([
    ["A", A],
    ["B", B]
  ])

  it("finds the definition by the type", () => {
    assert.deepEqual(Event.decodeAny(definitions, stored({ type: "B", payload: { b: 1 } })), Result.succeed(B.make({ b: 1 })))
  })

  it("of a type that is not known is a typed error that says which event it is", () => {
    const error = failureOf(Event.decodeAny(definitions, stored({ type: "toString", payload: {} })))
    assert.ok(error instanceof Event.UnknownEventTypeError)
    assert.deepEqual({ ...error }, { _tag: "UnknownEventTypeError", stream: "A-1", version: 3, position: 7, type: "toString" })
    assert.match(error.message, /unknown type "toString": add its definition/)
  })
})
