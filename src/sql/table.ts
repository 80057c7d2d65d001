/**
 * What the small tables beside the events have in common: one SQL for PostgreSQL, PGlite and SQLite.
 */
import * as Effect from "effect/Effect"
import * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import type { Fragment } from "effect/sql/Statement"
import { isUniqueViolation } from "./errors.ts"
import { quoteName, tableNameFault } from "./names.ts"

/** Makes a table when it is not there. Its name has letters, digits and `_`, with a schema if need be. */
export const makeTable = Effect.fnUntraced(function* (
  table: string,
  statements: (sql: SqlClient.SqlClient, name: Fragment) => ReadonlyArray<Effect.Effect<unknown, SqlError>>
): Effect.fn.Return<Fragment, SqlError | Error, SqlClient.SqlClient> {
  const fault = tableNameFault(table)
  if (fault !== undefined) return yield* Effect.fail(new Error(`the table cannot be called ${table}: ${fault}`))
  const sql = yield* SqlClient.SqlClient
  const name = sql.literal(quoteName(sql, table))
  yield* Effect.forEach(
    statements(sql, name),
    // Two processes that make one table at once collide on the catalogue of PostgreSQL, "if not exists" notwithstanding.
    Effect.retry({ times: 3, while: isUniqueViolation }),
    { discard: true }
  )
  return name
})

/** Numbers of double precision are exact up to 2^53, and are numbers in the rows of every client. */
export const number = (sql: SqlClient.SqlClient, value: number): Fragment => sql`cast(${String(value)} as double precision)`

/** A text may hold anything, and a database stores no U+0000 and no half of a surrogate pair. */
export const storable = (text: string): string => text.replaceAll("\u0000", "\ufffd").toWellFormed()
