import * as Arr from "effect/Array"
import * as Effect from "effect/Effect"
import type * as Stream from "effect/Stream"
import { streamOfPages } from "../../internal/paging.ts"

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
 * A sequence read page by page, from where `start` says: no cursor is held open between two pages, and a page is fetched only when its
 * consumer has taken the one before, so memory is bounded by one page whatever the length.
 */
export const paginate = <A, Cursor, E, R>(
  start: Effect.Effect<Cursor, E, R>,
  fetch: (cursor: Cursor, size: number) => Effect.Effect<Page<A, Cursor>, E, R>
): Stream.Stream<A, E, R> =>
  streamOfPages(
    Effect.map(start, (first) => {
      let cursor: Cursor | undefined = first
      let size = smallestPage
      const next: Effect.Effect<Arr.NonEmptyReadonlyArray<A> | undefined, E, R> = Effect.suspend(() =>
        cursor === undefined
          ? Effect.undefined
          : Effect.flatMap(fetch(cursor, size), ({ bytes, items, next: beyond }) => {
              size = nextPageSize(size, items.length, bytes)
              cursor = beyond
              return Arr.isReadonlyArrayNonEmpty(items) ? Effect.succeed(items) : next
            })
      )
      return next
    })
  )
