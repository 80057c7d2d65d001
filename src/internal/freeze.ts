/**
 * Values that several folds, deciders, listeners and handlers are handed: whoever changes one in place would change it for all of them.
 * In development that throws a `TypeError`, where it is done; in production (`NODE_ENV`) nothing is frozen, for speed.
 */
const { process } = globalThis as { readonly process?: { readonly env?: { readonly NODE_ENV?: string | undefined } } }
const development = process?.env?.NODE_ENV !== "production"

const frozen = new WeakSet<object>()

/** Plain objects, arrays, maps and sets alone: what else has a class may keep things in itself, as dates do. */
const canBeFrozen = (value: unknown): value is object => {
  if (typeof value !== "object" || value === null) return false
  if (Array.isArray(value)) return true
  const prototype: unknown = Object.getPrototypeOf(value)
  return prototype === Object.prototype || prototype === null || isCollection(value)
}

const isCollection = (value: object): value is Map<unknown, unknown> | Set<unknown> => {
  const prototype: unknown = Object.getPrototypeOf(value)
  return prototype === Map.prototype || prototype === Set.prototype
}

const refuse = {
  value: () => {
    throw new TypeError("This collection is shared and cannot be changed in place: change a copy of it (new Map(…), new Set(…))")
  }
}

/** To freeze a map or a set does not keep what is in it: what would change that is in the way of itself. */
const shield = (collection: Map<unknown, unknown> | Set<unknown>): void => {
  if (!Object.isExtensible(collection)) return
  for (const method of ["set", "add", "delete", "clear"])
    if (method in collection) Object.defineProperty(collection, method, refuse)
}

const freezeDeep = <A>(value: A): A => {
  if (!canBeFrozen(value) || frozen.has(value)) return value
  const waiting: Array<object> = [value]
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    const collection = isCollection(next) ? next : undefined
    if (collection !== undefined) shield(collection)
    frozen.add(Object.freeze(next))
    const parts = collection === undefined ? Object.values(next) : [...collection.keys(), ...collection.values()]
    for (const part of parts) if (canBeFrozen(part) && !frozen.has(part)) waiting.push(part)
  }
  return value
}

/** Freezes a value with all plain objects and arrays in it, and gives it back. What has been frozen once costs nothing. */
export const freeze: <A>(value: A) => A = development ? freezeDeep : (value) => value
