/** The SQL of a table of a view: PostgreSQL and SQLite. Rows go in as one JSON text, so that a statement is the same for any number. */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as SqlClient from "effect/sql/SqlClient"
import { jsonCodec } from "../definitions/jsonCodec.ts"
import { quoted, type TableName } from "../sql/names.ts"
import { type Column, columnOf, type ColumnType, type Field } from "./columns.ts"

/** The columns of a table, and the JSON form of its rows. */
export const tableOf = (
  table: string,
  key: string,
  fields: { readonly [name: string]: Field },
  told: { readonly [name: string]: ColumnType | undefined }
) => {
  const struct = Schema.Struct(fields)
  // Fields of any types: what they encode to is a record by their names.
  const codec = Schema.toCodecJson(struct) as unknown as Schema.Codec<
    { readonly [name: string]: unknown },
    { readonly [name: string]: unknown }
  >
  const { decode } = jsonCodec<unknown>(struct)
  const codecs = new Map(
    Object.entries(fields).map(([name, field]) => [name, Schema.encodeUnknownEffect(Schema.toCodecJson(field))])
  )
  return {
    columns: Object.entries(fields).map(([name, field]) => columnOf(table, name, field, name === key, told[name])),
    decode: (row: unknown): Effect.Effect<unknown, Schema.SchemaError> => Effect.fromResult(decode(row)),
    encode: Schema.encodeUnknownEffect(codec),
    /** The JSON form of one of the fields. */
    encodeField: (field: string, value: unknown): Effect.Effect<unknown, Schema.SchemaError> =>
      codecs.get(field)?.(value) ?? Effect.die(new Error(`there is no field ${field}`))
  }
}

/**
 * What the two databases write differently. A column is cast wherever it is read or compared: in a table that 0.1.0 has made, numbers are
 * double precision and instants text. Where it has its type, the cast is nothing, and indexes serve.
 */
interface Dialect {
  readonly define: (type: ColumnType) => string
  /** The elements of the JSON array that is the one parameter, as `e`. */
  readonly elements: string
  readonly element: string
  readonly item: (index: number, column: Column, table: string) => string
  /** A column as it is read. */
  readonly read: (column: Column) => string
  /** A column as it is compared. */
  readonly compared: (column: Column) => string
  /** A text as a value of a type. */
  readonly typed: (text: string, type: ColumnType) => string
  /** The texts of the JSON array that is the nth parameter, as `item.value`. */
  readonly texts: (nth: number) => string
  readonly empty: string
  /** Takes locks of these names, in one order, until the transaction ends. */
  readonly lock: string | undefined
}

const quote = (name: string) => `"${name}"`

const postgres: Dialect = {
  // By code point, as SQLite has it.
  define: (type) => (type === "text" ? `text collate "C"` : type),
  elements: "jsonb_array_elements($1::jsonb) as e(value)",
  element: "e.value #>> '{}'",
  item: (index, { name, type }, table) =>
    type === "timestamptz"
      ? // By the type that the column has: text stays as it is.
        `(jsonb_populate_record(null::${table}, jsonb_build_object('${name}', e.value -> ${index}))).${quote(name)}`
      : `(e.value ->> ${index})::${type}`,
  read: ({ kind, name, type }) => {
    if (type === "timestamptz") return `to_jsonb(${quote(name)}) #>> '{}'`
    return kind === "number" ? `${quote(name)}::double precision` : kind === "boolean" ? quote(name) : `${quote(name)}::text`
  },
  compared: ({ name, type }) => (type === "text" ? `${quote(name)} collate "C"` : `${quote(name)}::${type}`),
  typed: (text, type) => `${text}::${type}`,
  texts: (nth) => `jsonb_array_elements_text($${nth}::jsonb) as item(value)`,
  empty: "truncate",
  lock: `select count(pg_advisory_xact_lock(hashtextextended(key, 0)))
    from (select value as key from jsonb_array_elements_text($1::jsonb) order by value) as keys`
}

const sqliteTypes: Readonly<Record<ColumnType, string>> = {
  text: "text",
  timestamptz: "text",
  bigint: "integer",
  integer: "integer",
  "double precision": "real",
  numeric: "text",
  boolean: "integer",
  jsonb: "text"
}

