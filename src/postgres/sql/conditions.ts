/** Append conditions, as they come to the database: what is known of them already, and which of their queries are asked how. */
import type { Query } from "../../store/EventStore.ts"
import type { PreparedAppend } from "../../store/kit/index.ts"
import { arrayLiteral } from "./statement.ts"

/**
 * What is known of an append whose conditions have been looked for in the log, without the lock: what was found stands for ever, and so does
 * what was not, for the log only grows.
 */
interface Known {
  /** Up to this position. */
  readonly upTo: number
  /** Of each condition: its newest match, 0 where there is none. */
  readonly matches: ReadonlyArray<number>
  /** How often the log has been looked through. */
  readonly times: number
  /** Whether the rest is looked through under the lock, however much it is. */
  readonly final: boolean
}

/** An append on its way to the database. */
export interface Attempt extends PreparedAppend {
  readonly known?: Known | undefined
}

/** Whether a query asks for tags and types, and for nothing else. */
export const isTagged = ({ categories, correlationId, published, tags = [] }: Query): boolean =>
  tags.length > 0 && categories === undefined && published === undefined && correlationId === undefined

/** Whether a query is one tag: then the newest match is found at once, wherever it is. */
export const isOneTag = (query: Query): boolean => isTagged(query) && query.tags?.length === 1 && query.types === undefined

/** How many events the queries of one condition may look through under the lock, taken together. */
const mostUnderLock = 1_000

/** How many events each query of a condition may look through under the lock: of those with its tag where it has one, else of all. */
export const mostOf = (filter: ReadonlyArray<Query>): number => {
  const slow = filter.filter((query) => !isOneTag(query)).length
  return slow === 0 ? Number.MAX_SAFE_INTEGER : Math.floor(mostUnderLock / slow)
}

/** What {@link isTagged} queries ask, in SQL: one of the tags, the array of all if there are others, and the types if there are any. */
export const encodeAsk = ({ tags = [], types }: Query) => ({
  tag: tags[0] as string,
  tags: tags.length > 1 ? arrayLiteral(tags) : null,
  types: types === undefined ? null : arrayLiteral(types)
})
