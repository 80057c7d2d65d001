/** The SQL of a table of a view: PostgreSQL and SQLite. Rows go in as one JSON text, so that a statement is the same for any number. */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as SchemaAST from "effect/SchemaAST"
import type * as SqlClient from "effect/sql/SqlClient"

/** How a column is stored: what a field's JSON form is. */
type Kind = "text" | "number" | "boolean" | "json"

export interface Column {
  readonly name: string
  readonly kind: Kind
  /** Whether `null` is a value of the field; otherwise a NULL means that the field is absent. */
  readonly nullable: boolean
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

const columnOf = (name: string, schema: Field): Column => {
  const ast = SchemaAST.toEncoded(Schema.toCodecJson(schema).ast)
  const nullable = ast._tag === "Null" || (ast._tag === "Union" && ast.types.some((type) => type._tag === "Null"))
  return { name, kind: kindOf(ast), nullable }
}

/** The columns of a table, and the JSON form of its rows. */
export const tableOf = (fields: { readonly [name: string]: Field }) => {
  const codec = Schema.toCodecJson(Schema.Struct(fields)) as unknown as Schema.Codec<
    { readonly [name: string]: unknown },
    { readonly [name: string]: unknown }
  >
  const codecs = new Map(
    Object.entries(fields).map(([name, field]) => [name, Schema.encodeUnknownEffect(Schema.toCodecJson(field))])
  )
  return {
    columns: Object.entries(fields).map(([name, field]) => columnOf(name, field)),
    decode: Schema.decodeUnknownEffect(codec),
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
  columns.map(({ kind, name }) => {
    const value = row[name] ?? null
    return value !== null && kind === "json" ? JSON.stringify(value) : (value as string | number | boolean | null)
  })

/** The JSON form of a row that came from the database. */
export const fromValues = (
  columns: ReadonlyArray<Column>,
  values: ReadonlyArray<unknown>
): { readonly [name: string]: unknown } => {
  const row: { [name: string]: unknown } = {}
  for (const [index, { kind, name, nullable }] of columns.entries()) {
    const value = values[index] ?? null
    if (value !== null) row[name] = decodeValue(kind, value)
    else if (nullable) row[name] = null
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
      return JSON.parse(value as string)
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
  /** Gives a row if there is a table. */
  readonly exists: (table: string) => string
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
  exists: (table) => `select 1 where to_regclass('${table}') is not null`,
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
  exists: (table) => {
    const dot = table.indexOf(".") + 1
    return `select 1 from ${table.slice(0, dot)}sqlite_schema where name = '${table.slice(dot)}' collate nocase`
  },
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

/** The statements of the table of this name; the first column is the key. */
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
    create: `create table if not exists ${table} (${definitions.join(", ")})`,
    drop: `drop table if exists ${table}`,
    empty: `${dialect.empty} ${table}`,
    exists: dialect.exists(table),
    lock: dialect.lock,
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

/** Makes `view` show the rows of `table`. */
export const pointTo = (view: string, table: string): ReadonlyArray<string> => [
  `drop view if exists ${view}`,
  `create view ${view} as select * from ${table}`
]
