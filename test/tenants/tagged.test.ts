import { describe, expect, it } from "@effect/vitest"
import { Effect, Layer, Result, Schema, Stream } from "effect"
import { Checkpoints, Event, EventStore, Keys, Personal, Retention, Tenants } from "eventfold"
import { SqliteEventStore } from "eventfold/sqlite"
import { conforms } from "../support/conformance.ts"
import { assertFollows, assertIsolated } from "../support/isolation.ts"

const Named = Event.make("Named", {
  whose: Schema.String,
  name: Personal.field(Schema.String, { subject: "whose", whenForgotten: "(forgotten)" })
})

/** The store of one tenant, in a store where another has the same names, and nothing of it is seen. */
const besideAnother = (all: Layer.Layer<EventStore.EventStore, EventStore.EventStoreError>) =>
  Layer.effect(
    EventStore.EventStore,
    EventStore.EventStore.use((store) =>
      Effect.gen(function* () {
        const own = Tenants.tagged(store, "a-b")
        const other = Tenants.tagged(store, "a.b")
        yield* Effect.addFinalizer(() => Effect.orDie(Effect.map(other.head, (head) => expect(head).toBe(0))))
        return own
      })
    )
  ).pipe(Layer.provide(all))

/** What goes to the limits: the name and the tag of the tenant take a part of them, which a test of their own is about. */
const atTheLimit = (name: string) => /^(odd names|an event of the largest size|all that was given)/.test(name)

conforms(
  "a tenant by tag, in memory",
  {
    storage: Effect.succeed(besideAnother(EventStore.layerMemory)),
    abilities: { durable: false, shared: false, removes: false }
  },
  ({ name }) => !atTheLimit(name)
)
conforms(
  "a tenant by tag, on SQLite",
  {
    storage: Effect.sync(() => besideAnother(SqliteEventStore.layerFile({ filename: ":memory:" }))),
    abilities: { durable: false, shared: false, removes: false }
  },
  ({ name }) => !atTheLimit(name)
)