const sqlite: Dialect = {
  define: (type) => sqliteTypes[type],
  elements: "json_each(?1) as e",
  element: "e.value",
  item: (index) => `json_extract(e.value, '$[${index}]')`,
  // Whole numbers of 64 bits are more than a number of JavaScript holds.
  read: ({ kind, name, type }) => (kind === "text" && type === "bigint" ? `cast(${quote(name)} as text)` : quote(name)),
  compared: ({ name }) => quote(name),
  typed: (text, type) => {
    if (type === "boolean") return `(${text} = 'true')`
    return sqliteTypes[type] === "text" ? text : `cast(${text} as ${sqliteTypes[type]})`
  },
  texts: (nth) => `json_each(?${nth}) as item`,
  empty: "delete from",
  // Transactions that write come one after the other.
  lock: undefined
}

const dialectOf = (sql: SqlClient.SqlClient): Dialect =>
  sql.onDialectOrElse({
    pg: () => postgres,
    sqlite: () => sqlite,
    orElse: () => {
      throw new Error("Projection.table: the SqlClient must be one of PostgreSQL, PGlite or SQLite")
    }
  })

/** The statement that takes the locks of units of work, by their names as one JSON array; none where transactions take turns. */
export const lockOf = (sql: SqlClient.SqlClient): string | undefined => dialectOf(sql).lock

/** What a row must meet: the texts of the values, `null` for NULL. */
export interface Test {
  readonly column: Column
  readonly is: "=" | "!=" | "in" | "<" | "<=" | ">" | ">=" | "between"
  readonly values: ReadonlyArray<string | null>
}

/** One thing that rows are put in order by. */
export interface Order {
  readonly column: Column
  readonly direction: "asc" | "desc"
}

export type Statements = ReturnType<typeof statementsOf>

/** The conditions of one statement, and its parameters as they come. NULL is less than all else. */
const conditionsOf = (dialect: Dialect, key: string) => {
  const parameters: Array<string> = []
  const parameter = (type: ColumnType, text: string) =>
    dialect.typed(`${dialect === postgres ? "$" : "?"}${parameters.push(text)}`, type)
  const is = (column: Column, value: string | null) =>
    value === null ? `${quote(column.name)} is null` : `${dialect.compared(column)} = ${parameter(column.type, value)}`
  const among = (column: Column, values: ReadonlyArray<string | null>) => {
    const texts = dialect.texts(parameters.push(JSON.stringify(values.filter((value) => value !== null))))
    const found = `${dialect.compared(column)} in (select ${dialect.typed("item.value", column.type)} from ${texts})`
    return values.includes(null) ? `(${found} or ${quote(column.name)} is null)` : found
  }
  const test = ({ column, is: operator, values }: Test): string => {
    const [value = null, high = null] = values
    const name = quote(column.name)
    switch (operator) {
      case "=":
        return is(column, value)
      case "in":
        return among(column, values)
      case "!=":
        return value === null
          ? `${name} is not null`
          : `(${dialect.compared(column)} <> ${parameter(column.type, value)} or ${name} is null)`
      case "between":
        return value === null || high === null
          ? "1 = 0"
          : `${dialect.compared(column)} between ${parameter(column.type, value)} and ${parameter(column.type, high)}`
      default:
        return value === null ? "1 = 0" : `${dialect.compared(column)} ${operator} ${parameter(column.type, value)}`
    }
  }
  /** Whether a row comes after a value in one direction: nothing where none does. */
  const after = ({ column, direction }: Order, value: string | null): ReadonlyArray<string> => {
    const name = quote(column.name)
    if (value === null) return direction === "asc" ? [`${name} is not null`] : []
    const further = `${dialect.compared(column)} ${direction === "asc" ? ">" : "<"} ${parameter(column.type, value)}`
    return [direction === "asc" || column.name === key ? further : `(${further} or ${name} is null)`]
  }
  /** The rows that come after a place in the order. */
  const beyond = (order: ReadonlyArray<Order>, place: ReadonlyArray<string | null>): string => {
    const ways = order.flatMap((last, index) =>
      after(last, place[index] ?? null).map((further) => {
        const before = order.slice(0, index).map(({ column }, nth) => is(column, place[nth] ?? null))
        return [...before, further].join(" and ")
      })
    )
    const [first] = order
    const value = place[0] ?? null
    // What an index begins with.
    const bound =
      first !== undefined && value !== null && order.length > 1 && first.direction === "asc"
        ? [`${dialect.compared(first.column)} >= ${parameter(first.column.type, value)}`]
        : []
    return ways.length === 0 ? "1 = 0" : [...bound, `(${ways.join(" or ")})`].join(" and ")
  }
  const ordered = (order: ReadonlyArray<Order>): string =>
    order
      .map(({ column, direction }) => {
        const nulls = column.name === key ? "" : direction === "asc" ? " nulls first" : " nulls last"
        return `${dialect.compared(column)} ${direction}${nulls}`
      })
      .join(", ")
  return { beyond, ordered, parameters, test }
}

