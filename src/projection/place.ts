/** Where the tables of projections are: beside the events of the store that is provided, unless a definition names a schema. */
import type * as SqlClient from "effect/sql/SqlClient"
import { folded, maxName, quoted, type TableName } from "../sql/names.ts"
import { beside, type Found, ownersBeside } from "../store/tables.ts"

/** What the table of a version is called. */
export const physicalName = (name: string, version: number) => `${name}_v${version}`

/** A name as its database has it. */
const spelled = (sql: SqlClient.SqlClient, name: string): string =>
  sql.onDialectOrElse({ pg: () => folded(name), orElse: () => name })

/** The table of a version; without one, the view of the active version. */
export const placed = (sql: SqlClient.SqlClient, found: Found, name: string, version?: number): TableName =>
  beside(found, spelled(sql, version === undefined ? name : physicalName(name, version)))

/** The table that says whose the tables beside it are. */
export const ownersOf = (sql: SqlClient.SqlClient, found: Found, table: string): TableName =>
  ownersBeside(found, spelled(sql, table))

/** By what its owner is found, whatever the version. */
export const keyOf = (table: string): string => folded(table.slice(table.indexOf(".") + 1))

/** The tables of a store and of what stands beside it, which no view may be in the way of. */
const taken = new Set(
  [
    "answer checkpoint consumer_group dead_letter deadline delivery event head inbox message migration migrations operation parked_event projection_table",
    "projection_version snapshot tag transport_head transport_migration"
  ].flatMap((names) => names.split(" "))
)

/** Why a table cannot stand where the store has its own: `undefined` if it can. */
export const placeFault = (sql: SqlClient.SqlClient, found: Found, name: string, version: number): string | undefined => {
  const [view, table] = [placed(sql, found, name), placed(sql, found, name, version)]
  if (table.name.length > maxName) return `PostgreSQL would cut the name ${table.name} to ${maxName} characters`
  if (view.schema !== found.schema || !view.name.startsWith(found.prefix)) return undefined
  return taken.has(view.name.slice(found.prefix.length))
    ? `${quoted(view)} is a table of the store: choose another name, or one with a schema of its own ("public.${name}")`
    : undefined
}
