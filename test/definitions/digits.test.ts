/** What becomes of the numbers of JSON that others have written. */
import assert from "node:assert/strict"
import { describe, it } from "@effect/vitest"
import { BigDecimal, Effect, Option, Result, Schema, Stream } from "effect"
import { Aggregate, Event, EventStore, Repository, Snapshots } from "eventfold"
import * as Kit from "eventfold/kit"

class Money extends Schema.Class<Money>("Money")({ amount: Schema.BigInt, rate: Schema.BigDecimal }) {}

interface Tree {
  readonly value: bigint
  readonly children: ReadonlyArray<Tree>
}
const Tree: Schema.Codec<Tree, unknown> = Schema.Struct({
  value: Schema.BigInt,
  children: Schema.Array(Schema.suspend((): Schema.Codec<Tree, unknown> => Tree))
})

const Everything = Event.make("Everything", {
  money: Schema.optionalKey(Money),
  tree: Schema.optionalKey(Tree),
  option: Schema.optionalKey(Schema.Option(Schema.BigInt)),
  either: Schema.optionalKey(Schema.Union([Schema.Number, Schema.BigInt])),
  big: Schema.optionalKey(Schema.BigInt.check(Schema.isGreaterThanBigInt(0n))),
  tuple: Schema.optionalKey(Schema.Tuple([Schema.String, Schema.BigInt])),
  map: Schema.optionalKey(Schema.Record(Schema.String, Schema.BigInt)),
  decimal: Schema.optionalKey(Schema.BigDecimal),
  number: Schema.optionalKey(Schema.Number),
  int: Schema.optionalKey(Schema.Int),
  text: Schema.optionalKey(Schema.String),
  texts: Schema.optionalKey(Schema.Record(Schema.String, Schema.String)),
  loose: Schema.optionalKey(Schema.Struct({ note: Schema.optionalKey(Schema.String) })),
  json: Schema.optionalKey(Schema.Json),
  unknown: Schema.optionalKey(Schema.Unknown)
})

const stored = (text: string, more: Partial<Event.Stored> = {}): Event.Stored => ({
  stream: "A-1",
  version: 1,
  position: 1,
  type: "Everything",
  schemaVersion: 1,
  payload: Kit.parsePayload(text),
  ...more
})

const decoded = (text: string) => {
  const { _tag: _, ...fields } = Result.getOrThrow(Event.decode(Everything, stored(text)))
  return fields
}

const decimal = BigDecimal.fromStringUnsafe

