/**
 * JSON as a store keeps it: finds the first thing in a value that JSON text could not carry faithfully.
 *
 * A store keeps JSON text. `NaN`, `undefined`, a `Date` or a cycle would be changed or lost on the way, and
 * U+0000 and lone surrogates are refused by databases, so all stores refuse them alike, with the path of the culprit.
 */
import { alike, asWritten, isRawNumber, saysMore, writeExactly } from "./exactJson.ts"

/** Where the culprit stands (`.items[2].name`, empty for the value itself) and what is wrong with it. */
export interface JsonFault {
  readonly path: string
  readonly problem: string
}

const maxDepth = 512

/** The fault of a string that no database would store, `undefined` when it has none. */
export const textFault = (text: string): string | undefined =>
  text.includes("\u0000")
    ? "contains the character U+0000"
    : text.isWellFormed()
      ? undefined
      : "contains a lone surrogate (half of a UTF-16 pair)"

/** What is noticed of a value on the way through it. */
interface Walk {
  /** Whether `JSON.stringify` alone would not write all of it as it is. */
  isExact: boolean
}

/** The first fault of `value`, `undefined` when it comes back as it is from JSON text. */
export const jsonFault = (value: unknown): JsonFault | undefined => visit(value, 0, { isExact: false })

/** The JSON text of `value`, from which it comes back as it is; or its first fault. */
export const jsonText = (value: unknown): string | JsonFault => {
  const walk = { isExact: false }
  return visit(value, 0, walk) ?? (walk.isExact ? writeExactly(value) : JSON.stringify(value))
}

/** Whether an object has no class: its prototype, if any, is the root of some realm (each frame and each `vm` context has one of its own). */
const isPlain = (value: object): boolean => {
  const prototype = Object.getPrototypeOf(value) as object | null
  return prototype === null || Object.getPrototypeOf(prototype) === null
}

/** Of what `JSON.rawJSON` makes: a number that JavaScript cannot hold may stand so, and nothing else. */
const rawFault = (text: string): JsonFault | undefined =>
  /^-?\d/.test(text) ? undefined : { path: "", problem: "is raw JSON that is no number" }

const visit = (value: unknown, depth: number, walk: Walk): JsonFault | undefined => {
  switch (typeof value) {
    case "string": {
      const problem = textFault(value)
      return problem === undefined ? undefined : { path: "", problem }
    }
    case "number":
      if (Object.is(value, -0)) walk.isExact = true
      return Number.isFinite(value) ? undefined : { path: "", problem: `is ${value}, which JSON cannot carry` }
    case "boolean":
      return undefined
    case "object": {
      if (value === null) return undefined
      if (depth === maxDepth) return { path: "", problem: `is nested deeper than ${maxDepth} levels or refers to itself` }
      if (saysMore(value)) walk.isExact = true
      if (Array.isArray(value)) {
        for (let index = 0; index < value.length; index++) {
          const fault = visit(value[index], depth + 1, walk)
          if (fault !== undefined) return { path: `[${index}]${fault.path}`, problem: fault.problem }
        }
        return undefined
      }
      if (isRawNumber(value)) return rawFault(value.rawJSON)
      if (!isPlain(value)) {
        return { path: "", problem: `is a ${value.constructor?.name ?? "class instance"}, not plain JSON: encode it first` }
      }
      if ("toJSON" in value && typeof value.toJSON === "function") {
        return { path: "", problem: "has a toJSON method: encode it first" }
      }
      if (Object.getOwnPropertySymbols(value).length > 0) {
        return { path: "", problem: "has a key that is a symbol, which JSON cannot carry" }
      }
      for (const key of Object.keys(value)) {
        const problem = textFault(key)
        if (problem !== undefined) return { path: "", problem: `has a key that ${problem}` }
        const fault = visit((value as Record<string, unknown>)[key], depth + 1, walk)
        if (fault !== undefined) return { path: `.${key}${fault.path}`, problem: fault.problem }
      }
      return undefined
    }
    default:
      return {
        path: "",
        problem: `is ${typeof value === "undefined" ? "undefined" : `a ${typeof value}`}, which JSON cannot carry`
      }
  }
}

/** A path as one writes it: `items[0].amount`. */
export const pathText = (path: ReadonlyArray<unknown>): string =>
  path
    .map((step) => {
      const key = typeof step === "object" && step !== null && "key" in step ? step.key : step
      return typeof key === "number" ? `[${key}]` : `.${String(key)}`
    })
    .join("")
    .replace(/^\./, "")

function sorted(this: object, key: string, value: unknown): unknown {
  return typeof value !== "object" || value === null || Array.isArray(value) || isRawNumber(value)
    ? asWritten(this, key, value)
    : alike(value, Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1))))
}

/** JSON text that is the same for equal values: the keys of objects are sorted. */
export const canonicalJson = (value: unknown): string => JSON.stringify(value, sorted)
