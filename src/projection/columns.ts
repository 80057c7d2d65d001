/** The columns of a table of a view: what each field is in the database, and how its values go there and come back. */
import * as Schema from "effect/Schema"
import * as SchemaAST from "effect/SchemaAST"
import { mayLoseDigits, parseJson, writeWithOneZero } from "../internal/exactJson.ts"
import { jsonFault } from "../internal/json.ts"

/** What a field's JSON form is. */
type Kind = "text" | "number" | "boolean" | "json"

/**
 * The type of a column, as PostgreSQL calls it. SQLite has the nearest: `integer` for whole numbers and booleans, `real`, and text.
 *
 * @category models
 * @since 0.2.0
 */
export type ColumnType = "text" | "timestamptz" | "bigint" | "integer" | "double precision" | "numeric" | "boolean" | "jsonb"

export interface Column {
  readonly name: string
  readonly kind: Kind
  readonly type: ColumnType
  /** Whether the field may be absent: then that is what a NULL means, and otherwise it is `null`. */
  readonly optional: boolean
}

export type Field = Schema.ConstraintCodec<unknown, unknown>

// -----------------------------------------------------------------------------
// what a Schema says
// -----------------------------------------------------------------------------

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

// -----------------------------------------------------------------------------
// types
// -----------------------------------------------------------------------------

/** What the checks of a Schema say, by the names that Effect has for them: `isInt`, `isBetween`… */
interface Said {
  readonly id: string
  readonly payload: { readonly minimum?: unknown; readonly maximum?: unknown } | null
}

const saidOf = (annotations: unknown): Said | undefined =>
  (annotations as { readonly representation?: Said } | undefined)?.representation

const checksOf = (ast: SchemaAST.AST): ReadonlyArray<Said> => {
  const flat = (checks: ReadonlyArray<SchemaAST.Check<never>>): ReadonlyArray<Said> =>
    checks.flatMap((check) => {
      const said = check._tag === "FilterGroup" ? undefined : saidOf(check.annotations)
      return check._tag === "FilterGroup" ? flat(check.checks) : said === undefined ? [] : [said]
    })
  return flat((ast.checks ?? []) as ReadonlyArray<SchemaAST.Check<never>>)
}

/** Whether checks let nothing pass below `low` or above `high`. */
const isWithin = (checks: ReadonlyArray<Said>, low: bigint, high: bigint): boolean => {
  const bounds = (side: "minimum" | "maximum") =>
    checks.flatMap(({ payload }) => {
      const text = String(payload?.[side] ?? "")
      return /^-?\d+$/.test(text) ? [BigInt(text)] : []
    })
  return bounds("minimum").some((bound) => bound >= low) && bounds("maximum").some((bound) => bound <= high)
}

const int4 = [-(2n ** 31n), 2n ** 31n - 1n] as const
const int8 = [-(2n ** 63n), 2n ** 63n - 1n] as const
const safe = [BigInt(Number.MIN_SAFE_INTEGER), BigInt(Number.MAX_SAFE_INTEGER)] as const

const typeOfNumber = (ast: SchemaAST.AST): ColumnType => {
  const checks = checksOf(ast)
  if (ast._tag !== "Number" || !checks.some(({ id }) => id === "effect/schema/isInt")) return "double precision"
  return isWithin(checks, ...int4) ? "integer" : "bigint"
}

/** The type of a field whose JSON form is text: where it has no encoding of its own, the text is the one that Effect writes. */
const typeOfText = (ast: SchemaAST.AST): ColumnType => {
  if (ast._tag === "BigInt" && ast.encoding === undefined) return isWithin(checksOf(ast), ...int8) ? "bigint" : "numeric"
  if (ast._tag !== "Declaration" || ast.encoding !== undefined) return "text"
  switch (saidOf(ast.annotations)?.id) {
    case "effect/schema/DateTimeUtc":
    case "effect/schema/Date":
      return "timestamptz"
    case "effect/schema/BigDecimal":
      return "numeric"
    default:
      return "text"
  }
}

/** The type that all of several have. */
const common = (types: ReadonlyArray<ColumnType>, others: ColumnType): ColumnType => {
  const [type = others, ...more] = new Set(types)
  if (more.length === 0) return type
  return [type, ...more].every((type) => type === "integer" || type === "bigint") && others === "double precision"
    ? "bigint"
    : others
}

