/** What can go wrong between a program and PostgreSQL: pools, the server's bound, and what stands in between. */
import * as Effect from "effect/Effect"
import type * as Connection from "effect/sql/SqlConnection"
import type * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import type { Diagnosis } from "../contract/views.ts"
import { ok, section, warning } from "./diagnosis.ts"

interface Bounds {
  readonly most: unknown
  readonly reserved: unknown
  readonly role: unknown
  readonly database: unknown
}

interface Used {
  readonly program: string
  readonly connections: unknown
}

/** The largest share of the server's connections that may be used. */
const share = 0.8

/** How many programs are named; and how many may wait for locks before it is told. */
const [named, many] = [5, 10]

/** How many connections this role can have at all: of the server, of the role, of the database the least. */
const boundOf = ({ database, most, reserved, role }: Bounds): readonly [bound: number, by: string] => {
  const all = [
    [Number(most) - Number(reserved), "max_connections"],
    [Number(role), "the connection limit of the role"],
    [Number(database), "the connection limit of the database"]
  ] as const
  return all.filter(([bound]) => bound >= 0).sort(([a], [b]) => a - b)[0] ?? [Number(most), "max_connections"]
}

/** How many connections are used, and how many processes with a pool as that of this one there may be. */
const countOf = (sql: SqlClient.SqlClient, size: number | undefined): Effect.Effect<ReadonlyArray<Diagnosis>, SqlError> =>
  Effect.gen(function* () {
    const [bounds] = yield* sql<Bounds>`
      select current_setting('max_connections')::int as most,
             current_setting('superuser_reserved_connections')::int + coalesce(current_setting('reserved_connections', true), '0')::int as reserved,
             (select rolconnlimit from pg_roles where rolname = current_user) as role,
             (select datconnlimit from pg_database where datname = current_database()) as database`
    // Of sessions of others a role without pg_read_all_stats is told whose they are, and not of which kind.
    const used = yield* sql<Used>`
      select coalesce(nullif(application_name, ''), 'without a name') as program, count(*)::int as connections
        from pg_stat_activity
       where backend_type = 'client backend' or (backend_type is null and usesysid is not null)
       group by 1 order by 2 desc, 1`
    const sum = used.reduce((sum, { connections }) => sum + Number(connections), 0)
    const [bound, by] = bounds === undefined ? [0, "max_connections"] : boundOf(bounds)
    const programs = used.slice(0, named).map(({ connections, program }) => `${program} ${Number(connections)}`)
    // An embedded database tells of no session.
    const users = used.length === 0 ? "" : ` (${programs.join(", ")}${used.length > named ? ", others" : ""})`
    const says = `${sum} of ${bound} connections are used${users}; the bound is ${by}`
    const count =
      sum > bound * share
        ? warning(
            "connections",
            says,
            "raise it, make the pools of the processes smaller (maxConnections), or put a pooler in between: all pools together have to fit, also while a release rolls out"
          )
        : ok("connections", says)
    if (size === undefined) return [count]
    const fit = Math.floor((bound * share) / size)
    const pool = `the pool of this process has up to ${size} connections: ${fit} such processes fit`
    return [
      count,
      fit < 2
        ? warning(
            "pool",
            pool,
            "make it smaller (maxConnections): while a release rolls out there are two processes where there was one"
          )
        : ok("pool", pool)
    ]
  })

/** The pool of this process: how many connections it may open. Other clients than that of `@effect/sql-pg` do not say. */
const poolSizeOf = (sql: SqlClient.SqlClient): number | undefined => {
  const { config } = sql as { readonly config?: { readonly maxConnections?: number | undefined; readonly stream?: unknown } }
  return config === undefined || config.stream !== undefined ? undefined : (config.maxConnections ?? 10)
}

/** Whether what is in a pool does something. */
const pools = (sql: SqlClient.SqlClient): Effect.Effect<Diagnosis, SqlError> =>
  Effect.map(
    sql<{ readonly idle: unknown; readonly waiting: unknown }>`
      select count(*) filter (where state like 'idle in transaction%' and state_change < now() - interval '1 minute')::int as idle,
             count(*) filter (where wait_event_type = 'Lock')::int as waiting
        from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()`,
    ([row]) => {
      const [idle, waiting] = [Number(row?.idle ?? 0), Number(row?.waiting ?? 0)]
      if (idle > 0) {
        return warning(
          "pools",
          `${idle} connections have stood in a transaction for a minute and done nothing: each is missing in its pool`,
          "set idle_in_transaction_session_timeout, and look for handlers that wait for something else inside of a transaction"
        )
      }
      return waiting > many
        ? warning("pools", `${waiting} connections wait for locks of others`, "look who holds them: pg_blocking_pids tells")
        : ok("pools", "no connection stands in a transaction and does nothing")
    }
  )

const session = (connection: Connection.Connection) =>
  Effect.map(
    connection.execute("select pg_backend_pid()::int as pid", [], undefined),
    ([row]) => (row as { readonly pid: number } | undefined)?.pid
  )

/**
 * What stands in between. Two connections: the session that one has had is given to the other where a pooler hands out transactions, and
 * else stays what it was.
 */
const changesHands = (one: Connection.Connection, other: Connection.Connection) =>
  Effect.scoped(
    Effect.gen(function* () {
      const before = yield* session(one)
      yield* Effect.acquireRelease(other.executeRaw("begin", []), () =>
        // Where it cannot be said, the connection has broken, and the transaction with it.
        Effect.ignore(other.executeRaw("rollback", []))
      )
      const held = yield* session(other)
      return held === before || (yield* session(one)) !== before
    })
  )

const pooler = (sql: SqlClient.SqlClient): Effect.Effect<Diagnosis, SqlError> =>
  Effect.scoped(
    Effect.gen(function* () {
      const [one, other] = [yield* sql.reserve, yield* sql.reserve]
      // Of a pooler that is busy serving others, one look may show nothing.
      for (let times = 0; times < 5; times++) {
        if (!(yield* changesHands(one, other))) continue
        return warning(
          "pooler",
          "statements go through a pooler that hands out transactions, as PgBouncer does in transaction mode: nobody can listen, and what a session prepares is lost",
          "set listen to false or to the URL of a direct connection, and prepare to false or max_prepared_statements in PgBouncer"
        )
      }
      return ok("pooler", "a session lasts: the connection is direct, or its pooler hands out sessions")
    })
  )

/** Looks at them, each by itself. */
export const onConnections = (sql: SqlClient.SqlClient): ReadonlyArray<Effect.Effect<ReadonlyArray<Diagnosis>>> => {
  const size = poolSizeOf(sql)
  return [
    section("connections", countOf(sql, size)),
    section(
      "pools",
      Effect.map(pools(sql), (found) => [found])
    ),
    // With one connection nobody listens anyway; and where none is free, looking would take the last ones.
    ...(size === undefined || size < 2
      ? []
      : [
          section(
            "pooler",
            Effect.map(pooler(sql), (found) => [found])
          )
        ])
  ]
}
