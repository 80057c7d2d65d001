import { PgClient } from "@effect/sql-pg"
import { type Duration, Effect, Layer, Redacted } from "effect"
import { type EventStore } from "eventfold"
import { PgEventStore } from "eventfold/postgres"
import { inject } from "vitest"

let schemas = 0

/** A database schema that no other test uses. */
export const freshSchema = (): string => `test_${process.pid}_${Date.now().toString(36)}_${++schemas}`

/** A client of the test run's server, with a pool of its own. */
export const client = (options: { readonly maxConnections?: number; readonly idleTimeout?: Duration.Input } = {}) =>
  PgClient.layer({ url: Redacted.make(inject("postgresUrl")), maxConnections: 4, ...options })

/** New, empty storage on the server: a schema of its own. Each build of the Layer is a process of its own, as far as the database can tell. */
export const serverStorage: Effect.Effect<Layer.Layer<EventStore.EventStore, unknown>> = Effect.sync(() =>
  PgEventStore.layer({ schema: freshSchema() }).pipe(Layer.provide(Layer.fresh(client())))
)
