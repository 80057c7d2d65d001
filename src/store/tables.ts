/** Where the tables beside the events are: what follows a store learns it from the store. */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import type { Fragment } from "effect/sql/Statement"
import { isForbidden } from "../sql/errors.ts"
import { adoptTable, type Place } from "../sql/firstRelease.ts"
import { maxName, parseName, quoted, type TableName, tableNameFault } from "../sql/names.ts"
import { againIfMade, isThere, makeSchema, makeUnless } from "../sql/table.ts"
import { EventStore, type StoreTables } from "./service.ts"

/** The tables of a store on PostgreSQL that was told nothing. */
export const usualPostgres = { schema: "eventfold", prefix: "", migrate: true } as const satisfies StoreTables

/** The tables of a store on SQLite that was told nothing. */
export const usualSqlite = { schema: undefined, prefix: "eventfold_", migrate: true } as const satisfies StoreTables

/** Where tables are, and whether a store has said so. */
export interface Found extends StoreTables {
  readonly isOfStore: boolean
}

/** The tables of the store in the context. Where there is none on a database of this kind, those of a store that was told nothing. */
export const tablesFor = (sql: SqlClient.SqlClient): Effect.Effect<Found> =>
  Effect.map(Effect.serviceOption(EventStore), (store): Found => {
    const usual = sql.onDialectOrElse({ pg: (): StoreTables => usualPostgres, orElse: (): StoreTables => usualSqlite })
    const tables = Option.getOrUndefined(store)?.tables
    const isOfStore = tables !== undefined && (tables.schema === undefined) === (usual.schema === undefined)
    return { ...(isOfStore ? tables : usual), isOfStore }
  })

/** What the names of projections' tables begin with: what a user has chosen for the store. */
export const viewPrefix = ({ prefix, schema }: Place): string =>
  schema === usualSqlite.schema && prefix === usualSqlite.prefix ? "" : prefix

/** A table or view of a projection, whose name is as its database has it: where it says, or else beside the events. */
export const beside = (place: Place, name: string): TableName => {
  const dot = name.indexOf(".")
  return dot < 0
    ? { schema: place.schema, name: `${viewPrefix(place)}${name}` }
    : { schema: name.slice(0, dot), name: name.slice(dot + 1) }
}

/** The table that says to which projection a table belongs: beside that one. */
export const ownersBeside = (place: Place, table: string): TableName => {
  const { schema } = beside(place, table)
  return table.includes(".")
    ? { schema, name: "eventfold_projection_table" }
    : { schema, name: `${place.prefix}projection_table` }
}

/** What a Layer has been told of its table. */
export interface SideOptions {
  readonly table?: string | undefined
  readonly migrate?: boolean | undefined
}

/** A table beside the events: what it is called behind the prefix, its columns, and the statements that make what belongs to it. */
interface SideTable {
  readonly name: string
  readonly columns: ReadonlyArray<string>
  readonly create: (sql: SqlClient.SqlClient, table: Fragment) => Effect.Effect<unknown, SqlError>
  /** Its index, by what its name ends with. It is of help alone: a role that may not make it goes on without. */
  readonly index?: { readonly name: string; readonly on: string } | undefined
}

/** The table that a Layer is to use: where it was told, or where the store has its own. */
const placeOf = (sql: SqlClient.SqlClient, told: string | undefined, { name }: SideTable, { prefix, schema }: Place): TableName =>
  told === undefined ? { schema, name: `${prefix}${name}` } : parseName(sql, told)

/** Finds the table, or makes it, with its index, and takes over what 0.1.0 has left of it. */
export const openSide = Effect.fnUntraced(function* (
  { migrate, table: told }: SideOptions = {},
  side: SideTable
): Effect.fn.Return<Fragment, SqlError | Error, SqlClient.SqlClient> {
  const fault = told === undefined ? undefined : tableNameFault(told)
  if (fault !== undefined) return yield* Effect.fail(new Error(`the table cannot be called ${told}: ${fault}`))
  const sql = yield* SqlClient.SqlClient
  const found = yield* tablesFor(sql)
  const table = placeOf(sql, told, side, found)
  const name = sql.literal(quoted(table))
  if (!(migrate ?? found.migrate)) {
    if (yield* isThere(sql, table)) return name
    return yield* Effect.fail(
      new Error(`there is no table ${quoted(table)}: open this Layer once with "migrate", in a role that may make tables`)
    )
  }
  yield* againIfMade(makeSchema(sql, table.schema))
  if (told === undefined) {
    yield* adoptTable(sql, side.name, table, { columns: side.columns, isOfStore: found.isOfStore, place: found })
  }
  yield* againIfMade(makeUnless(isThere(sql, table), side.create(sql, name)))
  if (side.index !== undefined) {
    const index = { schema: table.schema, name: `${table.name}_${side.index.name}`.slice(0, maxName) }
    const text = `create index if not exists "${index.name}" on ${quoted(table)} (${side.index.on})`
    yield* Effect.catchIf(againIfMade(makeUnless(isThere(sql, index), sql.unsafe(text))), isForbidden, () => Effect.void)
  }
  return name
})
