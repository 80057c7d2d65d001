/**
 * Which rows handlers are about to ask for, as far as that can be told: who asks for a key that stands somewhere in its event is likely to
 * ask for what stands there in the next events of that type. A guess costs a row that was read in vain, and no more.
 */
import type { RecordedEvent } from "../definitions/stored.ts"
import type { Envelope } from "./model.ts"

/** How far one looks ahead first, and by how much further each time that it has served. */
const first = 16
const growth = 8

/** So many characters of rows are read ahead. */
const mostSize = 2 * 1024 * 1024

/** More places in an event than this are not looked at. */
const mostPlaces = 200
const deepest = 4

/** Where a key was found in an event, and up to which of the events it has been looked for there. */
interface Place {
  from: number
  upTo: number
  chunk: number
}

export interface Foresight {
  /** The keys that are about to be asked for where one is. */
  readonly ahead: (table: string, asked: unknown) => ReadonlySet<unknown>
  /** Rows of a table have been read: so many, and so many characters. */
  readonly read: (table: string, rows: number, size: number) => void
  /** What has been read ahead is not known any more. */
  readonly forgotten: () => void
}

/** What one batch has learnt for the next: how far looking ahead has served, by place, and how large rows are, by table. */
export interface Experience {
  readonly chunks: Map<string, number>
  readonly sizes: Map<string, number>
}

export const makeForesight = (
  experience: Experience,
  events: ReadonlyArray<RecordedEvent>,
  current: () => RecordedEvent | undefined,
  itemsOf: (event: RecordedEvent) => ReadonlyArray<Envelope<unknown>>
): Foresight => {
  let last = 0
  /** Where the event stands that is being handled. */
  const here = (): number => {
    const event = current()
    while (last < events.length - 1 && events[last] !== event) last++
    return last
  }
  const places = new Map<string, Map<string, Place>>()
  return {
    read: (table, rows, size) => void experience.sizes.set(table, size / rows),
    ahead: (table, asked) => {
      const keys = new Set<unknown>()
      const at = here()
      const event = events[at]
      if (event === undefined || (typeof asked !== "string" && typeof asked !== "number" && typeof asked !== "bigint"))
        return keys
      const most = Math.max(1, Math.floor(mostSize / (experience.sizes.get(table) ?? 1)))
      const known = places.get(table) ?? new Map<string, Place>()
      places.set(table, known)
      for (const path of pathsTo(itemsOf(event), asked)) {
        const name = JSON.stringify([table, event.type, path])
        const place = known.get(name) ?? { from: at, upTo: at, chunk: experience.chunks.get(name) ?? first / growth }
        if (known.has(name) && at < place.upTo) continue
        known.set(name, place)
        place.from = at
        place.chunk = Math.max(1, Math.min(place.chunk * growth, most))
        place.upTo = Math.min(events.length, at + place.chunk)
        experience.chunks.set(name, place.chunk)
        for (const next of events.slice(at, place.upTo)) {
          if (next.type !== event.type) continue
          for (const item of itemsOf(next)) for (const value of valuesAt(item, path)) keys.add(value)
        }
        return keys
      }
      return keys
    },
    forgotten: () => {
      if (places.size === 0) return
      const at = here()
      for (const known of places.values()) {
        for (const [name, place] of known) {
          place.chunk = Math.min(place.chunk, Math.max(1, at - place.from) / growth)
          experience.chunks.set(name, place.chunk)
          place.upTo = Math.min(place.upTo, at + 1)
        }
      }
    }
  }
}

/** A way into an event: `*` is every element of an array. */
type Path = ReadonlyArray<string>

const isRecord = (value: unknown): value is { readonly [key: string]: unknown } => typeof value === "object" && value !== null

/** What keys are made from beside what the event itself says. */
const aboutOf = ({ id, stream }: Envelope<unknown>): { readonly [name: string]: unknown } => ({
  stream,
  instance: stream.slice(stream.indexOf("-") + 1),
  id
})

function* pathsTo(items: ReadonlyArray<Envelope<unknown>>, asked: unknown): Generator<Path> {
  let left = mostPlaces
  const within = function* (value: unknown, path: Path): Generator<Path> {
    if (left-- <= 0) return
    if (value === asked) yield path
    else if (path.length < deepest && isRecord(value)) {
      if (Array.isArray(value)) for (const element of value as ReadonlyArray<unknown>) yield* within(element, [...path, "*"])
      else for (const key of Object.keys(value)) yield* within(value[key], [...path, key])
    }
  }
  for (const item of items) {
    yield* within(aboutOf(item), ["about"])
    yield* within(item.event, ["event"])
  }
}

const valuesAt = (item: Envelope<unknown>, [root, ...path]: Path): ReadonlyArray<unknown> => {
  let found: ReadonlyArray<unknown> = [root === "about" ? aboutOf(item) : item.event]
  for (const key of path) {
    found = found.flatMap((value): ReadonlyArray<unknown> => {
      if (key === "*") return Array.isArray(value) ? value : []
      return isRecord(value) && key in value ? [value[key]] : []
    })
  }
  return found
}
