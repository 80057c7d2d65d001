/** Whose a table is: of two projections that write one table, each would lose the rows of the other when it is rebuilt. */
import * as Effect from "effect/Effect"
import type * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import { folded, quoteName } from "../sql/names.ts"
import { TableTakenError } from "./model.ts"
import { existsIn } from "./sql.ts"

/** Beside the tables, in their database schema: which projection each belongs to, in all of its versions. */
const owners = (table: string) => `${table.slice(0, table.indexOf(".") + 1)}eventfold_projection_table`

const keyOf = (table: string) => folded(table.slice(table.indexOf(".") + 1))

/** Takes a table for a projection; a defect where it is another's. */
export const own = Effect.fnUntraced(function* (
  sql: SqlClient.SqlClient,
  table: string,
  projection: string
): Effect.fn.Return<void, SqlError> {
  const name = quoteName(sql, owners(table))
  // Looked up before it is made: a role may write it that may make none.
  if ((yield* sql.unsafe(existsIn(sql, owners(table))).values).length === 0) {
    yield* sql.unsafe(`create table if not exists ${name} (table_name text primary key, projection text not null)`).values
  }
  const all = sql.literal(name)
  const key = keyOf(table)
  const read = sql`select projection from ${all} where table_name = ${key}`.values
  let [row] = yield* read
  if (row === undefined) {
    yield* sql`insert into ${all} (table_name, projection) values (${key}, ${projection}) on conflict (table_name) do nothing`
    row = (yield* read)[0]
  }
  const owner = String(row?.[0])
  if (owner !== projection) return yield* Effect.die(new TableTakenError({ table, projection, owner }))
})

/** Gives a table back that no version of its projection has any more. */
export const disown = Effect.fnUntraced(function* (sql: SqlClient.SqlClient, table: string): Effect.fn.Return<void, SqlError> {
  if ((yield* sql.unsafe(existsIn(sql, owners(table))).values).length === 0) return
  yield* sql`delete from ${sql.literal(quoteName(sql, owners(table)))} where table_name = ${keyOf(table)}`
})
