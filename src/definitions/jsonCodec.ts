/**
 * How what has a Schema becomes JSON, and again what it was, numbers with all their digits.
 *
 * Effect writes a bigint or a `BigDecimal` as text. Others write numbers: they are taken for these, and decoded from the digits that stood
 * in the text. For everything else a number that no double can hold is refused where it stands, save within a `Schema.Json` (or `Unknown`),
 * where it stays what `JSON.rawJSON` makes of it.
 */
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as SchemaAST from "effect/SchemaAST"
import * as SchemaIssue from "effect/SchemaIssue"
import * as SchemaTransformation from "effect/SchemaTransformation"
import { doubleOf, hide, isRawNumber, saysMore, unhide } from "../internal/exactJson.ts"
import { mapped, someIn } from "./asts.ts"

/**
 * A number whose text says more than a double is a symbol on its way through a Schema: only what knows of it takes it, and nothing takes
 * it for an object.
 */
const hidden = (text: string): symbol => Symbol(text)

const textOf = (part: symbol): string => part.description ?? ""

const to = (decode: (part: unknown) => unknown) =>
  SchemaTransformation.transform<unknown, unknown>({ decode, encode: (part) => part })

/** All digits, as text; a whole number without an exponent, for a bigint. */
const toText = to((part) => {
  if (typeof part === "symbol") return textOf(part)
  if (typeof part !== "number") return part
  const text = String(part)
  return text.includes("e") && Number.isInteger(part) ? String(BigInt(part)) : text
})

const toNumber = to((part) => (typeof part === "symbol" ? (doubleOf(textOf(part)) ?? part) : part))

const toJson = to((part) => unhide(part, textOf))

/** Whether decoding asks for all digits here. */
const asksForDigits = (ast: SchemaAST.AST): boolean => SchemaAST.isBigInt(ast) || idOf(ast) === "effect/schema/BigDecimal"

const isJson = (ast: SchemaAST.AST): boolean => idOf(ast) === "effect/schema/Json" || idOf(ast) === "effect/schema/MutableJson"

const idOf = (ast: SchemaAST.AST): unknown => {
  const { representation } = (SchemaAST.isDeclaration(ast) ? ast.annotations : undefined) ?? {}
  return (representation as { readonly id?: unknown } | undefined)?.id
}

/** The codec that also takes numbers where digits are asked for. */
const makeLenient = (ast: SchemaAST.AST): SchemaAST.AST =>
  mapped(ast, (ast) => {
    if (asksForDigits(ast)) return SchemaAST.decodeTo(SchemaAST.any, ast, toText)
    if (ast.encoding !== undefined) return undefined
    if (SchemaAST.isNumber(ast)) return SchemaAST.decodeTo(SchemaAST.any, ast, toNumber)
    return isJson(ast) ? SchemaAST.decodeTo(SchemaAST.any, ast, toJson) : undefined
  })

/** The raw numbers in a value, and where they stand. */
function* rawNumbers(value: unknown, path: ReadonlyArray<string | number> = []): Generator<readonly [typeof path, string]> {
  if (typeof value !== "object" || value === null) return
  if (isRawNumber(value)) return yield [path, value.rawJSON]
  for (const [key, part] of Object.entries(value)) yield* rawNumbers(part, [...path, Array.isArray(value) ? Number(key) : key])
}

/** Says of a raw number that was refused what it is; Effect's messages have no values. */
const refusal = (error: Schema.SchemaError, json: unknown): Schema.SchemaError => {
  const lines = error.message.split("\n").map((line) => line.trim())
  for (const [path, text] of rawNumbers(json)) {
    if (!lines.includes(`at ${path.map((key) => `[${JSON.stringify(key)}]`).join("")}`)) continue
    const problem = `Expected a number that JavaScript can hold, got ${text}: only a BigInt or BigDecimal keeps its digits`
    return new Schema.SchemaError(new SchemaIssue.Pointer(path, new SchemaIssue.InvalidValue({ message: problem })))
  }
  return error
}

/** The JSON form of what has a Schema. */
export interface JsonCodec<A> {
  /** Whether a value may be another one once it has been encoded and decoded: where a transformation is part of the Schema. */
  readonly transforms: boolean
  readonly encode: (value: unknown) => Result.Result<Schema.Json, Schema.SchemaError>
  /** What stood in the text is looked up beside `parsed`, the value as it was parsed; `json` itself, unless an upcast has changed it. */
  readonly decode: (json: unknown, parsed?: unknown) => Result.Result<A, Schema.SchemaError>
}

export const jsonCodec = <A>(schema: Schema.ConstraintCodec<A, unknown, never, never>): JsonCodec<A> => {
  const codec = Schema.toCodecJson(schema)
  const plain = Schema.decodeUnknownResult(codec) as (json: unknown) => Result.Result<A, Schema.SchemaError>
  let lenient: typeof plain | undefined
  const exactly = (json: unknown, parsed: unknown): Result.Result<A, Schema.SchemaError> => {
    lenient ??= Schema.decodeUnknownResult(Schema.make(makeLenient(codec.ast)) as typeof codec) as typeof plain
    return Result.mapError(lenient(hide(json, parsed, hidden)), (error) => refusal(error, json))
  }
  return {
    transforms: someIn(schema.ast, ({ encoding }) => encoding !== undefined),
    encode: Schema.encodeUnknownResult(codec) as JsonCodec<A>["encode"],
    decode: (json, parsed = json) => {
      if (saysMore(parsed)) return exactly(json, parsed)
      const result = plain(json)
      return Result.isSuccess(result) ? result : Result.orElse(exactly(json, parsed), () => result)
    }
  }
}
