/** What a store's database tells of itself. */
import * as Effect from "effect/Effect"
import type * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import type { StoreTables } from "../../store/EventStore.ts"
import type { Size } from "../contract/views.ts"
import type { Parts } from "../parts.ts"

type Tables = Size["tables"]

const pgTables = (sql: SqlClient.SqlClient, { prefix, schema }: StoreTables): Effect.Effect<Tables, SqlError> =>
  Effect.map(
    sql<{ readonly name: string; readonly bytes: unknown; readonly count: unknown }>`
      select c.relname as name, pg_total_relation_size(c.oid)::float8 as bytes, c.reltuples::float8 as count
        from pg_class c join pg_namespace n on n.oid = c.relnamespace
       where n.nspname = ${schema ?? "public"} and c.relkind in ('r', 'p') and starts_with(c.relname, ${prefix})
       order by 2 desc limit 200`,
    (rows) =>
      rows.map(({ bytes, count, name }) => ({
        name,
        bytes: Number(bytes),
        // Before it was looked at for the first time, PostgreSQL says -1.
        rows: Number(count) < 0 ? null : Math.round(Number(count))
      }))
  )

const sqliteTables = (sql: SqlClient.SqlClient, { prefix }: StoreTables): Effect.Effect<Tables, SqlError> =>
  Effect.map(
    sql<{
      readonly name: string
    }>`select name from sqlite_schema where type = 'table' and substr(name, 1, ${prefix.length}) = ${prefix} order by name limit 200`,
    (rows) => rows.map(({ name }) => ({ name, bytes: null, rows: null }))
  )

/** What the tables of a store are, the largest first; none where it has no database. */
export const tablesOf = ({ sql, store }: Parts): Effect.Effect<Tables, SqlError> => {
  const { tables } = store
  if (sql === undefined || tables === undefined) return Effect.succeed([])
  return sql.onDialectOrElse({ pg: () => pgTables(sql, tables), orElse: () => sqliteTables(sql, tables) })
}

const sqliteBytes = (sql: SqlClient.SqlClient): Effect.Effect<number, SqlError> =>
  Effect.map(
    sql<{ readonly bytes: number }>`select page_count * page_size as bytes from pragma_page_count(), pragma_page_size()`,
    ([row]) => row?.bytes ?? 0
  )

/** What a store takes on disk; `undefined` where nobody can tell at once. */
export const bytesOf = (parts: Parts): Effect.Effect<number | null, SqlError> => {
  const { sql } = parts
  if (sql === undefined) return Effect.succeed(null)
  return sql.onDialectOrElse({
    pg: () => Effect.map(tablesOf(parts), (tables) => tables.reduce((sum, { bytes }) => sum + (bytes ?? 0), 0)),
    orElse: () => sqliteBytes(sql)
  })
}

/** What a store is, without a secret. */
export const titleOf = ({ sql, store }: Parts): string => {
  const { tables } = store
  if (sql === undefined || tables === undefined) return "a store of this process"
  const prefixed = tables.prefix === "" ? "" : `, prefix ${tables.prefix}`
  return sql.onDialectOrElse({
    pg: () => `PostgreSQL, schema ${tables.schema ?? "public"}${prefixed}`,
    orElse: () => `SQLite${prefixed}`
  })
}
