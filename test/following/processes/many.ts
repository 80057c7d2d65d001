/** A process that follows the log under several names, for whoever else does not: each event becomes a row of a view, once. Prints "ready". */
import { PgClient } from "@effect/sql-pg"
import { Effect, Layer, Redacted } from "effect"
import { SqlClient } from "effect/sql"
import { Subscription } from "eventfold"
import { PgCheckpoints, PgEventStore } from "eventfold/postgres"
import { inputEnds } from "../../support/clusterNode.ts"

const { names, schema, url } = JSON.parse(process.argv[2] as string) as {
  readonly url: string
  readonly schema: string
  readonly names: ReadonlyArray<string>
}

const followers = names.map((name) =>
  Subscription.layer({
    name,
    lease: "1500 millis",
    transactional: true,
    handler: ({ position }) =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        yield* sql`insert into ${sql(schema)}.seen (name, position, who) values (${name}, ${position}, ${process.pid})`
      })
  })
)

const Live = Layer.mergeAll(...(followers as [(typeof followers)[number]])).pipe(
  Layer.provideMerge(Layer.mergeAll(PgEventStore.layerWith({ schema }), PgCheckpoints.layerWith({ schema }))),
  Layer.provideMerge(PgClient.layer({ url: Redacted.make(url), maxConnections: 6 }))
)

await Effect.runPromise(
  Effect.scoped(
    Effect.gen(function* () {
      yield* Layer.build(Live)
      console.log("ready")
      yield* inputEnds
    })
  )
)
process.exit(0)
