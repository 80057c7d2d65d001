/** The SQL of a table of a view: PostgreSQL and SQLite. Rows go in as one JSON text, so that a statement is the same for any number. */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as SchemaAST from "effect/SchemaAST"
import type * as SqlClient from "effect/sql/SqlClient"
import { jsonCodec } from "../definitions/jsonCodec.ts"
import { parseJson, writeWithOneZero } from "../internal/exactJson.ts"
import { quoted, type TableName } from "../sql/names.ts"

/** How a column is stored: what a field's JSON form is. */
type Kind = "text" | "number" | "boolean" | "json"

export interface Column {
  readonly name: string
  readonly kind: Kind
  /** Whether the field may be absent: then that is what a NULL means, and otherwise it is `null`. */
  readonly optional: boolean
}

const kindOf = (ast: SchemaAST.AST): Kind => {
  switch (ast._tag) {
    case "String":
    case "TemplateLiteral":
      return "text"
    case "Number":
      return "number"
    case "Boolean":
      return "boolean"
    case "Literal":
      return typeof ast.literal === "string" ? "text" : typeof ast.literal === "boolean" ? "boolean" : "number"
    case "Union": {
      const [kind = "json", ...others] = new Set(ast.types.filter((type) => type._tag !== "Null").map(kindOf))
      return others.length === 0 ? kind : "json"
    }
    default:
      return "json"
  }
}

type Field = Schema.ConstraintCodec<unknown, unknown>

/** Whether `null` is among the values that have this shape. */
const hasNull = (ast: SchemaAST.AST, within: ReadonlySet<SchemaAST.AST> = new Set()): boolean => {
  if (within.has(ast)) return false
  const inside = new Set(within).add(ast)
  switch (ast._tag) {
    case "Null":
    // In JSON form that is `Schema.Json`, which no other shape tells of.
    case "Declaration":
    case "Any":
    case "Unknown":
      return true
    case "Union":
      return ast.types.some((type) => hasNull(type, inside))
    case "Suspend":
      return hasNull(ast.thunk(), inside)
    default:
      return false
  }
}

const membersOf = (ast: SchemaAST.AST): ReadonlyArray<SchemaAST.AST> =>
  ast._tag === "Union" && ast.encoding === undefined ? ast.types.flatMap(membersOf) : [ast]

const isUndefined = ({ _tag }: SchemaAST.AST): boolean => _tag === "Undefined" || _tag === "Void"

/** Whether two things of a field (`null`, `undefined`, an empty Option…) have one JSON form, `null`: only one of them could come back. */
const mixesNulls = (ast: SchemaAST.AST, within: ReadonlySet<SchemaAST.AST> = new Set()): boolean => {
  if (within.has(ast)) return false
  const inside = new Set(within).add(ast)
  const mixes = (type: SchemaAST.AST) => mixesNulls(type, inside)
  // A class is encoded to its fields.
  const encoded = ast.encoding?.[0].to
  if (encoded !== undefined) return encoded._tag === "Objects" && mixes(encoded)
  switch (ast._tag) {
    case "Union": {
      const members = membersOf(ast)
      const meanings = members
        .filter((type) => hasNull(SchemaAST.toEncoded(type)))
        .map((type) => (isUndefined(type) ? undefined : type.encoding === undefined ? null : type))
      return new Set(meanings).size > 1 || members.some(mixes)
    }
    case "Arrays":
      return [...ast.elements, ...ast.rest].some(mixes)
    case "Objects":
      return ast.propertySignatures.some(({ type }) => mixes(type)) || ast.indexSignatures.some(({ type }) => mixes(type))
    case "Suspend":
      return mixes(ast.thunk())
    default:
      return false
  }
}

const columnOf = (table: string, name: string, schema: Field): Column => {
  const whole = Schema.toCodecJson(schema).ast
  const ast = SchemaAST.toEncoded(whole)
  const kind = kindOf(ast)
  const optional = SchemaAST.isOptional(ast)
  if (mixesNulls(whole)) {
    throw new RangeError(
      `Projection: the field ${name} of the table ${table} may be null and undefined (or something else whose JSON is null), which JSON does not tell apart: allow one of them`
    )
  }
  if (optional && kind !== "json" && hasNull(ast)) {
    throw new RangeError(
      `Projection: the field ${name} of the table ${table} may be absent and also null or undefined, and its column has one NULL: use Schema.optionalKey, Schema.NullOr or Schema.UndefinedOr alone`
    )
  }
  return { name, kind, optional }
}

/** The columns of a table, and the JSON form of its rows. */
export const tableOf = (table: string, fields: { readonly [name: string]: Field }) => {
  const struct = Schema.Struct(fields)
  const codec = Schema.toCodecJson(struct) as unknown as Schema.Codec<
    { readonly [name: string]: unknown },
    { readonly [name: string]: unknown }
  >
  const { decode } = jsonCodec<unknown>(struct)
  const codecs = new Map(
    Object.entries(fields).map(([name, field]) => [name, Schema.encodeUnknownEffect(Schema.toCodecJson(field))])
  )
  return {
    columns: Object.entries(fields).map(([name, field]) => columnOf(table, name, field)),
    decode: (row: unknown): Effect.Effect<unknown, Schema.SchemaError> => Effect.fromResult(decode(row)),
    encode: Schema.encodeUnknownEffect(codec),
    /** The JSON form of one of the fields. */
    encodeField: (field: string, value: unknown): Effect.Effect<unknown, Schema.SchemaError> =>
      codecs.get(field)?.(value) ?? Effect.die(new Error(`there is no field ${field}`))
  }
}

