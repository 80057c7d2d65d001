/**
 * Which definitions of events belong to which aggregates: so that an event of one is not handed to a handler of another's, where
 * both call it alike.
 */
import type * as Event from "./Event.ts"
import { categoryOf } from "./stored.ts"

/** By category and type: the definitions that aggregates of this program list. */
const byCategory = new Map<string, Map<string, WeakSet<Event.Any>>>()
/** The definitions that any aggregate lists. */
const ofAggregates = new WeakSet<Event.Any>()

/** Notes what an aggregate lists. Two of one name (an old and a new one in a test, say) both count. */
export const list = (category: string, definitions: Iterable<Event.Any>): void => {
  const byType = byCategory.get(category) ?? new Map<string, WeakSet<Event.Any>>()
  byCategory.set(category, byType)
  for (const definition of definitions) {
    const listed = byType.get(definition.type) ?? new WeakSet()
    byType.set(definition.type, listed.add(definition))
    ofAggregates.add(definition)
  }
}

/**
 * Whether an event of the definition's type, in this stream, may be one of the definition. It is not when they are of different
 * aggregates: one lists the definition, and that of the stream lists another one of the same type.
 */
export const mayBeOf = (definition: Event.Any, stream: string): boolean => {
  const listed = byCategory.get(categoryOf(stream))?.get(definition.type)
  return listed === undefined || listed.has(definition) || !ofAggregates.has(definition)
}

/** The definitions of an aggregate, by type. Throws a `RangeError` where its name or they cannot be those of one. */
export const definitionsOfAggregate = <E extends Event.Any>(name: string, events: ReadonlyArray<E>): ReadonlyMap<string, E> => {
  if (name.length === 0 || name.includes("-") || name.startsWith("$")) {
    throw new RangeError(`Aggregate "${name}": a name must not be empty, contain "-" or begin with "$"`)
  }
  const definitions = new Map<string, E>()
  for (const event of events) {
    if (definitions.has(event.type)) throw new RangeError(`Aggregate "${name}": the event type "${event.type}" is listed twice`)
    definitions.set(event.type, event)
  }
  return definitions
}

/** Definitions by type. Throws a `RangeError` where two of them are of one type: nobody could tell whose an event is. */
export const definitionsByType = <E extends Event.Any>(owner: string, events: ReadonlyArray<E>): ReadonlyMap<string, E> => {
  const definitions = new Map<string, E>()
  for (const event of events) {
    const other = definitions.get(event.type)
    if (other !== undefined && other !== event) {
      throw new RangeError(
        `${owner}: two of its events have the type "${event.type}", and by it alone they are known apart here: give one of them another type, or handle them in two places`
      )
    }
    definitions.set(event.type, event)
  }
  return definitions
}
