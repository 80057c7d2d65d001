/**
 * A process that consumes for the group "bills", and runs no operations, until its input ends. It prints "handled <id>" for each message, and
 * "<state>" when it changes.
 */
import { PgClient } from "@effect/sql-pg"
import { Effect, Layer, Redacted, Schema, Stream } from "effect"
import { Consumer, DeadLetters, Event } from "eventfold"
import { PgCheckpoints, PgEventStore, PgTransport } from "eventfold/postgres"

const { schema, url } = JSON.parse(process.argv[2] as string) as { readonly url: string; readonly schema: string }

const Placed = Event.make("Placed", { total: Schema.Int }, { published: true })

const Bills = Consumer.layer(
  [Placed],
  { Placed: (_, { message }) => Effect.sync(() => console.log(`handled ${message.id}`)) },
  { group: "bills" }
)

const Live = Bills.pipe(
  Layer.provideMerge(Layer.mergeAll(DeadLetters.layerSql, PgCheckpoints.layer, PgTransport.layer)),
  Layer.provideMerge(PgEventStore.layerWith({ schema, pollInterval: "50 millis" })),
  Layer.provide(PgClient.layer({ url: Redacted.make(url), maxConnections: 6 }))
)

const inputEnds = Effect.callback<void>((resume) => {
  process.stdin.once("end", () => resume(Effect.void)).resume()
})

const program = Effect.raceFirst(
  inputEnds,
  Stream.runForEach(Consumer.changes("bills"), ({ state }) => Effect.sync(() => console.log(state)))
)

await Effect.runPromise(Effect.provide(program, Live))
