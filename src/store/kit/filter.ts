import { categoryOf, type Metadata } from "../../definitions/stored.ts"
import type { Filter, Query } from "../model.ts"
import { queriesOf } from "./checks.ts"
import { noMetadata } from "./prepare.ts"
import { parseMetadata } from "./recorded.ts"

/**
 * What a filter looks at.
 *
 * @category adapters
 * @since 0.1.0
 */
export interface Matchable {
  readonly stream: string
  readonly type: string
  readonly tags: ReadonlyArray<string>
  readonly published: boolean
  readonly metadata: Metadata
}

/**
 * Whether an event passes a filter: the meaning that every store gives it.
 *
 * @category adapters
 * @since 0.1.0
 */
export const matches = (filter: Filter, event: Matchable): boolean =>
  queriesOf(filter).some((query) => matchesQuery(query, event))

const matchesQuery = (query: Query, event: Matchable): boolean =>
  (query.types === undefined || query.types.includes(event.type)) &&
  (query.categories === undefined || query.categories.includes(categoryOf(event.stream))) &&
  (query.published === undefined || query.published === event.published) &&
  (query.tags === undefined || query.tags.every((tag) => event.tags.includes(tag))) &&
  (query.correlationId === undefined || query.correlationId === event.metadata.correlationId)

/**
 * {@link matches} for an event whose metadata is JSON text, parsed only where a query asks for what is in it.
 *
 * @category adapters
 * @since 0.1.0
 */
export const matchesPrepared = (
  filter: ReadonlyArray<Query>,
  event: Omit<Matchable, "metadata"> & { readonly metadata: string }
): boolean => {
  const correlated = filter.some((query) => query.correlationId !== undefined)
  return matches(filter, { ...event, metadata: correlated ? parseMetadata(event.metadata) : noMetadata })
}
