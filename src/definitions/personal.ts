/**
 * Personal data in JSON: a value stands in an envelope, open above the store, sealed below it. Whoever finds an envelope needs no definition
 * to know what it is, so copies are found wherever they stand.
 *
 * - open: `{ "$personal": { of, value } }`, with the `key` that it was opened with where it comes from a store;
 * - sealed: `{ "$personal": { key, sealed } }`, and `{ "$personal": { nth } }` for what the same ciphertext holds beside its first value;
 * - forgotten: `{ "$personal": { forgotten: true } }`.
 */
import type * as Schema from "effect/Schema"
import { alike, isRawNumber } from "../internal/exactJson.ts"

/** The key that an envelope has, and nothing else may have. */
export const reserved = "$personal"

/** What is in an envelope. */
type Envelope =
  | { readonly _tag: "Open"; readonly of: string | undefined; readonly key: string | undefined; readonly value: Schema.Json }
  | { readonly _tag: "Sealed"; readonly key: string | undefined; readonly sealed: string | undefined; readonly nth: number }
  | { readonly _tag: "Forgotten" }
  | { readonly _tag: "Malformed" }

/** An envelope that was found. */
export interface Place {
  /** Where it stands: `email`, `people[0].name`; empty where it is the whole. */
  readonly path: string
  /** The object that it is a field of, or that the list is a field of in which it is. */
  readonly holder: object | undefined
  readonly envelope: Envelope
}

const malformed: Envelope = { _tag: "Malformed" }
const forgotten = { _tag: "Forgotten" } as const satisfies Envelope

const isText = (value: unknown): value is string | undefined => value === undefined || typeof value === "string"

/** What is in an object that has the key. */
const envelopeOf = (outside: object): Envelope => {
  const inside: unknown = (outside as { readonly [reserved]: unknown })[reserved]
  if (typeof inside !== "object" || inside === null || Object.keys(outside).length !== 1) return malformed
  if (Object.hasOwn(inside, "value")) {
    const { key, of, value } = inside as Record<string, unknown>
    const known = 1 + (key === undefined ? 0 : 1) + (of === undefined ? 0 : 1)
    return isText(key) && isText(of) && Object.keys(inside).length === known
      ? { _tag: "Open", of, key, value: value as Schema.Json }
      : malformed
  }
  const { forgotten: isForgotten, key, nth = 0, problem, sealed } = inside as Record<string, unknown>
  if (isForgotten === true) return forgotten
  if (!isText(key) || !isText(sealed) || !isText(problem) || typeof nth !== "number") return malformed
  return sealed === undefined && nth === 0 ? malformed : { _tag: "Sealed", key, sealed, nth }
}

/** So deep is JSON followed: a store takes none that is deeper, nor one that holds itself. */
const deepest = 512

const noPlaces: ReadonlyArray<Place> = []

type Steps = ReadonlyArray<string | number>

const textOf = (steps: Steps): string =>
  steps.reduce<string>(
    (path, step) => (typeof step === "number" ? `${path}[${step}]` : path === "" ? step : `${path}.${step}`),
    ""
  )

/** The envelopes in a value, in the order in which they stand there. What is too deep to be stored has none: a store refuses it. */
export const placesIn = (value: unknown): ReadonlyArray<Place> => {
  let found: Array<Place> | undefined
  const steps: Array<string | number> = []
  /** Whether it was not too deep. */
  const visit = (value: object, holder: object | undefined): boolean => {
    if (steps.length > deepest) return false
    const isList = Array.isArray(value)
    if (!isList && Object.hasOwn(value, reserved)) {
      const place = { path: textOf(steps), holder, envelope: envelopeOf(value) }
      if (found === undefined) found = [place]
      else found.push(place)
      return true
    }
    const keys = isList ? undefined : Object.keys(value)
    for (let at = 0; at < (keys ?? (value as ReadonlyArray<unknown>)).length; at++) {
      const step = keys === undefined ? at : (keys[at] as string)
      const part = (value as Record<string | number, unknown>)[step]
      if (typeof part !== "object" || part === null) continue
      steps.push(step)
      if (!visit(part, isList ? holder : value)) return false
      steps.pop()
    }
    return true
  }
  return typeof value === "object" && value !== null && visit(value, undefined) ? (found ?? noPlaces) : noPlaces
}