const typeOf = (kind: Kind, ast: SchemaAST.AST, encoded: SchemaAST.AST): ColumnType => {
  const present = (ast: SchemaAST.AST) => membersOf(ast).filter((type) => type._tag !== "Null" && !isUndefined(type))
  switch (kind) {
    case "text":
      return common(present(ast).map(typeOfText), "text")
    case "number":
      return common(present(encoded).map(typeOfNumber), "double precision")
    case "boolean":
      return "boolean"
    case "json":
      return "jsonb"
  }
}

/** The types that a column can be told to have. */
const choices: Readonly<Record<Kind, ReadonlyArray<ColumnType>>> = {
  text: ["text", "timestamptz", "bigint", "numeric"],
  number: ["double precision", "bigint", "integer"],
  boolean: ["boolean"],
  json: ["jsonb"]
}

/** Whether the JSON form is a number, or one of the words for those that JSON has not: `Schema.Number`. */
const isAnyNumber = (ast: SchemaAST.AST): boolean =>
  membersOf(ast)
    .filter(({ _tag }) => _tag !== "Null")
    .every((type) => type._tag === "Number" || (type._tag === "Literal" && /^(NaN|-?Infinity)$/.test(String(type.literal))))

export const columnOf = (table: string, name: string, schema: Field, isKey: boolean, told?: ColumnType): Column => {
  const whole = Schema.toCodecJson(schema).ast
  const ast = SchemaAST.toEncoded(whole)
  const found = kindOf(ast)
  const optional = SchemaAST.isOptional(ast)
  if (mixesNulls(whole)) {
    throw new RangeError(
      `Projection: the field ${name} of the table ${table} may be null and undefined (or something else whose JSON is null), which JSON does not tell apart: allow one of them`
    )
  }
  if (optional && found !== "json" && hasNull(ast)) {
    throw new RangeError(
      `Projection: the field ${name} of the table ${table} may be absent and also null or undefined, and its column has one NULL: use Schema.optionalKey, Schema.NullOr or Schema.UndefinedOr alone`
    )
  }
  const kind = told !== undefined && told !== "jsonb" && found === "json" && isAnyNumber(ast) ? "number" : found
  const able = isKey ? (["text"] as const) : choices[kind]
  if (told !== undefined && !able.includes(told as "text")) {
    throw new RangeError(
      `Projection: the column ${name} of the table ${table} cannot be ${told}: it can be ${able.join(", ")}, by the JSON form of its field`
    )
  }
  return { name, kind, type: isKey ? "text" : (told ?? typeOf(kind, schema.ast, ast)), optional }
}

// -----------------------------------------------------------------------------
// values
// -----------------------------------------------------------------------------

/** Why a column cannot hold the JSON form of a value, on any database: `undefined` if it can. */
export const valueFault = (column: Column, value: unknown): string | undefined => {
  if (value === undefined) return undefined
  const fault = jsonFault(value)
  if (fault !== undefined) return fault.path === "" ? fault.problem : `(${fault.path}) ${fault.problem}`
  return value === null ? undefined : typeFault(column, value)
}

const typeFault = ({ kind, type }: Column, value: unknown): string | undefined => {
  // A number that no double holds has no text of its own.
  const text = kind === "json" ? "" : String(value)
  switch (type) {
    case "timestamptz":
      return isInstant(text) ? undefined : `is ${text}, and a timestamptz holds the years 1 to 9999, in UTC, to the millisecond`
    case "bigint":
    case "integer": {
      const [low, high] = type === "integer" ? int4 : kind === "number" ? safe : int8
      const fits = /^-?(0|[1-9]\d{0,18})$/.test(text) && text !== "-0" && BigInt(text) >= low && BigInt(text) <= high
      return fits ? undefined : `is ${text.slice(0, 40)}, and the column holds whole numbers from ${low} to ${high}`
    }
    case "double precision":
      return typeof value === "number" ? undefined : `is ${text}, and the column holds finite numbers`
    case "numeric":
      return isDecimal(text)
        ? undefined
        : `is ${text.slice(0, 40)}, and a numeric has at most 131072 digits before the point and 16383 after`
    default:
      return undefined
  }
}

