import { PgClient } from "@effect/sql-pg"
import { Context, Effect, Exit, Layer, Scope } from "effect"
import { PgEventStore, PgLite } from "eventfold/postgres"
import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll } from "vitest"
import { conforms } from "../support/conformance.ts"
import { freshSchema } from "./support.ts"

// Starting PGlite takes a second, so all cases share one, each in a schema of its own.
const scope = Effect.runSync(Scope.make())
let sharedClient: Layer.Layer<PgClient.PgClient>

beforeAll(async () => {
  const context = await Effect.runPromise(Layer.buildWithScope(PgLite.layer, scope))
  sharedClient = Layer.succeed(PgClient.PgClient, Context.get(context, PgClient.PgClient))
})

afterAll(() => Effect.runPromise(Scope.close(scope, Exit.void)))

conforms("PgEventStore on PGlite in memory", {
  storage: Effect.sync(() => PgEventStore.layerWith({ schema: freshSchema() }).pipe(Layer.provide(sharedClient))),
  abilities: { durable: true, shared: false }
})

conforms(
  "PgEventStore on PGlite in memory, with a hash chain",
  {
    storage: Effect.sync(() => PgEventStore.layerWith({ schema: freshSchema(), chain: true }).pipe(Layer.provide(sharedClient))),
    abilities: { durable: true, shared: false, chain: true }
  },
  ({ promise }) => ["chain", "tombstones", "round trip", "model"].includes(promise)
)

conforms(
  "PgEventStore on PGlite in a folder",
  {
    storage: Effect.map(
      Effect.acquireRelease(
        Effect.promise(() => mkdtemp(join(tmpdir(), "eventfold-pglite-"))),
        (dataDir) => Effect.promise(() => rm(dataDir, { recursive: true, force: true }))
      ),
      (dataDir) => PgEventStore.layerEmbeddedWith({ dataDir })
    ),
    abilities: { durable: true, shared: false }
  },
  // Each of these starts a PGlite of its own, so just the cases that a folder is for.
  ({ promise }) => promise === "6"
)