describe("tenants by tag", () => {
  it.live("are followed, while others append, by who starts again", () =>
    Effect.flatMap(EventStore.makeMemory, (all) => assertFollows(Tenants.tagged(all, "acme"), Tenants.tagged(all, "globex")))
  )

  it.effect("are verified, though others stand between", () =>
    Effect.gen(function* () {
      const all = yield* EventStore.makeMemory
      const [acme, globex] = [Tenants.tagged(all, "acme"), Tenants.tagged(all, "globex")]
      for (const store of [globex, acme, acme, globex, acme, globex]) {
        yield* store.append("Cart-1", [
          { type: "Opened", payload: {} },
          { type: "Filled", payload: {} }
        ])
      }
      const verify = (store: typeof all, options?: EventStore.VerifyOptions) =>
        Effect.map(Effect.provideService(EventStore.verify(options), EventStore.EventStore, store), ({ events }) => events)
      expect(yield* verify(acme)).toBe(6)
      expect(yield* verify(globex, { after: 1, upTo: 8 })).toBe(3)
      expect(yield* verify(acme, { upTo: 7 })).toBe(4)
      // What is missing is found all the same: a version, and the end.
      const without = (position: number) =>
        EventStore.EventStore.of({
          ...acme,
          readAll: (options) => Stream.filter(acme.readAll(options), (event) => event.position !== position)
        })
      for (const [position, message] of [
        [5, /versions of "Cart-1" go from 2 to 4/],
        [10, /positions end at 9, and the head is 10/]
      ] as const) {
        const error = yield* Effect.flip(verify(without(position)))
        expect(error.message).toMatch(message)
      }
    })
  )

  it.effect("are not removed from: retention says why, and what to do", () =>
    Effect.gen(function* () {
      const all = yield* EventStore.makeMemory
      const acme = Layer.succeed(EventStore.EventStore, Tenants.tagged(all, "acme"))
      const Live = Layer.merge(acme, Checkpoints.layerMemory)
      yield* EventStore.append("Cart-1", [{ type: "Opened", payload: {} }]).pipe(Effect.provide(acme))
      const error = yield* Effect.flip(Layer.build(Retention.layer({ policies: {} }).pipe(Layer.provide(Live))))
      expect(error._tag).toBe("RetentionFailed")
      expect(error.message).toMatch(/of the tenant "acme" cannot be removed: it shares a store by a tag/)
      const one = yield* Effect.flip(Retention.tombstone("Cart-1", { reason: "old" }).pipe(Effect.provide(Live)))
      expect(one.message).toMatch(/of the tenant "acme" cannot be removed/)
      expect(yield* Stream.runCollect(all.readAll({ filter: { types: ["Opened"] } }))).toHaveLength(1)
    })
  )

  it.effect("have names of their own, and read and break nothing of each other", () =>
    Effect.gen(function* () {
      const all = yield* EventStore.makeMemory
      const [one, other] = [Tenants.tagged(all, "acme"), Tenants.tagged(all, "globex")]
      const event = { id: "e", type: "Opened", payload: {}, tags: ["t"] }
      yield* one.append("A-1", [event], { expected: "no-stream" })
      const condition = { unless: { filter: { types: ["Opened"] } } }
      yield* other.appendAll([{ stream: "A-1", events: [event], expected: "no-stream" }], condition)
      expect(yield* Effect.flip(other.appendAll([{ stream: "A-2", events: [{ ...event, id: "f" }] }], condition))).toEqual(
        new EventStore.AppendConditionError({ position: 2, condition: { filter: [{ types: ["Opened"] }], after: 0 } })
      )
      expect([yield* one.head, yield* other.head]).toEqual([1, 2])
      const [seen] = yield* Stream.runCollect(other.readAll())
      expect(seen).toMatchObject({ position: 2, stream: "A-1", id: "e", tags: ["t"], version: 1 })
      expect(yield* Stream.runCollect(all.readAll())).toHaveLength(2)
    })
  )

  it.effect("are told which name is too long, and why", () =>
    Effect.gen(function* () {
      const store = Tenants.tagged(yield* EventStore.makeMemory, "acme")
      const error = yield* Effect.flip(store.append("n".repeat(255), [{ type: "Opened", payload: {} }]))
      expect(error).toMatchObject({ _tag: "InvalidAppendError", stream: "n".repeat(255), field: "stream" })
      expect(error.message).toContain('"acme/"')
      yield* store.append("n".repeat(250), [{ type: "Opened", payload: {} }])
    })
  )
})

describe("two tenants by tag who act at random and at once", () => {
  for (const seed of [1, 2, 3, 4, 5]) {
    it.effect(`see nothing of each other, and are as if each were alone (${seed})`, () =>
      Effect.gen(function* () {
        const all = yield* EventStore.makeMemory
        yield* assertIsolated({ "a-b": Tenants.tagged(all, "a-b"), "a.b": Tenants.tagged(all, "a.b") }, { seed, steps: 300 })
      })
    )
  }
})

it.effect("a tenant whose id is the longest forgets a subject whose id is", () =>
  Effect.gen(function* () {
    const subject = "s".repeat(180)
    const event = Result.getOrThrow(Event.encode(Named, Named.make({ whose: subject, name: "Ada" })))
    yield* EventStore.append("Person-1", [event])
    yield* Personal.forget(subject)
    const [read] = yield* Stream.runCollect(EventStore.read("Person-1"))
    expect((yield* Effect.fromResult(Event.decode(Named, read as typeof read & object))).name).toBe("(forgotten)")
  }).pipe(
    Effect.provide(
      Layer.effect(
        EventStore.EventStore,
        EventStore.EventStore.useSync((all) => Tenants.tagged(all, "t".repeat(63)))
      ).pipe(
        Layer.provide(Layer.provide(Personal.layer, EventStore.layerMemory)),
        Layer.provideMerge(Keys.layerMemory),
        Layer.provideMerge(Personal.layerCrypto)
      )
    )
  )
)
