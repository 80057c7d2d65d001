/**
 * A process that relays the published events of a schema to its table "delivered", until its input ends. It prints "failed: …"
 * with the error whenever the relay starts again. With `pause` it takes the page that has an event of the type "Pause" as any
 * other, and then prints "paused" and gives no answer before a line comes in.
 */
import { PgClient } from "@effect/sql-pg"
import { Array, Cause, Effect, Layer, Logger, Option, Redacted, References, Stream } from "effect"
import { SqlClient } from "effect/sql"
import { Relay, Transport } from "eventfold"
import { PgCheckpoints, PgEventStore } from "eventfold/postgres"
import { once } from "node:events"

const { lease, name, pause, schema, url } = JSON.parse(process.argv[2] as string) as {
  readonly url: string
  readonly schema: string
  /** What the table and the database know the process by. */
  readonly name: string
  /** In milliseconds. */
  readonly lease: number
  readonly pause?: boolean
}

const Broker = Layer.effect(
  Transport.Transport,
  Effect.map(SqlClient.SqlClient, (sql) => ({
    subscribe: () => Stream.never,
    forget: () => Effect.succeed(false),
    publish: (messages: Array.NonEmptyReadonlyArray<Transport.Message>) =>
      Effect.gen(function* () {
        const row = ({ id, position, subject }: Transport.Message) => ({ id, stream: subject, position, by: name })
        yield* sql`insert into ${sql(`${schema}.delivered`)} ${sql.insert(Array.map(messages, row))}`
        if (pause === true && messages.some(({ type }) => type === "Pause")) {
          console.log("paused")
          yield* Effect.promise(() => once(process.stdin, "data"))
        }
      }).pipe(
        Effect.mapError(
          (cause) =>
            new Transport.TransportError({
              reason: new Transport.TransportUnavailable({ operation: "publish", detail: cause.message, cause })
            })
        )
      )
  }))
)

const failures = Logger.make<unknown, void>(({ cause }) => {
  const error = Option.getOrUndefined(Cause.findErrorOption(cause as Cause.Cause<{ readonly _tag: string }>))
  if (error !== undefined) console.log(`failed: ${error._tag}`)
})

const Live = Relay.layer({ name: "shop", lease }).pipe(
  Layer.provide(Broker),
  Layer.provide([PgEventStore.layerWith({ schema, pollInterval: "50 millis" }), PgCheckpoints.layerWith({ schema })]),
  Layer.provide(PgClient.layer({ url: Redacted.make(url), maxConnections: 4, applicationName: name })),
  Layer.provide(Logger.layer([failures])),
  // The causes are told at this level.
  Layer.provide(Layer.succeed(References.MinimumLogLevel, "Debug"))
)

const inputEnds = Effect.callback<void>((resume) => {
  process.stdin.once("end", () => resume(Effect.void)).resume()
})

await Effect.runPromise(Effect.raceFirst(Layer.launch(Live), inputEnds))
process.stdin.destroy()
