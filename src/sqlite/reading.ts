/**
 * How the store reads: pages, the head, and waiting for what other processes commit.
 */
import * as DateTime from "effect/DateTime"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { realSleep } from "../internal/realTime.ts"
import type { EventStoreError } from "../store/EventStore.ts"
import {
  type Driver,
  type EventPage,
  infoOf,
  isFound,
  pageCutBelow,
  type Pages,
  parseMetadata,
  parsePayload
} from "../store/kit/index.ts"
import { askedParam } from "./asking.ts"
import { type Database, rowOf, rowsOf } from "./database.ts"
import { type BoundaryRow, type EventRow, parseTags, type StreamRow } from "./sql.ts"

export const makeReads = (
  database: Database,
  pollInterval: Duration.Input
): Required<Pick<Driver, "awaitBeyond" | "boundary" | "find" | "head" | "heard" | "pages" | "version">> => {
  const { signal, sql } = database
  const head = Effect.map(rowOf<{ head: number }>(database, "head", sql.head), ({ head = 0 }) => head)
  const poll = makePoll(database, head, pollInterval)
  return {
    head,
    pages: makePages(database),
    boundary: makeBoundary(database),
    version: (stream, operation) =>
      Effect.map(rowOf<{ version: number | null }>(database, operation, sql.version, [stream]), ({ version }) => version ?? 0),
    find: (id) => Effect.map(rowsOf<EventRow>(database, "find", sql.find, [id]), (rows) => eventPage(rows).items[0]),
    awaitBeyond: (position) => Effect.raceFirst(signal.beyond(position), poll(position)),
    heard: signal.position
  }
}

const pageOf = (size: number) => (rows: ReadonlyArray<EventRow>) => pageCutBelow(eventPage(rows), size)

const makePages = (database: Database): Pages => {
  const { sql } = database
  return {
    stream: ({ backward, from, size, stream, to }) =>
      Effect.map(rowsOf<EventRow>(database, "read", sql.stream(backward), [stream, from, to, size]), pageOf(size)),
    versionAt: (stream, until) =>
      Effect.map(rowOf<{ version: number }>(database, "read", sql.versionAt, [stream, until]), ({ version = 0 }) => version),
    all: ({ after, backward, filter, size, upTo }) => {
      if (filter.length === 0) return Effect.succeed({ items: [], bytes: 0 })
      const { params, text } = sql.all(filter, after, upTo, backward, size)
      return Effect.map(rowsOf<EventRow>(database, "readAll", text, params), pageOf(size))
    },
    streams: ({ after, category, size }) => {
      const { params, text } = sql.streams(category, after, size)
      return Effect.map(rowsOf<StreamRow>(database, "streams", text, params), (rows) =>
        rows.map(({ recorded_at, ...row }) => infoOf({ ...row, recordedAt: recorded_at }))
      )
    }
  }
}

/**
 * How many positions of the log one statement looks through for a question whose answer cannot be told by an index: no other thread does its
 * work. What comes behind them is read by pages.
 */
const boundaryWindow = 100_000

/** All questions in one statement: one state of the database, whoever writes to it. */
const makeBoundary =
  (database: Database): Exclude<Driver["boundary"], undefined> =>
  ({ queries, size, upTo }) => {
    const windows = queries.map(({ filter }) => (filter.every(isFound) ? undefined : boundaryWindow))
    const asked = queries.flatMap(({ after, filter, newest }, question) =>
      database.sql.singly(filter).map((query) => ({ question, query, after, newest, window: windows[question] }))
    )
    const params = [askedParam(asked), size, upTo]
    return Effect.map(rowsOf<BoundaryRow>(database, "readBoundary", database.sql.boundary, params), (rows) => {
      const found = queries.map(() => new Map<number, EventRow>())
      let position = 0
      for (const row of rows) {
        if (row.query === null) position = row.position
        else found[asked[row.query]?.question ?? 0]?.set(row.position, row)
      }
      const answers = queries.map(({ after, newest }, question) => {
        const inOrder = Array.from(found[question]?.values() ?? []).sort((a, b) => a.position - b.position)
        const complete = inOrder.length < (newest ? 1 : size) && position - after <= (windows[question] ?? Infinity)
        return { ...eventPage(newest ? inOrder.slice(-1) : inOrder.slice(0, size)), complete }
      })
      return { position, answers }
    })
  }

/** Asks whether another connection has committed, until one has gone beyond a position. */
const makePoll = (database: Database, head: Effect.Effect<number, EventStoreError>, pollInterval: Duration.Input) => {
  const { signal, sql } = database
  let seenDataVersion: number | undefined
  return Effect.fnUntraced(function* (position: number): Effect.fn.Return<number, EventStoreError> {
    while (signal.position() <= position) {
      const { data_version } = yield* rowOf<{ data_version: number }>(database, "subscribe", sql.dataVersion)
      if (data_version !== seenDataVersion) {
        signal.notify(yield* head)
        seenDataVersion = data_version
      } else {
        yield* realSleep(pollInterval)
      }
    }
    return signal.position()
  })
}

const eventPage = (rows: ReadonlyArray<EventRow>): EventPage => ({
  items: rows.map((row) => ({
    stream: row.stream,
    version: row.version,
    position: row.position,
    id: row.id,
    type: row.type,
    schemaVersion: row.schema_version,
    published: row.published === 1,
    tags: parseTags(row.tags),
    payload: parsePayload(row.payload),
    metadata: parseMetadata(row.metadata),
    recordedAt: DateTime.makeUnsafe(row.recorded_at)
  })),
  bytes: rows.reduce((sum, row) => sum + row.payload.length + row.metadata.length, 0)
})
