/** Personal data together with what else stands over a store, in each order: tombstones, the hash chain, archives. */
import assert from "node:assert/strict"
import { join } from "node:path"
import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import { it } from "@effect/vitest"
import { Context, Effect, Layer, Option, Redacted, Schema, type Scope, Stream } from "effect"
import type { SqlClient } from "effect/sql"
import { describe } from "vitest"
import {
  Aggregate,
  Archive,
  type Checkpoints,
  Event,
  EventStore,
  Keys,
  Personal,
  Repository,
  Retention,
  Tenants
} from "eventfold"
import { JsonlArchive } from "eventfold/jsonl"
import { temporaryDirectory } from "../support/files.ts"

const Registered = Event.make("Registered", {
  customer: Schema.String,
  email: Personal.field(Schema.String, { subject: "customer" })
})
const Customer = Aggregate.make("Customer", {
  events: [Registered],
  initial: "nobody",
  evolve: { Registered: (_, { email }) => Personal.getOrElse(email, () => "forgotten") }
})
export const register = (customer: string) =>
  Repository.append(Customer, customer, [Registered.make({ customer, email: `${customer}@planted.org` })])
export const stateOf = (customer: string) => Effect.map(Repository.read(Customer, customer), ({ state }) => state)
const stored = Effect.flatMap(EventStore.EventStore, (store) => Stream.runCollect(EventStore.asStored(store).readAll()))

/** What sealing takes. */
export const Shared = Layer.provideMerge(Keys.layerMemory, Personal.layerCrypto)

const archives = {
  "in another store": Effect.map(EventStore.makeMemory, (store) => Archive.layerStore("cold", store)),
  "in files": Effect.map(temporaryDirectory, (directory) =>
    Layer.provide(JsonlArchive.layer({ name: "cold", directory: join(directory, "cold") }), NodeFileSystem.layer)
  )
}
const orders = {
  "beneath what opens": Layer.provideMerge(Personal.layer, Archive.layer),
  "over what opens": Layer.provideMerge(Archive.layer, Personal.layer)
}

/** Declares the tests on a store with a hash chain; each build of the Layer is storage of its own. */
export const holdsOverChain = (
  name: string,
  storage: Layer.Layer<EventStore.EventStore | Checkpoints.Checkpoints, unknown>
): void => {
  const Base = Layer.merge(Layer.fresh(storage), Shared)
  describe(`over a chain with tombstones, on ${name}`, () => {
    it.live("to forget changes no digest, a sealed event is removed as any other, and all of it verifies", () =>
      Effect.gen(function* () {
        for (const customer of ["a", "b", "c"]) yield* register(customer)
        const before = yield* stored
        const first = yield* EventStore.verify()
        yield* Personal.forget("a")
        assert.deepEqual((yield* stored).slice(0, 3), before)
        const second = yield* EventStore.verify()
        assert.equal(second.events, 4)
        assert.ok(first.chain !== undefined && second.chain !== undefined)
        yield* EventStore.verify({ heads: [first.chain] })

        const { maintenance } = yield* EventStore.EventStore
        assert.ok(maintenance !== undefined)
        const events = yield* Stream.runCollect(maintenance.readAll({ limit: 2 }))
        assert.equal(yield* maintenance.tombstone(events, { reason: "over" }), 2)
        assert.ok(!JSON.stringify((yield* stored).slice(0, 2)).includes("sealed"))
        const third = yield* EventStore.verify({ heads: [first.chain, second.chain] })
        assert.deepEqual([third.removed, third.chain], [2, second.chain])
        // Tombstones pass, and what stands is open or forgotten as before.
        const read = yield* Stream.runCollect(EventStore.readAll())
        assert.deepEqual(
          read.map(({ type }) => type),
          ["$Tombstone", "$Tombstone", "Registered", "SubjectForgotten"]
        )
        assert.equal(yield* stateOf("c"), "c@planted.org")
        yield* Personal.forget("b")
        yield* Personal.forget("c")
        assert.equal(yield* stateOf("c"), "forgotten")
        yield* EventStore.verify()
      }).pipe(Effect.provide(Layer.provideMerge(Personal.layer, Base)))
    )
  })
}

