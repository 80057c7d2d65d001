/** Snapshots of states with personal data, once something in them is forgotten. */
import assert from "node:assert/strict"
import { it } from "@effect/vitest"
import { Effect, Layer, Schema } from "effect"
import { describe } from "vitest"
import { Aggregate, Checkpoints, Event, EventStore, Keys, Personal, Repository, Retention, Snapshots } from "eventfold"
import { SqliteCheckpoints, SqliteClient, SqliteEventStore } from "eventfold/sqlite"

const Registered = Event.make("Registered", {
  customer: Schema.String,
  email: Personal.field(Schema.String, { subject: "customer" })
})
const Bought = Event.make("Bought", { price: Schema.Int })

let folds = 0
const Customer = Aggregate.make("Customer", {
  events: [Registered, Bought],
  state: Schema.Struct({
    customer: Schema.String,
    email: Personal.field(Schema.String, { subject: "customer" }),
    /** What is made of it: only the events say what it is once they are read without. */
    reachable: Schema.Boolean,
    spent: Schema.Int
  }),
  initial: { customer: "", email: "", reachable: false, spent: 0 },
  evolve: {
    Registered: (state, { customer, email }) => {
      folds++
      return { ...state, customer, email, reachable: !Personal.isForgotten(email) }
    },
    Bought: (state, { price }) => ({ ...state, spent: state.spent + price })
  },
  snapshot: { every: 2 }
})

const sealed = Layer.merge(Personal.layer, Personal.layerSnapshots)
const Shared = Layer.provideMerge(Keys.layerMemory, Personal.layerCrypto)
const stores: Readonly<
  Record<string, Layer.Layer<EventStore.EventStore | Checkpoints.Checkpoints | Snapshots.Snapshots, unknown>>
> = {
  memory: Layer.mergeAll(EventStore.layerMemory, Checkpoints.layerMemory, Snapshots.layerMemory),
  SQLite: Layer.mergeAll(SqliteCheckpoints.layer, Snapshots.layerSql).pipe(
    Layer.provideMerge(SqliteEventStore.layer),
    Layer.provide(SqliteClient.layer({ filename: ":memory:" }))
  )
}

describe("snapshots, when somebody in them is forgotten,", () => {
  for (const [name, store] of Object.entries(stores)) {
    const Live = sealed.pipe(Layer.provideMerge(Layer.fresh(store)), Layer.provideMerge(Shared))
    const register = Effect.gen(function* () {
      yield* Repository.append(Customer, "c1", [Registered.make({ customer: "c1", email: "ada@planted.org" })])
      for (const price of [1, 2, 3]) yield* Repository.append(Customer, "c1", [Bought.make({ price })])
      const { state } = yield* Repository.read(Customer, "c1")
      assert.deepEqual(state, { customer: "c1", email: "ada@planted.org", reachable: true, spent: 6 })
    })
    const read = Effect.map(Repository.read(Customer, "c1"), ({ state }) => state)
    const forgotten = { customer: "c1", email: Personal.forgotten, spent: 6 }

    it.effect(`are made anew by the events, once, on ${name}`, () =>
      Effect.gen(function* () {
        yield* register
        yield* Personal.forget("c1")
        assert.deepEqual(yield* read, { ...forgotten, reachable: false })
        folds = 0
        assert.deepEqual(yield* read, { ...forgotten, reachable: false })
        assert.equal(folds, 0, "the new snapshot is taken")
      }).pipe(Effect.provide(Live))
    )

    it.effect(`are what is left of a history that was removed, without what is forgotten, on ${name}`, () =>
      Effect.gen(function* () {
        yield* register
        const policies = { Customer: { keep: Retention.behindSnapshot(0) } }
        yield* Effect.scoped(Effect.flatMap(Retention.make({ policies, every: "never" }), ({ run }) => run))
        yield* Personal.forget("c1")
        assert.deepEqual(yield* read, { ...forgotten, reachable: true })
        yield* Repository.append(Customer, "c1", [Bought.make({ price: 1 }), Bought.make({ price: 1 })])
        assert.deepEqual(yield* read, { ...forgotten, reachable: true, spent: 8 })
        // One that was made from another stream is no beginning.
        const { save } = yield* Snapshots.Snapshots
        yield* (yield* Keys.Keys).readmit("c1")
        const state = { customer: "c1", email: Personal.open("customer", "ada@planted.org"), reachable: true, spent: 8 }
        const fingerprint = Customer.snapshot?.fingerprint ?? ""
        yield* save({ stream: "Customer-c1", fingerprint, version: 6, eventId: "another", state }, { replace: true })
        yield* Personal.forget("c1")
        const error = yield* Effect.flip(Repository.read(Customer, "c1"))
        assert.ok(error._tag === "EventStoreError" && error.reason._tag === "EventsRemoved", String(error))
      }).pipe(Effect.provide(Live))
    )
  }
})
