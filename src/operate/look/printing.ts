/** States without a Schema, as JSON: by their structure, as far as it goes. */
import type * as Schema from "effect/Schema"

/** How deep, how many members, and how long a text. */
const [deepest, widest, longest] = [16, 1000, 10_000]

const nameOf = (value: object): string | undefined => {
  const prototype: unknown = Object.getPrototypeOf(value)
  if (prototype === null || prototype === Object.prototype) return undefined
  const { constructor } = value
  return typeof constructor === "function" ? constructor.name || undefined : undefined
}

const tooMany = (rest: number) => `… ${rest} more`

/**
 * A value as JSON that a person can read: maps as lists of pairs, sets as lists, what JSON does not have as text; the class of an object
 * as `$class`. What is deeper or wider than anybody would read is cut, and says so.
 */
export const print = (value: unknown, depth = 0, above: ReadonlyArray<object> = []): Schema.Json => {
  switch (typeof value) {
    case "string":
      return value.length > longest ? `${value.slice(0, longest)}…` : value
    case "boolean":
      return value
    case "number":
      return Number.isFinite(value) && !Object.is(value, -0) ? value : Object.is(value, -0) ? "-0" : String(value)
    case "bigint":
      return `${value}n`
    case "undefined":
      return "[undefined]"
    case "function":
      return `[function ${value.name}]`
    case "symbol":
      return value.toString()
    case "object":
      return value === null ? null : printObject(value, depth, above)
  }
}

const printObject = (value: object, depth: number, above: ReadonlyArray<object>): Schema.Json => {
  if (above.includes(value)) return "[itself]"
  if (depth >= deepest) return "…"
  const inner = (part: unknown) => print(part, depth + 1, [...above, value])
  const list = (parts: ReadonlyArray<unknown>): Schema.Json => {
    const shown = parts.slice(0, widest).map(inner)
    return parts.length > widest ? [...shown, tooMany(parts.length - widest)] : shown
  }
  if (Array.isArray(value)) return list(value)
  if (value instanceof Map) return { $class: "Map", entries: list(Array.from(value)) }
  if (value instanceof Set) return { $class: "Set", values: list(Array.from(value)) }
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? "Invalid Date" : value.toISOString()
  if (value instanceof Error) return { $class: value.name, message: value.message }
  // Effect's own data (Option, Result, DateTime, Duration, BigDecimal) says what it is.
  if ("toJSON" in value && typeof value.toJSON === "function") return inner((value.toJSON as () => unknown)())
  const entries = Object.entries(value)
  const name = nameOf(value)
  const shown = entries.slice(0, widest).map(([key, part]) => [key, inner(part)] as const)
  return Object.fromEntries([
    ...(name === undefined ? [] : [["$class", name] as const]),
    ...shown,
    ...(entries.length > widest ? [["…", tooMany(entries.length - widest)] as const] : [])
  ])
}
