/** What migrations there are, which of them have run, and what those that are left would do. */
import * as Effect from "effect/Effect"
import * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import * as Statement from "effect/sql/Statement"
import { quoted, type TableName } from "./names.ts"
import { isThere } from "./table.ts"

/** The migrations of a store, by their names. */
export interface MigrationStatus {
  readonly applied: ReadonlyArray<string>
  readonly pending: ReadonlyArray<string>
  /** What a later release has done: this one does not know it. */
  readonly unknown: ReadonlyArray<string>
}

/** `0007_append_conditions` is the migration 7. */
const numberOf = (name: string): number => Number.parseInt(name, 10)

/** Compares the migrations that a release has with those that the table says have run. */
export const migrationStatus = Effect.fnUntraced(function* (
  table: TableName,
  known: ReadonlyArray<string>
): Effect.fn.Return<MigrationStatus, SqlError, SqlClient.SqlClient> {
  const sql = yield* SqlClient.SqlClient
  const rows = (yield* isThere(sql, table))
    ? yield* sql.unsafe(`select migration_id, name from ${quoted(table)} order by migration_id`).values
    : []
  const newest = Math.max(0, ...rows.map(([id]) => Number(id)))
  const inOrder = known.toSorted((one, other) => numberOf(one) - numberOf(other))
  const last = Math.max(0, ...known.map(numberOf))
  return {
    applied: inOrder.filter((name) => numberOf(name) <= newest),
    pending: inOrder.filter((name) => numberOf(name) > newest),
    unknown: rows.flatMap(([id, name]) => (Number(id) > last ? [`${String(id)}_${String(name)}`] : []))
  }
})

/** It has been told what would be done: nothing is. */
class RolledBack {
  readonly _tag = "RolledBack"
}

/** A parameter as SQL text: migrations have numbers and text. */
const literal = (value: unknown): string =>
  typeof value === "number" ? String(value) : `'${String(value).replaceAll("'", "''")}'`

const textOf = (text: string, parameters: ReadonlyArray<unknown>): string => {
  let next = 0
  return text.replace(/\$(\d+)|\?(\d*)/g, (whole, dollar: string | undefined, mark: string | undefined) => {
    const index = Number(dollar || mark || 0) - 1
    const at = index < 0 ? next++ : index
    return at < parameters.length ? literal(parameters[at]) : whole
  })
}

/** The statements that an effect runs and that change something, in order: it runs in a transaction that is rolled back. */
export const dryRun = Effect.fnUntraced(function* <E>(
  effect: Effect.Effect<unknown, E, SqlClient.SqlClient>
): Effect.fn.Return<ReadonlyArray<string>, E | SqlError, SqlClient.SqlClient> {
  const sql = yield* SqlClient.SqlClient
  const texts: Array<string> = []
  const recorded: Statement.Transformer = (statement) =>
    Effect.sync(() => {
      const [text, parameters] = statement.compile(true)
      // A table that only locks, or looks, has nothing to say.
      if (!/^\s*(select|lock|pragma|with)\b/i.test(text)) texts.push(textOf(text, parameters).trim())
      return statement
    })
  const tried = Effect.andThen(
    Effect.provideService(effect, Statement.CurrentTransformer, recorded),
    Effect.fail(new RolledBack())
  )
  yield* Effect.catchIf(
    sql.withTransaction(tried),
    (error): error is RolledBack => error instanceof RolledBack,
    () => Effect.void
  )
  return texts
})
