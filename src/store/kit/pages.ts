import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"

/** How many a first page holds. */
export const smallestPage = 64
const largestPage = 1024
/** About how many bytes of payload a page may hold: what bounds a reader's memory when events are large. */
export const pageBytes = 4 * 1024 * 1024

/** One page of a longer sequence. */
export interface Page<A, Cursor> {
  readonly items: ReadonlyArray<A>
  /** How many bytes the payloads of `items` took. */
  readonly bytes: number
  /** Where the next page begins, `undefined` when the sequence has ended. */
  readonly next: Cursor | undefined
}

/** The size of the page after one that held `items` things in `bytes` bytes: larger while they are small, smaller when not. */
export const nextPageSize = (size: number, items: number, bytes: number): number => {
  const affordable = items === 0 ? largestPage : Math.max(1, Math.floor(pageBytes / Math.max(1, bytes / items)))
  return Math.min(largestPage, affordable, size * 4)
}

/**
 * A sequence read page by page: no cursor is held open between two pages, and a page is fetched only when its consumer has
 * taken the one before, so memory is bounded by one page whatever the length.
 */
export const paginate = <A, Cursor, E, R>(
  start: Cursor,
  fetch: (cursor: Cursor, size: number) => Effect.Effect<Page<A, Cursor>, E, R>
): Stream.Stream<A, E, R> =>
  Stream.paginate({ cursor: start, size: smallestPage }, ({ cursor, size }) =>
    Effect.map(fetch(cursor, size), ({ bytes, items, next }) => [
      items,
      next === undefined ? Option.none() : Option.some({ cursor: next, size: nextPageSize(size, items.length, bytes) })
    ])
  )