/** A row as it is sent: its values in the order of the columns. */
export const toValues = (
  columns: ReadonlyArray<Column>,
  row: { readonly [name: string]: unknown }
): ReadonlyArray<string | number | boolean | null> =>
  columns.map((column) => {
    const value = row[column.name]
    if (isNull(column, value)) return null
    return column.kind === "json" ? writeWithOneZero(value) : (value as string | number | boolean)
  })

/** Whether the JSON form of a field stands in its column as NULL. Where that means that the field is absent, `null` is JSON. */
export const isNull = ({ kind, optional }: Column, value: unknown): boolean =>
  value === undefined || (value === null && !(optional && kind === "json"))

/** The JSON form of a row that came from the database. */
export const fromValues = (
  columns: ReadonlyArray<Column>,
  values: ReadonlyArray<unknown>
): { readonly [name: string]: unknown } => {
  const row: { [name: string]: unknown } = {}
  for (const [index, { kind, name, optional }] of columns.entries()) {
    const value = values[index] ?? null
    if (value !== null) row[name] = decodeValue(kind, value)
    else if (!optional) row[name] = null
  }
  return row
}

const decodeValue = (kind: Kind, value: unknown): unknown => {
  switch (kind) {
    case "text":
      return value
    case "number":
      return Number(value)
    // SQLite has 0 and 1.
    case "boolean":
      return typeof value === "boolean" ? value : Number(value) === 1
    case "json":
      return parseJson(value as string)
  }
}

/** What the two databases write differently. */
interface Dialect {
  readonly types: { readonly [K in Kind]: string }
  readonly key: string
  /** The elements of the JSON array that is the one parameter, as `e`. */
  readonly elements: string
  readonly element: string
  readonly item: (index: number, kind: Kind) => string
  /** A column as it is read. */
  readonly read: (column: string, kind: Kind) => string
  /** The nth parameter, which is given as text. */
  readonly parameter: (nth: number, kind: Kind) => string
  readonly empty: string
  /** Takes locks of these names, in one order, until the transaction ends. */
  readonly lock: string | undefined
}

const postgres: Dialect = {
  types: { text: "text", number: "double precision", boolean: "boolean", json: "jsonb" },
  // By code point, as SQLite has it.
  key: `text collate "C"`,
  elements: "jsonb_array_elements($1::jsonb) as e(value)",
  element: "e.value #>> '{}'",
  item: (index, kind) => `(e.value ->> ${index})::${postgres.types[kind]}`,
  read: (column, kind) => (kind === "json" ? `${column}::text` : column),
  parameter: (nth, kind) => `$${nth}::${postgres.types[kind]}`,
  empty: "truncate",
  lock: `select count(pg_advisory_xact_lock(hashtextextended(key, 0)))
    from (select value as key from jsonb_array_elements_text($1::jsonb) order by value) as keys`
}

const sqlite: Dialect = {
  types: { text: "text", number: "real", boolean: "integer", json: "text" },
  key: "text",
  elements: "json_each(?1) as e",
  element: "e.value",
  item: (index) => `json_extract(e.value, '$[${index}]')`,
  read: (column) => column,
  parameter: (nth, kind) => (kind === "boolean" ? `(?${nth} = 'true')` : kind === "number" ? `cast(?${nth} as real)` : `?${nth}`),
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

/** The statements of a table, whose name is SQL text; the first column is the key. */
export const statementsOf = (sql: SqlClient.SqlClient, table: string, columns: ReadonlyArray<Column>, key: string) => {
  const dialect = dialectOf(sql)
  const quote = (name: string) => `"${name}"`
  const list = columns.map(({ name }) => quote(name)).join(", ")
  const read = columns.map(({ kind, name }) => dialect.read(quote(name), kind)).join(", ")
  const others = columns.filter(({ name }) => name !== key).map(({ name }) => `${quote(name)} = excluded.${quote(name)}`)
  const definitions = columns.map(({ kind, name }) =>
    name === key ? `${quote(name)} ${dialect.key} primary key` : `${quote(name)} ${dialect.types[kind]}`
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
      select ${columns.map(({ kind }, index) => dialect.item(index, kind)).join(", ")} from ${dialect.elements} where true
      on conflict (${quote(key)}) do ${others.length === 0 ? "nothing" : `update set ${others.join(", ")}`}`,
    /** Of at most as many rows as the first parameter says: those beyond a key, and whose columns have certain values. */
    list: (beyond: boolean, conditions: ReadonlyArray<{ readonly column: Column; readonly isNull: boolean }>) => {
      let nth = 1
      const where = [
        ...(beyond ? [`${quote(key)} > ${dialect.parameter(++nth, "text")}`] : []),
        ...conditions.map(({ column: { kind, name }, isNull }) =>
          isNull ? `${quote(name)} is null` : `${quote(name)} = ${dialect.parameter(++nth, kind)}`
        )
      ]
      return `select ${read} from ${table}${where.length === 0 ? "" : ` where ${where.join(" and ")}`}
        order by ${quote(key)} limit cast(${dialect.parameter(1, "number")} as integer)`
    }
  }
}

export const dropView = (view: TableName): string => `drop view if exists ${quoted(view)}`

/** Makes `view` show the rows of `table`. */
export const pointTo = (view: TableName, table: TableName): ReadonlyArray<string> => [
  dropView(view),
  `create view ${quoted(view)} as select * from ${quoted(table)}`
]
