import * as Effect from "effect/Effect"
import { categoryOf } from "../../definitions/stored.ts"
import { byCodePoint } from "../../internal/order.ts"
import type { EventStoreError } from "../errors.ts"
import type { Query, StreamInfo } from "../model.ts"
import type { Standing } from "./decide.ts"
import type { Driver } from "./make.ts"
import type { EventPage, Pages } from "./reads.ts"

/**
 * What {@link makeIndex} must know of an event.
 *
 * @category adapters
 * @since 0.1.0
 */
export interface Indexable {
  readonly stream: string
  readonly version: number
  readonly position: number
  readonly id: string
  readonly tags: ReadonlyArray<string>
  /** Milliseconds since the epoch. */
  readonly recordedAt: number
}

/**
 * A log in memory with all that a store looks up in it: the whole of the memory store, and the index of one that keeps its
 * events elsewhere.
 *
 * **Gotchas**: it grows with the log, by each row that is added and some hundred bytes for it.
 *
 * @category adapters
 * @since 0.1.0
 */
export interface Index<Row extends Indexable> {
  /** What {@link decide} must know; of an event that has an id, as much as a row says. */
  readonly standing: Omit<Standing, "locate"> & { readonly locate: (id: string) => Row | undefined }
  /** Adds the event at the next position. */
  readonly add: (row: Row) => void
  /** The rows of a page of {@link Pages}`.stream`. */
  readonly stream: (request: Parameters<Pages["stream"]>[0]) => ReadonlyArray<Row>
  /** The rows of a page of {@link Pages}`.all`. */
  readonly all: (request: Parameters<Pages["all"]>[0]) => ReadonlyArray<Row>
  /** The version of {@link Pages}`.versionAt`. */
  readonly versionAt: (stream: string, until: number) => number
  /** The streams of a page of {@link Pages}`.streams`. */
  readonly streams: (request: Parameters<Pages["streams"]>[0]) => ReadonlyArray<StreamInfo>
}

/**
 * An empty index. `passes` says whether a row passes a filter: {@link matches} or {@link matchesPrepared}.
 *
 * @category adapters
 * @since 0.1.0
 */
export const makeIndex = <Row extends Indexable>(passes: (filter: ReadonlyArray<Query>, row: Row) => boolean): Index<Row> => {
  const log: Array<Row> = [] // the event at position p is log[p - 1]
  const byStream = new Map<string, Array<Row>>() // the event at version v is rows[v - 1]
  const byId = new Map<string, Row>()
  const byTag = new Map<string, Array<Row>>()
  const noRows: ReadonlyArray<Row> = []
  let names: ReadonlyArray<string> | undefined // the streams in order, made when asked for

  const newest: Standing["newest"] = (stream) => byStream.get(stream)?.at(-1) ?? { version: 0, position: 0 }

  return {
    standing: {
      newest,
      locate: (id) => byId.get(id),
      newestMatch: (filter, after) => {
        let found = after
        for (const query of filter) {
          const candidates = (query.tags ?? []).map((tag) => byTag.get(tag) ?? noRows)
          const rows = candidates.reduce<ReadonlyArray<Row>>((best, rows) => (rows.length < best.length ? rows : best), log)
          found = Math.max(found, rows.findLast((row) => row.position <= found || passes([query], row))?.position ?? 0)
        }
        return found === after ? undefined : found
      },
      get head() {
        return log.length
      }
    },
    add: (row) => {
      log.push(row)
      byId.set(row.id, row)
      const rows = byStream.get(row.stream)
      if (rows === undefined) {
        byStream.set(row.stream, [row])
        names = undefined
      } else rows.push(row)
      for (const tag of row.tags) {
        const tagged = byTag.get(tag)
        if (tagged === undefined) byTag.set(tag, [row])
        else tagged.push(row)
      }
    },
    stream: ({ backward, from, size, stream, to }) => {
      const rows = byStream.get(stream) ?? noRows
      const last = Math.min(to, rows.length)
      return backward
        ? rows.slice(Math.max(from - 1, last - size), Math.max(from - 1, last)).reverse()
        : rows.slice(from - 1, Math.min(last, from - 1 + size))
    },
    versionAt: (stream, until) => (byStream.get(stream) ?? noRows).findLast((row) => row.recordedAt <= until)?.version ?? 0,
    all: ({ after, backward, filter, size, upTo }) => {
      const found: Array<Row> = []
      const last = Math.min(upTo, log.length)
      for (let step = 0; step < last - after && found.length < size; step++) {
        const row = log[backward ? last - 1 - step : after + step]
        if (row !== undefined && passes(filter, row)) found.push(row)
      }
      return found
    },
    streams: ({ after, category, size }) => {
      names ??= Array.from(byStream.keys()).sort(byCodePoint)
      const found: Array<StreamInfo> = []
      for (const stream of names) {
        if (found.length === size) break
        if (byCodePoint(stream, after) <= 0 || (category !== undefined && categoryOf(stream) !== category)) continue
        const { position, version } = newest(stream)
        found.push({ stream, category: categoryOf(stream), version, position })
      }
      return found
    }
  }
}

/**
 * The reads of a {@link Driver} whose log is indexed in memory. `load` makes a page of the rows that the index finds, for `read` or
 * `readAll`. `refresh` runs before the index is asked; by default it knows all there is.
 *
 * @category adapters
 * @since 0.2.0
 */
export const readsOfIndex = <Row extends Indexable>(
  index: Index<Row>,
  load: (rows: ReadonlyArray<Row>, operation: string) => Effect.Effect<EventPage, EventStoreError>,
  refresh?: Effect.Effect<void, EventStoreError> | undefined
): Required<Pick<Driver, "head" | "pages" | "version">> => {
  const ask: <A>(answer: () => A) => Effect.Effect<A, EventStoreError> =
    refresh === undefined ? Effect.sync : (answer) => Effect.map(refresh, answer)
  return {
    head: ask(() => index.standing.head),
    version: (stream) => ask(() => index.standing.newest(stream).version),
    pages: {
      stream: (request) =>
        Effect.flatMap(
          ask(() => index.stream(request)),
          (rows) => load(rows, "read")
        ),
      versionAt: (stream, until) => ask(() => index.versionAt(stream, until)),
      all: (request) =>
        Effect.flatMap(
          ask(() => index.all(request)),
          (rows) => load(rows, "readAll")
        ),
      streams: (request) => ask(() => index.streams(request))
    }
  }
}
