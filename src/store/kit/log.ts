import { byCodePoint } from "../../internal/order.ts"
import { categoryOf, type Query, type StreamInfo } from "../model.ts"
import type { Standing } from "./decide.ts"
import type { Pages } from "./reads.ts"

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
 * @category adapters
 * @since 0.1.0
 */
export interface Index<Row extends Indexable> {
  readonly standing: Standing
  /** Adds the event at the next position. */
  readonly add: (row: Row) => void
  /** The rows of a page of {@link Pages}`.stream`. */
  readonly stream: (request: Parameters<Pages["stream"]>[0]) => ReadonlyArray<Row>
  /** The rows of a page of {@link Pages}`.all`. */
  readonly all: (request: Parameters<Pages["all"]>[0]) => ReadonlyArray<Row>
  readonly versionAt: (stream: string, until: number) => number
  readonly streams: (request: Parameters<Pages["streams"]>[0]) => ReadonlyArray<StreamInfo>
}

/**
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
        const row = log[backward ? last - 1 - step : after + step] as Row
        if (passes(filter, row)) found.push(row)
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
