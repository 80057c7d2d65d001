/** Takes personal data out of the causes of failures: what a handler says of an event it often quotes. */
import * as Cause from "effect/Cause"
import { shownPersonal, valuesIn } from "../definitions/personal.ts"

/** A shorter text stands in too many others. */
const shortest = 3

/** So deep are errors followed. */
const deepest = 12

const textsOf = (about: unknown): ReadonlyArray<string> => {
  const texts = valuesIn(about).filter((text) => text.length >= shortest)
  const escaped = texts.map((text) => JSON.stringify(text).slice(1, -1))
  // What holds another comes before it.
  return Array.from(new Set([...texts, ...escaped])).sort((a, b) => b.length - a.length)
}

/** A copy of an error in which texts are masked: of the same class, so that it is told apart as before. */
const maskedError = (value: object, mask: (value: unknown) => unknown): object => {
  const copy = Object.create(Object.getPrototypeOf(value) as object | null) as object
  for (const key of Reflect.ownKeys(value)) {
    const property = Object.getOwnPropertyDescriptor(value, key) as PropertyDescriptor
    Object.defineProperty(copy, key, "value" in property ? { ...property, value: mask(property.value) } : property)
  }
  return copy
}

const isPlain = (value: object): boolean => Object.getPrototypeOf(value) === Object.prototype

const makeMask = (texts: ReadonlyArray<string>) => {
  const copies = new Map<object, unknown>()
  const mask = (value: unknown, depth = 0): unknown => {
    if (typeof value === "string") return texts.reduce((masked, text) => masked.replaceAll(text, shownPersonal), value)
    if (typeof value === "number") return texts.includes(String(value)) ? shownPersonal : value
    if (typeof value !== "object" || value === null || depth > deepest) return value
    if (copies.has(value)) return copies.get(value)
    copies.set(value, value)
    const inner = (part: unknown) => mask(part, depth + 1)
    const copy = Array.isArray(value)
      ? value.map(inner)
      : value instanceof Error
        ? maskedError(value, inner)
        : isPlain(value)
          ? Object.fromEntries(Object.entries(value).map(([key, part]) => [key, inner(part)]))
          : value
    copies.set(value, copy)
    return copy
  }
  return mask
}

/** A cause in which the values of the envelopes of `about` are masked. */
export const maskCause = (cause: Cause.Cause<unknown>, about: unknown): Cause.Cause<unknown> => {
  const texts = textsOf(about)
  if (texts.length === 0) return cause
  const mask = makeMask(texts)
  return Cause.fromReasons(
    cause.reasons.map((reason) => {
      if (Cause.isFailReason(reason)) return Cause.makeFailReason(mask(reason.error))
      return Cause.isDieReason(reason) ? Cause.makeDieReason(mask(reason.defect)) : reason
    })
  )
}
