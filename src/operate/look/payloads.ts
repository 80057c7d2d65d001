/** How much of what is stored an operator sees. */
import type * as Schema from "effect/Schema"
import type * as SchemaAST from "effect/SchemaAST"
import { hidden, valuesIn } from "../../definitions/personal.ts"
import { sensitiveIn } from "../../definitions/sensitive.ts"
import { isRawNumber, writeJson } from "../../internal/exactJson.ts"
import type { Payload, Payloads } from "../contract/events.ts"

const encoder = new TextEncoder()

/** What stands in place of a value that is masked. */
export const mask = "•••"

/** The longest payload that a list has whole, and how much is shown of one that is longer: characters of its JSON. */
const [longest, beginning] = [4096, 200]

const escape = (name: string) => name.replaceAll("~", "~0").replaceAll("/", "~1")

/** The pointers of all leaves: of what nobody has described, any may be sensitive. */
const leavesOf = (value: unknown, at = ""): ReadonlyArray<string> =>
  typeof value === "object" && value !== null && !isRawNumber(value)
    ? Object.entries(value).flatMap(([name, inner]) => leavesOf(inner, `${at}/${escape(name)}`))
    : [at]

/** A copy in which what stands at the pointers is masked. */
const maskAt = (value: Schema.Json, pointers: ReadonlySet<string>, at = ""): Schema.Json => {
  if (pointers.has(at)) return mask
  if (typeof value !== "object" || value === null) return value
  if (Array.isArray(value)) return value.map((inner: Schema.Json, index) => maskAt(inner, pointers, `${at}/${index}`))
  return Object.fromEntries(
    Object.entries(value).map(([name, inner]) => [name, maskAt(inner as Schema.Json, pointers, `${at}/${escape(name)}`)])
  )
}

/** JSON as the wire has it: numbers beyond the range of the double become text. */
const onWire = (value: unknown): Schema.Json => {
  if (typeof value === "bigint") return String(value)
  if (isRawNumber(value)) return value.rawJSON
  if (typeof value === "number") return Number.isFinite(value) ? value : String(value)
  if (value === null || typeof value === "string" || typeof value === "boolean") return value
  if (Array.isArray(value)) return value.map(onWire)
  if (typeof value === "object") return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, onWire(inner)]))
  return null
}

/** The pointers of what may not be seen masked; `asts` are the Schemas that describe the value, none where nobody has. */
const pointersIn = (value: unknown, asts: ReadonlyArray<SchemaAST.AST>): ReadonlyArray<string> =>
  asts.length === 0 ? leavesOf(value) : asts.flatMap((ast) => sensitiveIn(ast, value))

const valuesAt = (value: unknown, pointers: ReadonlySet<string>, isInside = false, at = ""): ReadonlyArray<string> => {
  const isHidden = isInside || pointers.has(at)
  if (isRawNumber(value)) return isHidden ? [value.rawJSON] : []
  if (typeof value === "object" && value !== null) {
    return Object.entries(value).flatMap(([name, inner]) => [
      // What is hidden as a whole may have names that say something, too.
      ...(isHidden && !Array.isArray(value) ? [name] : []),
      ...valuesAt(inner, pointers, isHidden, `${at}/${escape(name)}`)
    ])
  }
  const isTelling = typeof value === "string" || typeof value === "number" || typeof value === "bigint"
  return isHidden && isTelling ? [String(value)] : []
}

/** The values that may not be seen masked, as text. */
export const hiddenValues = (value: unknown, asts: ReadonlyArray<SchemaAST.AST>): ReadonlyArray<string> => [
  ...valuesAt(value, new Set(pointersIn(value, asts))),
  ...valuesIn(value)
]

/** What an operator sees of a value, personal data aside unless all is shown; `asts` are the Schemas that describe it, none where nobody has. `whole`: however long it is. */
export const shownAs = (payloads: Payloads, value: unknown, asts: ReadonlyArray<SchemaAST.AST>, whole: boolean): Payload => {
  return shownOf(payloads, payloads === "shown" ? value : hidden(value as Schema.Json), asts, whole)
}

const shownOf = (payloads: Payloads, value: unknown, asts: ReadonlyArray<SchemaAST.AST>, whole: boolean): Payload => {
  const text = writeJson(value)
  if (payloads === "hidden") return { _tag: "Hidden", bytes: encoder.encode(text).byteLength }
  const pointers = payloads === "shown" ? [] : pointersIn(value, asts)
  const masked = maskAt(onWire(value), new Set(pointers))
  if (!whole && text.length > longest) {
    return { _tag: "Cut", text: JSON.stringify(masked).slice(0, beginning), bytes: encoder.encode(text).byteLength }
  }
  return { _tag: "Shown", value: masked, masked: Array.from(new Set(pointers)) }
}

/** A state, as an operator may see it: what is hidden is `undefined`. */
export const stateShownAs = (payloads: Payloads, value: Schema.Json, ast: SchemaAST.AST | undefined): Schema.Json | undefined => {
  const shown = shownAs(payloads, value, ast === undefined ? [] : [ast], true)
  return shown._tag === "Shown" ? shown.value : undefined
}