const whereOf = (conditions: ReadonlyArray<string>): string =>
  conditions.length === 0 ? "" : ` where ${conditions.join(" and ")}`

/** The statements of a table, whose name is SQL text; the first column is the key. */
export const statementsOf = (sql: SqlClient.SqlClient, table: string, columns: ReadonlyArray<Column>, key: string) => {
  const dialect = dialectOf(sql)
  const parameter = (nth: number, type: ColumnType) => dialect.typed(`${dialect === postgres ? "$" : "?"}${nth}`, type)
  const list = columns.map(({ name }) => quote(name)).join(", ")
  const read = columns.map(dialect.read).join(", ")
  const others = columns.filter(({ name }) => name !== key).map(({ name }) => `${quote(name)} = excluded.${quote(name)}`)
  const definitions = columns.map(
    ({ name, type }) => `${quote(name)} ${dialect.define(type)}${name === key ? " primary key" : ""}`
  )
  const keys = `${quote(key)} in (select ${dialect.element} from ${dialect.elements})`
  return {
    table,
    create: `create table if not exists ${table} (${definitions.join(", ")})`,
    drop: `drop table if exists ${table}`,
    empty: `${dialect.empty} ${table}`,
    any: `select 1 from ${table} limit 1`,
    get: `select ${read} from ${table} where ${keys}`,
    delete: `delete from ${table} where ${keys}`,
    upsert: `insert into ${table} (${list})
      select ${columns.map((column, index) => dialect.item(index, column, table)).join(", ")} from ${dialect.elements} where true
      on conflict (${quote(key)}) do ${others.length === 0 ? "nothing" : `update set ${others.join(", ")}`}`,
    /** Of at most as many rows as the first parameter says: those beyond a key, and whose columns have certain values. */
    list: (beyond: boolean, conditions: ReadonlyArray<{ readonly column: Column; readonly isNull: boolean }>) => {
      let nth = 1
      const where = [
        ...(beyond ? [`${quote(key)} > ${parameter(++nth, "text")}`] : []),
        ...conditions.map(({ column, isNull }) =>
          isNull ? `${quote(column.name)} is null` : `${dialect.compared(column)} = ${parameter(++nth, column.type)}`
        )
      ]
      return `select ${read} from ${table}${where.length === 0 ? "" : ` where ${where.join(" and ")}`}
        order by ${quote(key)} limit cast(${parameter(1, "double precision")} as integer)`
    },
    /** Of at most `limit` rows that meet all tests, in an order, beyond a place in it. */
    page: (
      tests: ReadonlyArray<Test>,
      order: ReadonlyArray<Order>,
      place: ReadonlyArray<string | null> | undefined,
      limit: number
    ) => {
      const { beyond, ordered, parameters, test } = conditionsOf(dialect, key)
      const where = whereOf([...tests.map(test), ...(place === undefined ? [] : [beyond(order, place)])])
      return { parameters, text: `select ${read} from ${table}${where} order by ${ordered(order)} limit ${limit}` }
    },
    count: (tests: ReadonlyArray<Test>) => {
      const { parameters, test } = conditionsOf(dialect, key)
      return { parameters, text: `select count(*) from ${table}${whereOf(tests.map(test))}` }
    }
  }
}

export const dropView = (view: TableName): string => `drop view if exists ${quoted(view)}`

/** Makes `view` show the rows of `table`. */
export const pointTo = (view: TableName, table: TableName): ReadonlyArray<string> => [
  dropView(view),
  `create view ${quoted(view)} as select * from ${quoted(table)}`
]
