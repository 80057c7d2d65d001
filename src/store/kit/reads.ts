import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import type { RecordedEvent } from "../../definitions/stored.ts"
import type { EventStoreError } from "../errors.ts"
import type { Query, StreamInfo } from "../model.ts"
import type { EventStore } from "../service.ts"
import { type Page, paginate } from "./pages.ts"
import { prepareRead, prepareReadAll, prepareReadPage, prepareStreams } from "./prepare.ts"

/**
 * Makes `read`, `readAll`, `readPage`, `subscribe` and `streams` of a store out of the pages that it can fetch.
 *
 * @category adapters
 * @since 0.1.0
 */
export interface Pages {
  /** Events of a stream with a version in `[from, to]`, at most `size`. */
  readonly stream: (request: {
    readonly stream: string
    readonly from: number
    readonly to: number
    readonly backward: boolean
    readonly size: number
  }) => Effect.Effect<EventPage, EventStoreError>
  /** The version of the last event of a stream that was recorded by an instant (milliseconds), 0 when there is none. */
  readonly versionAt: (stream: string, until: number) => Effect.Effect<number, EventStoreError>
  /** Events with a position in `(after, upTo]` that pass the filter, at most `size`, lowest or (backward) highest first. */
  readonly all: (request: {
    readonly after: number
    readonly upTo: number
    readonly filter: ReadonlyArray<Query>
    readonly backward: boolean
    readonly size: number
  }) => Effect.Effect<EventPage, EventStoreError>
  /** Streams whose name sorts after `after`, at most `size`. */
  readonly streams: (request: {
    readonly category: string | undefined
    readonly after: string
    readonly size: number
  }) => Effect.Effect<ReadonlyArray<StreamInfo>, EventStoreError>
  readonly head: Effect.Effect<number, EventStoreError>
  /** Succeeds with the newest position known, as soon as one beyond `position` is. */
  readonly awaitBeyond: (position: number) => Effect.Effect<number, EventStoreError>
}

/**
 * @category adapters
 * @since 0.1.0
 */
export interface EventPage {
  readonly items: ReadonlyArray<RecordedEvent>
  /** How many bytes their payloads took: what the size of the next page is reckoned from. */
  readonly bytes: number
}

/**
 * @category adapters
 * @since 0.1.0
 */
