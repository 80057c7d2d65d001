/**
 * What many decisions are made on, in one statement: for each query of tags and types a page of events, and the head, all of one snapshot.
 *
 * What a statement does is bounded, whatever is asked: a query looks at so many events that have its tag, and a page ends where its
 * events have become large. Where that cuts a page short, its row says so.
 *
 * A page is one row with one text: what a driver takes for a row of a dozen columns, many times over, is more than what it takes to read the
 * event out of JSON.
 */
import type { RecordedEvent } from "../../definitions/stored.ts"
import type { Query } from "../../store/EventStore.ts"
import { encodeAsk, isOneTag } from "./conditions.ts"
import { eventsOfJson, pageJson } from "./eventPage.ts"
import { array, millisTaken, statement, textArray } from "./statement.ts"
import * as PgTypes from "@effect/sql-pg/PgTypes"

/** At how many events that have its tag one query looks. */
const mostLooked = 512

/** About how many bytes the events of one statement have, shared out evenly to its asks; the first of each page comes all the same. */
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
 * The number of an ask, from 1; a position that has its tag and was not looked at (the next one, where there is any); its events as JSON (see
 * `eventPage`), and whether there were more of them, which would have been too much.
 */
type BoundaryRow = readonly [
  head: number,
  ask: number | null,
  beyond: number | null,
  heads: string | null,
  bodies: string | null,
  isCut: boolean | null,
  millis: number
]

/** What was found for one {@link Ask}, by position. */
export interface Page {
  readonly found: ReadonlyArray<RecordedEvent>
  /** Whether more was found, behind it, that would have been too much. */
  readonly isCut: boolean
  /** The first position that was not looked at, in the direction of the page. */
  readonly beyond: number | undefined
}

/** What was found for each ask, still to be read, and the head; `undefined` when there is no head. */
export interface Pages {
  readonly head: number
  /** How many milliseconds the server took. */
  readonly millis: number
  readonly page: (ask: number) => Page
}

/** Where nothing was found, and nothing left out. */
export const noPage: Page = { found: [], isCut: false, beyond: undefined }

const toPages = (rows: ReadonlyArray<BoundaryRow>): Pages | undefined => {
  const [first] = rows
  if (first === undefined) return undefined
  const byAsk: Array<BoundaryRow> = []
  for (const row of rows) if (row[1] !== null) byAsk[row[1]] = row
  return {
    head: first[0],
    millis: Math.max(...rows.map((row) => row[6])),
    page: (ask) => {
      const row = byAsk[ask]
      if (row === undefined) return noPage
      const [, , beyond, heads, bodies, isCut] = row
      return {
        found: heads === null || bodies === null ? [] : eventsOfJson(heads, bodies),
        isCut: isCut === true,
        beyond: beyond ?? undefined
      }
    }
  }
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
const boundary = (found: string, whole: string, next: string) =>
  statement(
    `select h.position::float8, a.n::int4, a.beyond::float8, a.heads, a.bodies, a.is_cut, ${millisTaken}
     from (select {newest_position}() as position offset 0) h
     left join (
       select a.n, e.heads, e.bodies, e.is_cut, case when not a.walks or e.found >= ${whole} then null else ${next} end as beyond
         from (
           select a.tag, a.tags::text[] as tags, a.types::text[] as types, a.after::bigint as after, a.up_to::bigint as up_to,
                  a.size, a.look, a.newest, a.walks, a.n
             from unnest(${columnsOfAsks})
               with ordinality a(tag, tags, types, after, up_to, size, look, newest, walks, n)
           offset 0
         ) a
         cross join lateral (
           ${pageJson(found, "position", "$10::int4")}
         ) e
     ) a on true`,
    toPages
  )

/** Where no ask wants the newest alone: a shorter plan, and to begin with a plan takes as long as to read some events. */
export const readBoundary = boundary(page("asc", "a.size", "true"), "a.size", `(${beyond("asc")})`)

/** Where some do. */
export const readNewest = boundary(
  `(${page("asc", "a.size", "not a.newest")}) union all (${page("desc", "1", "a.newest")})`,
  "case when a.newest then 1 else a.size end",
  `case when a.newest then (${beyond("desc")}) else (${beyond("asc")}) end`
)

/** The parameters of {@link readBoundary} and {@link readNewest}. */
export const encodeBoundary = (asks: ReadonlyArray<Ask>): ReadonlyArray<unknown> => {
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
    array(walks, PgTypes.OID.bool),
    Math.ceil(mostBytes / Math.max(1, asks.length))
  ]
}
