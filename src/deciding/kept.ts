import { timesForgotten } from "../internal/forgetting.ts"
import type { EventStore } from "../store/EventStore.ts"

/** Values in memory that belong to a definition and a name in a store: those that were kept last, and no more than there is room for. */
export interface KeptValues<V> {
  readonly get: (store: EventStore["Service"], definition: object, name: string) => V | undefined
  /** Keeps a value, in place of what is kept under that name. */
  readonly set: (store: EventStore["Service"], definition: object, name: string, value: V) => void
  /** Forgets all. */
  readonly clear: () => void
}

let numbered = 0
const numbers = new WeakMap<object, number>()

/** Tells stores and definitions apart within a key, and keeps none of them alive. */
const numberOf = (one: object): number => {
  const known = numbers.get(one) ?? ++numbered
  numbers.set(one, known)
  return known
}

/** Throws a `RangeError`, in the name of the `owner`, where there is no room for anything. */
export const makeKeptValues = <V>(owner: string, capacity: number): KeptValues<V> => {
  if (!(capacity >= 1)) throw new RangeError(`${owner}: the capacity of a cache must be a number from 1, not ${capacity}`)
  // What was kept last stands at the end.
  const values = new Map<string, V>()
  let forgotten = timesForgotten()
  const keyOf = (store: object, definition: object, name: string) => `${numberOf(store)} ${numberOf(definition)} ${name}`
  const forget = () => {
    if (forgotten !== timesForgotten()) values.clear()
    forgotten = timesForgotten()
  }
  return {
    get: (store, definition, name) => {
      forget()
      return values.get(keyOf(store, definition, name))
    },
    set: (store, definition, name, value) => {
      forget()
      const key = keyOf(store, definition, name)
      values.delete(key)
      values.set(key, value)
      const [oldest] = values.keys()
      if (values.size > capacity && oldest !== undefined) values.delete(oldest)
    },
    clear: () => values.clear()
  }
}
