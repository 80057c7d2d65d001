/** A process that waits for its input to end, and then opens the store: several of them migrate at once. */
import { PgClient } from "@effect/sql-pg"
import { Effect, Layer, Redacted } from "effect"
import { EventStore } from "eventfold"
import { PgEventStore } from "eventfold/postgres"
import { once } from "node:events"

const { schema, url } = JSON.parse(process.argv[2] as string) as { readonly url: string; readonly schema: string }

console.log("ready")
await once(process.stdin.resume(), "end")
await Effect.runPromise(
  Effect.provide(
    EventStore.append("Migrated-1", [{ type: "Migrated", payload: null }]),
    PgEventStore.layerWith({ schema }).pipe(Layer.provide(PgClient.layer({ url: Redacted.make(url), maxConnections: 3 })))
  )
)
