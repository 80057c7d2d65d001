import * as Arr from "effect/Array"
import * as Effect from "effect/Effect"
import type * as Stream from "effect/Stream"
import type { RecordedEvent } from "../../definitions/stored.ts"
import { noMore, streamOfPages } from "../../internal/paging.ts"

/** How many a first page holds. */
export const smallestPage = 64
const largestPage = 1024
/**
 * About how many bytes of payloads and metadata a page holds at most, and one event beyond that: what bounds a reader's memory when events are large.
 *
 * @category adapters
 * @since 0.2.0
 */
export const pageBytes = 4 * 1024 * 1024

/**
 * What a page holds.
 *
 * @category adapters
 * @since 0.1.0
 */
export interface EventPage {
  readonly items: ReadonlyArray<RecordedEvent>
  /** How many bytes their payloads and metadata took: what the size of the next page is reckoned from. */
  readonly bytes: number
  /** Whether it holds fewer than were asked for though there may be more, because these would be more than {@link pageBytes}. Default: no. */
  readonly isCut?: boolean | undefined
}

/** A page that holds fewer than were asked for, and no more of them are there. */
export const isLast = ({ isCut, items }: EventPage, size: number): boolean => items.length < size && isCut !== true

/**
 * As many of what was found as go into one page: no more than {@link pageBytes}, and one beyond that.
 *
 * @category adapters
 * @since 0.2.0
 */
export const cutToPage = <A>(
  found: ReadonlyArray<A>,
  bytesOf: (one: A) => number
): { readonly fitting: ReadonlyArray<A>; readonly bytes: number; readonly isCut: boolean } => {
  let bytes = 0
  let size = 0
  while (size < found.length && bytes < pageBytes) bytes += bytesOf(found[size++] as A)
  return { fitting: size < found.length ? found.slice(0, size) : found, bytes, isCut: size < found.length }
}

/**
 * A page of so many at most that the storage has cut where its payloads and metadata came to {@link pageBytes} as that counts them: three bytes at most
 * for a character, and fewer where it compresses them. It says that it is cut where it may be.
 *
 * @category adapters
 * @since 0.2.0
 */
export const pageCutBelow = <P extends EventPage>(page: P, size: number): P => ({
  ...page,
  isCut: page.items.length < size && page.bytes >= pageBytes / 3
})

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
      const pull = (): Effect.Effect<Arr.NonEmptyReadonlyArray<A> | undefined, E, R> =>
        cursor === undefined
          ? noMore
          : Effect.flatMap(fetch(cursor, size), ({ bytes, items, next }) => {
              size = nextPageSize(size, items.length, bytes)
              cursor = next
              return Arr.isReadonlyArrayNonEmpty(items) ? Effect.succeed(items) : pull()
            })
      return pull
    })
  )
