/** How the log is looked through: a page at a time, from either end, and for no longer than half a second. */
import * as Clock from "effect/Clock"
import type * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import type { RecordedEvent } from "../../definitions/stored.ts"
import type { EventStore, EventStoreError, Query } from "../../store/EventStore.ts"
import type { Filter } from "../contract/page.ts"

type Store = EventStore["Service"]

/** What was found, and how far the log has been looked through. */
export interface Found {
  readonly events: ReadonlyArray<RecordedEvent>
  /** The position that the look has reached, in its direction. */
  readonly read: number
  /** Whether nothing is left in its direction. */
  readonly ended: boolean
  readonly head: number
}

/** For how long a page looks, in milliseconds. */
const patience = 500

/** How many positions are looked through at once, at first and at most; and at how many what was not found by then is rare. */
const [few, many, rare] = [256, 8192, 4096]

/** How many events a page of the store has at most. */
const most = 512

/** What a store can be asked for; the rest is looked at here. */
export const queryOf = ({ categories, correlationId, published, tags, types }: Filter): Query => ({
  ...(categories && { categories }),
  ...(correlationId !== undefined && { correlationId }),
  ...(published !== undefined && { published }),
  ...(tags && { tags }),
  ...(types && { types })
})

/** Whether the store finds a page by itself, at once: what passes everything, and what has one tag. */
const isAtOnce = (query: Query) => {
  const { tags = [], ...others } = query
  return Object.keys(others).length === 0 && tags.length <= 1
}

/** The position of the newest event that was recorded before an instant, 0 where there is none. Times rise with positions, but for clocks. */
const positionBefore = Effect.fnUntraced(function* (store: Store, instant: number): Effect.fn.Return<number, EventStoreError> {
  let [low, high] = [0, yield* store.head]
  while (low < high) {
    const middle = Math.ceil((low + high) / 2)
    const { events } = yield* store.readPage({ after: middle - 1, upTo: middle, size: 1 })
    const [event] = events
    if (event !== undefined && event.recordedAt.epochMilliseconds < instant) low = middle
    else high = middle - 1
  }
  return low
})

/** Where the log begins and ends for a filter (exclusive, inclusive). */
export const boundsOf = Effect.fnUntraced(function* (
  store: Store,
  { since, until }: Filter
): Effect.fn.Return<{ readonly floor: number; readonly ceiling: number; readonly head: number }, EventStoreError> {
  const head = yield* store.head
  const floor = since === undefined ? 0 : yield* positionBefore(store, since.epochMilliseconds)
  const ceiling = until === undefined ? head : yield* positionBefore(store, until.epochMilliseconds)
  return { floor, ceiling, head }
})

/** Events after a position. */
export const lookForward = Effect.fnUntraced(function* (
  store: Store,
  filter: Filter,
  after: number | undefined,
  limit: number
): Effect.fn.Return<Found, EventStoreError> {
  const { ceiling, floor, head } = yield* boundsOf(store, filter)
  const from = Math.max(after ?? 0, floor)
  if (from >= ceiling) return { events: [], read: from, ended: true, head }
  const page = yield* store.readPage({ after: from, upTo: ceiling, filter: queryOf(filter), size: limit })
  return { events: page.events, read: page.position, ended: page.position >= ceiling, head }
})

/** All that passes in a part of the log. */
const within = Effect.fnUntraced(function* (
  store: Store,
  query: Query,
  after: number,
  upTo: number
): Effect.fn.Return<ReadonlyArray<RecordedEvent>, EventStoreError> {
  const found: Array<RecordedEvent> = []
  for (let at = after; at < upTo;) {
    const { events, position } = yield* store.readPage({ after: at, upTo, filter: query, size: most })
    found.push(...events)
    // A page that has read nothing ends before the head.
    at = position > at ? position : upTo
  }
  return found
})

/** Events before a position, the newest first. */
export const lookBackward = Effect.fnUntraced(function* (
  store: Store,
  filter: Filter,
  before: number | undefined,
  limit: number
): Effect.fn.Return<Found, EventStoreError> {
  const { ceiling, floor, head } = yield* boundsOf(store, filter)
  const query = queryOf(filter)
  const from = Math.min(before ?? Infinity, ceiling + 1)
  if (isAtOnce(query)) {
    const read = store.readAll({ after: from, direction: "backward", limit, filter: query })
    const events = (yield* Stream.runCollect(read)).filter(({ position }) => position > floor)
    const ended = events.length < limit
    return { events, read: ended ? floor + 1 : (events.at(-1)?.position ?? from), ended, head }
  }
  const end = (yield* Clock.currentTimeMillis) + patience
  const events: Array<RecordedEvent> = []
  let high = from - 1
  /** Takes the newest of what was found between a position and the one reached. */
  const take = (found: ReadonlyArray<RecordedEvent>, low: number) => {
    const wanted = found.slice(-(limit - events.length)).reverse()
    events.push(...wanted)
    high = found.length > wanted.length ? (wanted.at(-1)?.position ?? high) - 1 : low
  }
  for (let size = few; high > floor && events.length < limit;) {
    if (size === rare) {
      // It is rare. Where an index finds it, one page has all there is; where none does, a page ends soon.
      const { events: all, position } = yield* store.readPage({ after: floor, upTo: high, filter: query, size: most })
      if (position >= high) {
        take(all, floor)
        break
      }
    }
    const low = Math.max(floor, high - size)
    const found = yield* within(store, query, low, high)
    take(found, low)
    size = found.length > limit ? few : Math.min(size * 2, many)
    if ((yield* Clock.currentTimeMillis) >= end) break
  }
  return { events, read: high + 1, ended: high <= floor, head }
})

/** The newest position that had been recorded at an instant. */
export const positionAt = (store: Store, at: DateTime.Utc) => positionBefore(store, at.epochMilliseconds + 1)
