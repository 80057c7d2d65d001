/** A personal field wherever it may stand in an event: sealed, read, forgotten, and left sealed. */
import assert from "node:assert/strict"
import { it } from "@effect/vitest"
import { Effect, Layer, Schema, Stream } from "effect"
import { describe } from "vitest"
import { Event, EventStore, Keys, Personal } from "eventfold"

const name = Personal.field(Schema.String, { subject: "who" })
const called = Personal.field(Schema.NonEmptyString, { subject: "who", whenForgotten: "nobody" })
const Person = Schema.Struct({ who: Schema.String, name })

class Guest extends Schema.Class<Guest>("Guest")({ who: Schema.String, name }) {}

interface Kin {
  readonly who: string
  readonly name: string | Personal.Forgotten
  readonly children: ReadonlyArray<Kin>
}
interface StoredKin {
  readonly who: string
  readonly name: (typeof name)["Encoded"]
  readonly children: ReadonlyArray<StoredKin>
}
const Kin = Schema.Struct({
  who: Schema.String,
  name,
  children: Schema.Array(Schema.suspend((): Schema.Codec<Kin, StoredKin> => Kin))
})

const { forgotten, withheld } = Personal

/** An event, what it says, and what is read of it when `ada` is forgotten, and without being seen: of the types that say so. */
const shape = <const Tag extends string, F extends Event.Fields, P extends boolean, T extends string>(
  definition: Event.Event<Tag, F, P, T>,
  said: Omit<(typeof definition)["Type"], "_tag">,
  left: Omit<(typeof definition)["Type"], "_tag">,
  unseen: Omit<ReturnType<typeof Personal.blind<Tag, F, P>>["Type"], "_tag">
): {
  readonly definition: Event.Any
  readonly blind: Event.Any
  readonly said: object
  readonly left: object
  readonly unseen: object
} => ({
  definition: definition as unknown as Event.Any,
  blind: Personal.blind(definition) as unknown as Event.Any,
  said,
  left,
  unseen
})

const ada = { who: "ada", name: "Ada" }
const shapes = {
  "a field that may be absent": shape(
    Event.make("Optional", { who: Schema.String, name: Schema.optional(name), more: Schema.optionalKey(called) }),
    { who: "ada", name: "Ada", more: "A" },
    { who: "ada", name: forgotten, more: "nobody" },
    { who: "ada", name: withheld, more: withheld }
  ),
  "a field that is absent": shape(
    Event.make("Absent", { who: Schema.String, name: Schema.optional(name), more: Schema.optionalKey(called) }),
    { who: "ada" },
    { who: "ada" },
    { who: "ada" }
  ),
  "a field or null": shape(
    Event.make("Nullable", { who: Schema.String, name: Schema.NullOr(name), none: Schema.NullOr(name) }),
    { who: "ada", name: "Ada", none: null },
    { who: "ada", name: forgotten, none: null },
    { who: "ada", name: withheld, none: null }
  ),
  "one of several": shape(
    Event.make("Either", { who: Schema.String, is: Schema.Union([Schema.Int, Person, Schema.Struct({ no: Schema.Boolean })]) }),
    { who: "x", is: ada },
    { who: "x", is: { who: "ada", name: forgotten } },
    { who: "x", is: { who: "ada", name: withheld } }
  ),
  "lists and pairs": shape(
    Event.make("Lists", {
      who: Schema.String,
      all: Schema.Array(name),
      some: Schema.NonEmptyArray(called).check(Schema.isMinLength(1)),
      pair: Schema.Tuple([Schema.Int, name])
    }),
    { who: "ada", all: ["", "Ada"], some: ["A"], pair: [1, "Augusta"] },
    { who: "ada", all: [forgotten, forgotten], some: ["nobody"], pair: [1, forgotten] },
    { who: "ada", all: [withheld, withheld], some: [withheld], pair: [1, withheld] }
  ),
  "structs by name": shape(
    Event.make("Named", { people: Schema.Record(Schema.String, Person) }),
    { people: { first: ada, second: { who: "ben", name: "Ben" } } },
    { people: { first: { who: "ada", name: forgotten }, second: { who: "ben", name: "Ben" } } },
    { people: { first: { who: "ada", name: withheld }, second: { who: "ben", name: withheld } } }
  ),
  "a Schema that holds itself": shape(
    Event.make("Tree", { root: Kin }),
    { root: { ...ada, children: [{ who: "ben", name: "Ben", children: [] }] } },
    { root: { who: "ada", name: forgotten, children: [{ who: "ben", name: "Ben", children: [] }] } },
    // Of a Schema that is deferred, the types say what its author has written.
    { root: { who: "ada", name: withheld, children: [{ who: "ben", name: withheld, children: [] }] as never } }
  ),
  "a class": shape(
    Event.make("Visited", { guest: Guest }),
    { guest: new Guest(ada) },
    { guest: new Guest({ who: "ada", name: forgotten }) },
    { guest: { who: "ada", name: withheld } }
  ),
  "a whole, with what is empty in it": shape(
    Event.make("Whole", {
      who: Schema.String,
      all: Personal.field(
        Schema.Struct({ a: Schema.optional(Schema.String), b: Schema.NullOr(Schema.Int), c: Schema.Array(Schema.Int) }),
        {
          subject: "who"
        }
      )
    }),
    { who: "ada", all: { b: null, c: [] } },
    { who: "ada", all: forgotten },
    { who: "ada", all: withheld }
  )
}

