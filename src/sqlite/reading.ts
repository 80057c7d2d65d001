/**
 * How the store reads: pages, the head, and waiting for what other processes commit.
 */
import * as DateTime from "effect/DateTime"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { realSleep } from "../internal/realTime.ts"
import { categoryOf, type EventStoreError } from "../store/EventStore.ts"
import { type Driver, type EventPage, type Pages, parseMetadata, parsePayload } from "../store/kit/index.ts"
import { type Database, rowOf, rowsOf } from "./database.ts"
import { type EventRow, parseTags, type StreamRow } from "./sql.ts"

export const makeReads = (
  database: Database,
  pollInterval: Duration.Input
): Required<Pick<Driver, "awaitBeyond" | "head" | "pages" | "version">> => {
  const { signal, sql } = database
  const head = Effect.map(rowOf<{ head: number }>(database, "head", sql.head), ({ head = 0 }) => head)
  const poll = makePoll(database, head, pollInterval)
  return {
    head,
    pages: makePages(database),
    version: (stream, operation) =>
      Effect.map(rowOf<{ version: number | null }>(database, operation, sql.version, [stream]), ({ version }) => version ?? 0),
    awaitBeyond: (position) => Effect.raceFirst(signal.beyond(position), poll(position))
  }
}

const makePages = (database: Database): Pages => {
  const { sql } = database
  return {
    stream: ({ backward, from, size, stream, to }) =>
      Effect.map(rowsOf<EventRow>(database, "read", sql.stream(backward), [stream, from, to, size]), eventPage),
    versionAt: (stream, until) =>
      Effect.map(rowOf<{ version: number }>(database, "read", sql.versionAt, [stream, until]), ({ version = 0 }) => version),
    all: ({ after, backward, filter, size, upTo }) => {
      if (filter.length === 0) return Effect.succeed({ items: [], bytes: 0 })
      const { params, text } = sql.all(filter, after, upTo, backward, size)
      return Effect.map(rowsOf<EventRow>(database, "readAll", text, params), eventPage)
    },
    streams: ({ after, category, size }) => {
      const { params, text } = sql.streams(category, after, size)
      return Effect.map(rowsOf<StreamRow>(database, "streams", text, params), (rows) =>
        rows.map((row) => ({ ...row, category: categoryOf(row.stream) }))
      )
    }
  }
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
  bytes: rows.reduce((sum, row) => sum + row.payload.length, 0)
})