export const readsFromPages = (
  pages: Pages
): Pick<EventStore["Service"], "read" | "readAll" | "readPage" | "subscribe" | "streams"> => {
  const read: EventStore["Service"]["read"] = (stream, options) =>
    Stream.unwrap(
      Effect.gen(function* () {
        const { backward, from, limit, to, until } = yield* prepareRead(stream, options)
        const last = until === undefined ? to : Math.min(to, yield* pages.versionAt(stream, until))
        const newest = Effect.map(
          pages.stream({ stream, from: 1, to: Number.MAX_SAFE_INTEGER, backward: true, size: 1 }),
          ({ items }) => items[0]?.version ?? 0
        )
        // A forward read that takes more than one page is bounded by what stood at its first: its consumer may append.
        const start = { from, to: last, left: limit, bounded: backward || until !== undefined }
        return paginate(start, ({ bounded, from, left, to }, size) => {
          const wanted = Math.min(size, left, to - from + 1)
          if (wanted <= 0) return Effect.succeed({ items: [], bytes: 0, next: undefined })
          return Effect.flatMap(pages.stream({ stream, from, to, backward, size: wanted }), ({ bytes, items }) => {
            const end = items.at(-1)
            const ended =
              end === undefined || items.length < wanted || items.length === left || end.version === (backward ? from : to)
            return Effect.map(ended || bounded ? Effect.succeed(to) : newest, (newest): Page<RecordedEvent, typeof start> => {
              if (ended) return { items, bytes, next: undefined }
              const bounds = backward ? { from, to: end.version - 1 } : { from: end.version + 1, to: Math.min(to, newest) }
              return { items, bytes, next: { ...bounds, left: left - items.length, bounded: true } }
            })
          })
        })
      })
    )

  const readAll: EventStore["Service"]["readAll"] = (options) =>
    Stream.unwrap(
      Effect.gen(function* () {
        const { after, backward, filter, limit } = yield* prepareReadAll(options)
        const start = backward
          ? { after: 0, upTo: after === undefined ? Number.MAX_SAFE_INTEGER : after - 1, left: limit, bounded: true }
          : { after: after ?? 0, upTo: Number.MAX_SAFE_INTEGER, left: limit, bounded: false }
        return paginate(start, ({ after, bounded, left, upTo }, size) => {
          const wanted = Math.min(size, left)
          if (wanted <= 0 || upTo <= after) return Effect.succeed({ items: [], bytes: 0, next: undefined })
          return Effect.flatMap(pages.all({ after, upTo, filter, backward, size: wanted }), ({ bytes, items }) => {
            const end = items.at(-1)
            const ended = end === undefined || items.length < wanted || items.length === left
            return Effect.map(ended || bounded ? Effect.succeed(upTo) : pages.head, (upTo): Page<RecordedEvent, typeof start> => {
              if (ended) return { items, bytes, next: undefined }
              const bounds = backward ? { after, upTo: end.position - 1 } : { after: end.position, upTo }
              return { items, bytes, next: { ...bounds, left: left - items.length, bounded: true } }
            })
          })
        })
      })
    )

  const readPage: EventStore["Service"]["readPage"] = Effect.fnUntraced(function* (options) {
    const { after, filter, size, upTo } = yield* prepareReadPage(options)
    // The head comes first: what is appended while the page is read lies beyond what the page tells of.
    const head = yield* pages.head
    const last = Math.min(upTo, head)
    if (last <= after) return { events: [], position: after, head }
    const { items } = yield* pages.all({ after, upTo: last, filter, backward: false, size })
    const newest = items.at(-1)
    return { events: items, position: newest === undefined || items.length < size ? last : newest.position, head }
  })

  const subscribe: EventStore["Service"]["subscribe"] = (options = {}) =>
    Stream.unwrap(
      Effect.gen(function* () {
        const { filter } = yield* prepareReadAll({ filter: options.filter, after: options.after === "end" ? 0 : options.after })
        const after = options.after === "end" ? yield* pages.head : (options.after ?? 0)
        // `upTo` bounds a page, so that what the filter drops is passed over once and not scanned again.
        return paginate({ after, upTo: yield* pages.head }, function loop({ after, upTo }, size): Effect.Effect<
          Page<RecordedEvent, { readonly after: number; readonly upTo: number }>,
          EventStoreError
        > {
          if (upTo <= after) {
            return Effect.flatMap(pages.awaitBeyond(after), (upTo) => loop({ after, upTo }, size))
          }
          return Effect.flatMap(pages.all({ after, upTo, filter, backward: false, size }), ({ bytes, items }) => {
            const end = items.at(-1)
            if (end === undefined) return loop({ after: upTo, upTo }, size)
            return Effect.succeed({ items, bytes, next: { after: items.length < size ? upTo : end.position, upTo } })
          })
        })
      })
    )

  const streams: EventStore["Service"]["streams"] = (options) =>
    Stream.unwrap(
      Effect.map(prepareStreams(options), ({ after, category, limit }) =>
        paginate({ after, left: limit }, ({ after, left }, size) => {
          const wanted = Math.min(size, left)
          if (wanted <= 0) return Effect.succeed({ items: [], bytes: 0, next: undefined })
          return Effect.map(pages.streams({ category, after, size: wanted }), (items) => {
            const end = items.at(-1)
            return {
              items,
              bytes: 0,
              next: end === undefined || items.length < wanted ? undefined : { after: end.stream, left: left - items.length }
            } satisfies Page<StreamInfo, unknown>
          })
        })
      )
    )

  return { read, readAll, readPage, subscribe, streams }
}
