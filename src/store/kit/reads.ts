import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import type { RecordedEvent } from "../../definitions/stored.ts"
import type { EventStoreError } from "../errors.ts"
import type { Follow } from "../follow.ts"
import type { Boundary, Page as PageOfAll, Query, StreamInfo } from "../model.ts"
import type { EventStore } from "../service.ts"
import type { Driver } from "./make.ts"
import { type EventPage, isLast, nextPageSize, type Page, paginate, smallestPage } from "./pages.ts"
import { isFoundBy, makeScan, type Scan, type Scanned } from "./scan.ts"
import { makeTail } from "./tail.ts"
import {
  type PreparedBoundaryQuery,
  prepareRead,
  prepareReadAll,
  prepareReadBoundary,
  prepareReadPage,
  prepareStreams
} from "./prepareRead.ts"

/**
 * The pages that a store can fetch: `read`, `readAll`, `readPage`, `subscribe` and `streams` are made out of them.
 *
 * **Details**: nothing is held open between two pages, so a consumer may append while it reads. Each page is asked for as it is needed.
 *
 * @category adapters
 * @since 0.1.0
 */
export interface Pages {
  /** Events of a stream with a version in `[from, to]`, at most `size`, lowest or (backward) highest first. */
  readonly stream: (request: {
    readonly stream: string
    readonly from: number
    readonly to: number
    readonly backward: boolean
    readonly size: number
  }) => Effect.Effect<EventPage, EventStoreError>
  /** The version of the last event of a stream that was recorded by an instant (milliseconds since the epoch), 0 when there is none. */
  readonly versionAt: (stream: string, until: number) => Effect.Effect<number, EventStoreError>
  /** Events with a position in `(after, upTo]` that pass the filter, at most `size`, lowest or (backward) highest first. */
  readonly all: (request: {
    readonly after: number
    readonly upTo: number
    readonly filter: ReadonlyArray<Query>
    readonly backward: boolean
    readonly size: number
  }) => Effect.Effect<EventPage, EventStoreError>
  /**
   * Whether a page of a query is found without looking at what does not pass, because the store has an index for it: then `all` is asked for the
   * whole of what is wanted, and not for some positions at a time. Default: for one tag alone, or nothing.
   */
  readonly isFound?: ((query: Query) => boolean) | undefined
  /**
   * The same page as `all`, where the store can tell that few events may pass, wherever they stand; `undefined` where it cannot. A reader
   * asks this once what it wants is rare. Default: the store cannot.
   */
  readonly few?: ((request: Parameters<Pages["all"]>[0]) => Effect.Effect<EventPage | undefined, EventStoreError>) | undefined
  /** Streams whose name sorts after `after` by code point, at most `size`, in that order. */
  readonly streams: (request: {
    readonly category: string | undefined
    readonly after: string
    readonly size: number
  }) => Effect.Effect<ReadonlyArray<StreamInfo>, EventStoreError>
}

type Store = EventStore["Service"]
type Log = Pick<Driver, "head" | "pages" | "window">
type Fetched<Cursor> = Effect.Effect<Page<RecordedEvent, Cursor>, EventStoreError>

/** Nothing is left. */
const noPage = Effect.succeed({ items: [], bytes: 0, next: undefined })

/** The version of the newest event of a stream, 0 when it does not exist. */
export const newestVersion = (pages: Pages, stream: string): Effect.Effect<number, EventStoreError> =>
  Effect.map(
    pages.stream({ stream, from: 1, to: Number.MAX_SAFE_INTEGER, backward: true, size: 1 }),
    ({ items }) => items[0]?.version ?? 0
  )

export const makeRead =
  (pages: Pages): Store["read"] =>
  (stream, options) => {
    const start = Effect.suspend(() =>
      Effect.flatMap(prepareRead(stream, options), ({ backward, from, limit, to, until }) => {
        // A forward read that takes more than one page is bounded by what stood at its first: its consumer may append.
        const start = { backward, from, to, left: limit, bounded: backward || until !== undefined }
        if (until === undefined) return Effect.succeed(start)
        return Effect.map(pages.versionAt(stream, until), (last) => ({ ...start, to: Math.min(to, last) }))
      })
    )
    return paginate(start, ({ backward, bounded, from, left, to }, size) => {
      const wanted = Math.min(size, left, to - from + 1)
      if (wanted <= 0) return noPage
      return Effect.flatMap(
        pages.stream({ stream, from, to, backward, size: wanted }),
        (page): Fetched<Effect.Success<typeof start>> => {
          const { bytes, items } = page
          const end = items.at(-1)
          const ended =
            end === undefined || isLast(page, wanted) || items.length === left || end.version === (backward ? from : to)
          if (ended) return Effect.succeed({ items, bytes, next: undefined })
          return Effect.map(bounded ? Effect.succeed(to) : newestVersion(pages, stream), (newest) => {
            const bounds = backward ? { from, to: end.version - 1 } : { from: end.version + 1, to: Math.min(to, newest) }
            return { items, bytes, next: { ...bounds, backward, left: left - items.length, bounded: true } }
          })
        }
      )
    })
  }

