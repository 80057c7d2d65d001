import { textFault } from "../internal/json.ts"

/** The most characters (UTF-16 code units) of the name of a stream, an event's id, a type or a tag; public as `EventStore.limits.nameLength`. */
export const nameLength = 255

/**
 * What is wrong with the name of a stream, an event's id, a type or a tag, as every store sees it: `undefined` where nothing is.
 *
 * @category accessors
 * @since 0.2.0
 */
export const nameFault = (name: string): string | undefined => {
  if (typeof name !== "string") return `must be a string, not ${typeof name}`
  if (name.length === 0) return "must not be empty"
  if (name.length > nameLength) return `has ${name.length} characters, more than ${nameLength}`
  return textFault(name)
}

/**
 * The name of the stream of one thing: `streamName("Account", "42")` is `Account-42`.
 *
 * The category ends at the first `-`, so it must not contain one. Names that begin with `$` belong to eventfold.
 *
 * @category accessors
 * @since 0.1.0
 */
export const streamName = (category: string, id: string): string => `${category}-${id}`