/** What stands in place of an envelope; `undefined` leaves it out. */
type Replace = (index: number) => Schema.Json | undefined

/** Not as an assignment, to which `__proto__` is no key as others are. */
const put = (copy: object, key: string, value: unknown): void => {
  if (key === "__proto__") Object.defineProperty(copy, key, { value, enumerable: true, configurable: true, writable: true })
  else (copy as Record<string, unknown>)[key] = value
}

/** A copy of a value in which other things stand for its envelopes, by their order. The value itself where it has none. */
export const replacing = (value: Schema.Json, replace: Replace): Schema.Json => {
  let index = 0
  const visitList = (list: ReadonlyArray<unknown>): unknown => {
    const parts = list.map((part) => visit(part) ?? null)
    return parts.every((part, at) => part === list[at]) ? list : alike(list, parts)
  }
  const visit = (value: unknown): unknown => {
    if (typeof value !== "object" || value === null || isRawNumber(value)) return value
    if (Array.isArray(value)) return visitList(value)
    if (Object.hasOwn(value, reserved)) return replace(index++)
    let copy: object | undefined
    const keys = Object.keys(value)
    for (let at = 0; at < keys.length; at++) {
      const key = keys[at] as string
      const before = (value as Record<string, unknown>)[key]
      const after = visit(before)
      if (copy === undefined && after !== before) {
        copy = {}
        for (const earlier of keys.slice(0, at)) put(copy, earlier, (value as Record<string, unknown>)[earlier])
      }
      if (copy !== undefined && after !== undefined) put(copy, key, after)
    }
    return copy === undefined ? value : alike(value, copy)
  }
  return (visit(value) ?? null) as Schema.Json
}

/** An envelope with what one is forgotten by. */
export const forgottenJson: Schema.Json = { [reserved]: { forgotten: true } }

/** What others read who know no envelopes: the values alone, and `null` for what is forgotten; or nothing of either. */
export const withoutEnvelopes = (json: Schema.Json, values: "plain" | "omitted"): Schema.Json => {
  const places = placesIn(json)
  if (places.length === 0) return json
  return replacing(json, (index) => {
    const { envelope } = places[index] as Place
    return values === "omitted" ? undefined : envelope._tag === "Open" ? envelope.value : null
  })
}

/** What a person is shown who is not to see values. */
export const shownPersonal = "‹personal›"

/** A copy in which nothing personal can be read, nor what seals it. */
export const hidden = (json: Schema.Json): Schema.Json => replacing(json, () => shownPersonal)

/** The texts and numbers that stand in open envelopes. */
export const valuesIn = (json: unknown): ReadonlyArray<string> => {
  const found = new Set<string>()
  const visit = (value: unknown): void => {
    if (typeof value === "string" || typeof value === "number") found.add(String(value))
    else if (typeof value === "object" && value !== null) Object.values(value).forEach(visit)
  }
  for (const { envelope } of placesIn(json)) if (envelope._tag === "Open") visit(envelope.value)
  return Array.from(found)
}

/** Where in a value there is an envelope that no store takes, and what is wrong with it. */
export const storedFault = (json: unknown): { readonly path: string; readonly problem: string } | undefined => {
  for (const { envelope, path } of placesIn(json)) {
    if (envelope._tag === "Sealed" || envelope._tag === "Forgotten") continue
    const problem =
      envelope._tag === "Open"
        ? "is personal data in the clear: provide the store through Personal.layer, which seals it"
        : `has the key "${reserved}", which belongs to personal data, and is none`
    return { path, problem }
  }
  return undefined
}
