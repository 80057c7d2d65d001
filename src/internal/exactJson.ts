/**
 * JSON text in and out without a digit lost in silence.
 *
 * `JSON.parse` makes a double of every number: 9007199254740993 becomes …992, 1e400 becomes Infinity. Here a whole number that a double
 * cannot hold, and what lies beyond all doubles, stays as it was written: as what `JSON.rawJSON` makes of it, which `JSON.stringify`
 * writes unchanged. Other numbers are doubles, as JSON means them; where their text says more digits than a double has, or has another
 * zero, it is remembered beside the object, for who writes it again and for decimals.
 */

type Holder = Readonly<Record<string, unknown>>

/** Of ECMAScript 2026; Node has it since 22. */
interface SourceText {
  readonly rawJSON: (text: string) => RawNumber | number
  readonly isRawJSON: (value: unknown) => value is RawNumber
  readonly parse: (
    text: string,
    reviver: (this: Holder, key: string, value: unknown, context?: { readonly source?: string }) => unknown
  ) => unknown
}

// A browser that does not have it yet has doubles alone.
const {
  isRawJSON = (_value): _value is RawNumber => false,
  parse,
  rawJSON = Number
} = JSON as Omit<SourceText, "isRawJSON" | "rawJSON"> & Partial<SourceText>

/** A number that no double can hold, as JSON text. */
export interface RawNumber {
  readonly rawJSON: string
}

export const isRawNumber = (value: unknown): value is RawNumber => isRawJSON(value)

/** The texts of numbers in parsed objects, by key. Who has none of his own, but something within that has, has an empty map. */
const texts = new WeakMap<object, Map<string, string>>()
/** Whether there ever were such numbers: in most processes there are none to look for. */
let areTexts = false

const remember = (holder: object, own: Map<string, string>): void => {
  areTexts = true
  texts.set(holder, own)
}

const textsOf = (holder: object): Map<string, string> => {
  let own = texts.get(holder)
  if (own === undefined) remember(holder, (own = new Map()))
  return own
}

/** Whether a value that was parsed has a number in it whose text says more than a double does. */
export const saysMore = (value: unknown): boolean =>
  typeof value === "object" && value !== null && ((areTexts && texts.has(value)) || isRawJSON(value))

/** The text of a number in a parsed object, where it says more than the number does. */
const textOf = (holder: object, key: string, value: number): string | undefined => {
  const text = texts.get(holder)?.get(key)
  // It may have been changed since.
  return text !== undefined && Number(text) === value ? text : undefined
}

const isDigit = (code: number): boolean => code >= 48 && code <= 57
const isBlank = (code: number): boolean => code === 32 || code === 10 || code === 13 || code === 9

/** Whether what stands before `index` can be followed by a number: the beginning, `:`, `,`, `[` or white space. */
const mayBegin = (text: string, index: number): boolean => {
  const before = index - (text.charCodeAt(index - 1) === 45 ? 2 : 1)
  if (before < 0) return true
  const code = text.charCodeAt(before)
  return code === 58 || code === 44 || code === 91 || isBlank(code)
}

const shortestDigits = 3

/**
 * Whether there may be a number with more digits than a double is sure to keep (15), or an exponent of three digits. It looks at every
 * third character, for it is asked of each text: an exponent like that has three digits in a row.
 */
export const mayLoseDigits = (text: string): boolean => {
  const { length } = text
  for (let at = shortestDigits - 1; at < length; at += shortestDigits) {
    if (!isDigit(text.charCodeAt(at))) continue
    let begin = at
    while (begin > 0 && isDigitOrDot(text.charCodeAt(begin - 1))) begin--
    let end = at + 1
    while (end < length && isDigitOrDot(text.charCodeAt(end))) end++
    if (end - begin >= 16 && mayBegin(text, begin)) return true
    if (end - begin >= shortestDigits && isExponent(text, begin)) return true
    at = Math.max(at, end - shortestDigits)
  }
  return false
}

const isDigitOrDot = (code: number): boolean => isDigit(code) || code === 46

