/**
 * A process that consumes messages through an inbox, and writes the id of each to the table "effect" as it handles it, until its
 * input ends. It prints "<id> <attempt>" for each try. With `stall` it prints "committed" instead of acknowledging anything, and
 * does not go on.
 */
import { PgClient } from "@effect/sql-pg"
import { Effect, Layer, Redacted, Schema, Stream } from "effect"
import { SqlClient } from "effect/sql"
import { Consumer, DeadLetters, Event, Inbox, Transport } from "eventfold"
import { PgTransport } from "eventfold/postgres"

const { lease, schema, stall, url } = JSON.parse(process.argv[2] as string) as {
  readonly url: string
  readonly schema: string
  /** In milliseconds. */
  readonly lease: number
  readonly stall?: boolean
}

const Placed = Event.make("Placed", { n: Schema.Int }, { published: true })

const Consuming = Consumer.layer(
  [Placed],
  {
    Placed: (_, { attempt, message }) =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        console.log(`${message.id} ${attempt}`)
        yield* sql`insert into ${sql(`${schema}.effect`)} (id) values (${message.id})`
      })
  },
  { group: "g", inbox: true, concurrency: 10 }
)

const neverAcknowledging = Layer.effect(
  Transport.Transport,
  Effect.map(Transport.Transport, ({ forget, publish, subscribe }) => {
    const ack = Effect.andThen(
      Effect.sync(() => console.log("committed")),
      Effect.never
    )
    return {
      publish,
      forget,
      subscribe: (options: Transport.SubscribeOptions) =>
        Stream.map(subscribe(options), (delivery) => (stall === true ? { ...delivery, ack } : delivery))
    }
  })
)

const Live = Consuming.pipe(
  Layer.provide(neverAcknowledging),
  Layer.provide(PgTransport.layerWith({ schema, lease, pollInterval: "50 millis" })),
  Layer.provide([Inbox.layerSqlWith({ table: `${schema}.inbox` }), DeadLetters.layerSqlWith({ table: `${schema}.dead_letter` })]),
  Layer.provide(PgClient.layer({ url: Redacted.make(url), maxConnections: 4 }))
)

const inputEnds = Effect.callback<void>((resume) => {
  process.stdin.once("end", () => resume(Effect.void)).resume()
})

await Effect.runPromise(Effect.scoped(Effect.andThen(Layer.build(Live), inputEnds)))