const isInstant = (text: string): boolean => {
  const instant = /^\d{4}-/.test(text) && !text.startsWith("0000") ? new Date(text) : undefined
  return instant !== undefined && !Number.isNaN(instant.getTime()) && instant.toISOString() === text
}

const isDecimal = (text: string): boolean => {
  const [, whole, fraction = "", exponent = "0"] = /^-?(\d+)(?:\.(\d+))?(?:e([+-]?\d{1,9}))?$/i.exec(text) ?? []
  if (whole === undefined) return false
  const power = Number(exponent)
  return whole.length + power <= 131_072 && fraction.length - power <= 16_383
}

/** A row as it is sent: its values in the order of the columns. */
export type Sent = ReadonlyArray<string | number | boolean | null>

export const toValues = (columns: ReadonlyArray<Column>, row: { readonly [name: string]: unknown }): Sent =>
  columns.map((column) => {
    const value = row[column.name]
    if (isNull(column, value)) return null
    return column.kind === "json" ? writeWithOneZero(value) : (value as string | number | boolean)
  })

/** The JSON form of a value as the text that it is compared by. */
export const toText = ({ kind }: Column, value: unknown): string => (kind === "json" ? writeWithOneZero(value) : String(value))

/** Whether the JSON form of a field stands in its column as NULL. Where that means that the field is absent, `null` is JSON. */
export const isNull = ({ kind, optional }: Column, value: unknown): boolean =>
  value === undefined || (value === null && !(optional && kind === "json"))

/** The JSON form of a row that came from the database. */
export const fromValues = (
  columns: ReadonlyArray<Column>,
  values: ReadonlyArray<unknown>
): { readonly [name: string]: unknown } => {
  const row: { [name: string]: unknown } = {}
  for (const [index, column] of columns.entries()) {
    const value = values[index] ?? null
    if (value !== null) row[column.name] = decodeValue(column, value)
    else if (!column.optional) row[column.name] = null
  }
  return row
}

const decodeValue = ({ kind, type }: Column, value: unknown): unknown => {
  switch (kind) {
    case "text":
      return type === "timestamptz" ? instantOf(value as string) : value
    case "number":
      return Number(value)
    // SQLite has 0 and 1.
    case "boolean":
      return typeof value === "boolean" ? value : Number(value) === 1
    case "json":
      return parseJson(value as string)
  }
}

/**
 * What a database gives back for a value that was sent to it; `undefined` where the database alone can say. `sorted` says that it keeps
 * JSON as PostgreSQL does: its keys in an order of its own, and its numbers without exponents.
 */
export const returned = ({ kind, type }: Column, value: Sent[number], sorted: boolean): unknown => {
  if (value === null || typeof value === "boolean") return value
  // A column has one zero.
  if (typeof value === "number") return value === 0 ? 0 : value
  if (type === "numeric") return /^-?(0|[1-9]\d*)(\.\d+)?$/.test(value) && !/^-[0.]+$/.test(value) ? value : undefined
  if (kind !== "json" || !sorted) return value
  // Digits and exponents come back as PostgreSQL writes them.
  if (mayLoseDigits(value) || /\d[eE][+-]?\d/.test(value)) return undefined
  return JSON.stringify(withKeysInOrder(JSON.parse(value)))
}

const utf8 = new TextEncoder()

const withKeysInOrder = (value: unknown): unknown => {
  if (typeof value !== "object" || value === null) return value
  if (Array.isArray(value)) return value.map(withKeysInOrder)
  const keys = Object.keys(value).map((key) => ({ key, bytes: utf8.encode(key) }))
  // Shorter ones first, and those of one length by their bytes.
  keys.sort(({ bytes: a }, { bytes: b }) => a.length - b.length || compare(a, b))
  return Object.fromEntries(keys.map(({ key }) => [key, withKeysInOrder((value as { readonly [key: string]: unknown })[key])]))
}

const compare = (a: Uint8Array, b: Uint8Array): number => {
  const at = a.findIndex((byte, index) => byte !== b[index])
  return at < 0 ? 0 : (a[at] ?? 0) - (b[at] ?? 0)
}

/** An instant as JSON has it. PostgreSQL tells it in the time zone of the session. */
const instantOf = (text: string): string => {
  const instant = new Date(text)
  return Number.isNaN(instant.getTime()) ? text : instant.toISOString()
}
