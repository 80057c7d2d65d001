/** What the tests of concurrency and faults share: stores with pools of their own, locks held on purpose, child processes. */
import { PgClient } from "@effect/sql-pg"
import { Context, DateTime, Effect, Layer, Redacted, Stream } from "effect"
import { SqlClient } from "effect/sql"
import { EventStore, type Transport, UnitOfWork } from "eventfold"
import { PgEventStore } from "eventfold/postgres"
import { expect } from "vitest"
import { startChild } from "../support/child.ts"
import { eventually as until } from "../support/words.ts"

export { type Child } from "../support/child.ts"
export { until }

/** A store as one process has it: a pool of its own, with the units of work over it. */
export interface Opened {
  readonly store: EventStore.EventStore["Service"]
  readonly units: UnitOfWork.UnitOfWork["Service"]
  readonly sql: PgClient.PgClient
}

export interface OpenOptions extends PgEventStore.Options {
  readonly pool?: Partial<PgClient.PgPoolConfig>
}

export const open = ({ pool, url, ...options }: OpenOptions & { readonly url: string }) =>
  Effect.map(
    Layer.build(
      UnitOfWork.layerSql.pipe(
        Layer.provideMerge(PgEventStore.layerWith(options)),
        Layer.provideMerge(Layer.fresh(PgClient.layer({ url: Redacted.make(url), maxConnections: 4, ...pool })))
      )
    ),
    (context): Opened => ({
      store: Context.get(context, EventStore.EventStore),
      units: Context.get(context, UnitOfWork.UnitOfWork),
      sql: Context.get(context, PgClient.PgClient)
    })
  )

/** A client without a store: the administrator who looks on and disturbs. */
export const connect = (url: string, pool: Partial<PgClient.PgPoolConfig> = {}) =>
  Effect.map(
    Layer.build(Layer.fresh(PgClient.layer({ url: Redacted.make(url), maxConnections: 4, applicationName: "admin", ...pool }))),
    Context.get(SqlClient.SqlClient)
  )

/** A transaction on a connection of its own that stays open until told otherwise. */
export const begin = Effect.fnUntraced(function* (sql: SqlClient.SqlClient, ...statements: ReadonlyArray<string>) {
  const connection = yield* sql.reserve
  const run = (text: string) => connection.executeUnprepared(text, [], undefined)
  yield* run("begin")
  for (const statement of statements) yield* run(statement)
  yield* Effect.addFinalizer(() => Effect.ignore(run("rollback")))
  return { run, commit: run("commit"), rollback: run("rollback") }
})

/** Takes the lock of the appends, so that every one that comes now is surely on its way, and waits. */
export const holdHead = (sql: SqlClient.SqlClient, schema: string) => begin(sql, `select "${schema}".append_lock()`)

/** The backends that run a statement which names the schema, and wait for a lock. */
export const waiting = (sql: SqlClient.SqlClient, schema: string, statement = '"append(_batch|_event|_one)?"') =>
  Effect.map(
    sql<{ pid: number }>`select pid from pg_stat_activity
      where wait_event_type = 'Lock' and query like ${`%"${schema}".%`} and query ~ ${statement} order by pid`,
    (rows) => rows.map(({ pid }) => pid)
  )

export const untilWaiting = (sql: SqlClient.SqlClient, schema: string, count = 1, statement?: string) =>
  until(
    `${count} wait for a lock in ${schema}`,
    Effect.map(waiting(sql, schema, statement), (pids) => pids.length >= count)
  )

export const terminate = (sql: SqlClient.SqlClient, pids: ReadonlyArray<number>) =>
  Effect.forEach(pids, (pid) => sql`select pg_terminate_backend(${pid})`, { discard: true })

export const event = (id?: string, type = "Counted"): EventStore.NewEvent => ({
  type,
  payload: { id: id ?? null },
  ...(id === undefined ? {} : { id })
})

/** A message, numbered. */
export const message = (n: number, more: Partial<Transport.Message> = {}): Transport.Message => ({
  specversion: "1.0",
  id: `${n}`,
  source: "/shop",
  type: "Placed",
  subject: `Order-${n}`,
  time: DateTime.makeUnsafe("2026-01-01T00:00:00Z"),
  datacontenttype: "application/json",
  data: { n },
  schemaversion: 1,
  position: n,
  ...more
})

export const everything = (store: Opened["store"]) => Stream.runCollect(store.readAll())

/** Asserts what holds at any time: positions and versions dense, the head exact, no id twice. */
export const assertSound = Effect.fnUntraced(function* (store: Opened["store"]) {
  const events = yield* everything(store)
  expect(events.map(({ position }) => position)).toEqual(events.map((_, index) => index + 1))
  const versions = new Map<string, number>()
  for (const { stream, version } of events) {
    expect([stream, version]).toEqual([stream, (versions.get(stream) ?? 0) + 1])
    versions.set(stream, version)
  }
  expect(new Set(events.map(({ id }) => id)).size).toBe(events.length)
  expect(yield* store.head).toBe(events.length)
  return events
})

/** The reason of an append or a read that failed because of the storage. */
export const reasonOf = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<string, never, R> =>
  effect.pipe(
    Effect.match({
      onSuccess: () => "success",
      onFailure: (error) =>
        error instanceof EventStore.EventStoreError
          ? error.reason._tag
          : ((error as { readonly _tag?: string })._tag ?? String(error))
    })
  )

/** A process of `test/postgres/processes`. */
export const child = (file: string, input: object) => startChild(new URL(`processes/${file}.ts`, import.meta.url), input)
