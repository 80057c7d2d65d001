/** Personal data together with what else stands over a store: tombstones, the hash chain, archives, tenants. */
import assert from "node:assert/strict"
import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import { it } from "@effect/vitest"
import { Context, Effect, Layer } from "effect"
import { SqlClient } from "effect/sql"
import { describe } from "vitest"
import { Checkpoints, EventStore, Keys, Personal, Tenants } from "eventfold"
import { JsonlEventStore } from "eventfold/jsonl"
import { SqliteClient, SqliteEventStore } from "eventfold/sqlite"
import { join } from "node:path"
import { temporaryDirectory } from "../support/files.ts"
import {
  holdsForTenants,
  holdsForTenantsInSql,
  holdsInEachOrder,
  holdsOverChain,
  KeyedShop,
  masters,
  reachesEveryTenant,
  register,
  Shop,
  stateOf
} from "./order.ts"

const stores = {
  memory: EventStore.layerMemoryWith({ chain: true }),
  SQLite: SqliteEventStore.layerFile({ filename: ":memory:", chain: true }),
  "JSON lines": Layer.unwrap(
    Effect.map(temporaryDirectory, (directory) => JsonlEventStore.layer({ path: join(directory, "events.jsonl"), chain: true }))
  ).pipe(Layer.provide(NodeFileSystem.layer))
}
for (const [name, store] of Object.entries<Layer.Layer<EventStore.EventStore, unknown>>(stores)) {
  holdsOverChain(name, Layer.merge(store, Checkpoints.layerMemory))
  holdsInEachOrder(name, Layer.merge(store, Checkpoints.layerMemory))
}

holdsForTenants(
  "memory",
  Effect.succeed(() => EventStore.layerMemory)
)
holdsForTenantsInSql(
  "SQLite",
  Effect.succeed(() => Layer.provideMerge(SqliteEventStore.layer, SqliteClient.layer({ filename: ":memory:" })))
)
holdsForTenants(
  "JSON lines",
  Effect.map(
    temporaryDirectory,
    (directory) =>
      ({ place }) =>
        Layer.provide(JsonlEventStore.layer({ path: join(directory, place) }), NodeFileSystem.layer)
  )
)

describe("in the part of a store that a tenant has by its tag", () => {
  for (const [order, stores] of Object.entries({
    "of a store that seals": Tenants.layerMapOf(Shop, { store: Tenants.layerTagged }).pipe(Layer.provide(Personal.layer)),
    "that seals, of a store that does": Tenants.layerMapOf(Shop, {
      store: (entry) => Layer.provide(Personal.layer, Tenants.layerTagged(entry))
    }).pipe(Layer.provide(Personal.layer)),
    "that seals": Tenants.layerMapOf(Shop, { store: (entry) => Layer.provide(Personal.layer, Tenants.layerTagged(entry)) })
  })) {
    reachesEveryTenant(order, stores.pipe(Layer.provide(EventStore.layerMemory)))
  }
})

describe("a tenant with keys of its own", () => {
  it.live("takes them along where it moves, and who was forgotten stays so", () =>
    Effect.gen(function* () {
      const directory = yield* temporaryDirectory
      const options = {
        store: ({ place }: Tenants.TenantEntry) =>
          Personal.layer.pipe(
            Layer.provideMerge(Keys.layerSql({ masters, table: "keys", bound: 0 })),
            Layer.provideMerge(SqliteEventStore.layer),
            Layer.provideMerge(SqliteClient.layer({ filename: join(directory, `${place}.db`) })),
            Layer.provide(Personal.layerCrypto)
          )
      }
      const also = (from: Context.Context<SqlClient.SqlClient>, to: Context.Context<SqlClient.SqlClient>) =>
        Effect.gen(function* () {
          const [here, there] = [Context.get(from, SqlClient.SqlClient), Context.get(to, SqlClient.SqlClient)]
          const rows = yield* here`select id, subject, generation, wrapped, master, closed from keys`
          for (const row of rows) yield* there`insert into keys ${there.insert(row)} on conflict do nothing`
        })
      const shops = Tenants.layerMapOf(KeyedShop, { ...options, freshness: 0 })
      yield* Effect.gen(function* () {
        yield* Tenants.add("acme", "one")
        const acme = Tenants.provideFrom(KeyedShop, "acme")
        for (const customer of ["ada", "ben"]) yield* acme(register(customer))
        yield* acme(Personal.forget("ben"))
        yield* Tenants.move("acme", "two", { ...options, also })
        assert.deepEqual([yield* acme(stateOf("ada")), yield* acme(stateOf("ben"))], ["ada@planted.org", "forgotten"])
        yield* acme(register("ada"))
        assert.ok((yield* Effect.flip(acme(register("ben")))) instanceof EventStore.InvalidAppendError)
        yield* acme(Personal.forget("ada"))
        assert.equal(yield* acme(stateOf("ada")), "forgotten")
      }).pipe(Effect.provide(Layer.provideMerge(shops, Tenants.layerRegistryMemory)))
    }).pipe(Effect.scoped)
  )
})
