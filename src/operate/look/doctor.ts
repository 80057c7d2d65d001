/** What can go wrong, looked at: each in a sentence, with what to do. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import type { UnavailableError } from "../contract/errors.ts"
import type { Diagnosis } from "../contract/views.ts"
import { orUnavailable, type Parts } from "../parts.ts"
import { followersNow, type Moment } from "./followers.ts"

const ok = (check: string, message: string): Diagnosis => ({ check, level: "ok", message, remedy: null })
const warning = (check: string, message: string, remedy: string): Diagnosis => ({ check, level: "warning", message, remedy })
const problem = (check: string, message: string, remedy: string): Diagnosis => ({ check, level: "problem", message, remedy })

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

const onPostgres = (sql: SqlClient.SqlClient): Effect.Effect<ReadonlyArray<Diagnosis>, SqlError> =>
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

const onSqlite = (sql: SqlClient.SqlClient): Effect.Effect<ReadonlyArray<Diagnosis>, SqlError> =>
  Effect.gen(function* () {
    const [row] = yield* sql<{ readonly mode: string }>`select journal_mode as mode from pragma_journal_mode()`
    const mode = row?.mode ?? "unknown"
    return [
      mode === "wal" || mode === "memory"
        ? ok("journal", `the journal is ${mode}`)
        : warning(
            "journal",
            `the journal is ${mode}: readers and the writer wait for each other`,
            "open the file with PRAGMA journal_mode = WAL"
          )
    ]
  })

const onFollower = ({ failure, kind, lag, name, state, parked }: Moment): ReadonlyArray<Diagnosis> => {
  const check = `follower ${name}`
  const at =
    failure === undefined || failure.position === null ? "" : ` at #${failure.position} ${failure.type} of ${failure.stream}`
  const stands =
    state === "halted"
      ? [problem(check, `it has halted${at}: ${failure?.cause ?? "no reason is known"}`, "mend the cause, then resume it")]
      : state === "backing-off"
        ? [
            warning(
              check,
              `it backs off${at}: ${failure?.cause ?? "no reason is known"}`,
              "it goes on by itself when the cause is gone"
            )
          ]
        : state === "paused"
          ? [warning(check, `it is paused, ${lag} positions behind`, "resume it when it is to go on")]
          : state === "stopped" && lag > 0 && kind !== "consumer"
            ? [
                warning(
                  check,
                  `no process runs it, and it is ${lag} positions behind`,
                  "start a process that runs it, or remove it"
                )
              ]
            : []
  const aside =
    parked > 0
      ? [warning(check, `${parked} of its events are set aside`, "look at their causes, then retry or discard them")]
      : []
  return [...stands, ...aside]
}

/** Looks at everything that operations can see. */
export const diagnose = (parts: Parts): Effect.Effect<ReadonlyArray<Diagnosis>, UnavailableError> =>
  Effect.gen(function* () {
    const { sql, store } = parts
    const head = yield* orUnavailable(store.head)
    const database =
      sql === undefined
        ? []
        : yield* orUnavailable(sql.onDialectOrElse({ pg: () => onPostgres(sql), orElse: () => onSqlite(sql) }))
    const { moments } = yield* followersNow(parts)
    const ahead = moments.filter(({ position }) => position > head)
    const followers = moments.flatMap(onFollower)
    return [
      ok("store", `the store answers, and its newest event is at position ${head}`),
      ...database,
      ...ahead.map(({ name, position }) =>
        problem(
          `checkpoint ${name}`,
          `it stands at ${position}, and the log ends at ${head}: the store was restored, and the checkpoints were not`,
          "restore the checkpoints too, or reset this one to where both logs are the same"
        )
      ),
      ...(followers.length === 0 ? [ok("followers", `none of ${moments.length} stands still`)] : followers)
    ]
  })
