/** Two states as one tree: the whole later one, with what has changed marked in the line. */
export type Mark = "same" | "added" | "removed" | "changed"

export interface Line {
  readonly depth: number
  /** The name of a property or the number of an element; empty for the root. */
  readonly key: string
  readonly mark: Mark
  /** The value of a leaf, or the values of a small object in one line; a group's size. */
  readonly cells: ReadonlyArray<Cell>
}

export interface Cell {
  /** The name of a property of a small object; empty for a leaf's own value. */
  readonly key: string
  readonly mark: Mark
  readonly kind: Kind
  readonly text: string
  /** What it was before, where it is changed. */
  readonly was?: string
}

type Kind = "text" | "number" | "word" | "size"

type Json = unknown

/** Lines that are shown at most: what is larger is no longer read, and would make the page slow. */
export const most = 2000

const isGroup = (value: Json): value is object => typeof value === "object" && value !== null

const entriesOf = (value: object): ReadonlyArray<readonly [string, Json]> => Object.entries(value)

/** Objects that stand in one line: up to five leaves. */
const isSmall = (value: Json): value is object =>
  isGroup(value) &&
  !Array.isArray(value) &&
  entriesOf(value).length <= 5 &&
  entriesOf(value).every(([, inner]) => !isGroup(inner))

export const same = (a: Json, b: Json): boolean => {
  if (Object.is(a, b)) return true
  if (!isGroup(a) || !isGroup(b) || Array.isArray(a) !== Array.isArray(b)) return false
  const left = entriesOf(a)
  return (
    left.length === Object.keys(b).length &&
    left.every(([key, value]) => Object.hasOwn(b, key) && same(value, (b as Record<string, Json>)[key]))
  )
}

const sizeOf = (value: object): string => {
  const { length } = Object.keys(value)
  const noun = Array.isArray(value) ? "item" : "field"
  return length === 0 ? (Array.isArray(value) ? "no items" : "empty") : `${length} ${noun}${length === 1 ? "" : "s"}`
}

const kindOf = (value: Json): Kind =>
  isGroup(value) ? "size" : typeof value === "number" ? "number" : typeof value === "string" ? "text" : "word"

const textOf = (value: Json): string =>
  isGroup(value) ? sizeOf(value) : typeof value === "string" ? (value === "" ? '""' : value) : String(value)

const leaf = (key: string, value: Json, mark: Mark): Cell => ({ key, mark, kind: kindOf(value), text: textOf(value) })

/** What stands at one place before and after; `absent` where nothing does. */
const absent = Symbol("absent")
type Place = readonly [key: string, before: unknown, after: unknown]

/** The elements of two lists: what they share at both ends stands side by side, and so does what is between, as far as it goes. */
const elements = (before: ReadonlyArray<Json>, after: ReadonlyArray<Json>): ReadonlyArray<Place> => {
  const shorter = Math.min(before.length, after.length)
  let start = 0
  while (start < shorter && same(before[start], after[start])) start++
  let end = 0
  while (end < shorter - start && same(before[before.length - 1 - end], after[after.length - 1 - end])) end++
  const places: Array<Place> = []
  const middle = Math.max(before.length, after.length) - start - end
  for (let index = 0; index < start + middle; index++) {
    const left = index < before.length - end ? before[index] : absent
    const right = index < after.length - end ? after[index] : absent
    places.push([String(index), left, right])
  }
  for (let index = end; index > 0; index--) {
    places.push([String(after.length - index), before[before.length - index], after[after.length - index]])
  }
  return places
}

const properties = (before: object, after: object): ReadonlyArray<Place> => {
  const left = before as Record<string, Json>
  const right = after as Record<string, Json>
  const gone = Object.keys(before).filter((key) => !Object.hasOwn(after, key))
  return [
    ...Object.keys(after).map((key): Place => [key, Object.hasOwn(before, key) ? left[key] : absent, right[key]]),
    ...gone.map((key): Place => [key, left[key], absent])
  ]
}

const placesOf = (before: unknown, after: unknown): ReadonlyArray<Place> => {
  if (!isGroup(after)) return isGroup(before) ? placesOf(undefined, before).map(([key, , was]) => [key, was, absent]) : []
  if (Array.isArray(after)) return elements(Array.isArray(before) ? before : [], after)
  return properties(isGroup(before) && !Array.isArray(before) ? before : {}, after)
}

const markOf = (before: unknown, after: unknown): Mark =>
  before === absent ? "added" : after === absent ? "removed" : same(before, after) ? "same" : "changed"

