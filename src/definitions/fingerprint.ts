/**
 * What names the maker of a folded state: two folds that could come to different states have different fingerprints, as far as a
 * program can tell.
 */
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Event from "./Event.ts"

/** All that a state comes from, but for the events themselves. */
export interface Maker {
  readonly name: string
  /** Raised by hand, for what cannot be seen: what folds and upcasts refer to beyond their own text. */
  readonly version: number
  /** Of the state. */
  readonly schema: Schema.ConstraintCodec<unknown, unknown, never, never>
  readonly initial: unknown
  readonly events: Iterable<Event.Any>
  readonly evolve: object
}

export const fingerprintOf = ({ events, evolve, initial, name, schema, version }: Maker): string =>
  hash(
    JSON.stringify([
      name,
      version,
      Schema.toJsonSchemaDocument(schema),
      Result.getOrUndefined(Schema.encodeUnknownResult(Schema.toCodecJson(schema))(initial)),
      Array.from(events)
        .sort((a, b) => (a.type < b.type ? -1 : 1))
        .map((event) => [
          event.type,
          event.version,
          shapeOf(event),
          textsOf(event.upcasts),
          textsOf({ fold: (evolve as Record<string, unknown>)[event.type] }),
          // Only where there is any: what was made before there were such is found again.
          ...(Event.storedTypes(event).length === 1 ? [] : [event.aliases, textsOf(event.from)])
        ])
    ])
  )

/** The shape of an event's payload; some have none that JSON Schema can say. */
const shapeOf = (event: Event.Any): unknown => {
  try {
    return Schema.toJsonSchemaDocument(event)
  } catch {
    return undefined
  }
}

/** The source of functions, by key. */
const textsOf = (functions: object): ReadonlyArray<readonly [string, string]> =>
  Object.entries(functions).map(([key, value]) => [key, String(value)])

/** FNV-1a with 64 bits: short, and different for different texts. */
const hash = (text: string): string => {
  let hash = 0xcbf29ce484222325n
  for (const byte of new TextEncoder().encode(text)) hash = ((hash ^ BigInt(byte)) * 0x100000001b3n) & 0xffffffffffffffffn
  return hash.toString(16).padStart(16, "0")
}
