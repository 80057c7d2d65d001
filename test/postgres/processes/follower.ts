/**
 * A process that runs a transactional subscription, on PostgreSQL or on a file of SQLite: each event becomes a row of a view. Prints
 * its state, or how many partitions it holds, whenever that changes, and the position of each event that it handles. Called "first",
 * it stays in the handler of an event of the type "Held" until its process is stopped and goes on. On SIGUSR2 it stops itself, while
 * no statement runs.
 */
import { PgClient } from "@effect/sql-pg"
import { Effect, Layer, Redacted, Stream } from "effect"
import { SqlClient } from "effect/sql"
import { Subscription } from "eventfold"
import { PgCheckpoints, PgEventStore } from "eventfold/postgres"
import { SqliteCheckpoints, SqliteEventStore } from "eventfold/sqlite"

const { filename, name, partitions, schema, url } = JSON.parse(process.argv[2] as string) as {
  readonly url: string
  readonly schema: string
  /** In place of the server. */
  readonly filename?: string
  /** What its rows of the view say who wrote them. */
  readonly name: string
  readonly partitions?: number
}

process.on("SIGUSR2", () => {
  console.log("stops")
  process.kill(process.pid, "SIGSTOP")
})

const summary = ({ partitions, state }: Subscription.Status) =>
  partitions === undefined
    ? state
    : `holds ${partitions.filter(({ state }) => state === "catching-up" || state === "live").length}`

const program = Effect.gen(function* () {
  yield* Effect.forkScoped(
    Stream.runForEach(Stream.changes(Stream.map(Subscription.changes("view"), summary)), (line) =>
      Effect.sync(() => console.log(line))
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
  partitions,
  handler: ({ position, type }) =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const view = filename === undefined ? sql`${sql(schema)}.view` : sql`view`
      yield* sql`insert into ${view} (position, who) values (cast(${String(position)} as int), ${name})`
      const released = Effect.callback<void>((resume) => {
        process.once("SIGCONT", () => resume(Effect.void))
        console.log(`at ${position}`)
      })
      if (name === "first" && type === "Held") yield* released
      else console.log(`at ${position}`)
    })
})

const stores =
  filename === undefined
    ? Layer.mergeAll(PgEventStore.layerWith({ schema }), PgCheckpoints.layerWith({ schema })).pipe(
        Layer.provideMerge(PgClient.layer({ url: Redacted.make(url), maxConnections: 4 }))
      )
    : SqliteCheckpoints.layer.pipe(Layer.provideMerge(SqliteEventStore.layerFile({ filename })))

await Effect.runPromise(Effect.scoped(Effect.provide(program, Layer.provideMerge(View, stores))))
process.stdin.destroy()
