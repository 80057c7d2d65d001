/** Indexes of a table of a view: beside its key, by what rows are looked for, put in order, or told apart. */
import type * as SqlClient from "effect/sql/SqlClient"
import { maxName, quoted, type TableName } from "../sql/names.ts"
import type { Column } from "./columns.ts"

/**
 * An index of a table: its columns in order, or these and whether no two rows may have the same values in them.
 *
 * @category models
 * @since 0.2.0
 */
export type IndexOptions<Name extends string> =
  | readonly [Name, ...ReadonlyArray<Name>]
  | {
      readonly on: readonly [Name, ...ReadonlyArray<Name>]
      /** Rows with an absent value or a `null` in one of the columns are never the same. Default: `false`. */
      readonly unique?: boolean | undefined
    }

export interface Index {
  readonly columns: ReadonlyArray<Column>
  readonly unique: boolean
}

/** The most columns that PostgreSQL takes. */
const most = 32

/** Reads the indexes of a definition. An index that rows are put in order by ends with the key, as that order does. */
export const indexesOf = (
  table: string,
  key: string,
  columns: ReadonlyArray<Column>,
  all: ReadonlyArray<IndexOptions<string>>
): ReadonlyArray<Index> => {
  const seen = new Set<string>()
  return all.map((given) => {
    const { on, unique = false } = "on" in given ? given : { on: given }
    const refuse = (problem: string) =>
      new RangeError(`Projection: the index on ${on.join(", ")} of the table ${table} ${problem}`)
    const found = on.map((name) => {
      const column = columns.find((column) => column.name === name)
      if (column === undefined) throw refuse(`names the column ${name}, which the table has not`)
      if (column.type === "jsonb") throw refuse(`names the column ${name}, which is JSON and has no order`)
      return column
    })
    const keyed = unique || on.includes(key) ? found : [...found, ...columns.filter(({ name }) => name === key)]
    const whole = JSON.stringify([keyed.map(({ name }) => name), unique])
    if (on.length === 0 || on.length > most) throw refuse(`must have 1 to ${most} columns`)
    if (new Set(on).size < on.length) throw refuse("names a column twice")
    if (seen.has(whole)) throw refuse("is there twice")
    seen.add(whole)
    return { columns: keyed, unique }
  })
}

/** 32 bits of a text, as 8 characters: FNV-1a. */
const digest = (text: string): string => {
  let hash = 0x811c9dc5
  for (const byte of new TextEncoder().encode(text)) hash = Math.imul(hash ^ byte, 0x01000193) >>> 0
  return hash.toString(16).padStart(8, "0")
}

/** An index as its database has it, and the statement that makes it. Its name is told from all others by its last part. */
export const indexOf = (
  sql: SqlClient.SqlClient,
  table: TableName,
  key: string,
  { columns, unique }: Index
): { readonly name: TableName; readonly create: string } => {
  const words = `${table.name}_${columns.map(({ name }) => name).join("_")}`
  const told = digest(JSON.stringify([table.name, columns.map(({ name }) => name), unique]))
  const name: TableName = {
    schema: table.schema,
    name: sql.onDialectOrElse({
      pg: () => `${words.slice(0, maxName - 9)}_${told}`.toLowerCase(),
      orElse: () => `${words.slice(0, maxName - 9)}_${told}`
    })
  }
  const make = `create ${unique ? "unique " : ""}index if not exists`
  const create = sql.onDialectOrElse({
    pg: () => {
      const on = columns.map(
        ({ name, type }) => `"${name}"${type === "text" ? ` collate "C"` : ""}${name === key ? "" : " nulls first"}`
      )
      return `${make} "${name.name}" on ${quoted(table)} (${on.join(", ")})`
    },
    orElse: () => {
      const on = columns.map(({ name }) => `"${name}"`)
      return `${make} ${quoted(name)} on "${table.name}" (${on.join(", ")})`
    }
  })
  return { name, create }
}
