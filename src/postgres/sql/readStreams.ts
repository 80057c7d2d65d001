/** The first events of many streams, or those from a version on, in one statement: a page and a row for each, as in `readBoundary`. */
import type { EventPage } from "../../store/kit/index.ts"
import { eventsOfJson, pageJson } from "./eventPage.ts"
import { array, millisTaken, statement, textArray } from "./statement.ts"
import * as PgTypes from "@effect/sql-pg/PgTypes"

/** About how many bytes the events of one statement have, shared out evenly. */
const mostBytes = 4 * 1024 * 1024

/** Events of a stream with a version in `[from, to]`, lowest first, at most `size`. */
export interface StreamAsk {
  readonly stream: string
  readonly from: number
  readonly to: number
  readonly size: number
}

/** A page, and whether there was more of it, which would have been too much. */
export interface StreamPage extends EventPage {
  readonly isCut: boolean
}

type StreamRow = readonly [ask: number, heads: string | null, bodies: string | null, isCut: boolean | null, millis: number]

const empty: StreamPage = { items: [], bytes: 0, isCut: false }

/** The arrays of the asks, each a query of its own: see `readBoundary`. */
const columnsOfAsks = ["text", "float8", "float8", "int4"].map((type, index) => `(select $${index + 1}::${type}[])`).join(", ")

const found = `select e.* from {event} e
   where e.stream = a.stream and e.version >= a.lowest and e.version <= a.highest order by e.version limit a.size`

export const readStreams = statement(
  `select a.n::int4, p.heads, p.bodies, p.is_cut, ${millisTaken}
     from (
       select a.stream, a.lowest::bigint as lowest, a.highest::bigint as highest, a.size, a.n
         from unnest(${columnsOfAsks}) with ordinality a(stream, lowest, highest, size, n)
       offset 0
     ) a
     cross join lateral (${pageJson(found, "version", "$5::int4")}) p`,
  (rows: ReadonlyArray<StreamRow>) => {
    const byAsk: Array<StreamRow> = []
    for (const row of rows) byAsk[row[0]] = row
    return {
      millis: Math.max(...rows.map((row) => row[4])),
      /** What was found for an ask, by its number from 1. */
      page: (ask: number): StreamPage => {
        const [, heads, bodies, isCut] = byAsk[ask] ?? []
        if (heads === undefined || heads === null || bodies === undefined || bodies === null) return empty
        return { items: eventsOfJson(heads, bodies), bytes: bodies.length, isCut: isCut === true }
      }
    }
  }
)

/** The parameters of {@link readStreams}. */
export const encodeStreams = (asks: ReadonlyArray<StreamAsk>): ReadonlyArray<unknown> => {
  const numbers = (oid: number, value: (ask: StreamAsk) => number) => array(asks.map(value), oid)
  return [
    textArray(asks.map(({ stream }) => stream)),
    numbers(PgTypes.OID.float8, ({ from }) => from),
    numbers(PgTypes.OID.float8, ({ to }) => to),
    numbers(PgTypes.OID.int4, ({ size }) => size),
    Math.ceil(mostBytes / Math.max(1, asks.length))
  ]
}
