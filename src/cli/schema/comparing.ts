/**
 * Whether who reads by one JSON Schema can read all that is written by another: without a doubt. What is not understood of a Schema must be
 * the same in both.
 */
import type * as Schema from "effect/Schema"
import type { JsonSchema } from "./describing.ts"

type Json = Schema.Json | undefined

const isObject = (value: unknown): value is JsonSchema => typeof value === "object" && value !== null && !Array.isArray(value)
const listOf = (value: Json): ReadonlyArray<Json> => (Array.isArray(value) ? value : [])

/** The same text, whatever order the keys are in. */
const canonical = (value: unknown): string =>
  isObject(value)
    ? `{${Object.keys(value)
        .toSorted()
        .map((key) => `${key}:${canonical(value[key])}`)
        .join()}}`
    : Array.isArray(value)
      ? `[${value.map(canonical).join()}]`
      : JSON.stringify(value)

/** What says nothing of the values. */
const notes = new Set([
  "title",
  "description",
  "default",
  "examples",
  "$schema",
  "$defs",
  "$id",
  "$comment",
  "readOnly",
  "writeOnly"
])

/** A Schema with what it refers to, and all that must hold at once put together. */
const flat = (schema: Json, root: JsonSchema, depth = 0): JsonSchema => {
  if (!isObject(schema) || depth > 32) return {}
  const { $ref, allOf, ...own } = schema
  const referred =
    typeof $ref === "string" && $ref.startsWith("#/$defs/") && isObject(root["$defs"])
      ? flat(root["$defs"][decodeURIComponent($ref.slice(8)).replaceAll("~1", "/").replaceAll("~0", "~")], root, depth + 1)
      : {}
  const all = listOf(allOf).map((part) => flat(part, root, depth + 1))
  const said = Object.fromEntries(Object.entries(own).filter(([key]) => !notes.has(key) && !key.startsWith("x-")))
  return Object.assign({}, referred, ...all, said) as JsonSchema
}

const kindOf = (value: Json): string =>
  value === null ? "null" : Array.isArray(value) ? "array" : Number.isInteger(value) ? "integer" : typeof value

const typesOf = ({ const: constant, enum: values, type }: JsonSchema): ReadonlyArray<string> | undefined => {
  if (constant !== undefined) return [kindOf(constant)]
  if (Array.isArray(values)) return values.map((value) => kindOf(value as Json))
  if (type === undefined) return undefined
  return (Array.isArray(type) ? type : [type]).map(String)
}

/** Bounds: the reader's must not be tighter. */
const bounds: ReadonlyArray<readonly [key: string, isLower: boolean]> = [
  ["minimum", true],
  ["exclusiveMinimum", true],
  ["minLength", true],
  ["minItems", true],
  ["minProperties", true],
  ["maximum", false],
  ["exclusiveMaximum", false],
  ["maxLength", false],
  ["maxItems", false],
  ["maxProperties", false]
]

/** What is compared by a rule of its own. */
const ruled = new Set([
  ...bounds.map(([key]) => key),
  ..."type enum const properties required additionalProperties items prefixItems anyOf oneOf".split(" ")
])

interface Sides {
  readonly reader: JsonSchema
  readonly writer: JsonSchema
}

const valuesOf = ({ const: constant, enum: values }: JsonSchema): ReadonlyArray<string> | undefined =>
  constant !== undefined ? [canonical(constant)] : Array.isArray(values) ? values.map(canonical) : undefined

/** What is refused of single values: types, lists of values, bounds. */
const valueFaults = (reader: JsonSchema, writer: JsonSchema, path: string): ReadonlyArray<string> => {
  const place = path === "" ? "the payload" : path
  const faults: Array<string> = []
  const wanted = typesOf(reader)
  const written = typesOf(writer)
  const fits = (type: string) => wanted?.includes(type) === true || (type === "integer" && wanted?.includes("number") === true)
  if (wanted !== undefined && !(written?.every(fits) ?? false)) {
    return [`${place}: ${written?.join(" or ") ?? "anything"} is written, ${wanted.join(" or ")} is read`]
  }
  const allowed = valuesOf(reader)
  if (allowed !== undefined) {
    const missing = valuesOf(writer)?.filter((value) => !allowed.includes(value))
    if (missing === undefined) faults.push(`${place}: only ${allowed.join(", ")} is read`)
    else if (missing.length > 0) faults.push(`${place}: ${missing.join(", ")} is written, and not read`)
  }
  for (const [key, isLower] of bounds) {
    const [most, least] = [reader[key], writer[key]]
    if (typeof most !== "number" || valuesOf(writer) !== undefined) continue
    if (typeof least !== "number" || (isLower ? least < most : least > most)) faults.push(`${place}: ${key} ${most} is read`)
  }
  for (const key of Object.keys(reader)) {
    if (!ruled.has(key) && canonical(reader[key]) !== canonical(writer[key]) && valuesOf(writer) === undefined) {
      faults.push(`${place}: ${key} differs`)
    }
  }
  return faults
}