/** Declares the tests of archives over a store; each build of the Layer is storage of its own. */
export const holdsInEachOrder = (
  name: string,
  storage: Layer.Layer<EventStore.EventStore | Checkpoints.Checkpoints, unknown>
): void => {
  const Base = Layer.merge(Layer.fresh(storage), Shared)
  for (const [where, archive] of Object.entries(archives)) {
    for (const [order, Stack] of Object.entries(orders)) {
      describe(`an archive ${where}, read through ${order}, on ${name}`, () => {
        it.live("keeps personal data sealed, gives them opened, and is forgotten in", () =>
          Effect.gen(function* () {
            const Live = Stack.pipe(Layer.provideMerge(yield* archive), Layer.provideMerge(Base))
            yield* Effect.gen(function* () {
              yield* register("a")
              yield* register("b")
              yield* Retention.archive("Customer-a", { reason: "closed" })
              const cold = yield* Archive.Archive
              const [moved] = yield* cold.read("Customer-a", { from: 1, to: 1 })
              assert.ok(JSON.stringify(moved).includes("sealed") && !JSON.stringify(moved).includes("planted"))
              assert.equal((yield* EventStore.verify()).removed, 1)

              const store = yield* EventStore.EventStore
              const ways = {
                read: Stream.runCollect(store.read("Customer-a")),
                readAll: Stream.runCollect(store.readAll({ filter: { types: ["Registered"] }, limit: 1 })),
                readPage: Effect.map(store.readPage({ upTo: 1 }), ({ events }) => events),
                find: Effect.map(store.find(moved?.id ?? ""), Option.toArray),
                subscribe: Stream.runCollect(Stream.take(store.subscribe(), 1))
              }
              const emails = Effect.forEach(Object.entries(ways), ([way, events]) =>
                Effect.gen(function* () {
                  const [event] = yield* events
                  assert.ok(event !== undefined, way)
                  return (yield* Effect.fromResult(Event.decode(Registered, event))).email
                })
              )
              assert.deepEqual(new Set(yield* emails), new Set(["a@planted.org"]))
              // Who leaves it sealed reads on through the archive as well.
              const [sealed] = yield* stored
              assert.equal(sealed?.type, "Registered")
              const blind = Personal.blind(Registered)
              const withheld = yield* Effect.fromResult(Event.decode(blind, sealed as EventStore.RecordedEvent))
              assert.deepEqual(withheld.email, Personal.withheld)

              yield* Personal.forget("a")
              assert.deepEqual(
                (yield* emails).map((email) => Personal.isForgotten(email)),
                [true, true, true, true, true]
              )
              assert.equal(yield* stateOf("b"), "b@planted.org")
              assert.equal((yield* EventStore.verify()).removed, 1)
            }).pipe(Effect.provide(Live))
          })
        )
      })
    }
  }
}

const tenants = ["acme", "globex"] as const

/** The stores of the tenants of a test. */
export class Shop extends Context.Service<Shop, Tenants.Stores<EventStore.EventStore, unknown>>()("test/Shop") {}

/** The same, each with keys of its own. */
export class KeyedShop extends Context.Service<KeyedShop, Tenants.Stores<EventStore.EventStore | Keys.Keys, unknown>>()(
  "test/KeyedShop"
) {}

const text = Effect.map(stored, (events) => JSON.stringify(events))

/** Both tenants have a customer of one id, whose data are sealed in the log of each. */
const registerInBoth = Effect.gen(function* () {
  for (const tenant of tenants) {
    yield* Tenants.add(tenant, tenant.slice(0, 1))
    yield* register("ada").pipe(Tenants.provideFrom(Shop, tenant))
    const sealed = yield* text.pipe(Tenants.provideFrom(Shop, tenant))
    assert.ok(sealed.includes("sealed") && !sealed.includes("planted"), sealed)
    assert.equal(yield* stateOf("ada").pipe(Tenants.provideFrom(Shop, tenant)), "ada@planted.org")
  }
})

