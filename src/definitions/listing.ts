/**
 * Which definitions of events belong to which aggregates: so that an event of one is not handed to a handler of another's, where
 * both call it alike.
 */
import * as Event from "./Event.ts"
import { categoryOf } from "./stored.ts"

/** What a definition shares with its annotated copies, and with no other. */
const identityOf = ({ codec }: Event.Any): object => codec

/** Whether two definitions are one, or annotated copies of one. */
export const isSame = (one: Event.Any, other: Event.Any): boolean => identityOf(one) === identityOf(other)

/** By category and type: the definitions that aggregates of this program list. */
const byCategory = new Map<string, Map<string, WeakSet<object>>>()
/** The definitions that any aggregate lists. */
const ofAggregates = new WeakSet<object>()

/** Notes what an aggregate lists. Two of one name (an old and a new one in a test, say) both count. */
export const list = (category: string, definitions: Iterable<Event.Any>): void => {
  const byType = byCategory.get(category) ?? new Map<string, WeakSet<object>>()
  byCategory.set(category, byType)
  for (const definition of definitions) {
    ofAggregates.add(identityOf(definition))
    for (const type of Event.storedTypes(definition)) {
      const listed = byType.get(type) ?? new WeakSet()
      byType.set(type, listed.add(identityOf(definition)))
    }
  }
}

/**
 * Whether an event that is stored under a type, in this stream, may be one of the definition. It is not when they are of different
 * aggregates: one lists the definition, and that of the stream lists another one that is read from the same type.
 */
export const mayBeOf = (definition: Event.Any, { stream, type }: { readonly stream: string; readonly type: string }): boolean => {
  const listed = byCategory.get(categoryOf(stream))?.get(type)
  return listed === undefined || listed.has(identityOf(definition)) || !ofAggregates.has(identityOf(definition))
}

/** What a stored event is read as by handlers of these definitions: nothing, where it is one of another's of the same type. */
export const readOwn = <E extends Event.Any>(readers: Event.Readers<E>, recorded: Event.Stored) =>
  Event.readAll(readers, recorded, (definition) => mayBeOf(definition, recorded))

/** Throws a `RangeError` where the name of an aggregate, or its events, cannot be those of one. */
export const readersOfAggregate = <E extends Event.Any>(name: string, events: ReadonlyArray<E>): Event.Readers<E> => {
  if (name.length === 0 || name.includes("-") || name.startsWith("$")) {
    throw new RangeError(`Aggregate "${name}": a name must not be empty, contain "-" or begin with "$"`)
  }
  const types = new Set<string>()
  for (const { type } of events) {
    if (types.has(type)) throw new RangeError(`Aggregate "${name}": the event type "${type}" is listed twice`)
    types.add(type)
  }
  return readersOf(`Aggregate "${name}"`, events)
}

/** The definitions that are written, by type: those that are not retired. */
export const definitionsOf = <E extends Event.Any>(events: ReadonlyArray<E>): ReadonlyMap<string, E> =>
  new Map(events.filter((event) => !("retired" in event)).map((event) => [event.type, event]))

/**
 * The definitions that read what is stored under a type. Throws a `RangeError` where two of them have one type, now or once: nobody
 * could tell whose an event is.
 */
export const readersOf = <E extends Event.Any>(owner: string, events: ReadonlyArray<E>): Event.Readers<E> => {
  const claimed = new Map<string, E>()
  const readers = new Map<string, Array<E>>()
  for (const event of new Map(events.map((event) => [identityOf(event), event])).values()) {
    for (const name of [event.type, ...event.aliases]) {
      const other = claimed.get(name)
      if (other !== undefined) throw new RangeError(`${owner}: ${ambiguous(name, event, other)}`)
      claimed.set(name, event)
    }
    for (const name of Event.storedTypes(event)) readers.set(name, [...(readers.get(name) ?? []), event])
  }
  return readers
}

const ambiguous = (name: string, one: Event.Any, other: Event.Any): string =>
  one.type === name && other.type === name
    ? `two of its events have the type "${name}", and by it alone they are known apart here: give one of them another type, or handle them in two places`
    : `its events "${other.type}" and "${one.type}" both have, or had, the type "${name}": let one of them alone have it in its aliases, or read it by "from"`

/** A filter whose types are those of definitions, or left out, as one of the types that their events are stored under. */
export const widened = <F extends { readonly types?: ReadonlyArray<string> | undefined }>(
  filter: F,
  readers: Event.Readers
): F & { readonly types: ReadonlyArray<string> } => {
  const definitions = [...new Set([...readers.values()].flat())]
  const stored = (type: string) => {
    const definition = definitions.find((definition) => definition.type === type)
    return definition === undefined ? [type] : Event.storedTypes(definition)
  }
  return { ...filter, types: filter.types === undefined ? [...readers.keys()] : [...new Set(filter.types.flatMap(stored))] }
}
