/**
 * What is read of the events, but for `readAll`.
 *
 * How plans are kept good. A plan made while the tables are nearly empty lives on in prepared statements and functions while they
 * grow. The functions therefore plan once, without sequential scans, and events are joined by lateral subqueries with a limit,
 * which can only be index lookups; what reads outside of them is planned again as the log grows (see `store/plans.ts`).
 */
import type { StreamInfo } from "../../store/EventStore.ts"
import { infoOf } from "../../store/kit/index.ts"
import { eventColumns, type EventRow, page, toEventPage } from "./eventPage.ts"
import { statement } from "./statement.ts"

export const head = statement(
  `select {newest_position}()::float8`,
  ([row]: ReadonlyArray<readonly [position: number]>) => row?.[0] ?? 0
)

export const version = statement(
  `select e.version::float8 from {event} e where e.stream = $1 order by e.version desc limit 1`,
  ([row]: ReadonlyArray<readonly [version: number]>) => row?.[0] ?? 0
)

/** Of the newest versions up to one: the newest that was recorded by an instant, 0 when there is none, and the lowest that was looked at. */
export const versionAt = statement(
  `select coalesce(max(l.version) filter (where l.recorded_at <= to_timestamp($2::float8 / 1000.0)), 0)::float8, coalesce(min(l.version), 0)::float8
     from (
       select e.version, e.recorded_at from {event} e
        where e.stream = $1 and e.version <= $3::bigint order by e.version desc limit $4::bigint
     ) l`,
  ([row]: ReadonlyArray<readonly [version: number, lowest: number]>) => ({ version: row?.[0] ?? 0, lowest: row?.[1] ?? 0 })
)

const ofStream = (direction: string) =>
  statement(
    page(
      `select e.* from {event} e where e.stream = $1 and e.version >= $2::bigint and e.version <= $3::bigint order by e.version${direction} limit $4::bigint`,
      `version${direction}`
    ),
    (rows: ReadonlyArray<EventRow>) => toEventPage(rows)
  )

export const find = statement(`select ${eventColumns} from {event} e where e.id = $1`, (rows: ReadonlyArray<EventRow>) =>
  toEventPage(rows)
)

export const readForward = ofStream("")
export const readBackward = ofStream(" desc")

const toStreams = (
  rows: ReadonlyArray<readonly [stream: string, version: number, position: number, type: string, recordedAt: number]>
): ReadonlyArray<StreamInfo> =>
  rows.map(([stream, version, position, type, recordedAt]) =>
    infoOf({ stream, version, position, type, recordedAt: Math.round(recordedAt * 1000) })
  )

/** The newest event of each stream found. */
const newestOfFound = `
  select f.stream, n.version::float8, n.position::float8, n.type, date_part('epoch', n.recorded_at)
    from found f, lateral (select e.version, e.position, e.type, e.recorded_at from {event} e where e.stream = f.stream order by e.version desc limit 1) n
   where f.stream is not null limit $2::bigint`

/** Leaps from name to name through the index, whatever the number of events between. */
export const streams = statement(
  `with recursive found as (
    (select e.stream from {event} e where e.stream > $1 order by e.stream limit 1)
    union all
    select (select e.stream from {event} e where e.stream > f.stream order by e.stream limit 1) from found f where f.stream is not null
  )${newestOfFound}`,
  toStreams
)

/** The names of a category: its own, and what begins with it and "-", which comes right before ".". */
export const streamsOfCategory = statement(
  `with recursive found as (
    (select e.stream from {event} e where e.stream > $1 and (e.stream = $3 or (e.stream >= $3 || '-' and e.stream < $3 || '.')) order by e.stream limit 1)
    union all
    select (
      select e.stream from {event} e where e.stream > f.stream and e.stream >= $3 || '-' and e.stream < $3 || '.' order by e.stream limit 1
    ) from found f where f.stream is not null
  )${newestOfFound}`,
  toStreams
)
