/**
 * What many decisions are made on, in one statement: for each query of tags and types a page of events, and the head, all of one snapshot.
 *
 * What a statement does is bounded, whatever is asked: a query looks at so many events that have its tag, and a page ends where the events of
 * all pages have become large. Where that cuts a page short, the rows say so.
 */
import type { Query } from "../../store/EventStore.ts"
import { encodeAsk, isOneTag } from "./conditions.ts"
import { eventColumnsOf, type EventRow } from "./eventPage.ts"
import { array, statement, textArray } from "./statement.ts"
import * as PgTypes from "@effect/sql-pg/PgTypes"

/** At how many events that have its tag one query looks. */
const mostLooked = 512

/** About how many bytes the events of one statement have; the first of each page comes all the same. */
const mostBytes = 4 * 1024 * 1024

/** One query of a question. */
export interface Ask {
  readonly query: Query
  /** Exclusive. */
  readonly after: number
  /** Inclusive. */
  readonly upTo: number
  /** The most events. */
  readonly size: number
  /** Whether the newest alone is wanted. */
  readonly newest: boolean
}

/**
 * Its number, from 1, a position that has its tag and was not looked at (the next one, where there is any), and an event, if there is one;
 * without its payload where that would have been too much.
 */
type BoundaryRow = readonly [head: number, ask: number | null, beyond: number | null, ...event: EventRow | ReadonlyArray<null>]

/** A row that has an event. */
interface Found {
  readonly position: number
  /** `undefined` where it would have been too much. */
  readonly row: EventRow | undefined
}

/** What was found for one {@link Ask}. */
export interface Page {
  readonly found: ReadonlyArray<Found>
  /** The first position that was not looked at, in the direction of the page. */
  readonly beyond: number | undefined
}

/** What was found for each ask, and the head; `undefined` when there is no head. */
export interface Pages {
  readonly head: number
  readonly pages: ReadonlyMap<number, Page>
}

const toPages = (rows: ReadonlyArray<BoundaryRow>): Pages | undefined => {
  const [first] = rows
  if (first === undefined) return undefined
  const pages = new Map<number, { readonly found: Array<Found>; readonly beyond: number | undefined }>()
  for (const [, ask, beyond, ...event] of rows) {
    if (ask === null) continue
    let page = pages.get(ask)
    if (page === undefined) pages.set(ask, (page = { found: [], beyond: beyond ?? undefined }))
    const [, position, , , , , , , payload] = event
    if (position === null || position === undefined) continue
    page.found.push({ position, row: payload === null ? undefined : (event as unknown as EventRow) })
  }
  return { head: first[0], pages }
}

/** The events that one query finds in one direction. */
const page = (direction: "asc" | "desc", size: string, when: string) => `
  select e.* from (
      select t.position from {tag} t
       where t.tag = a.tag and t.position > a.after and t.position <= a.up_to
       order by t.position ${direction} limit a.look
    ) t
    cross join lateral (
      select e.* from {event} e
       where e.position = t.position
         and (a.types is null or e.type = any (a.types))
         and (a.tags is null or e.tags @> a.tags)
       limit 1
    ) e
   where ${when}
   order by t.position ${direction} limit ${size}`

/** The first position with the tag that a query has not looked at. */
const beyond = (direction: "asc" | "desc") => `
  select t.position from {tag} t
   where t.tag = a.tag and t.position > a.after and t.position <= a.up_to
   order by t.position ${direction} offset a.look limit 1`

/**
 * The arrays of the asks. Each is a query of its own, so that no plan is made for how long it happens to be: one for a single ask would look
 * cheaper than one for any number, and the server would plan the statement anew each time, which takes longer than the reading.
 */
const columnsOfAsks = ["text", "text", "text", "float8", "float8", "int4", "int4", "bool", "bool"]
  .map((type, index) => `(select $${index + 1}::${type}[])`)
  .join(", ")

/** With `offset 0` what an ask says is read out of its text once, and not for every event. */
export const readBoundary = statement(
  `select h.position::float8, a.n::int4, a.beyond::float8, ${eventColumnsOf("a")}
     from (select {newest_position}() as position offset 0) h
     left join (
       select a.n, a.position, a.version, a.recorded_at, a.schema_version, a.published, a.stream, a.id, a.type, a.event_tags as tags,
              case when a.first or a.bytes <= ${mostBytes} then a.payload end as payload,
              case when a.first or a.bytes <= ${mostBytes} then a.metadata end as metadata,
              case
                when not a.first or not a.walks or a.found >= case when a.newest then 1 else a.size end then null
                when a.newest then (${beyond("desc")})
                else (${beyond("asc")})
              end as beyond
         from (
           select a.*, e.position, e.version, e.recorded_at, e.schema_version, e.published, e.stream, e.id, e.type,
                  e.tags as event_tags, e.payload, e.metadata,
                  lag(a.n) over w is distinct from a.n as first,
                  count(e.position) over (partition by a.n) as found,
                  sum(pg_column_size(e.payload) + pg_column_size(e.metadata)) over w as bytes
             from (
               select a.tag, a.tags::text[] as tags, a.types::text[] as types, a.after::bigint as after, a.up_to::bigint as up_to,
                      a.size, a.look, a.newest, a.walks, a.n
                 from unnest(${columnsOfAsks})
                   with ordinality a(tag, tags, types, after, up_to, size, look, newest, walks, n)
               offset 0
             ) a
             left join lateral (
               (${page("asc", "a.size", "not a.newest")})
               union all
               (${page("desc", "1", "a.newest")})
             ) e on true
           window w as (order by a.n, e.position)
         ) a
     ) a on true
    order by a.n, a.position`,
  toPages
)

/** The parameters of {@link readBoundary}. */
export const encodeBoundary = (asks: ReadonlyArray<Ask>): ReadonlyArray<PgTypes.Parameter> => {
  const encoded = asks.map(({ query }) => encodeAsk(query))
  const walks = asks.map(({ query }) => !isOneTag(query))
  const numbers = (oid: number, value: (ask: Ask, index: number) => number) => array(asks.map(value), oid)
  return [
    textArray(encoded.map(({ tag }) => tag)),
    textArray(encoded.map(({ tags }) => tags)),
    textArray(encoded.map(({ types }) => types)),
    numbers(PgTypes.OID.float8, ({ after }) => after),
    numbers(PgTypes.OID.float8, ({ upTo }) => upTo),
    numbers(PgTypes.OID.int4, ({ size }) => size),
    numbers(PgTypes.OID.int4, ({ size }, index) => (walks[index] === true ? Math.max(size, mostLooked) : size)),
    array(
      asks.map(({ newest }) => newest),
      PgTypes.OID.bool
    ),
    array(walks, PgTypes.OID.bool)
  ]
}
