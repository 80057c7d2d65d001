/** The statements that get, write and delete rows of a table by their keys. */
import * as Effect from "effect/Effect"
import * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import { answered } from "../sql/answering.ts"
import type { Sent } from "./columns.ts"
import type { Statements } from "./sql.ts"

/** Rows as a database gives them: their values, in the order of the columns. */
export type Given = ReadonlyArray<ReadonlyArray<unknown>>

/** Runs a statement that gives rows. */
export const valuesOf = (
  sql: SqlClient.SqlClient,
  text: string,
  parameters: ReadonlyArray<string>
): Effect.Effect<Given, SqlError> =>
  Effect.provideService(answered(sql, sql.unsafe(text, parameters).values), SqlClient.SafeIntegers, false)

/** The rows of keys. */
export const getRows = (
  sql: SqlClient.SqlClient,
  statements: Statements,
  keys: ReadonlyArray<string>
): Effect.Effect<Given, SqlError> => valuesOf(sql, statements.get, [JSON.stringify(keys)])

/** Writes rows over those that stand under their keys. */
export const sendRows = (
  sql: SqlClient.SqlClient,
  statements: Statements,
  rows: ReadonlyMap<string, Sent>
): Effect.Effect<unknown, SqlError> => {
  if (rows.size === 0) return Effect.void
  // In one order, so that two who write the same rows do not wait for each other.
  const ordered = Array.from(rows).sort(([a], [b]) => (a < b ? -1 : 1))
  return answered(sql, sql.unsafe(statements.upsert, [JSON.stringify(ordered.map(([, row]) => row))]).values)
}

/** Deletes the rows of keys. */
export const deleteRows = (
  sql: SqlClient.SqlClient,
  statements: Statements,
  keys: ReadonlyArray<string>
): Effect.Effect<unknown, SqlError> =>
  keys.length === 0 ? Effect.void : answered(sql, sql.unsafe(statements.delete, [JSON.stringify(keys)]).values)
