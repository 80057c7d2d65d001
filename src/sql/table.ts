/**
 * What the small tables beside the events have in common: one SQL for PostgreSQL, PGlite and SQLite.
 */
import * as Effect from "effect/Effect"
import type * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import type { Fragment } from "effect/sql/Statement"
import { isMadeMeanwhile } from "./errors.ts"
import { quoted, type TableName } from "./names.ts"

/** Whether there is a table, view or index of this name; without a schema, where the database looks for it by itself. */
export const isThere = (sql: SqlClient.SqlClient, table: TableName): Effect.Effect<boolean, SqlError> =>
  Effect.map(
    sql.onDialectOrElse({
      pg: () => sql`select 1 where to_regclass(${quoted(table)}) is not null`.values,
      orElse: () => {
        const catalogue = sql.literal(quoted({ schema: table.schema, name: "sqlite_schema" }))
        return sql`select 1 from ${catalogue} where name = ${table.name} collate nocase`.values
      }
    }),
    (rows) => rows.length > 0
  )

/** Whether a database schema is there; where there are none, it is. */
export const isSchemaThere = (sql: SqlClient.SqlClient, schema: string | undefined): Effect.Effect<boolean, SqlError> =>
  schema === undefined
    ? Effect.succeed(true)
    : sql.onDialectOrElse({
        pg: () => Effect.map(sql`select 1 from pg_namespace where nspname = ${schema}`.values, (rows) => rows.length > 0),
        orElse: () => Effect.succeed(true)
      })

/**
 * Makes what is not there, "if not exists". It is looked up first: PostgreSQL asks for the right to make it also where it stands, and
 * a role that may use it need not have that.
 */
export const makeUnless = <E, R>(
  isMade: Effect.Effect<boolean, SqlError>,
  make: Effect.Effect<unknown, E, R>
): Effect.Effect<void, E | SqlError, R> => Effect.flatMap(isMade, (made) => (made ? Effect.void : Effect.asVoid(make)))

/** Two processes that make one thing at once collide on the catalogue of PostgreSQL, "if not exists" notwithstanding: outside of a transaction. */
export const againIfMade = <A, E, R>(make: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.retry(make, { times: 3, while: isMadeMeanwhile })

/** Makes a database schema that is not there. */
export const makeSchema = (sql: SqlClient.SqlClient, schema: string | undefined): Effect.Effect<void, SqlError> =>
  makeUnless(isSchemaThere(sql, schema), sql.unsafe(`create schema if not exists "${schema}"`))

/** Numbers of double precision are exact up to 2^53, and are numbers in the rows of every client. */
export const number = (sql: SqlClient.SqlClient, value: number): Fragment => sql`cast(${String(value)} as double precision)`

/** A text may hold anything, and a database stores no U+0000 and no half of a surrogate pair. */
export const storable = (text: string): string => text.replaceAll("\u0000", "\ufffd").toWellFormed()