/** Looks on until something passes the filter, or nothing is left. */
const scanOn = (scan: Scan, request: Parameters<Scan>[0], first = scan): Effect.Effect<Scanned, EventStoreError> =>
  Effect.flatMap(first(request), (scanned) =>
    scanned.items.length > 0 || isLookedThrough(scanned.rest)
      ? Effect.succeed(scanned)
      : scanOn(scan, { ...request, ...scanned.rest })
  )

const isLookedThrough = ({ after, upTo }: Scanned["rest"]): boolean => upTo <= after

export const makeReadAll =
  ({ head, pages, window }: Log): Store["readAll"] =>
  (options) => {
    const start = Effect.suspend(() =>
      Effect.map(prepareReadAll(options), ({ after, backward, filter, limit, upTo }) => ({
        filter,
        backward,
        // As in `makeRead`, a forward read is bounded by what stood at its first page.
        ...(backward ? { after: 0, upTo: after === undefined ? upTo : Math.min(upTo, after - 1) } : { after: after ?? 0, upTo }),
        left: limit,
        bounded: false,
        scan: makeScan(pages, window)
      }))
    )
    /** The first page; what is left of the log is bounded by its end. */
    const first =
      (scan: Scan) =>
      (request: Parameters<Scan>[0]): Effect.Effect<Scanned, EventStoreError> => {
        const { backward, filter, upTo } = request
        if (backward) return Effect.flatMap(head, (head) => scan({ ...request, upTo: Math.min(upTo, head) }))
        const bound = ({ rest, ...page }: Scanned, head: number) => ({ ...page, rest: { ...rest, upTo: Math.min(upTo, head) } })
        if (!isFoundBy(pages, filter)) return Effect.zipWith(scan(request), head, bound, { concurrent: true })
        return Effect.flatMap(scan(request), (scanned) =>
          isLookedThrough(scanned.rest) ? Effect.succeed(scanned) : Effect.map(head, (head) => bound(scanned, head))
        )
      }
    return paginate(start, (cursor, size) => {
      const { after, backward, bounded, filter, left, scan, upTo } = cursor
      const wanted = Math.min(size, left)
      if (wanted <= 0 || upTo <= after) return noPage
      const request = { after, upTo, filter, backward, size: wanted }
      return Effect.map(
        scanOn(scan, request, bounded ? scan : first(scan)),
        ({ bytes, items, rest }): Page<RecordedEvent, typeof cursor> => {
          const ended = items.length === left || isLookedThrough(rest)
          return { items, bytes, next: ended ? undefined : { ...cursor, ...rest, left: left - items.length, bounded: true } }
        }
      )
    })
  }

/** How long one page looks for what passes its filter, in milliseconds. */
const longestLook = 500

export const makeReadPage = ({ head, pages, window }: Log): Store["readPage"] =>
  Effect.fnUntraced(function* (options) {
    const { after, filter, size, upTo } = yield* prepareReadPage(options)
    // The head comes first: what is appended while the page is read lies beyond what the page tells of.
    const newest = yield* head
    const scan = makeScan(pages, window)
    const events: Array<RecordedEvent> = []
    const began = yield* Clock.currentTimeMillis
    let rest = { after, upTo: Math.min(upTo, newest) }
    while (events.length < size && !isLookedThrough(rest)) {
      const looking = scan({ ...rest, filter, backward: false, size: size - events.length })
      // Whoever reads on from here meets the failure again, if it is still there.
      const scanned = yield* rest.after === after ? looking : Effect.orElseSucceed(looking, () => undefined)
      if (scanned === undefined) break
      for (const event of scanned.items) events.push(event)
      rest = scanned.rest
      if ((yield* Clock.currentTimeMillis) - began > longestLook) break
    }
    return { events, position: Math.max(after, rest.after), head: newest }
  })

