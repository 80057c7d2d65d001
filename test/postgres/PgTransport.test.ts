import assert from "node:assert/strict"
import { PgClient } from "@effect/sql-pg"
import { describe, it } from "@effect/vitest"
import { Effect, Layer, Redacted } from "effect"
import { PgLite, PgTransport } from "eventfold/postgres"
import { TransportConformance } from "eventfold/testing"
import { afterAll, beforeAll } from "vitest"
import { type PostgresServer, startPostgres } from "../support/postgres-server.ts"
import { freshSchema } from "./support.ts"

const abilities = { clock: "live", deduplicates: true, history: true, durable: true, shared: true } as const

describe("conformance of PgTransport on a server", () => {
  let server: PostgresServer
  beforeAll(async () => {
    server = await startPostgres()
  }, 60_000)
  afterAll(() => server.dispose())

  const client = (options: { readonly maxConnections: number }) => PgClient.layer({ url: Redacted.make(server.url), ...options })
  const storage = Effect.sync(() =>
    PgTransport.layer({ schema: freshSchema() }).pipe(Layer.provide(Layer.suspend(() => client({ maxConnections: 4 }))))
  )
  const interrupt = Effect.gen(function* () {
    const sql = yield* PgClient.PgClient
    yield* sql`select pg_terminate_backend(pid) from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid()`
  }).pipe(Effect.provide(Layer.suspend(() => client({ maxConnections: 1 }))), Effect.asVoid)
  const restart = Effect.promise(() => server.stop("immediate").then(() => server.restart()))

  for (const { name, run } of TransportConformance.cases({ storage, abilities, faults: { interrupt, restart } })) {
    it.live(name, () => run, 60_000)
  }
})

describe("conformance of PgTransport on PGlite", () => {
  const storage = Effect.map(Layer.build(Layer.fresh(PgLite.layer())), (context) =>
    PgTransport.layer({ schema: freshSchema() }).pipe(Layer.provide(Layer.succeedContext(context)))
  )
  for (const { name, run } of TransportConformance.cases({ storage, abilities })) {
    it.live(name, () => run, 60_000)
  }
})
void assert
