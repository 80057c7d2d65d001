/**
 * A table that stands already, and a definition: whether the one has the columns that the other writes. A table keeps the types that it was made
 * with, also those of 0.1.0, as long as they take what is written and give it back.
 */
import * as Effect from "effect/Effect"
import type * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import { folded, quoted, type TableName } from "../sql/names.ts"
import type { Column } from "./columns.ts"
import type { AnyTable } from "./model.ts"
import { valuesOf } from "./sending.ts"

/** What columns can hold, whatever their types are called. A type that is not known here is none of them, and is let be. */
type Family = "text" | "number" | "boolean" | "instant" | "json" | "unknown"

/** A column as it stands. */
interface Standing {
  readonly name: string
  /** Its type, as the database calls it. */
  readonly type: string
  /** Whether a row that says nothing of it is refused. */
  readonly needed: boolean
  /** Whether rows are told apart by it alone. */
  readonly unique: boolean
}

// A trigger may give a value to a column that must have one. In a table that tenants share, a key is one beside the tenant.
const onPostgres = `select a.attname, format_type(a.atttypid, null), a.attnotnull and not a.atthasdef and a.attidentity = ''
         and not exists (select from pg_trigger g where g.tgrelid = a.attrelid and not g.tgisinternal),
       exists (select from pg_index i where i.indrelid = a.attrelid and i.indisunique and i.indpred is null
                  and a.attnum = any (i.indkey::int2[])
                  and not exists (select from pg_attribute o where o.attrelid = a.attrelid and o.attnum = any (i.indkey::int2[])
                                     and o.attnum <> a.attnum and o.attname <> 'tenant'))
  from pg_attribute a
 where a.attrelid = to_regclass($1) and a.attnum > 0 and not a.attisdropped`

const onSqlite = (
  of: string,
  schema: string
) => `select c.name, lower(c.type), c."notnull" = 1 and c.dflt_value is null and c.hidden = 0,
       (c.pk = 1 and (select max(k.pk) from pragma_table_xinfo(${of}) k) = 1)
         or exists (select 1 from pragma_index_list(${of}) i where i."unique" = 1 and i.partial = 0
                      and (select count(*) from pragma_index_info(i.name${schema})) = 1
                      and (select x.name from pragma_index_info(i.name${schema}) x) = c.name)
  from pragma_table_xinfo(${of}) c`

const columnsOf = (sql: SqlClient.SqlClient, table: TableName): Effect.Effect<ReadonlyArray<Standing>, SqlError> =>
  Effect.map(
    sql.onDialectOrElse({
      pg: () => valuesOf(sql, onPostgres, [quoted(table)]),
      orElse: () => {
        const { name, schema } = table
        return schema === undefined
          ? valuesOf(sql, onSqlite("?1", ""), [name])
          : valuesOf(sql, onSqlite("?1, ?2", ", ?2"), [name, schema])
      }
    }),
    (rows) =>
      rows.map(([name, type, needed, unique]) => ({
        name: String(name),
        type: String(type),
        // SQLite has 0 and 1.
        needed: Number(needed) === 1,
        unique: Number(unique) === 1
      }))
  )

const familyOf = (type: string): Family => {
  if (/^(text|character|character varying|char|varchar|name|citext)\b/.test(type)) return "text"
  if (/^(smallint|integer|bigint|int|real|double|double precision|numeric|decimal)\b/.test(type)) return "number"
  if (type === "boolean") return "boolean"
  if (/^(timestamp|date)\b/.test(type)) return "instant"
  return /^jsonb?$/.test(type) ? "json" : "unknown"
}

/** The families that a column can have, beside the one of its own type: what 0.1.0 made, and what takes any value and gives it back. */
const takenOnPostgres = ({ type }: Column): ReadonlyArray<Family> => {
  switch (type) {
    case "text":
      return ["text"]
    case "boolean":
      return ["boolean"]
    case "timestamptz":
      return ["instant", "text", "json"]
    case "jsonb":
      return ["json", "text"]
    default:
      return ["number", "text"]
  }
}

/** SQLite puts any value into any column; a text that reads as a number becomes one where the column is for numbers. */
const takenOnSqlite = ({ kind, type }: Column): ReadonlyArray<Family> => {
  const isText = kind === "text" && type !== "bigint"
  return isText ? ["text", "boolean", "instant", "json"] : ["text", "number", "boolean", "instant", "json"]
}

/** Why a table that stands is not the one of a definition: `undefined` if it is. */
export const standingFault = (
  sql: SqlClient.SqlClient,
  table: TableName,
  { columns, key }: Pick<AnyTable, "columns" | "key">
): Effect.Effect<string | undefined, SqlError> =>
  Effect.map(columnsOf(sql, table), (standing) => {
    const [isSame, taken] = sql.onDialectOrElse({
      pg: () => [(a: string, b: string) => a === b, takenOnPostgres] as const,
      orElse: () => [(a: string, b: string) => folded(a) === folded(b), takenOnSqlite] as const
    })
    const faults: Array<string> = []
    for (const column of columns) {
      const found = standing.find(({ name }) => isSame(name, column.name))
      if (found === undefined) {
        faults.push(`has no column "${column.name}"`)
        continue
      }
      const family = familyOf(found.type)
      if (family !== "unknown" && !taken(column).includes(family)) {
        faults.push(`has a column "${column.name}" of the type ${found.type}, not ${column.type}`)
      }
      if (column.name === key && !found.unique) faults.push(`has another key than "${key}"`)
    }
    for (const { name, needed } of standing) {
      if (needed && !columns.some((column) => isSame(name, column.name))) {
        faults.push(`has a column "${name}" that must have a value, and the definition does not have it`)
      }
    }
    if (faults.length === 0) return undefined
    return `the table ${quoted(table)} ${faults.join(", and ")}: its definition has changed, so raise \`version\` (another version has a table of its own)`
  })