/** What of two schemas of one kind is refused. */
type Faults = (reader: JsonSchema, writer: JsonSchema, roots: Sides, path: string, depth: number) => ReadonlyArray<string>

/** What of an object is refused: a property that may be missing, or reads otherwise. What the reader does not know it passes over. */
const objectFaults: Faults = (reader, writer, roots, path, depth) => {
  const at = (name: string) => (path === "" ? name : `${path}.${name}`)
  const written = isObject(writer["properties"]) ? writer["properties"] : {}
  const read = isObject(reader["properties"]) ? reader["properties"] : {}
  const always = new Set(listOf(writer["required"]))
  const missing = listOf(reader["required"]).filter((name) => !always.has(name))
  const others = reader["additionalProperties"]
  const rest = isObject(others) ? Object.keys(written).filter((name) => !(name in read)) : []
  return [
    ...missing.map((name) => `${at(String(name))} may be missing, and is required`),
    ...Object.keys(read).flatMap((name) => (name in written ? faultsOf(read[name], written[name], roots, at(name), depth) : [])),
    ...rest.flatMap((name) => faultsOf(others, written[name], roots, at(name), depth)),
    ...(isObject(others) && isObject(writer["additionalProperties"])
      ? faultsOf(others, writer["additionalProperties"], roots, at("*"), depth)
      : [])
  ]
}

const arrayFaults: Faults = (reader, writer, roots, path, depth) => {
  const read = listOf(reader["prefixItems"])
  const written = listOf(writer["prefixItems"])
  return [
    ...read.flatMap((item, index) => faultsOf(item, written[index] ?? writer["items"], roots, `${path}[${index}]`, depth)),
    ...written
      .slice(read.length)
      .flatMap((item, index) => faultsOf(reader["items"], item, roots, `${path}[${read.length + index}]`, depth)),
    ...(reader["items"] === undefined || writer["items"] === undefined
      ? reader["items"] !== undefined && written.length === 0 && writer["maxItems"] !== 0
        ? [`${path}[]: anything is written`]
        : []
      : faultsOf(reader["items"], writer["items"], roots, `${path}[]`, depth))
  ]
}

const choicesOf = (schema: JsonSchema): ReadonlyArray<Json> | undefined => {
  const choices = schema["anyOf"] ?? schema["oneOf"]
  return Array.isArray(choices) ? (choices as ReadonlyArray<Json>) : undefined
}

const faultsOf = (reader: Json, writer: Json, roots: Sides, path: string, depth: number): ReadonlyArray<string> => {
  // What contains itself is followed so far: by then it has shown what it is.
  if (depth > 24) return []
  const read = flat(reader, roots.reader)
  const written = flat(writer, roots.writer)
  const next = depth + 1
  const writes = choicesOf(written)
  if (writes !== undefined) {
    const { anyOf: _, oneOf: __, ...common } = written
    return writes.flatMap((choice) => faultsOf(read, { ...flat(choice, roots.writer), ...common }, roots, path, next))
  }
  const reads = choicesOf(read)
  if (reads !== undefined) {
    const tried = reads.map((choice) => faultsOf(choice, written, roots, path, next))
    return tried.some((faults) => faults.length === 0)
      ? []
      : [...(tried.toSorted((one, other) => one.length - other.length)[0] ?? [])]
  }
  const faults = valueFaults(read, written, path)
  if (faults.length > 0) return faults
  return [
    ...(isObject(read["properties"]) || read["required"] !== undefined || isObject(read["additionalProperties"])
      ? objectFaults(read, written, roots, path, next)
      : []),
    ...(read["items"] !== undefined || read["prefixItems"] !== undefined ? arrayFaults(read, written, roots, path, next) : [])
  ]
}

/** Why who reads by `reader` cannot read everything that is written by `writer`: nothing where it can. */
export const readingFaults = (reader: JsonSchema, writer: JsonSchema): ReadonlyArray<string> =>
  Array.from(new Set(faultsOf(reader, writer, { reader, writer }, "", 0)))
