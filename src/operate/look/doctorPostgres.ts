/** What can go wrong in a database of PostgreSQL: its settings, and what the store has in it. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import { quoted } from "../../sql/names.ts"
import type { StoreTables } from "../../store/EventStore.ts"
import type { Diagnosis } from "../contract/views.ts"
import { onConnections } from "./doctorConnections.ts"
import { ok, problem, section, warning } from "./diagnosis.ts"

/** Clocks that are further apart than this make leases and times wrong, in milliseconds. */
const mostSkew = 2000

const clockOf = (sql: SqlClient.SqlClient): Effect.Effect<Diagnosis, SqlError> =>
  Effect.gen(function* () {
    const before = yield* Clock.currentTimeMillis
    const [row] = yield* sql<{ readonly now: unknown }>`select extract(epoch from clock_timestamp()) * 1000 as now`
    const after = yield* Clock.currentTimeMillis
    const skew = Math.round(Number(row?.now ?? 0) - (before + after) / 2)
    const says = `the clock of this process is ${Math.abs(skew)} ms ${skew < 0 ? "ahead of" : "behind"} the database's`
    return Math.abs(skew) <= mostSkew
      ? ok("clock", says)
      : warning(
          "clock",
          says,
          "let both keep their time by NTP: deadlines come by the clock of the process, leases run by the database's"
        )
  })

const setting = (sql: SqlClient.SqlClient, name: string) =>
  Effect.map(sql<{ readonly value: string | null }>`select current_setting(${name}, true) as value`, ([row]) => row?.value ?? "")

const version = Effect.fnUntraced(function* (sql: SqlClient.SqlClient) {
  const found = yield* setting(sql, "server_version")
  return [
    Number.parseInt(found, 10) >= 15
      ? ok("version", `PostgreSQL ${found}`)
      : warning("version", `PostgreSQL ${found}`, "eventfold is tested from PostgreSQL 15 on")
  ]
})

const durability = Effect.fnUntraced(function* (sql: SqlClient.SqlClient) {
  const commit = yield* setting(sql, "synchronous_commit")
  for (const name of ["fsync", "full_page_writes"]) {
    if ((yield* setting(sql, name)) !== "off") continue
    return [
      problem(
        "durability",
        `${name} is off: a crash of the machine can destroy the database`,
        `set ${name} = on for the server${name === "fsync" ? "" : ", unless its file system never tears a page"}`
      )
    ]
  }
  return [
    commit === "off"
      ? problem(
          "durability",
          "synchronous_commit is off: what was acknowledged can be lost",
          "set synchronous_commit = on for the role of the program"
        )
      : ok("durability", `synchronous_commit is ${commit}`)
  ]
})

const vacuum = Effect.fnUntraced(function* (sql: SqlClient.SqlClient) {
  return [
    (yield* setting(sql, "autovacuum")) === "on"
      ? ok("vacuum", "autovacuum is on")
      : warning("vacuum", "autovacuum is off: plans and the tables of checkpoints decay", "set autovacuum = on")
  ]
})

/** From how many events on it is felt that something is looked for in all of them. */
const many = 100_000

/** From how many events on it is felt that the planner knows nothing of them. */
const felt = 1000

/** Whether the role of the program may do what the store does, and whether the planner knows the tables. */
const rights = (
  sql: SqlClient.SqlClient,
  { prefix, schema }: StoreTables,
  head: number
): Effect.Effect<ReadonlyArray<Diagnosis>, SqlError> =>
  Effect.map(
    sql<{ readonly name: string; readonly reads: boolean; readonly writes: boolean; readonly count: unknown }>`
      select c.relname as name, has_table_privilege(c.oid, 'select') as reads, c.reltuples::float8 as count,
             has_table_privilege(c.oid, case when c.relname = ${`${prefix}event`} then 'insert' else 'insert, update' end) as writes
        from pg_class c join pg_namespace n on n.oid = c.relnamespace
       where n.nspname = ${schema ?? "public"} and c.relname in ${sql.in([`${prefix}event`, `${prefix}checkpoint`])}
       order by c.relname desc`,
    (tables) => [
      ...tables.map(({ name, reads, writes }) =>
        reads && writes
          ? ok(`rights on ${name}`, "this role may read and write it")
          : warning(
              `rights on ${name}`,
              `this role may ${reads ? "only read" : "not read"} it`,
              "PgRights of eventfold/postgres prints what a role needs"
            )
      ),
      ...tables
        // Autovacuum analyzes at fifty rows: until then any plan will do.
        .filter(({ count, name }) => name === `${prefix}event` && Number(count) < 0 && head >= felt)
        .map(({ name }) =>
          warning("plans", `${name} has never been analyzed`, `analyze ${quoted({ schema, name })}; autovacuum does it as a rule`)
        )
    ]
  )

