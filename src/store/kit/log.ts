import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import { categoryOf } from "../../definitions/stored.ts"
import { byCodePoint } from "../../internal/order.ts"
import type { EventStoreError } from "../errors.ts"
import type { Query, StreamInfo } from "../model.ts"
import type { Standing } from "./decide.ts"
import type { Driver } from "./make.ts"
import { addRow, candidatesOf, makeLookup, newestAmong } from "./newest.ts"
import type { PreparedBoundaryQuery } from "./prepareRead.ts"
import type { EventPage } from "./pages.ts"
import type { Pages } from "./reads.ts"
import { isFound } from "./scan.ts"

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
  readonly type: string
  readonly tags: ReadonlyArray<string>
  /** Milliseconds since the epoch. */
  readonly recordedAt: number
}

/**
 * What `streams` tells of the stream of its newest event.
 *
 * @category adapters
 * @since 0.2.0
 */
export const infoOf = ({
  position,
  recordedAt,
  stream,
  type,
  version
}: Pick<Indexable, "position" | "recordedAt" | "stream" | "type" | "version">): StreamInfo => ({
  stream,
  category: categoryOf(stream),
  version,
  position,
  type,
  recordedAt: DateTime.makeUnsafe(recordedAt)
})

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
 * An empty index. `passes` says whether a row passes a filter: {@link matches} or {@link matchesPrepared}. With `correlationOf`, the correlation
 * id of a row, what bears one is looked up by it.
 *
 * @category adapters
 * @since 0.1.0
 */
export const makeIndex = <Row extends Indexable>(
  passes: (filter: ReadonlyArray<Query>, row: Row) => boolean,
  correlationOf?: (row: Row) => string | undefined
): Index<Row> => {
  const lookup = makeLookup(correlationOf)
  const log = lookup.rows // the event at position p is log[p - 1]
  const byStream = new Map<string, Array<Row>>() // the event at version v is rows[v - 1]
  const byId = new Map<string, Row>()
  const noRows: ReadonlyArray<Row> = []
  let names: ReadonlyArray<string> | undefined // the streams in order, made when asked for

  const newestOf = (stream: string): Row | undefined => byStream.get(stream)?.at(-1)

  return {
    standing: {
      newest: (stream) => newestOf(stream) ?? { version: 0, position: 0 },
      locate: (id) => byId.get(id),
      newestMatch: (filter, after) => newestAmong(lookup, passes, filter, after),
      get head() {
        return log.length
      }
    },
    add: (row) => {
      addRow(lookup, row)
      byId.set(row.id, row)
      const rows = byStream.get(row.stream)
      if (rows === undefined) {
        byStream.set(row.stream, [row])
        names = undefined
      } else rows.push(row)
    },
    stream: ({ backward, from, size, stream, to }) => {
      const rows = byStream.get(stream) ?? noRows
      const last = Math.min(to, rows.length)
      return backward
        ? rows.slice(Math.max(from - 1, last - size), Math.max(from - 1, last)).reverse()
        : rows.slice(from - 1, Math.min(last, from - 1 + size))
    },
    versionAt: (stream, until) => (byStream.get(stream) ?? noRows).findLast((row) => row.recordedAt <= until)?.version ?? 0,
    all: (request) => {
      const { backward, filter, size } = request
      const candidates = filter.map((query) => candidatesOf(lookup, query))
      if (candidates.includes(log)) return pageOf(log, (row) => passes(filter, row), request)
      const [only] = candidates
      if (only !== undefined && candidates.length === 1) return pageOf(only, (row) => passes(filter, row), request)
      const found = new Set<Row>()
      for (const rows of candidates) for (const row of pageOf(rows, (row) => passes(filter, row), request)) found.add(row)
      return Array.from(found)
        .sort((a, b) => (backward ? b.position - a.position : a.position - b.position))
        .slice(0, size)
    },
    streams: ({ after, category, size }) => {
      names ??= Array.from(byStream.keys()).sort(byCodePoint)
      const found: Array<StreamInfo> = []
      for (const stream of names) {
        if (found.length === size) break
        if (byCodePoint(stream, after) <= 0 || (category !== undefined && categoryOf(stream) !== category)) continue
        const newest = newestOf(stream)
        if (newest !== undefined) found.push(infoOf(newest))
      }
      return found
    }
  }
}