/** Declares what holds of the stores of tenants that seal with the keys of all. */
export const reachesEveryTenant = <E>(
  name: string,
  stores: Layer.Layer<Shop, E, Tenants.TenantRegistry | Layer.Success<typeof Shared>>
): void => {
  it.live(`${name}: where keys are those of all, an erasure reaches every tenant's log`, () =>
    Effect.gen(function* () {
      yield* registerInBoth
      yield* Personal.forget("ada").pipe(Tenants.provideFrom(Shop, "acme"))
      for (const tenant of tenants) {
        assert.equal(yield* stateOf("ada").pipe(Tenants.provideFrom(Shop, tenant)), "forgotten")
        const refused = yield* Effect.flip(register("ada").pipe(Tenants.provideFrom(Shop, tenant)))
        assert.ok(refused instanceof EventStore.InvalidAppendError, String(refused))
      }
      // The store beneath is bound to its tenant as well.
      const foreign = Effect.flatMap(EventStore.EventStore, (store) =>
        EventStore.asStored(store).append("Customer-x", [{ type: "X", payload: {}, metadata: { tenant: "globex" } }])
      )
      const error = yield* Effect.flip(foreign.pipe(Tenants.provideFrom(Shop, "acme")))
      assert.ok(error instanceof EventStore.InvalidAppendError && error.field === "events[0].metadata.tenant", String(error))
    }).pipe(Effect.provide(stores.pipe(Layer.provideMerge(Shared), Layer.provideMerge(Tenants.layerRegistryMemory))))
  )
}

/** How the keys of a test are wrapped. */
export const masters: Keys.Masters = { current: "a", keys: { a: Redacted.make(btoa("a".repeat(32))) } }

/** The stores of the tenants of one test. */
export type Stores<R = never> = Effect.Effect<
  (tenant: Tenants.TenantEntry) => Layer.Layer<EventStore.EventStore | R, unknown>,
  unknown,
  Scope.Scope
>

/** Declares the test on stores of tenants that seal with the keys of all. */
export const holdsForTenants = (name: string, stores: Stores): void => {
  describe(`in the stores of tenants, on ${name}`, () => {
    reachesEveryTenant(
      name,
      Layer.unwrap(
        Effect.map(stores, (storeOf) =>
          Tenants.layerMapOf(Shop, { store: (tenant) => Layer.provide(Personal.layer, storeOf(tenant)) })
        )
      )
    )
  })
}

/** Declares the tests on stores of tenants in databases, with the keys of all, and with keys of its own for each. */
export const holdsForTenantsInSql = (name: string, stores: Stores<SqlClient.SqlClient>): void => {
  holdsForTenants(name, stores)
  describe(`in the stores of tenants, on ${name}`, () => {
    const shops = Layer.unwrap(
      Effect.map(stores, (storeOf) =>
        Tenants.layerMapOf(KeyedShop, {
          store: (tenant: Tenants.TenantEntry) =>
            Personal.layer.pipe(
              Layer.provideMerge(Keys.layerSql({ masters })),
              Layer.provideMerge(storeOf(tenant)),
              Layer.provide(Personal.layerCrypto)
            )
        })
      )
    ).pipe(Layer.provideMerge(Tenants.layerRegistryMemory))

    it.live("where each has keys of its own, a tenant forgets its own customer, and not another's of the same id", () =>
      Effect.gen(function* () {
        for (const tenant of tenants) {
          yield* Tenants.add(tenant, tenant.slice(0, 1))
          yield* register("ada").pipe(Tenants.provideFrom(KeyedShop, tenant))
        }
        yield* Personal.forget("ada", { wait: false }).pipe(Tenants.provideFrom(KeyedShop, "acme"))
        assert.equal(yield* stateOf("ada").pipe(Tenants.provideFrom(KeyedShop, "acme")), "forgotten")
        assert.equal(yield* stateOf("ada").pipe(Tenants.provideFrom(KeyedShop, "globex")), "ada@planted.org")
        yield* register("ada").pipe(Tenants.provideFrom(KeyedShop, "globex"))
        const [id] = yield* idsOf.pipe(Tenants.provideFrom(KeyedShop, "globex"))
        // The key of one tenant is nobody's to another.
        const foreign = yield* Keys.Keys.use(({ opening }) => opening(new Set([id ?? ""]))).pipe(
          Tenants.provideFrom(KeyedShop, "acme")
        )
        assert.equal(foreign.size, 0)
      }).pipe(Effect.provide(shops))
    )
  })
}

/** The ids of the keys that the newest events of the tenant's log are sealed with. */
const idsOf = Effect.map(text, (sealed) => Array.from(sealed.matchAll(/"key":"([^"]+)"/g), ([, id]) => id ?? ""))
