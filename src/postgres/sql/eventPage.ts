/** The columns of an event, and an event as they say it. */
import * as DateTime from "effect/DateTime"
import type { RecordedEvent } from "../../definitions/stored.ts"
import { type EventPage, parseMetadata, parsePayload } from "../../store/kit/index.ts"

/** Of a row of the table of events, in the order of {@link EventRow}. Numbers are exact up to 2^53; JSON comes as text. */
export const eventColumnsOf = (e: string): string =>
  `${e}.version::float8, ${e}.position::float8, ${e}.stream, ${e}.id, ${e}.type, ${e}.schema_version, ${e}.published, ${e}.tags, ${e}.payload::text, ${e}.metadata::text, date_part('epoch', ${e}.recorded_at)`

/** Of a row `e`. */
export const eventColumns = eventColumnsOf("e")

export type EventRow = readonly [
  version: number,
  position: number,
  stream: string,
  id: string,
  type: string,
  schemaVersion: number,
  published: boolean,
  tags: ReadonlyArray<string>,
  /** JSON text. */
  payload: string,
  /** JSON text of an object. */
  metadata: string,
  /** Seconds since the epoch. */
  recordedAt: number
]

const toEvent = (row: EventRow): RecordedEvent => ({
  stream: row[2],
  version: row[0],
  position: row[1],
  id: row[3],
  type: row[4],
  schemaVersion: row[5],
  published: row[6],
  tags: row[7],
  payload: parsePayload(row[8]),
  metadata: parseMetadata(row[9]),
  recordedAt: DateTime.makeUnsafe(Math.round(row[10] * 1000))
})

export const toEventPage = (rows: ReadonlyArray<EventRow>): EventPage => {
  let bytes = 0
  for (const row of rows) bytes += row[8].length
  return { items: rows.map(toEvent), bytes }
}