describe("numbers of others", () => {
  it("are taken exactly where a bigint or a decimal is asked for, of whatever size", () => {
    const big = 9007199254740993n
    assert.deepEqual(decoded(`{"money":{"amount":9007199254740993,"rate":0.12345678901234567891}}`), {
      money: new Money({ amount: big, rate: decimal("0.12345678901234567891") })
    })
    assert.deepEqual(decoded(`{"money":{"amount":7,"rate":0.1}}`), { money: new Money({ amount: 7n, rate: decimal("0.1") }) })
    assert.deepEqual(decoded(`{"money":{"amount":"7","rate":"0.1"}}`), { money: new Money({ amount: 7n, rate: decimal("0.1") }) })
    assert.deepEqual(
      decoded(`{"tree":{"value":9007199254740993,"children":[{"value":"1","children":[{"value":2,"children":[]}]}]}}`),
      {
        tree: { value: big, children: [{ value: 1n, children: [{ value: 2n, children: [] }] }] }
      }
    )
    assert.deepEqual(decoded(`{"option":{"_tag":"Some","value":9007199254740993}}`), { option: Option.some(big) })
    assert.deepEqual(decoded(`{"either":9007199254740993}`), { either: big })
    assert.deepEqual(decoded(`{"either":5}`), { either: 5 })
    assert.deepEqual(decoded(`{"tuple":["a",9007199254740993],"map":{"a":1,"b":9007199254740993}}`), {
      tuple: ["a", big],
      map: { a: 1n, b: big }
    })
    // Whole numbers that a double does hold, in all their forms.
    for (const text of ["9223372036854775808", "9223372036854776000", "1e21", "18446744073709551616"]) {
      assert.deepEqual(decoded(`{"big":${text}}`), { big: text === "1e21" ? 10n ** 21n : BigInt(text) })
    }
    assert.deepEqual(decoded(`{"decimal":1e400}`), { decimal: decimal("1e400") })
    assert.deepEqual(decoded(`{"decimal":0.1,"number":0.10000000000000001}`), { decimal: decimal("0.1"), number: 0.1 })
  })

  it("are refused by name where digits would be lost, and are no object, text or anything else", () => {
    for (const [field, value, path] of [
      ["number", "9007199254740993", `["number"]`],
      ["number", "1e400", `["number"]`],
      ["int", "-9007199254740993", `["int"]`],
      ["text", "9007199254740993", `["text"]`],
      ["texts", "9007199254740993", `["texts"]`],
      ["texts", `{"a":9007199254740993}`, `["texts"]["a"]`],
      ["loose", "9007199254740993", `["loose"]`],
      ["loose", `{"note":9007199254740993}`, `["loose"]["note"]`]
    ] as const) {
      const error = Result.getOrThrow(Result.flip(Event.decode(Everything, stored(`{"${field}":${value}}`))))
      const number = /-?\d[\de]+/.exec(value)?.[0]
      assert.ok(
        error.message.includes(`got ${number}: only a BigInt or BigDecimal keeps its digits\n  at ${path}`),
        error.message
      )
      assert.match(error.message, /^Event 1 of stream "A-1" \(Everything, position 1\)/)
    }
    for (const text of [`{"big":1.5}`, `{"big":-1}`, `{"big":true}`, `{"decimal":{}}`]) assert.throws(() => decoded(text), text)
  })

  it("with a fraction are the nearest double, as JSON means them, and whole ones stay in JSON what they are", () => {
    assert.deepEqual(decoded(`{"number":3.141592653589793238}`), { number: Math.PI })
    const { json, unknown } = decoded(`{"json":{"a":[9007199254740993,0.12345678901234567891]},"unknown":9007199254740993}`)
    assert.equal(
      Kit.writePayload({ json, unknown } as Schema.Json),
      `{"json":{"a":[9007199254740993,0.12345678901234567891]},"unknown":9007199254740993}`
    )
    assert.ok(Object.is(decoded(`{"number":-0}`).number, -0))
  })

  it("keep their digits through an upcast that passes them on", () => {
    const Renamed = Event.make(
      "Everything",
      { whole: Schema.BigInt, rate: Schema.BigDecimal, more: Schema.Boolean },
      { version: 2, upcast: { 1: ({ big, ...rest }) => ({ ...rest, whole: big, more: true }) } }
    )
    const event = Result.getOrThrow(Event.decode(Renamed, stored(`{"big":9007199254740993,"rate":0.12345678901234567891}`)))
    assert.deepEqual(event, {
      _tag: "Everything",
      whole: 9007199254740993n,
      rate: decimal("0.12345678901234567891"),
      more: true
    })
  })

  it.effect("are in a snapshot what they were in the state", () =>
    Effect.gen(function* () {
      const Noted = Event.make("Noted", { json: Schema.Json })
      const Notes = Aggregate.make("Notes", {
        events: [Noted],
        initial: [] as ReadonlyArray<Schema.Json>,
        evolve: { Noted: (notes, { json }) => [...notes, json] },
        snapshot: { state: Schema.Array(Schema.Json), every: 1 }
      })
      const text = `{"a":[9007199254740993,0.12345678901234567891,-0]}`
      yield* EventStore.append("Notes-1", [{ type: "Noted", payload: Kit.parsePayload(`{"json":${text}}`) }])
      yield* Repository.append(Notes, "1", [Noted.make({ json: 1 })])
      for (let again = 0; again < 2; again++) {
        const { state } = yield* Repository.read(Notes, "1")
        assert.equal(Kit.writePayload([...state]), `[${text},1]`)
      }
    }).pipe(Effect.provide([EventStore.layerMemory, Snapshots.layerMemory]))
  )

  it.effect("survive a copy from store to store, which compares them", () =>
    Effect.gen(function* () {
      const [from, to] = [yield* EventStore.makeMemory, yield* EventStore.makeMemory]
      const text = `{"a":[9007199254740993,0.12345678901234567891,-0]}`
      yield* from.append("A-1", [{ type: "Noted", payload: Kit.parsePayload(text), metadata: { b: Kit.parsePayload(text) } }])
      yield* EventStore.copy(from, to)
      const [copied] = yield* Stream.runCollect(to.readAll())
      assert.equal(Kit.writePayload(copied?.payload ?? null), text)
      const other = yield* EventStore.makeMemory
      const [original] = yield* Stream.runCollect(from.readAll())
      assert.ok(original !== undefined)
      yield* other.append("A-1", [{ ...original, payload: Kit.parsePayload(text.replace("891", "892")) }])
      assert.match((yield* Effect.flip(EventStore.copy(from, other))).message, /are not the first 1 of the source/)
    })
  )
})