/** Whether what is rare is looked up, and whether what looks it up is whole. */
const indexes = (
  sql: SqlClient.SqlClient,
  { prefix, schema }: StoreTables,
  head: number
): Effect.Effect<ReadonlyArray<Diagnosis>, SqlError> =>
  Effect.map(
    sql<{ readonly name: string; readonly valid: boolean }>`
      select c.relname as name, i.indisvalid as valid
        from pg_index i join pg_class c on c.oid = i.indexrelid join pg_class t on t.oid = i.indrelid join pg_namespace n on n.oid = t.relnamespace
       where n.nspname = ${schema ?? "public"} and t.relname = ${`${prefix}event`}`,
    (found) => {
      const isMissing = !found.some(({ name }) => name === `${prefix}event_correlation_idx`)
      const option = `PgEventStore.layerWith({ indexes: ["correlation"] }) makes it, without stopping the appends`
      return [
        ...found
          .filter(({ valid }) => !valid)
          .map(({ name }) =>
            warning(
              "indexes",
              `the index ${name} is not whole: whoever made it was stopped`,
              "a store that asks for it makes it anew"
            )
          ),
        isMissing && head >= many
          ? warning("indexes", `no index on correlation ids: a trail looks through ${head} events`, option)
          : ok("indexes", isMissing ? "the log is short enough to be looked through" : "correlation ids are looked up")
      ]
    }
  )

/** Whether somebody holds a snapshot so long that nothing can be cleaned up. */
const snapshots = (sql: SqlClient.SqlClient): Effect.Effect<Diagnosis, SqlError> =>
  Effect.map(
    sql<{ readonly pid: number; readonly application: string; readonly minutes: unknown }>`
      select pid, coalesce(application_name, '') as application, (extract(epoch from now() - xact_start) / 60)::float8 as minutes
        from pg_stat_activity
       where datname = current_database() and backend_xmin is not null and xact_start < now() - interval '5 minutes'
       order by xact_start limit 1`,
    ([oldest]) =>
      oldest === undefined
        ? ok("snapshots", "no transaction is older than five minutes")
        : warning(
            "snapshots",
            `the transaction of process ${oldest.pid}${oldest.application === "" ? "" : ` (${oldest.application})`} is open for ${Math.round(Number(oldest.minutes))} minutes: tables of checkpoints and messages grow meanwhile`,
            "end it, or set idle_in_transaction_session_timeout"
          )
  )

/** Looks at a database, and at what a store whose newest event is at `head` has in it: each thing by itself. */
export const onPostgres = (
  sql: SqlClient.SqlClient,
  tables: StoreTables | undefined,
  head: number
): ReadonlyArray<Effect.Effect<ReadonlyArray<Diagnosis>>> => [
  section("version", version(sql)),
  section("durability", durability(sql)),
  section("vacuum", vacuum(sql)),
  ...onConnections(sql),
  section(
    "clock",
    Effect.map(clockOf(sql), (found) => [found])
  ),
  ...(tables === undefined ? [] : [section("rights", rights(sql, tables, head)), section("indexes", indexes(sql, tables, head))]),
  section(
    "snapshots",
    Effect.map(snapshots(sql), (found) => [found])
  )
]