/** The first `size` rows with a position in `(after, upTo]` that pass. The rows are in the order of their positions. */
const pageOf = <Row extends Indexable>(
  rows: ReadonlyArray<Row>,
  passes: (row: Row) => boolean,
  { after, backward, size, upTo }: Pick<Parameters<Pages["all"]>[0], "after" | "backward" | "size" | "upTo">
): ReadonlyArray<Row> => {
  const found: Array<Row> = []
  const step = backward ? -1 : 1
  for (let index = backward ? countUpTo(rows, upTo) - 1 : countUpTo(rows, after); found.length < size; index += step) {
    const row = rows[index]
    if (row === undefined || (backward ? row.position <= after : row.position > upTo)) break
    if (passes(row)) found.push(row)
  }
  return found
}

/** How many rows have a position of at most `position`. */
const countUpTo = (rows: ReadonlyArray<Indexable>, position: number): number => {
  let [low, high] = [0, rows.length]
  while (low < high) {
    const middle = (low + high) >> 1
    if ((rows[middle]?.position ?? Infinity) <= position) low = middle + 1
    else high = middle
  }
  return low
}

/**
 * How many positions of the log are looked through at once for a question of `readBoundary` that asks for no tag; what comes behind them is
 * read by pages, between which others come to their turn.
 */
const boundaryWindow = 100_000

/** The rows that begin the answer to a question of `readBoundary`, and whether they are all of it. */
const beginAnswer = <Row extends Indexable>(
  index: Index<Row>,
  { after, filter, newest }: PreparedBoundaryQuery,
  position: number,
  most: number
): { readonly rows: ReadonlyArray<Row>; readonly complete: boolean } => {
  const size = newest ? 1 : most
  const whole = position - after <= boundaryWindow || filter.every((query) => isFound(query) || (query.tags ?? []).length > 0)
  const seen = whole
    ? { after, upTo: position }
    : newest
      ? { after: position - boundaryWindow, upTo: position }
      : { after, upTo: after + boundaryWindow }
  const rows = index.all({ ...seen, filter, backward: newest, size })
  return { rows, complete: whole && rows.length < size }
}

/**
 * The reads of a {@link Driver} whose log is indexed in memory. `load` makes a page of the rows that the index finds, for `read`,
 * `readAll` or `readBoundary`. `refresh` runs before the index is asked; by default it knows all there is.
 *
 * @category adapters
 * @since 0.2.0
 */
export const readsOfIndex = <Row extends Indexable>(
  index: Index<Row>,
  load: (rows: ReadonlyArray<Row>, operation: string) => Effect.Effect<EventPage, EventStoreError>,
  refresh?: Effect.Effect<void, EventStoreError> | undefined
): Required<Pick<Driver, "boundary" | "find" | "head" | "pages" | "version">> => {
  const ask: <A>(answer: () => A) => Effect.Effect<A, EventStoreError> =
    refresh === undefined ? Effect.sync : (answer) => Effect.map(refresh, answer)
  return {
    head: ask(() => index.standing.head),
    version: (stream) => ask(() => index.standing.newest(stream).version),
    find: (id) =>
      Effect.flatMap(
        ask(() => index.standing.locate(id)),
        (row) => (row === undefined ? Effect.undefined : Effect.map(load([row], "find"), ({ items }) => items[0]))
      ),
    boundary: Effect.fnUntraced(function* ({ queries, size, upTo }) {
      const { begun, position } = yield* ask(() => {
        const position = Math.min(upTo, index.standing.head)
        return { position, begun: queries.map((query) => beginAnswer(index, query, position, size)) }
      })
      const answers = yield* Effect.forEach(begun, ({ complete, rows }) =>
        Effect.map(load(rows, "readBoundary"), (page) => ({ ...page, complete: complete && page.isCut !== true }))
      )
      return { position, answers }
    }),
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