/** Whether the digits that begin at `index` are the exponent of a number. */
const isExponent = (text: string, index: number): boolean => {
  const sign = text.charCodeAt(index - 1)
  const letter = index - (sign === 43 || sign === 45 ? 2 : 1)
  if ((text.charCodeAt(letter) | 32) !== 101) return false
  let begin = letter
  while (begin > 0 && isDigitOrDot(text.charCodeAt(begin - 1))) begin--
  return begin < letter && mayBegin(text, begin)
}

/** A decimal number in one form: two texts of one number have the same. */
const canonical = (text: string): string => {
  const [, sign = "", whole = "", fraction = "", exponent = "0"] = /^(-?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/.exec(text) ?? []
  const digits = (whole + fraction).replace(/^0+/, "")
  let end = digits.length
  while (end > 0 && digits.charCodeAt(end - 1) === 48) end--
  return end === 0 ? "0" : `${sign}${digits.slice(0, end)}e${Number(exponent) - fraction.length + digits.length - end}`
}

/** What becomes of a number when it is made a double: nothing, its text says more than the double, or it is another number. */
const fateOf = (source: string, value: number): "same" | "saysMore" | "lost" => {
  if (!Number.isFinite(value)) return "lost"
  if (source === "-0" || (Number.isSafeInteger(value) && String(value) === source)) return "same"
  const same = canonical(source) === canonical(String(value))
  // With a fraction or an exponent it is meant as a double.
  if (!/^-?\d+$/.test(source)) return same ? "same" : "saysMore"
  if (same || BigInt(source) === BigInt(value)) return String(value) === source ? "same" : "saysMore"
  return "lost"
}

/** As `JSON.parse`, and no digit is lost: see above. */
export const parseJson = (text: string): unknown =>
  mayLoseDigits(text)
    ? parse(text, function (key, value, { source } = {}) {
        if (typeof value !== "number" || source === undefined) {
          if (saysMore(value)) textsOf(this)
          return value
        }
        const fate = fateOf(source, value)
        if (fate === "same") return value
        const own = textsOf(this)
        if (fate === "lost") return rawJSON(source)
        own.set(key, source)
        return value
      })
    : JSON.parse(text)

/** As `JSON.stringify`, with numbers as they were written, and -0 as such. */
export const writeJson = (value: unknown): string => (writesMore(value) ? writeExactly(value) : JSON.stringify(value))

/** {@link writeJson} for a value that has such numbers. */
export const writeExactly = (value: unknown): string => JSON.stringify(value, replacer(asWritten))

/** Whether something in a value would not be written as it is by `JSON.stringify` alone. */
const writesMore = (value: unknown): boolean => {
  if (typeof value === "number") return Object.is(value, -0)
  if (typeof value !== "object" || value === null) return false
  if (areTexts && texts.has(value)) return true
  if (Array.isArray(value)) {
    for (let index = 0; index < value.length; index++) if (writesMore(value[index])) return true
    return false
  }
  for (const key of Object.keys(value)) if (writesMore((value as Holder)[key])) return true
  return false
}

/** What {@link writeJson} hands to `JSON.stringify` in place of a value. */
export const asWritten = (holder: object, key: string, value: unknown): unknown => {
  const said = asSaid(holder, key, value)
  return Object.is(said, -0) ? rawJSON("-0") : said
}

/** {@link writeJson} for columns of tables, which have one zero. */
export const writeWithOneZero = (value: unknown): string => JSON.stringify(value, saysMore(value) ? replacer(asSaid) : undefined)

const asSaid = (holder: object, key: string, value: unknown): unknown => {
  const text = typeof value === "number" ? textOf(holder, key, value) : undefined
  return text === undefined ? value : rawJSON(text)
}

const replacer = (replace: typeof asSaid) =>
  function (this: object, key: string, value: unknown): unknown {
    return replace(this, key, value)
  }

/** Lets the copy of a parsed object say what the object says. */
export const alike = <A extends object>(from: object, copy: A): A => {
  const own = texts.get(from)
  if (own !== undefined) remember(copy, own)
  return copy
}

/** A copy of a value that was parsed: nothing in it is shared with the value, and its numbers say as much. */
export const copyJson = <A>(value: A): A => {
  if (typeof value !== "object" || value === null || isRawJSON(value)) return value
  if (Array.isArray(value)) return alike(value, value.map(copyJson) as A & object)
  const copy: Record<string, unknown> = {}
  for (const key of Object.keys(value)) {
    const part = copyJson((value as Holder)[key])
    // Not as an assignment, to which `__proto__` is no key as others are.
    if (key === "__proto__")
      Object.defineProperty(copy, key, { value: part, enumerable: true, configurable: true, writable: true })
    else copy[key] = part
  }
  return alike(value, copy as A & object)
}

/** The double that a number of JSON means; `undefined` where it would be another number. */
export const doubleOf = (text: string): number | undefined => {
  const value = Number(text)
  return fateOf(text, value) === "lost" ? undefined : value
}

type Replace = (part: unknown, holder: object | undefined, key: string) => unknown

/** A copy of a value with other parts; the value itself where all are the same. */
const replaceParts = (value: unknown, replace: Replace, holder?: object, key = ""): unknown => {
  const part = replace(value, holder, key)
  if (!Object.is(part, value) || typeof value !== "object" || value === null) return part
  let copy: object | undefined
  for (const key of Object.keys(value)) {
    const before = (value as Holder)[key]
    const after = replaceParts(before, replace, value, key)
    if (Object.is(after, before)) continue
    // Not as an assignment, to which `__proto__` is no key as others are.
    copy ??= Array.isArray(value) ? value.slice() : Object.fromEntries(Object.entries(value))
    Object.defineProperty(copy, key, { value: after, enumerable: true, configurable: true, writable: true })
  }
  return copy ?? value
}

/**
 * A copy of a value with what `hidden` makes of its text for each number whose text says more. Where an upcast has made new
 * objects of what was `parsed`, its numbers are found again by their values.
 */
export const hide = (value: unknown, parsed: unknown, hidden: (text: string) => unknown): unknown => {
  const known = value === parsed ? undefined : textsWithin(parsed)
  return replaceParts(value, (part, holder, key) => {
    if (typeof part !== "number") return isRawNumber(part) ? hidden(part.rawJSON) : part
    const text = (holder === undefined ? undefined : textOf(holder, key, part)) ?? known?.get(part)
    return text === undefined ? part : hidden(text)
  })
}

/** The value of a JSON text, as `Equal` can compare it: all digits count; the order of keys does not, nor does the sign of 0. */
export const comparable = (text: string): unknown => {
  const value = parseJson(text)
  return replaceParts(
    hide(value, value, (text) => ({ number: canonical(text) })),
    (part) => (part === 0 ? 0 : part)
  )
}

/** {@link hide} undone, where it has made symbols. */
export const unhide = (value: unknown, shown: (hidden: symbol) => string): unknown => {
  const copy = replaceParts(value, (part) => {
    if (typeof part !== "symbol") return part
    const text = shown(part)
    return doubleOf(text) ?? rawJSON(text)
  })
  rememberSymbols(value, copy, shown)
  return copy
}

/** Lets a copy without symbols say what they said. */
const rememberSymbols = (value: unknown, copy: unknown, shown: (hidden: symbol) => string): void => {
  if (value === copy || typeof value !== "object" || value === null) return
  const own = textsOf(copy as object)
  for (const key of Object.keys(value)) {
    const part = (value as Holder)[key]
    if (typeof part === "symbol") own.set(key, shown(part))
    else rememberSymbols(part, (copy as Holder)[key], shown)
  }
}

/** The texts of the numbers in a parsed value that say more, where no other number is the same double. */
const textsWithin = (value: unknown, found = new Map<number, string | undefined>()): ReadonlyMap<number, string | undefined> => {
  if (typeof value !== "object" || value === null || isRawJSON(value)) return found
  for (const [key, part] of Object.entries(value as Holder)) {
    if (typeof part !== "number") textsWithin(part, found)
    else {
      const text = textOf(value, key, part)
      found.set(part, found.has(part) && found.get(part) !== text ? undefined : text)
    }
  }
  return found
}
