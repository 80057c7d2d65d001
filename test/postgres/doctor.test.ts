/** What the doctor of the operations finds in a database. */
import { PgClient } from "@effect/sql-pg"
import { describe, it } from "@effect/vitest"
import assert from "node:assert/strict"
import { Effect, Layer, Logger, Redacted } from "effect"
import { SqlClient } from "effect/sql"
import { EventStore } from "eventfold"
import { PgCheckpoints, PgEventStore } from "eventfold/postgres"
import { onPostgres } from "../../src/operate/look/doctorPostgres.ts"
import { sections } from "../../src/operate/look/diagnosis.ts"
import { inject } from "vitest"
import { startPostgres } from "../support/postgres-server.ts"
import { isPgBouncerExpected, startPgBouncer } from "../support/pgbouncer.ts"
import { connect } from "./harness.ts"
import { client, freshSchema } from "./support.ts"

const looks = (sql: SqlClient.SqlClient, schema: string, head: number) =>
  sections(onPostgres(sql, { schema, prefix: "", migrate: true }, head))

const found = (sql: SqlClient.SqlClient, schema: string, head: number) =>
  Effect.map(looks(sql, schema, head), (diagnoses) =>
    Object.fromEntries(diagnoses.map(({ check, level, message }) => [check, `${level}: ${message}`]))
  )

const withStore = <A, E>(
  options: Omit<PgEventStore.Options, "schema">,
  test: (sql: SqlClient.SqlClient, schema: string) => Effect.Effect<A, E, EventStore.EventStore>
) => {
  const schema = freshSchema()
  return Effect.flatMap(SqlClient.SqlClient, (sql) => test(sql, schema)).pipe(
    Effect.provide(
      PgCheckpoints.layer.pipe(
        Layer.provideMerge(PgEventStore.layerWith({ ...options, schema })),
        Layer.provideMerge(client()),
        Layer.provide(Logger.layer([]))
      )
    )
  )
}

describe("the doctor on PostgreSQL", () => {
  it.live("finds nothing in a store as it is made", () =>
    withStore({ indexes: ["correlation"] }, (sql, schema) =>
      Effect.gen(function* () {
        yield* EventStore.append("A-1", [{ type: "Happened", payload: {} }])
        // A short log needs no plan.
        assert.equal((yield* found(sql, schema, 1))["plans"], undefined)
        const plans = (yield* looks(sql, schema, 1000)).find(({ check }) => check === "plans")?.remedy?.split(";")[0] ?? ""
        assert.equal(plans, `analyze "${schema}"."event"`)
        yield* sql.unsafe(plans)
        const diagnoses = yield* found(sql, schema, 1_000_000)
        // Whether the server of this run flushes is no matter of the store.
        assert.deepEqual(
          Object.entries(diagnoses).filter(([check, what]) => check !== "durability" && !what.startsWith("ok")),
          []
        )
        assert.equal(diagnoses["indexes"], "ok: correlation ids are looked up")
      })
    )
  )

  it.live("tells a server that flushes from one that does not", () =>
    Effect.forEach(
      [
        [{}, "ok: synchronous_commit is on"],
        [{ synchronous_commit: "off" }, "problem: synchronous_commit is off: what was acknowledged can be lost"],
        [{ fsync: "off" }, "problem: fsync is off: a crash of the machine can destroy the database"],
        [{ full_page_writes: "off" }, "problem: full_page_writes is off: a crash of the machine can destroy the database"]
      ] as const,
      ([settings, expected]) =>
        Effect.gen(function* () {
          const server = yield* Effect.acquireRelease(
            Effect.promise(() => startPostgres(settings)),
            ({ dispose }) => Effect.promise(dispose)
          )
          const sql = yield* connect(server.url)
          assert.equal((yield* found(sql, "none", 0))["durability"], expected)
        }).pipe(Effect.scoped)
    )
  )

  it.live("says what a role may not do, what was never analyzed, and what no index finds in a long log", () =>
    withStore({}, (sql, schema) =>
      Effect.gen(function* () {
        yield* EventStore.append("A-1", [{ type: "Happened", payload: {} }])
        const role = `${schema}_reader`
        yield* sql`create role ${sql(role)}`
        yield* sql`grant usage on schema ${sql(schema)} to ${sql(role)}`
        yield* sql`grant select on ${sql(schema)}.event to ${sql(role)}`
        const diagnoses = yield* Effect.ensuring(
          sql.withTransaction(Effect.andThen(sql`set local role ${sql(role)}`, found(sql, schema, 1_000_000))),
          Effect.orDie(Effect.andThen(sql`drop owned by ${sql(role)}`, sql`drop role ${sql(role)}`))
        )
        assert.equal(diagnoses["rights on event"], "warning: this role may only read it")
        assert.equal(diagnoses["rights on checkpoint"], "warning: this role may not read it")
        assert.equal(diagnoses["plans"], "warning: event has never been analyzed")
        assert.equal(diagnoses["indexes"], "warning: no index on correlation ids: a trail looks through 1000000 events")
      })
    )
  )

  it.live("says how many connections are used and by whom, how many pools fit, and that a session lasts", () =>
    withStore({}, (sql, schema) =>
      Effect.gen(function* () {
        const diagnoses = yield* found(sql, schema, 1)
        assert.match(diagnoses["connections"] ?? "", /^ok: \d+ of \d+ connections are used \(.*\); the bound is max_connections$/)
        assert.match(diagnoses["pool"] ?? "", /^ok: the pool of this process has up to \d+ connections: \d+ such processes fit$/)
        assert.equal(diagnoses["pools"], "ok: no connection stands in a transaction and does nothing")
        assert.match(diagnoses["pooler"] ?? "", /^ok: a session lasts/)
      })
    )
  )

  it.live("says that a pool is larger than its role may have", () =>
    withStore({}, (sql, schema) =>
      Effect.gen(function* () {
        const role = `${schema}_few`
        yield* sql`create role ${sql(role)} connection limit 3`
        const diagnoses = yield* Effect.ensuring(
          sql.withTransaction(Effect.andThen(sql`set local role ${sql(role)}`, found(sql, schema, 1))),
          Effect.orDie(sql`drop role ${sql(role)}`)
        )
        assert.match(
          diagnoses["connections"] ?? "",
          /^warning: \d+ of 3 connections .* the bound is the connection limit of the role$/
        )
        assert.match(diagnoses["pool"] ?? "", /^warning: .*: 0 such processes fit$/)
      })
    )
  )

  describe.skipIf(!isPgBouncerExpected())("behind a PgBouncer", () => {
    for (const [mode, level] of [
      ["transaction", "warning"],
      ["session", "ok"]
    ] as const) {
      it.live(`tells that it hands out a ${mode}`, () =>
        Effect.gen(function* () {
          const bouncer = yield* Effect.acquireRelease(
            Effect.promise(() => startPgBouncer(inject("postgresUrl"), { mode })),
            ({ dispose }) => Effect.promise(dispose)
          )
          const layer = PgClient.layer({ url: Redacted.make(bouncer.url), maxConnections: 4, prepare: false })
          const lines = yield* Effect.provide(
            Effect.flatMap(SqlClient.SqlClient, (sql) => sections(onPostgres(sql, undefined, 0))),
            Layer.fresh(layer)
          )
          assert.equal(lines.find(({ check }) => check === "pooler")?.level, level)
        }).pipe(Effect.scoped)
      )
    }
  })
})
