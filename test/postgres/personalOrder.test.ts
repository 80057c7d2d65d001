/** Personal data, archives and tombstones in each order over PostgreSQL: plain tables, and those that tenants share. */
import { Effect, Layer } from "effect"
import { Keys, Personal } from "eventfold"
import { PgCheckpoints, PgEventStore, PgTenants } from "eventfold/postgres"
import { holdsForTenantsInSql, holdsInEachOrder, holdsOverChain, masters } from "../personal/order.ts"
import { besideTenant, preparedTables } from "./shared.ts"
import { freshSchema, serverOfFile } from "./support.ts"

const server = serverOfFile()
const prepared = preparedTables()
const keys = Layer.provide(Keys.layerSql({ masters }), Personal.layerCrypto)
const preparedWithKeys = preparedTables({ beside: Layer.merge(besideTenant, keys) })

const plain = Layer.unwrap(
  Effect.sync(() => {
    const schema = freshSchema()
    return Layer.merge(PgEventStore.layerWith({ schema, chain: true }), PgCheckpoints.layerWith({ schema })).pipe(
      Layer.provide(server)
    )
  })
)
const shared = Layer.unwrap(
  Effect.map(prepared, ({ kept }) =>
    besideTenant.pipe(Layer.provideMerge(PgTenants.layerOf({ id: "acme" })), Layer.provide(kept))
  )
)

holdsForTenantsInSql(
  "PostgreSQL, a schema for each",
  Effect.sync(() => {
    const schema = freshSchema()
    return ({ place }) => Layer.provideMerge(PgEventStore.layerWith({ schema: `${schema}${place}` }), server)
  })
)
holdsForTenantsInSql(
  "PostgreSQL, shared tables",
  Effect.gen(function* () {
    const { tables } = yield* preparedWithKeys
    const shared = Layer.succeedContext(yield* Layer.build(tables))
    return (tenant) => Layer.provide(PgTenants.layerOf(tenant), shared)
  })
)

holdsOverChain("PostgreSQL", plain)
holdsInEachOrder("PostgreSQL", plain)
holdsInEachOrder("a tenant of shared tables", shared)
