/** What can go wrong in a database of PostgreSQL: its settings, and what the store has in it. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import { quoted } from "../../sql/names.ts"
import type { StoreTables } from "../../store/EventStore.ts"
import type { Diagnosis } from "../contract/views.ts"
import { ok, problem, warning } from "./diagnosis.ts"

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

const settings = (sql: SqlClient.SqlClient): Effect.Effect<ReadonlyArray<Diagnosis>, SqlError> =>
  Effect.gen(function* () {
    const version = yield* setting(sql, "server_version")
    const commit = yield* setting(sql, "synchronous_commit")
    const vacuum = yield* setting(sql, "autovacuum")
    const [used] = yield* sql<{ readonly used: unknown; readonly most: unknown }>`
      select (select count(*) from pg_stat_activity where backend_type = 'client backend') as used, current_setting('max_connections') as most`
    const [connections, most] = [Number(used?.used ?? 0), Number(used?.most ?? 0)]
    return [
      Number.parseInt(version, 10) >= 15
        ? ok("version", `PostgreSQL ${version}`)
        : warning("version", `PostgreSQL ${version}`, "eventfold is tested from PostgreSQL 15 on"),
      commit === "off"
        ? problem(
            "durability",
            "synchronous_commit is off: what was acknowledged can be lost",
            "set synchronous_commit = on for the role of the program"
          )
        : ok("durability", `synchronous_commit is ${commit}`),
      vacuum === "on"
        ? ok("vacuum", "autovacuum is on")
        : warning("vacuum", "autovacuum is off: plans and the tables of checkpoints decay", "set autovacuum = on"),
      connections > most * 0.8
        ? warning(
            "connections",
            `${connections} of ${most} connections are used`,
            "raise max_connections, or make the pools of the processes smaller"
          )
        : ok("connections", `${connections} of ${most} connections are used`),
      yield* clockOf(sql)
    ]
  })

/** From how many events on it is felt that something is looked for in all of them. */
const many = 100_000

/** Whether the role of the program may do what the store does, and whether the planner knows the tables. */
const rights = (sql: SqlClient.SqlClient, { prefix, schema }: StoreTables): Effect.Effect<ReadonlyArray<Diagnosis>, SqlError> =>
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
        .filter(({ count, name }) => name === `${prefix}event` && Number(count) < 0)
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

/** Looks at a database, and at what a store whose newest event is at `head` has in it. */
export const onPostgres = (
  sql: SqlClient.SqlClient,
  tables: StoreTables | undefined,
  head: number
): Effect.Effect<ReadonlyArray<Diagnosis>, SqlError> =>
  Effect.gen(function* () {
    const ofStore = tables === undefined ? [] : [...(yield* rights(sql, tables)), ...(yield* indexes(sql, tables, head))]
    return [...(yield* settings(sql)), ...ofStore, yield* snapshots(sql)]
  })
