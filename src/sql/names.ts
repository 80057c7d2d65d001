/**
 * Names of tables, views and columns as SQL text. They are always quoted, so that a reserved word is a name like any other.
 *
 * PostgreSQL tells names apart by case and by their first 63 bytes, SQLite by all of their letters and not by case. Names that either
 * would take for one are refused, wherever the program runs. On PostgreSQL they are in lower case, as if they had not been quoted.
 */
import type * as SqlClient from "effect/sql/SqlClient"

/** The longest name that PostgreSQL does not cut, in bytes. */
export const maxName = 63

/** What every database takes for one name. */
export const folded = (name: string): string => name.toLowerCase()

/** What is wrong with the name of a table, with its database schema before a `.` if need be: `undefined` if nothing. */
export const tableNameFault = (name: string): string | undefined => {
  if (!/^(\w+\.)?\w+$/.test(name)) return "it must have letters, digits and _ alone, with the schema before a . if need be"
  const long = name.split(".").find((part) => part.length > maxName)
  if (long !== undefined) return `${long} is longer than ${maxName} characters, which PostgreSQL would cut`
  return /(^|\.)sqlite_/i.test(name) ? "SQLite keeps names that begin with sqlite_ for itself" : undefined
}

/** What PostgreSQL has in every table. */
const system = new Set(["tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"])

/** What is wrong with the names of the columns of a table: `undefined` if nothing. */
export const columnsFault = (names: ReadonlyArray<string>): string | undefined => {
  const seen = new Map<string, string>()
  for (const name of names) {
    const other = seen.get(folded(name))
    if (!/^\w+$/.test(name)) return `cannot be called ${name}: it must have letters, digits and _ alone`
    if (name.length > maxName) return `cannot be called ${name}: it is longer than ${maxName} characters`
    if (system.has(folded(name))) return `cannot be called ${name}: PostgreSQL keeps that name for itself`
    if (other !== undefined) return `cannot be called ${name} beside ${other}: SQLite does not tell them apart`
    seen.set(folded(name), name)
  }
  return undefined
}

/** A table, view or index, as its database knows it. */
export interface TableName {
  /** Where the database has schemas, and one is named. */
  readonly schema: string | undefined
  readonly name: string
}

/** The table of a name with its database schema before a `.` if need be; on PostgreSQL in lower case. */
export const parseName = (sql: SqlClient.SqlClient, text: string): TableName => {
  const found = sql.onDialectOrElse({ pg: () => folded(text), orElse: () => text })
  const dot = found.indexOf(".")
  return { schema: dot < 0 ? undefined : found.slice(0, dot), name: found.slice(dot + 1) }
}

/** A name as SQL text. */
export const quoted = ({ name, schema }: TableName): string => (schema === undefined ? `"${name}"` : `"${schema}"."${name}"`)