const Live = Personal.layer.pipe(
  Layer.provide(EventStore.layerMemory),
  Layer.provideMerge(Keys.layerMemory),
  Layer.provideMerge(Personal.layerCrypto)
)

describe("personal data in", () => {
  for (const [where, { blind, definition, left, said, unseen }] of Object.entries(shapes)) {
    it.effect(`${where} is sealed, read, left sealed, and forgotten`, () =>
      Effect.gen(function* () {
        const store = yield* EventStore.EventStore
        const read = (one: EventStore.EventStore["Service"], by: Event.Any) =>
          Effect.map(Effect.flatMap(Stream.runHead(one.readAll()), Effect.fromOption), (event) => Event.decode(by, event)).pipe(
            Effect.flatMap(Effect.fromResult)
          )
        const event = yield* Effect.fromResult(Event.encode(definition, { _tag: definition.type, ...said } as never))
        yield* store.append("Person-ada", [event])
        const sealed = EventStore.asStored(store)
        const text = JSON.stringify(yield* Stream.runCollect(sealed.readAll()))
        // In quotes: what is sealed may have three such letters by chance.
        assert.doesNotMatch(text, /"(Ada|Ben)\\?"/)
        assert.deepEqual(yield* read(store, definition), { _tag: definition.type, ...said })
        for (const one of [store, sealed]) assert.deepEqual(yield* read(one, blind), { _tag: definition.type, ...unseen })
        yield* Personal.forget("ada")
        assert.deepEqual(yield* read(store, definition), { _tag: definition.type, ...left })
      }).pipe(Effect.provide(Layer.fresh(Live)))
    )
  }

  it.effect("what is blind to it writes nothing, and is the definition itself where nothing is personal", () =>
    Effect.gen(function* () {
      const Said = Event.make("Said", { who: Schema.String, name: Schema.NullOr(name), plain: Schema.NonEmptyString })
      const blind = Personal.blind(Said)
      const error = yield* Effect.flip(
        Effect.fromResult(Event.encode(blind, { _tag: "Said", who: "ada", name: withheld, plain: "p" }))
      )
      assert.match(error.message, /blind to personal data reads, and writes nothing/)
      assert.equal(blind.fields.plain, Said.fields.plain)
    })
  )

  it("personal data is not made a field of: it could not be forgotten by itself", () => {
    for (const within of [Person, Schema.Array(name), Schema.NullOr(Person), Kin]) {
      assert.throws(() => Personal.field(within, { subject: "who" }), /a personal field must not hold another/)
    }
  })
})
