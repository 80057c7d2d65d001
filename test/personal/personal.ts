import assert from "node:assert/strict"
import { it } from "@effect/vitest"
import { Effect, Layer, Option, Schema, Stream } from "effect"
import { describe } from "vitest"
import { Event, EventStore, Keys, Personal, Repository, Aggregate } from "eventfold"
import type { EventStoreConformance } from "eventfold/testing"

const Registered = Event.make(
  "Registered",
  {
    customer: Schema.String,
    email: Personal.field(Schema.String, { subject: "customer" }),
    name: Personal.field(Schema.String, { subject: "customer", whenForgotten: "(forgotten)" }),
    plan: Schema.String
  },
  { tags: ({ customer }) => [`customer:${customer}`] }
)

const Met = Event.make("Met", {
  people: Schema.Array(
    Schema.Struct({
      person: Schema.String,
      name: Personal.field(Schema.String, { subject: "person" }),
      born: Personal.field(Schema.DateTimeUtcFromString, { subject: "person" })
    })
  )
})

const Customer = Aggregate.make("Customer", {
  events: [Registered],
  initial: { email: "" as string | undefined, name: "" },
  evolve: { Registered: (_, { email, name }) => ({ email: Personal.getOrElse(email, () => undefined), name }) }
})

const ada = { customer: "c1", email: "ada@example.org", name: "Ada Lovelace", plan: "free" }
const encoded = <E extends Event.Any>(definition: E, event: E["Type"]) =>
  Effect.runSync(Effect.fromResult(Event.encode(definition, event)))
const registered = (more: Partial<typeof ada> = {}) => encoded(Registered, Registered.make({ ...ada, ...more }))