const cellOf = ([key, before, after]: Place): Cell => {
  const mark = markOf(before, after)
  if (mark === "removed") return leaf(key, before, mark)
  return mark === "changed" && !(isGroup(before) && isGroup(after))
    ? { ...leaf(key, after, mark), was: textOf(before) }
    : leaf(key, after, mark)
}

/** Whether a place stands in one line: a leaf, something empty, or an element of a list that is a small object. */
const inOneLine = (value: unknown, ofList: boolean): boolean =>
  !isGroup(value) || Object.keys(value).length === 0 || (ofList && isSmall(value))

const oneLine = (depth: number, place: Place): Line => {
  const [key, before, after] = place
  const mark = markOf(before, after)
  const value = mark === "removed" ? before : after
  if (!isSmall(value) || entriesOf(value).length === 0) return { depth, key, mark, cells: [{ ...cellOf(place), key: "" }] }
  if (mark !== "changed") return { depth, key, mark, cells: entriesOf(value).map(([key, inner]) => leaf(key, inner, mark)) }
  return { depth, key, mark, cells: properties(isSmall(before) ? before : {}, value).map(cellOf) }
}

interface Printed {
  readonly $class?: unknown
  readonly entries?: unknown
  readonly values?: unknown
}

const isPair = (value: unknown): value is readonly [string | number, Json] =>
  Array.isArray(value) && value.length === 2 && (typeof value[0] === "string" || typeof value[0] === "number")

/** A printed map as an object, and a printed set as a list: so that what has changed in them is seen by key. */
export const readable = (value: Json): Json => {
  if (!isGroup(value)) return value
  if (Array.isArray(value)) return value.map(readable)
  const { $class, entries, values } = value as Printed
  if ($class === "Map" && Array.isArray(entries) && entries.every(isPair)) {
    return Object.fromEntries(entries.map(([key, inner]) => [String(key), readable(inner)]))
  }
  if ($class === "Set" && Array.isArray(values)) return values.map(readable)
  return Object.fromEntries(entriesOf(value).map(([key, inner]) => [key, readable(inner)]))
}

/** The later state as lines, each marked; no more than {@link most}. Without a state before nothing is marked. */
export const difference = (earlier: Json | undefined, later: Json): ReadonlyArray<Line> => {
  const after = readable(later)
  const before = earlier === undefined ? undefined : readable(earlier)
  const lines: Array<Line> = []
  const walk = (place: Place, depth: number, ofList: boolean): void => {
    if (lines.length >= most) return
    const [key, earlier, later] = place
    const value = later === absent ? earlier : later
    const small = inOneLine(value, ofList) && (earlier === absent || later === absent || inOneLine(earlier, true))
    if (small) return void lines.push(oneLine(depth, place))
    const mark = markOf(earlier, later)
    lines.push({ depth, key, mark: mark === "changed" ? "same" : mark, cells: [{ ...leaf("", value, mark), kind: "size" }] })
    for (const inner of insideOf(earlier, later)) walk(inner, depth + 1, Array.isArray(value))
  }
  const against = before === undefined ? after : before
  if (!isGroup(after)) return [oneLine(0, ["", against, after])]
  for (const place of insideOf(against, after)) walk(place, 0, Array.isArray(after))
  return lines
}

const insideOf = (earlier: unknown, later: unknown): ReadonlyArray<Place> => {
  if (later === absent) return placesOf(undefined, earlier).map(([key, , was]): Place => [key, was, absent])
  if (earlier === absent) return placesOf(undefined, later).map(([key, , is]): Place => [key, absent, is])
  return placesOf(earlier, later)
}

/** How many lines are added, changed and removed. */
export const tally = (lines: ReadonlyArray<Line>): Readonly<Record<Mark, number>> => {
  const counts = { same: 0, added: 0, removed: 0, changed: 0 }
  for (const { mark } of lines) counts[mark]++
  return counts
}

/** What a payload says, in one line: its leaves, without those that the name of its stream says already. */
export const gist = (payload: Json, except = ""): string => {
  if (!isGroup(payload)) return textOf(payload)
  const told: Array<string> = []
  for (const [key, value] of entriesOf(payload)) {
    if (told.length >= 6) break
    const text = textOf(value)
    if (!isGroup(value) && except !== "" && text !== "" && (except === text || except.endsWith(`-${text}`))) continue
    told.push(`${key} ${text}`)
  }
  return told.join(" · ")
}
