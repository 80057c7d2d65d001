/**
 * A process that runs a transactional subscription: each event becomes a row of a view. Prints its state whenever that changes,
 * and the position of each event that it handles. Called "first", it stays in the handler of an event of the type "Held" until its
 * process is stopped and goes on.
 */
import { PgClient } from "@effect/sql-pg"
import { Effect, Layer, Redacted, Stream } from "effect"
import { SqlClient } from "effect/sql"
import { Subscription } from "eventfold"
import { PgCheckpoints, PgEventStore } from "eventfold/postgres"

const { name, schema, url } = JSON.parse(process.argv[2] as string) as {
  readonly url: string
  readonly schema: string
  /** What its rows of the view say who wrote them. */
  readonly name: string
}

const program = Effect.gen(function* () {
  yield* Effect.forkScoped(
    Stream.runForEach(Stream.changes(Stream.map(Subscription.changes("view"), ({ state }) => state)), (state) =>
      Effect.sync(() => console.log(state))
    )
  )
  yield* Effect.callback<void>((resume) => {
    process.stdin.on("end", () => resume(Effect.void)).resume()
  })
})

const View = Subscription.layer({
  name: "view",
  lease: "1500 millis",
  batch: 7,
  transactional: true,
  handler: ({ position, type }) =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      yield* sql`insert into ${sql(schema)}.view values (cast(${String(position)} as int), ${name})`
      const released = Effect.callback<void>((resume) => {
        process.once("SIGCONT", () => resume(Effect.void))
        console.log(`at ${position}`)
      })
      if (name === "first" && type === "Held") yield* released
      else console.log(`at ${position}`)
    })
})

await Effect.runPromise(
  Effect.scoped(
    Effect.provide(
      program,
      View.pipe(
        Layer.provideMerge(Layer.mergeAll(PgEventStore.layer({ schema }), PgCheckpoints.layer({ schema }))),
        Layer.provideMerge(PgClient.layer({ url: Redacted.make(url), maxConnections: 4 }))
      )
    )
  )
)
process.stdin.destroy()
