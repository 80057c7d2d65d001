/** Whose a table is: of two projections that write one table, each would lose the rows of the other when it is rebuilt. */
import * as Effect from "effect/Effect"
import type { SqlError } from "effect/sql/SqlError"
import { quoted, type TableName } from "../sql/names.ts"
import { isThere } from "../sql/table.ts"
import { TableTakenError } from "./model.ts"
import { keyOf, ownersOf } from "./place.ts"
import type { TablesError, Where } from "./tables.ts"

/** Takes a table for a projection; a defect where it is another's. `unlessThere` makes the table of the owners. */
export const own = Effect.fnUntraced(function* (
  { found, sql }: Where,
  table: string,
  projection: string,
  unlessThere: (owners: TableName, make: Effect.Effect<unknown, SqlError>) => Effect.Effect<void, TablesError>
): Effect.fn.Return<void, TablesError> {
  const owners = ownersOf(sql, found, table)
  const name = quoted(owners)
  const create = `create table if not exists ${name} (table_name text primary key, projection text not null)`
  yield* unlessThere(owners, sql.unsafe(create))
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
export const disown = ({ found, sql }: Where, table: string): Effect.Effect<void, SqlError> => {
  const owners = ownersOf(sql, found, table)
  return Effect.flatMap(isThere(sql, owners), (there) =>
    there ? Effect.asVoid(sql`delete from ${sql.literal(quoted(owners))} where table_name = ${keyOf(table)}`) : Effect.void
  )
}
