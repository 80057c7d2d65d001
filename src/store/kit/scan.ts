/**
 * Looking through the log for what passes a filter, a window of positions at a time: what little passes must not make one request look
 * through all there is.
 */
import * as Effect from "effect/Effect"
import type { EventStoreError } from "../errors.ts"
import type { Query } from "../model.ts"
import { type EventPage, isLast } from "./pages.ts"
import type { Pages } from "./reads.ts"

/** How many positions the first request looks through, and the least that any does. */
const firstWindow = 10_000
const leastWindow = 100

/** How long a request shall take, in nanoseconds: a window is made larger where it takes less by far, and smaller where it takes more. */
const aim = 50_000_000n

/** Positions in `(after, upTo]`. */
interface Stretch {
  readonly after: number
  readonly upTo: number
}

/** What was found, and the part of the stretch that has not been looked through. */
export interface Scanned extends EventPage {
  readonly rest: Stretch
}

export type Scan = (request: Parameters<Pages["all"]>[0]) => Effect.Effect<Scanned, EventStoreError>

/**
 * Whether a page of a query is found without looking at what does not pass: all of the log, or what has one tag.
 *
 * @category adapters
 * @since 0.2.0
 */
export const isFound = ({ categories, correlationId, published, tags = [], types }: Query): boolean =>
  tags.length <= 1 && types === undefined && categories === undefined && published === undefined && correlationId === undefined

/** The part of a stretch behind a page. */
const restOf = (page: EventPage, { after, backward, size, upTo }: Parameters<Scan>[0], seen: Stretch): Stretch => {
  const end = isLast(page, size) ? undefined : page.items.at(-1)
  if (backward) return { after, upTo: end === undefined ? seen.after : end.position - 1 }
  return { after: end === undefined ? seen.upTo : end.position, upTo }
}

/** What a scan asks a store. */
export type Scannable = Pick<Pages, "all" | "few" | "isFound">

/** Whether a store finds a page of a filter without looking at what does not pass. */
export const isFoundBy = (pages: Pick<Pages, "isFound">, filter: ReadonlyArray<Query>): boolean =>
  filter.every((query) => isFound(query) || pages.isFound?.(query) === true)

/**
 * Makes the requests of one reader. Each asks for one window, whose size comes from how long those before it took; one that failed makes it
 * smaller, so whoever tries again comes through. Where the first window is not enough, the store is asked once whether it knows few events that
 * may pass at all.
 */
export const makeScan = (pages: Scannable, window = firstWindow): Scan => {
  let width = window
  let begun = false
  let few = pages.few
  const whole = (request: Parameters<Scan>[0]) => (page: EventPage) => ({ ...page, rest: restOf(page, request, request) })
  const scan: Scan = (request) => {
    const { after, backward, filter, upTo } = request
    if (isFoundBy(pages, filter)) return Effect.map(pages.all(request), whole(request))
    if (few !== undefined && begun && upTo - after > width) {
      return Effect.flatMap(few(request), (page) => {
        if (page !== undefined) return Effect.succeed(whole(request)(page))
        few = undefined
        return scan(request)
      })
    }
    begun = true
    return Effect.clockWith((clock) => {
      const began = clock.currentTimeNanosUnsafe()
      const seen = backward ? { after: Math.max(after, upTo - width), upTo } : { after, upTo: Math.min(upTo, after + width) }
      return pages.all({ ...request, ...seen }).pipe(
        Effect.tapError(() => Effect.sync(() => void (width = Math.max(leastWindow, Math.floor(width / 8))))),
        Effect.map((page) => {
          const took = clock.currentTimeNanosUnsafe() - began
          if (took > aim * 2n) width = Math.max(leastWindow, Math.floor(width / 2))
          else if (took * 4n < aim && seen.upTo - seen.after === width) width = Math.min(Number.MAX_SAFE_INTEGER, width * 4)
          return { ...page, rest: restOf(page, request, seen) }
        })
      )
    })
  }
  return scan
}

/**
 * The position of the newest event in `(after, upTo]` that passes a filter, 0 where there is none: what a store finds out of a condition
 * without its write lock. It looks through as much at a time as takes some 50 milliseconds, the newest first.
 *
 * @category adapters
 * @since 0.2.0
 */
export const findNewest = (
  pages: Scannable,
  request: { readonly filter: ReadonlyArray<Query>; readonly after: number; readonly upTo: number }
): Effect.Effect<number, EventStoreError> => {
  const scan = makeScan(pages)
  const look = (stretch: Stretch): Effect.Effect<number, EventStoreError> =>
    stretch.upTo <= stretch.after
      ? Effect.succeed(0)
      : Effect.flatMap(scan({ ...stretch, filter: request.filter, backward: true, size: 1 }), ({ items: [found], rest }) =>
          found === undefined ? look(rest) : Effect.succeed(found.position)
        )
  return look(request)
}
