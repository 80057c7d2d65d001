/** The columns of an event, and an event as they say it. */
import * as DateTime from "effect/DateTime"
import type { RecordedEvent } from "../../definitions/stored.ts"
import { type EventPage, pageBytes, parseMetadata, parsePayload } from "../../store/kit/index.ts"

/** Of a row `e` of the table of events, in the order of {@link EventRow}. Numbers are exact up to 2^53; JSON comes as text. */
export const eventColumns =
  "e.version::float8, e.position::float8, e.stream, e.id, e.type, e.schema_version, e.published, e.tags, e.payload::text, e.metadata::text, date_part('epoch', e.recorded_at)"

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

/**
 * The page of the events that `found` gives, by an order: as many of the first as have no more in their payloads and metadata than a page may hold, which is told by their
 * sizes, before anything large is read.
 */
export const page = (found: string, order: string): string => `
  select ${eventColumns} from (${cut(found, order)}) e where ${fits} order by e.${order}`

/** Rows `e` of the table of events that come in an order, with the bytes of those `before` each. */
export const cut = (found: string, order: string): string => `
  select e.*, sum(pg_column_size(e.payload) + pg_column_size(e.metadata)) over (order by e.${order} rows between unbounded preceding and 1 preceding) as before from (${found}) e`

/** Whether a row of {@link cut} goes into the page. */
export const fits = `(e.before is null or e.before < ${pageBytes})`

export const toEventPage = (rows: ReadonlyArray<EventRow>): EventPage => {
  let bytes = 0
  for (const row of rows) bytes += row[8].length + row[9].length
  return { items: rows.map(toEvent), bytes }
}

/** Of rows `e` of the table of events, as JSON with commas between them: all but what {@link bodyJson} has, in the order of {@link Head}. */
const headJson =
  "format('[%s,%s,%s,%s,%s,%s,%s,%s,%s]', e.version, e.position, to_json(e.stream), to_json(e.id), to_json(e.type), e.schema_version, e.published::text, to_json(e.tags), floor(date_part('epoch', e.recorded_at) * 1000 + 0.5)::bigint)"

/** The payload and the metadata: by themselves, for they alone may have numbers that no double holds, which takes looking for. */
const bodyJson = "format('%s,%s', e.payload, e.metadata)"

/**
 * Of rows `e` of the table of events, which come in an order, as one row: their JSON, without those that would have been too much, whether there were such,
 * and how many there were in all. What is too much is told by sizes, before anything large is read; the first comes all the same.
 */
export const pageJson = (found: string, order: "position" | "version", mostBytes: string): string => `
  select string_agg(${headJson}, ',') filter (where e.before is null or e.before < ${mostBytes}) as heads,
         string_agg(${bodyJson}, ',') filter (where e.before is null or e.before < ${mostBytes}) as bodies,
         bool_or(e.before >= ${mostBytes}) as is_cut, count(*) as found
    from (
      select e.*, sum(pg_column_size(e.payload) + pg_column_size(e.metadata))
                    over (order by e.${order} rows between unbounded preceding and 1 preceding) as before
        from (${found}) e
    ) e`

type Head = readonly [
  version: number,
  position: number,
  stream: string,
  id: string,
  type: string,
  schemaVersion: number,
  published: boolean,
  tags: ReadonlyArray<string>,
  /** Milliseconds since the epoch. */
  recordedAt: number
]

/** The events of what {@link headJson} and {@link bodyJson} say. */
export const eventsOfJson = (heads: string, bodies: string): ReadonlyArray<RecordedEvent> => {
  const all = JSON.parse(`[${heads}]`) as ReadonlyArray<Head>
  const values = parsePayload(`[${bodies}]`) as ReadonlyArray<unknown>
  return all.map((head, index) => ({
    stream: head[2],
    version: head[0],
    position: head[1],
    id: head[3],
    type: head[4],
    schemaVersion: head[5],
    published: head[6],
    tags: head[7],
    payload: values[2 * index] as RecordedEvent["payload"],
    metadata: values[2 * index + 1] as RecordedEvent["metadata"],
    recordedAt: DateTime.makeUnsafe(head[8])
  }))
}
