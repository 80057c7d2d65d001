/** Nothing that is seen of a failure has the password of the database in it. */
import assert from "node:assert/strict"
import { writeFile } from "node:fs/promises"
import { join } from "node:path"
import { PgClient } from "@effect/sql-pg"
import { describe, it } from "@effect/vitest"
import { Effect, Layer, Redacted } from "effect"
import { Checkpoints, EventStore, Transport, UnitOfWork } from "eventfold"
import { PgCheckpoints, PgEventStore, PgTransport } from "eventfold/postgres"
import { afterAll, beforeAll } from "vitest"
import { type PostgresServer, startPostgres } from "../support/postgres-server.ts"
import { failures, shownBy } from "../support/secrets.ts"
import { event, message } from "./harness.ts"

const password = "s3cr@t"
const secret = /s3cr/

let server: PostgresServer
beforeAll(async () => {
  server = await startPostgres()
  await Effect.runPromise(asked((sql) => sql.unsafe(`create role shop superuser login password 'another'`)))
  // Whoever is not the owner of the server says a password.
  await writeFile(join(server.dataDir, "pg_hba.conf"), "host all postgres all trust\nhost all all all scram-sha-256\n")
  await Effect.runPromise(asked((sql) => sql`select pg_reload_conf()`))
})
afterAll(() => server.dispose())

/** What the owner of the server does. */
const asked = <A, E>(ask: (sql: PgClient.PgClient) => Effect.Effect<A, E>) =>
  PgClient.PgClient.use(ask).pipe(
    Effect.provide(Layer.suspend(() => Layer.fresh(PgClient.layer({ url: Redacted.make(server.url) })))),
    Effect.orDie
  )

const urlOf = (port = server.port) => {
  const url = new URL(server.url)
  url.username = "shop"
  url.password = password
  url.port = String(port)
  return Redacted.make(url.href)
}

const over = (options: PgClient.PgPoolConfig) =>
  Layer.mergeAll(PgEventStore.layer, PgCheckpoints.layer, PgTransport.layer).pipe(
    Layer.provideMerge(Layer.fresh(PgClient.layer({ connectTimeout: "2 seconds", ...options })))
  )

type Stores = EventStore.EventStore | Checkpoints.Checkpoints | Transport.Transport

/** All that one does with a database; each of it fails where the database is not there. */
const doings: ReadonlyArray<Effect.Effect<unknown, unknown, Stores>> = [
  EventStore.append("A-1", [event()]),
  UnitOfWork.transact(UnitOfWork.stage("A-2", [event()])).pipe(Effect.provide(UnitOfWork.layer)),
  Checkpoints.Checkpoints.use(({ claim }) => claim("secret", { owner: "a", ttl: "5 seconds" })),
  Transport.Transport.use(({ publish }) => publish([message(1)]))
]

describe("a database that refuses", () => {
  const refusing: Record<string, () => PgClient.PgPoolConfig> = {
    "a port where nobody listens": () => ({ url: urlOf(1) }),
    "another password": () => ({ url: urlOf() }),
    "another password, by itself": () => ({
      host: "127.0.0.1",
      port: server.port,
      username: "shop",
      database: "postgres",
      password: Redacted.make(password)
    })
  }
  for (const [what, options] of Object.entries(refusing)) {
    it.live(`does not show the password: ${what}`, () =>
      Effect.gen(function* () {
        const shown = yield* shownBy(Effect.scoped(Layer.build(over(options()))))
        assert.match(shown, /SqlError|EventStoreError/)
        assert.doesNotMatch(shown, secret)
      })
    )
  }
})

describe("a database that is lost on the way", () => {
  for (const [what, lose] of Object.entries({
    "because the password was changed": asked((sql) =>
      Effect.andThen(
        sql`alter role shop password 'another'`,
        sql`select pg_terminate_backend(pid) from pg_stat_activity where usename = 'shop'`
      )
    ),
    "because it was stopped": Effect.promise(() => server.stop("immediate"))
  })) {
    it.live(`does not show the password: ${what}`, () =>
      Effect.gen(function* () {
        yield* asked((sql) => sql.unsafe(`alter role shop password '${password}'`))
        const shown = yield* Effect.forEach(doings, Effect.withSpan("before")).pipe(
          Effect.andThen(lose),
          Effect.andThen(failures(doings)),
          Effect.withSpan("all of it"),
          Effect.provide(over({ url: urlOf() })),
          shownBy
        )
        for (const error of [/EventStoreError/, /CheckpointError/, /TransportError/]) assert.match(shown, error)
        assert.match(shown, /authentication failed|ECONNREFUSED/)
        assert.doesNotMatch(shown, secret)
      })
    )
  }
})
