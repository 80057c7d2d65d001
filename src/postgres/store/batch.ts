/** Which of the waiting appends may go into one statement. */
import { categoryOf, type Query } from "../../store/EventStore.ts"
import type { PreparedAppend } from "../../store/kit/index.ts"

/** A batch of more bytes than this is not made larger. */
const maxBatchBytes = 4 * 1024 * 1024

/** What stands in the appends of a batch. */
interface Seen {
  readonly ids: Set<string>
  readonly categories: Set<string>
  readonly types: Set<string>
  readonly tags: Set<string>
}

const couldMatch = (query: Query, seen: Seen): boolean =>
  (query.tags === undefined || query.tags.every((tag) => seen.tags.has(tag))) &&
  (query.types === undefined || query.types.some((type) => seen.types.has(type))) &&
  (query.categories === undefined || query.categories.some((category) => seen.categories.has(category)))

/** Whether all ids of the append are new to the batch. What conditions ask of is noted where there are any. */
const add = ({ appends }: PreparedAppend, seen: Seen, conditional: boolean): boolean => {
  const before = seen.ids.size
  let count = 0
  for (const { events, stream } of appends) {
    if (conditional && events.length > 0) seen.categories.add(categoryOf(stream))
    for (const { id, tags, type } of events) {
      count++
      seen.ids.add(id)
      if (conditional) {
        seen.types.add(type)
        for (const tag of tags) seen.tags.add(tag)
      }
    }
  }
  return seen.ids.size - before === count
}

/**
 * How many of the waiting appends may go into one statement: the oldest, as long as no id comes twice, and no append condition
 * could match an event of the same batch (the database checks it against what stood before).
 */
export const takeBatch = (waiting: ReadonlyArray<{ readonly request: PreparedAppend }>, most: number): number => {
  const seen: Seen = { ids: new Set(), categories: new Set(), types: new Set(), tags: new Set() }
  const conditional = waiting.some(({ request }) => request.unless.length > 0)
  let bytes = 0
  let size = 0
  for (const { request } of waiting) {
    if (size > 0) {
      if (size >= most || bytes + request.bytes > maxBatchBytes) break
      if (request.unless.some(({ filter }) => filter.some((query) => couldMatch(query, seen)))) break
    }
    if (!add(request, seen, conditional) && size > 0) break
    bytes += request.bytes
    size++
  }
  return size
}