/** What every store must do with personal data in it. */
export const keepsPersonalData = (name: string, storage: EventStoreConformance.Storage): void => {
  const opened = Effect.gen(function* () {
    const layer = yield* storage
    return yield* Layer.build(
      Personal.layer.pipe(Layer.provide(layer), Layer.provideMerge(Keys.layerMemory), Layer.provide(Personal.layerCrypto))
    )
  })
  const test = <E>(sentence: string, body: Effect.Effect<void, E, EventStore.EventStore | Keys.Keys>) =>
    it.effect(sentence, () => Effect.scoped(Effect.flatMap(opened, (context) => Effect.provide(body, context))), 60_000)
  const stored = Effect.flatMap(EventStore.EventStore, (store) => Stream.runCollect(EventStore.asStored(store).readAll()))

  describe(`personal data in ${name}`, () => {
    test(
      "is sealed where it is stored, and read as it was by every read, until it is forgotten",
      Effect.gen(function* () {
        const store = yield* EventStore.EventStore
        yield* store.append("Customer-c1", [{ ...registered(), id: "e1", published: true }])
        yield* store.append("Customer-c2", [registered({ customer: "c2", email: "ben@example.org", name: "Ben Franklin" })])
        const text = JSON.stringify(yield* stored)
        // What is sealed has neither "@" nor a space in it, so it says none of these by chance.
        for (const planted of ["ada@", "Ada ", "ben@", "Ben "]) assert.ok(!text.includes(planted), `${planted} in ${text}`)
        const ways = [
          Stream.runCollect(store.read("Customer-c1")),
          Stream.runCollect(store.readAll({ upTo: 1 })),
          Stream.runCollect(store.readAll({ filter: { tags: ["customer:c1"] } })),
          Stream.runCollect(Stream.take(store.subscribe(), 1)),
          Effect.map(store.readPage({ upTo: 1 }), ({ events }) => events),
          Effect.map(store.readBoundary([{ filter: { tags: ["customer:c1"] } }]), ({ answers }) =>
            answers.flatMap(({ events }) => events)
          ),
          Effect.map(store.find("e1"), Option.toArray)
        ]
        for (const way of ways) {
          const [event] = yield* way
          assert.deepEqual(yield* Effect.fromResult(Event.decode(Registered, event as EventStore.RecordedEvent)), {
            _tag: "Registered",
            ...ada
          })
        }
        const at = yield* Personal.forget("c1")
        assert.equal(at, 3)
        for (const way of ways) {
          const [event] = yield* way
          assert.deepEqual(yield* Effect.fromResult(Event.decode(Registered, event as EventStore.RecordedEvent)), {
            _tag: "Registered",
            customer: "c1",
            email: Personal.forgotten,
            name: "(forgotten)",
            plan: "free"
          })
        }
        assert.deepEqual((yield* Repository.read(Customer, "c1")).state, { email: undefined, name: "(forgotten)" })
        assert.equal((yield* Repository.read(Customer, "c2")).state.email, "ben@example.org")
      })
    )

    test(
      "of several people in one event is forgotten one by one",
      Effect.gen(function* () {
        const store = yield* EventStore.EventStore
        const born = yield* Effect.fromResult(Schema.decodeResult(Schema.DateTimeUtcFromString)("1815-12-10T00:00:00.000Z"))
        const people = [
          { person: "p1", name: "Ada", born },
          { person: "p2", name: "Charles", born },
          { person: "p1", name: "Augusta", born }
        ]
        yield* store.append("Meeting-1", [encoded(Met, Met.make({ people }))])
        yield* Personal.forget("p1")
        const [event] = yield* Stream.runCollect(store.read("Meeting-1"))
        const read = yield* Effect.fromResult(Event.decode(Met, event as EventStore.RecordedEvent))
        assert.deepEqual(
          read.people.map(({ name }) => name),
          [Personal.forgotten, "Charles", Personal.forgotten]
        )
        assert.deepEqual(read.people[1]?.born, born)
      })
    )

    test(
      "the same event again is a repetition, and another payload under its id is refused",
      Effect.gen(function* () {
        const store = yield* EventStore.EventStore
        const event = { ...registered(), id: "e1" }
        yield* store.append("Customer-c1", [event])
        const again = yield* store.append("Customer-c1", [event])
        assert.equal(again.deduplicated, true)
        const { email, ...rest } = event.payload as Record<string, Schema.Json>
        const reordered = yield* store.append("Customer-c1", [{ ...event, payload: { email: email as Schema.Json, ...rest } }])
        assert.equal(reordered.deduplicated, true)
        const other = yield* Effect.flip(store.append("Customer-c1", [{ ...event, ...registered({ email: "eve@example.org" }) }]))
        assert.equal(other._tag, "DuplicateEventError")
        yield* store.append("Customer-c1", [registered()])
        const [first, second] = (yield* stored).map(({ payload }) => JSON.stringify(payload))
        assert.notEqual(first, second)
      })
    )

    test(
      "a copy of what was read before is forgotten with it, and new data of who is forgotten is refused until it is let in anew",
      Effect.gen(function* () {
        const store = yield* EventStore.EventStore
        yield* store.append("Customer-c1", [registered()])
        const [read] = yield* Stream.runCollect(store.read("Customer-c1"))
        yield* store.append("Copy-1", [{ type: "Copied", payload: { of: (read as EventStore.RecordedEvent).payload } }])
        yield* Personal.forget("c1")
        yield* store.append("Copy-1", [{ type: "Copied", payload: { of: (read as EventStore.RecordedEvent).payload } }])
        const copies = yield* Stream.runCollect(store.read("Copy-1"))
        for (const { payload } of copies) {
          assert.deepEqual(payload, {
            of: {
              customer: "c1",
              email: { $personal: { forgotten: true } },
              name: { $personal: { forgotten: true } },
              plan: "free"
            }
          })
        }
        const refused = yield* Effect.flip(store.append("Customer-c1", [registered()]))
        assert.ok(refused._tag === "InvalidAppendError", String(refused))
        assert.equal(refused.field, "events[0].payload.email")
        assert.match(refused.message, /"c1", who is forgotten/)
        yield* (yield* Keys.Keys).readmit("c1")
        yield* store.append("Customer-c1", [registered({ email: "ada@new.example.org" })])
        assert.equal((yield* Repository.read(Customer, "c1")).state.email, "ada@new.example.org")
        yield* Personal.forget("c1")
        assert.equal((yield* Repository.read(Customer, "c1")).state.email, undefined)
        const erasures = yield* Stream.runCollect(store.read("$erasure-c1"))
        assert.deepEqual(
          erasures.map(({ payload, type }) => [type, payload]),
          [
            ["SubjectForgotten", { subject: "c1", generation: 1 }],
            ["SubjectForgotten", { subject: "c1", generation: 2 }]
          ]
        )
      })
    )

    test(
      "is forgotten of who may have some: a subject that cannot be one is refused, and nothing comes of it",
      Effect.gen(function* () {
        const store = yield* EventStore.EventStore
        for (const subject of ["", "x".repeat(181), "a\u0000b", "a\ud800"]) {
          const error = yield* Effect.flip(Personal.forget(subject))
          assert.ok(error._tag === "InvalidAppendError" && error.field === "subject", String(error))
          assert.match(error.message, /must be text of 1 to 180 characters/)
        }
        assert.equal(yield* store.head, 0)
        // Whatever else it is called.
        for (const subject of ["__proto__", "constructor", "-", " ", "ä".repeat(180), "$master:a"]) {
          const one = encoded(Registered, Registered.make({ ...ada, customer: subject }))
          yield* store.append("Single", [{ ...one, tags: [] }])
          yield* Personal.forget(subject)
        }
        const all = yield* Stream.runCollect(store.read("Single"))
        assert.equal(all.length, 6)
        for (const event of all) {
          assert.equal((yield* Effect.fromResult(Event.decode(Registered, event))).email, Personal.forgotten)
        }
      })
    )

    test(
      "is not taken in the clear by the store beneath, nor what looks like it by either",
      Effect.gen(function* () {
        const store = yield* EventStore.EventStore
        const beneath = EventStore.asStored(store)
        const clear = yield* Effect.flip(beneath.append("Customer-c1", [registered()]))
        assert.ok(clear._tag === "InvalidAppendError", String(clear))
        assert.match(clear.message, /payload\.email is personal data in the clear: provide the store through Personal\.layer/)
        const email = { $personal: { of: "customer", value: "ada@example.org" } }
        const beside = { type: "Noted", payload: {}, metadata: { customer: "c1", email } }
        for (const either of [store, beneath]) {
          const noted = yield* Effect.flip(either.append("Customer-c1", [beside]))
          assert.match(noted.message, /metadata\.email is personal data, and metadata are not sealed/)
        }
        const endless: { self?: unknown } = {}
        endless.self = endless
        const personal = (value: Schema.Json): Schema.Json => ({ who: "c1", x: { $personal: { of: "who", value } } })
        const wrong: ReadonlyArray<readonly [Schema.Json, RegExp]> = [
          [{ a: { $personal: 1 } }, /payload\.a has the key "\$personal"/],
          [{ a: { $personal: { of: "b", value: 1 }, b: 1 } }, /payload\.a has the key "\$personal"/],
          [{ list: [{ x: { $personal: { of: "who", value: 1 } } }] }, /payload\.list\[0\]\.x .*"who"/],
          [{ who: 5, x: { $personal: { of: "who", value: 1 } } }, /payload\.x .*"who" beside it/],
          [{ who: "", x: { $personal: { of: "who", value: 1 } } }, /payload\.x .*1 to 180 characters/],
          [{ x: { $personal: { of: "$stream", value: 1 } } }, /payload\.x .*named by the stream/],
          [{ x: { $personal: { value: 1 } } }, /payload\.x has neither a subject nor a key/],
          [
            { x: { $personal: { key: "nobody's", value: 1 } } },
            /payload\.x is said to have been read with a key that nobody knows/
          ],
          [{ x: { $personal: { key: "a", sealed: "b" } } }, /payload\.x is sealed already/],
          // What a plain payload may not hold is refused of what is sealed as well, and named.
          [personal(Number.NaN), /payload\.x is NaN, which JSON cannot carry/],
          [personal({ a: [undefined] } as unknown as Schema.Json), /payload\.x\.a\[0\] is undefined/],
          [personal(5n as unknown as Schema.Json), /payload\.x is a bigint/],
          [personal(new Date(0) as unknown as Schema.Json), /payload\.x is a Date, not plain JSON/],
          [personal(endless as unknown as Schema.Json), /payload\.x\.self.* refers to itself/],
          [personal("\u0000"), /payload\.x contains the character U\+0000/],
          [personal(["\ud800"]), /payload\.x\[0\] contains a lone surrogate/],
          // Whoever is within what is another's could not be forgotten.
          [personal({ in: [{ it: { $personal: { of: "who", value: 1 } } }] }), /payload\.x\.in\[0\]\.it is personal data within/]
        ]
        for (const [payload, problem] of wrong) {
          const error = yield* Effect.flip(store.append("Single", [{ type: "Wrong", payload }]))
          assert.ok(error._tag === "InvalidAppendError", String(error))
          assert.match(error.message, problem)
        }
        const cycle: { self?: unknown; other?: unknown } = {}
        cycle.self = cycle
        cycle.other = cycle
        const error = yield* Effect.flip(store.append("Single", [{ type: "Cycle", payload: cycle as Schema.Json }]))
        assert.equal(error._tag, "InvalidAppendError")
        assert.equal(yield* store.head, 0)
      })
    )

    test(
      "that has been tampered with is an error of its event alone, with its place; without Personal.layer it says so",
      Effect.gen(function* () {
        const store = yield* EventStore.EventStore
        const beneath = EventStore.asStored(store)
        yield* store.append("Customer-c1", [registered()])
        const [sealed] = yield* Stream.runCollect(beneath.read("Customer-c1"))
        const event = sealed as EventStore.RecordedEvent
        const turned = JSON.parse(
          JSON.stringify(event.payload).replace(/"sealed":"(.)/, (_, first: string) => `"sealed":"${first === "A" ? "B" : "A"}`)
        ) as Schema.Json
        yield* beneath.append("Customer-c2", [{ type: "Registered", payload: turned }])
        yield* beneath.append("Customer-c3", [{ type: "Registered", payload: { ...(event.payload as object), name: "Eve" } }])
        yield* beneath.append("Customer-c4", [{ type: "Other", payload: event.payload }])
        yield* store.append("Customer-c5", [registered({ customer: "c5" })])
        const all = yield* Stream.runCollect(store.readAll())
        const results = all.map((recorded) => Event.decode(Registered, recorded))
        assert.deepEqual(
          results.map(({ _tag }) => _tag),
          ["Success", "Failure", "Failure", "Failure", "Success"]
        )
        const failure = results[1]
        assert.ok(failure?._tag === "Failure")
        assert.match(failure.failure.message, /Event 1 of stream "Customer-c2" .*its key does not open.*\n.*email/s)
        const bare = Event.decode(Registered, event)
        assert.ok(bare._tag === "Failure")
        assert.match(bare.failure.message, /it is read without Personal\.layer/)
      })
    )

    test(
      "is copied as it is sealed, and its erasure reaches the copy",
      Effect.gen(function* () {
        const store = yield* EventStore.EventStore
        yield* store.append("Customer-c1", [registered()])
        const target = yield* EventStore.makeMemory
        const { copied } = yield* EventStore.copy(store, target)
        assert.equal(copied, 1)
        assert.deepEqual(yield* Stream.runCollect(target.readAll()), yield* stored)
        const elsewhere = yield* Personal.make(target).pipe(Effect.provide(Personal.layerCrypto))
        const read = Effect.map(Stream.runCollect(elsewhere.readAll()), ([event]) =>
          Event.decode(Registered, event as EventStore.RecordedEvent)
        )
        assert.equal((yield* read)._tag === "Success" && (yield* Effect.fromResult(yield* read)).email, "ada@example.org")
        yield* Personal.forget("c1")
        assert.deepEqual((yield* Effect.fromResult(yield* read)).email, Personal.forgotten)
      })
    )
  })
}
