import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import { quoted } from "../sql/names.ts"
import { isThere } from "../sql/table.ts"
import { tablesFor } from "../store/tables.ts"
import type { Projection } from "./model.ts"
import { placed } from "./place.ts"

/**
 * How many rows a table of a version has.
 *
 * @category models
 * @since 0.2.0
 */
export interface RowCount {
  /** The name of the table, as its definition has it. */
  readonly table: string
  /** How many rows there are, counted up to the bound; none where the table is not there. */
  readonly rows: Option.Option<number>
  /** Whether there are no more than these. */
  readonly exact: boolean
}

/**
 * Counts the rows of the tables of this version, whether it is the active one or not.
 *
 * @category observing
 * @since 0.2.0
 */
export const rowCounts = <R, D>(
  { tables, version }: Projection<R, D>,
  options: {
    /** Up to how many rows of a table are counted. Default: 100 000. */
    readonly upTo?: number | undefined
  } = {}
): Effect.Effect<ReadonlyArray<RowCount>, SqlError, D> =>
  Effect.gen(function* () {
    const { upTo = 100_000 } = options
    const sql = Option.getOrUndefined(yield* Effect.serviceOption(SqlClient.SqlClient))
    if (sql === undefined) return []
    const found = yield* tablesFor(sql)
    return yield* Effect.forEach(tables, ({ name }) =>
      Effect.gen(function* () {
        const table = placed(sql, found, name, version)
        if (!(yield* isThere(sql, table))) return { table: name, rows: Option.none<number>(), exact: true }
        const text = `select count(*) from (select 1 from ${quoted(table)} limit ${Math.trunc(upTo) + 1}) as counted`
        const [row] = yield* sql.unsafe(text).values
        const rows = Number(row?.[0] ?? 0)
        return { table: name, rows: Option.some(Math.min(rows, upTo)), exact: rows <= upTo }
      })
    )
  })
