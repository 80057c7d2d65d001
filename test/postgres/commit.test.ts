/** What is known of a transaction whose session ends: before COMMIT it has been rolled back, while COMMIT is on its way nobody knows. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import type { SqlClient } from "effect/sql"
import { type EventStore, UnitOfWork } from "eventfold"
import { afterAll, beforeAll } from "vitest"
import { type PostgresServer, startPostgres } from "../support/postgres-server.ts"
import { connect, event, open, terminate, until } from "./harness.ts"
import { freshSchema } from "./support.ts"

let server: PostgresServer
beforeAll(async () => {
  server = await startPostgres()
})
afterAll(() => server.dispose())

/** How a unit of work is flushed makes no difference. */
const flushes = [
  ["that is flushed with its commit", false],
  ["that shares flushes", true]
] as const

const worldOf = Effect.fnUntraced(function* (sharedFlush: boolean) {
  const schema = freshSchema()
  const admin = yield* connect(server.url)
  const opened = yield* open({ url: server.url, schema, sharedFlush, listen: false, pool: { applicationName: schema } })
  yield* admin.unsafe(`create table "${schema}".stock (id int)`)
  const rows = Effect.map(admin.unsafe(`select * from "${schema}".stock`), ({ length }) => length)
  return { ...opened, admin, rows, schema, insert: opened.sql.unsafe(`insert into "${schema}".stock values (1)`) }
})

const goneBefore = (
  admin: SqlClient.SqlClient,
  sql: SqlClient.SqlClient,
  end: (pid: number) => Effect.Effect<unknown, unknown>
) =>
  Effect.gen(function* () {
    const [row] = yield* sql<{ pid: number }>`select pg_backend_pid() as pid`
    const pid = row?.pid ?? 0
    yield* end(pid)
    yield* until(
      "it is gone",
      Effect.map(admin`select 1 from pg_stat_activity where pid = ${pid}`, (rows) => rows.length === 0)
    )
  }).pipe(Effect.orDie)

const reasonOf = <A, E>(effect: Effect.Effect<A, E | EventStore.EventStoreError>) =>
  Effect.map(Effect.flip(effect), (error) => (error as EventStore.EventStoreError).reason)

describe("a session that the server ended before COMMIT", () => {
  const limit = (name: string) => (sql: SqlClient.SqlClient) => () => sql`select set_config(${name}, '100', true)`
  const ways = {
    "by an administrator": (_: SqlClient.SqlClient, admin: SqlClient.SqlClient) => (pid: number) => terminate(admin, [pid]),
    "for it was idle in its transaction (25P03)": limit("idle_in_transaction_session_timeout"),
    "for its transaction took too long (25P04)": limit("transaction_timeout")
  }
  for (const [way, end] of Object.entries(ways)) {
    for (const [staged, [how, shared]] of [true, false].flatMap((staged) => flushes.map((flush) => [staged, flush] as const))) {
      it.live(`${way} is not said to have written anything, and has not: ${staged ? "events" : "rows alone"}, ${how}`, () =>
        Effect.gen(function* () {
          const { admin, insert, rows, sql, store, units } = yield* worldOf(shared)
          const work = Effect.gen(function* () {
            yield* insert
            if (staged) yield* UnitOfWork.stage("A-1", [event("a")])
            yield* goneBefore(admin, sql, end(sql, admin))
          }).pipe(units.transact)
          // Its word to an idle session looks as one in answer to COMMIT: where nothing was asked in between, nobody can tell.
          const isUnknown = !staged && way === "by an administrator"
          assert.equal((yield* reasonOf(work))._tag, isUnknown ? "OutcomeUnknown" : "StoreUnavailable")
          assert.deepEqual([yield* rows, yield* store.head], [0, 0])
        })
      )
    }
  }
})

describe("a connection that is lost while COMMIT is on its way", () => {
  for (const [how, shared] of flushes)
    describe(`in a unit of work ${how}`, () => {
      it.live("leaves the outcome of a unit of work unknown", () =>
        Effect.gen(function* () {
          const { admin, insert, schema, units } = yield* worldOf(shared)
          yield* admin.unsafe(`create function "${schema}".wait() returns trigger language plpgsql as $$ begin
        perform from "${schema}".gate for update; return null; end $$`)
          yield* admin.unsafe(`create table "${schema}".gate as select 1 as id`)
          yield* admin.unsafe(`create constraint trigger waits after insert on "${schema}".stock deferrable initially deferred
        for each row execute function "${schema}".wait()`)
          const locked = yield* admin.reserve
          yield* locked.executeUnprepared("begin", [], undefined)
          yield* locked.executeUnprepared(`select * from "${schema}".gate for update`, [], undefined)
          const work = yield* Effect.forkScoped(reasonOf(insert.pipe(units.transact)))
          const committing = Effect.map(
            admin<{ pid: number }>`select pid from pg_stat_activity
          where application_name = ${schema} and wait_event_type = 'Lock' and query ilike 'commit%'`,
            (all) => all.map(({ pid }) => pid)
          )
          yield* until(
            "it commits",
            Effect.map(committing, ({ length }) => length === 1)
          )
          const sessions = yield* admin<{ pid: number }>`select pid from pg_stat_activity where application_name = ${schema}`
          yield* terminate(
            admin,
            sessions.map(({ pid }) => pid)
          )
          assert.equal((yield* Fiber.join(work))._tag, "OutcomeUnknown")
          yield* locked.executeUnprepared("rollback", [], undefined)
        })
      )
    })
})
