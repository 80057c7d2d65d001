/** The command line as a process, where another session has locked the tables. */
import assert from "node:assert/strict"
import { PgClient } from "@effect/sql-pg"
import { describe, it } from "@effect/vitest"
import { Effect, Layer, Redacted } from "effect"
import { SqlClient } from "effect/sql"
import { inject } from "vitest"
import { database } from "../postgres/databases.ts"
import { until } from "../support/child.ts"
import { eventfold } from "./running.ts"

const sessionOf = (url: string) =>
  Layer.fresh(PgClient.layer({ url: Redacted.make(url), maxConnections: 1, applicationName: "somebody else" }))

/** Another session, which does something in a transaction and keeps that open while `work` goes on. */
const whileLocked = <A, E, R>(url: string, statement: string, work: Effect.Effect<A, E, R>) =>
  SqlClient.SqlClient.use((sql) => sql.withTransaction(Effect.andThen(sql.unsafe(statement), work))).pipe(
    Effect.provide(sessionOf(url))
  )

const locked =
  /^eventfold: the tables are locked by session \d+ \(of \w+ in "somebody else"\): that has to end, or a longer --timeout is needed\.\n$/

describe("migrate, where another session has locked the tables", () => {
  it.live("ends within --timeout and says who it is, also where it only checks or prints", () =>
    Effect.gen(function* () {
      const place = new URL(inject("postgresUrl"))
      place.pathname = yield* database
      const { href } = place
      place.searchParams.set("schema", "shop")
      const run = (...flags: ReadonlyArray<string>) => eventfold(["migrate", place.href, "--timeout", "2s", ...flags])
      const made = yield* whileLocked(href, "create schema shop", run())
      assert.deepEqual([made.code, made.out], [4, ""])
      assert.match(made.err, locked)

      assert.equal((yield* eventfold(["migrate", place.href])).code, 0)
      const table = "lock table shop.migration in access exclusive mode"
      for (const flags of [[], ["--check"], ["--print"]]) {
        const { code, err, out } = yield* whileLocked(href, table, run(...flags))
        assert.deepEqual([code, out], [4, ""], flags.join(" "))
        assert.match(err, locked)
      }
      assert.equal((yield* run("--check")).code, 0)
    })
  )

  it.live("waits while it may, and goes on when they are free", () =>
    Effect.gen(function* () {
      const place = new URL(inject("postgresUrl"))
      place.pathname = yield* database
      const { href } = place
      place.searchParams.set("schema", "shop")
      const isWaited = SqlClient.SqlClient.use((sql) =>
        Effect.map(
          sql`select 1 from pg_stat_activity where datname = current_database() and cardinality(pg_blocking_pids(pid)) > 0`,
          ({ length }) => length > 0
        )
      )
      const untilWaited = Effect.provide(until("it waits", Effect.orDie(isWaited)), sessionOf(href))
      const [{ code, err }] = yield* Effect.all(
        [eventfold(["migrate", place.href, "--timeout", "20s"]), whileLocked(href, "create schema shop", untilWaited)],
        { concurrency: "unbounded" }
      )
      assert.deepEqual([code, err], [0, ""])
    })
  )
})
