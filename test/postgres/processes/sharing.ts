/**
 * A process in which many transactional subscriptions follow one log: each event becomes a row of a view for each of them. Prints the state
 * of each whenever it changes, and on SIGUSR2 how many pages of the log have been read. Called "first", the first of them stays in the handler
 * of an event of the type "Held" until its process is stopped and goes on.
 */
import { PgClient } from "@effect/sql-pg"
import { Effect, Layer, Redacted, Stream } from "effect"
import { SqlClient } from "effect/sql"
import { Subscription } from "eventfold"
import { PgCheckpoints, PgEventStore } from "eventfold/postgres"
import { counting, isPage } from "../counting.ts"

const { many, name, schema, url } = JSON.parse(process.argv[2] as string) as {
  readonly url: string
  readonly schema: string
  /** What its rows of the view say who wrote them. */
  readonly name: string
  /** How many subscriptions there are. */
  readonly many: number
}

let pages = 0
process.on("SIGUSR2", () => console.log(`pages ${pages}`))

const names = Array.from({ length: many }, (_, index) => `s${index + 1}`)

const subscription = (subscription: string) =>
  Subscription.layer({
    name: subscription,
    lease: "1500 millis",
    transactional: true,
    handler: ({ position, type }) =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        yield* sql`insert into ${sql(schema)}.view (subscription, position, who)
          values (${subscription}, cast(${String(position)} as int), ${name})`
        if (name !== "first" || subscription !== "s1" || type !== "Held") return
        yield* Effect.callback<void>((resume) => {
          process.once("SIGCONT", () => resume(Effect.void))
          console.log(`${subscription} at ${position}`)
        })
      })
  })

const program = Effect.gen(function* () {
  for (const name of names) {
    const states = Stream.changes(Stream.map(Subscription.changes(name), ({ state }) => state))
    yield* Effect.forkScoped(Stream.runForEach(states, (state) => Effect.sync(() => console.log(`${name} ${state}`))))
  }
  yield* Effect.callback<void>((resume) => {
    process.stdin.on("end", () => resume(Effect.void)).resume()
  })
})

const client = PgClient.layerFrom(
  Effect.map(PgClient.make({ url: Redacted.make(url), maxConnections: 6 }), (client) =>
    counting(client, (statement) => void (pages += isPage(statement) ? 1 : 0))
  )
)

const stores = Layer.mergeAll(PgEventStore.layerWith({ schema }), PgCheckpoints.layerWith({ schema })).pipe(
  Layer.provideMerge(client)
)

const [first, ...rest] = names.map(subscription)
const subscriptions = Layer.mergeAll(first as NonNullable<typeof first>, ...rest)

await Effect.runPromise(Effect.scoped(Effect.provide(program, Layer.provideMerge(subscriptions, stores))))
process.stdin.destroy()
