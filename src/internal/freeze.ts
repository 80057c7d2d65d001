/**
 * Values that several folds, deciders, listeners and handlers are handed: whoever changes one in place would change it for all of them.
 * In development that throws a `TypeError`, where it is done; in production (`NODE_ENV`) nothing is frozen, for speed.
 */
const { process } = globalThis as { readonly process?: { readonly env?: { readonly NODE_ENV?: string | undefined } } }
const development = process?.env?.NODE_ENV !== "production"

const frozen = new WeakSet<object>()

/** Plain objects and arrays alone: what has a class may keep things in itself, as dates do, and no `Map` can be frozen. */
const canBeFrozen = (value: unknown): value is object => {
  if (typeof value !== "object" || value === null) return false
  if (Array.isArray(value)) return true
  const prototype: unknown = Object.getPrototypeOf(value)
  return prototype === Object.prototype || prototype === null
}

const freezeDeep = <A>(value: A): A => {
  if (!canBeFrozen(value) || frozen.has(value)) return value
  const waiting: Array<object> = [value]
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    frozen.add(Object.freeze(next))
    for (const key of Object.keys(next)) {
      const part = (next as Record<string, unknown>)[key]
      if (canBeFrozen(part) && !frozen.has(part)) waiting.push(part)
    }
  }
  return value
}

/** Freezes a value with all plain objects and arrays in it, and gives it back. What has been frozen once costs nothing. */
export const freeze: <A>(value: A) => A = development ? freezeDeep : (value) => value