export const makeReadBoundary = ({ boundary, head, pages, window }: Log & Pick<Driver, "boundary">): Store["readBoundary"] => {
  /** What a driver has not answered is read by pages. */
  const readOn = Effect.fnUntraced(function* (
    { complete, items }: typeof nothingYet,
    { after, filter, newest }: PreparedBoundaryQuery,
    most: number,
    position: number
  ): Effect.fn.Return<Boundary["answers"][number], EventStoreError> {
    const size = newest ? 1 : most
    const events = Array.from(items)
    let rest = { after: events.at(-1)?.position ?? after, upTo: complete ? 0 : position }
    if (events.length < size && !isLookedThrough(rest)) {
      const scan = makeScan(pages, window)
      while (events.length < size && !isLookedThrough(rest)) {
        const scanned = yield* scan({ ...rest, filter, backward: newest, size: size - events.length })
        events.push(...scanned.items)
        rest = scanned.rest
      }
    }
    return { events, complete: newest || isLookedThrough(rest) }
  })
  // The head comes first: what is appended while the answers are read lies beyond it.
  const begin: Exclude<typeof boundary, undefined> =
    boundary ??
    (({ queries, upTo }) =>
      Effect.map(head, (head) => ({ position: Math.min(upTo, head), answers: queries.map(() => nothingYet) })))
  return (queries, options) =>
    Effect.flatMap(prepareReadBoundary(queries, options), (request) =>
      Effect.flatMap(begin(request), ({ answers, position }): Effect.Effect<Boundary, EventStoreError> => {
        const found = request.queries.map((_, index) => answers[index] ?? nothingYet)
        if (found.every(({ complete }) => complete)) {
          return Effect.succeed({ position, answers: found.map(({ items }) => ({ events: items, complete: true })) })
        }
        return Effect.map(
          Effect.forEach(request.queries, (query, index) => readOn(found[index] ?? nothingYet, query, request.size, position)),
          (answers) => ({ position, answers })
        )
      })
    )
}

const nothingYet: EventPage & { readonly complete: boolean } = { items: [], bytes: 0, complete: false }

export const makeFollow = (
  driver: Log & Pick<Driver, "awaitBeyond" | "heard" | "untilAnswered" | "transactionService">
): Follow => {
  const { awaitBeyond, head, untilAnswered = (read) => read } = driver
  const newest = untilAnswered(head)
  const join = makeTail(driver)
  let heard = 0
  const follow: Follow["follow"] = (options) =>
    Stream.unwrap(
      Effect.gen(function* () {
        const { filter } = yield* prepareReadAll({ filter: options.filter, after: options.after === "end" ? 0 : options.after })
        let after = options.after === "end" ? yield* newest : (options.after ?? 0)
        // `upTo` bounds a page, so that what the filter drops is passed over once and not scanned again.
        let upTo = yield* newest
        heard = Math.max(heard, upTo)
        let size = smallestPage
        const reader = yield* join(filter)
        const next: Effect.Effect<readonly [PageOfAll], EventStoreError> = Effect.suspend(() =>
          upTo > after
            ? Effect.flatMap(reader.read({ after, upTo, size }), ({ bytes, items, rest }) => {
                ;({ after, upTo } = rest)
                if (items.length === 0 && (upTo > after || options.tells?.() !== true)) return next
                size = nextPageSize(size, items.length, bytes)
                return Effect.succeed([{ events: items, position: after, head: upTo }])
              })
            : Effect.flatMap(awaitBeyond(after), (known) => {
                upTo = known
                heard = Math.max(heard, known)
                return next
              })
        )
        return Stream.fromPull(Effect.succeed(next))
      })
    )
  return { follow, heard: () => Math.max(heard, driver.heard?.() ?? 0) }
}

export const makeStreams =
  (pages: Pages): Store["streams"] =>
  (options) => {
    const start = Effect.suspend(() =>
      Effect.map(prepareStreams(options), ({ after, category, limit }) => ({ after, category, left: limit }))
    )
    return paginate(start, (cursor, size) => {
      const { after, category, left } = cursor
      const wanted = Math.min(size, left)
      if (wanted <= 0) return noPage
      return Effect.map(pages.streams({ category, after, size: wanted }), (items): Page<StreamInfo, typeof cursor> => {
        const end = items.at(-1)
        const next =
          end === undefined || items.length < wanted ? undefined : { ...cursor, after: end.stream, left: left - items.length }
        return { items, bytes: 0, next }
      })
    })
  }
