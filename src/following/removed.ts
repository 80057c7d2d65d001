/** Whether what a follower wants was removed from the log before it could see it. */
import * as Effect from "effect/Effect"
import { categoryOf, type RecordedEvent } from "../definitions/stored.ts"
import type { EventStoreError, Filter, Query } from "../store/EventStore.ts"
import { isTombstone, removedError, toldBy, tombstoneType } from "../store/tombstone.ts"
import type { Log } from "./progress.ts"

const isMany = (filter: Filter): filter is ReadonlyArray<Query> => Array.isArray(filter)

const queriesOf = (filter: Filter): ReadonlyArray<Query> => (isMany(filter) ? filter : [filter])

/**
 * Whether a query may have let through what a tombstone stands for: its tags and metadata are gone, so those are not asked about. Of what
 * eventfold itself writes, only what a query names is missed.
 */
const mayMiss =
  (stream: string, type: string) =>
  ({ categories, types }: Query): boolean =>
    (types === undefined ? !type.startsWith("$") : types.includes(type)) &&
    (categories === undefined || categories.includes(categoryOf(stream)))

const isMissed = (filter: Filter | undefined, event: RecordedEvent): boolean => {
  const missed = mayMiss(event.stream, toldBy(event).type)
  const queries = filter === undefined ? [] : queriesOf(filter)
  return filter === undefined ? missed({}) : queries.some(missed)
}

/** The tombstones among which those are that a filter may miss something of. */
const tombstonesOf = (filter: Filter | undefined): Query => {
  const queries = filter === undefined ? [] : queriesOf(filter)
  return queries.length > 0 && queries.every(({ categories }) => categories !== undefined)
    ? { types: [tombstoneType], categories: Array.from(new Set(queries.flatMap(({ categories = [] }) => categories))) }
    : { types: [tombstoneType] }
}

/** What a follower of the log that begins behind a position may miss up to another: the first of it, as an error that names it. */
export const missedBetween = Effect.fnUntraced(function* (
  { filter, isOwn, store }: Pick<Log, "filter" | "isOwn" | "store">,
  position: number,
  upTo: number,
  /** What it has, though it was removed meanwhile. */
  has: (position: number) => boolean
): Effect.fn.Return<EventStoreError | undefined, EventStoreError> {
  const { maintenance } = store
  if (maintenance === undefined || position >= upTo) return undefined
  // Where nothing was removed, and nobody else has to look, the log is not looked through.
  const newest = Math.min(upTo, yield* maintenance.newestTombstone)
  const tombstones = tombstonesOf(filter)
  let after = position
  while (after < newest) {
    const page = yield* store.readPage({ after, upTo: newest, filter: tombstones })
    const missed = page.events.find(
      (event) => isTombstone(event) && !has(event.position) && (isOwn?.(event) ?? true) && isMissed(filter, event)
    )
    if (missed !== undefined)
      return removedError("follow", missed, `, and it is beyond the checkpoint: \`removed: "skip"\` goes on without it`)
    if (page.position <= after) return undefined
    after = page.position
  }
  return undefined
})

/** What a follower of the log that begins behind a position may miss: the first of it, as an error that names it. */
export const missedBeyond = (
  log: Pick<Log, "filter" | "isOwn" | "store">,
  position: number
): Effect.Effect<EventStoreError | undefined, EventStoreError> =>
  missedBetween(log, position, Number.MAX_SAFE_INTEGER, () => false)
