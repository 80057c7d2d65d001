import { PgClient } from "@effect/sql-pg"
import { type Context, type Duration, Effect, Exit, Layer, Redacted, Scope } from "effect"
import type { SqlClient } from "effect/sql"
import { type EventStore } from "eventfold"
import { PgEventStore, PgLite } from "eventfold/postgres"
import { afterAll, inject } from "vitest"

let schemas = 0

/** A database schema that no other test uses. */
export const freshSchema = (): string => `test_${process.pid}_${Date.now().toString(36)}_${++schemas}`

/** A client of the test run's server, with a pool of its own. */
export const client = (options: { readonly maxConnections?: number; readonly idleTimeout?: Duration.Input } = {}) =>
  PgClient.layer({ url: Redacted.make(inject("postgresUrl")), maxConnections: 4, ...options })

/** New, empty storage on the server: a schema of its own. Each build of the Layer is a process of its own, as far as the database can tell. */
export const serverStorageWith = (options: PgEventStore.Options): Effect.Effect<Layer.Layer<EventStore.EventStore, unknown>> =>
  Effect.sync(() => PgEventStore.layerWith({ ...options, schema: freshSchema() }).pipe(Layer.provide(Layer.fresh(client()))))
export const serverStorage = serverStorageWith({})

/**
 * One database for all tests of a file, each of which keeps to a schema or to tables of its own: PGlite takes a second to start, and
 * a pool is worth sharing, too. The first test that needs it starts it; it ends with the file.
 */
const ofFile = <E>(layer: Layer.Layer<PgClient.PgClient | SqlClient.SqlClient, E>) => {
  const scope = Effect.runSync(Scope.make())
  let started: Promise<Context.Context<PgClient.PgClient | SqlClient.SqlClient>> | undefined
  afterAll(() => Effect.runPromise(Scope.close(scope, Exit.void)))
  return Layer.effectContext(Effect.promise(() => (started ??= Effect.runPromise(Layer.buildWithScope(layer, scope)))))
}

/** A pool of the run's server for all tests of a file. */
export const serverOfFile = () => ofFile(Layer.suspend(() => client({ maxConnections: 8 })))

/** A PGlite for all tests of a file. */
export const pgLiteOfFile = () => ofFile(PgLite.layer)
