/**
 * One event of one stream in one statement: what most appends are. It takes the same lock as `append`, but decides on a snapshot from
 * before it, so every doubt is an error that changes nothing (a unique violation, or a division by zero where the expected version
 * does not stand), and `append` is asked instead.
 */
import * as PgTypes from "@effect/sql-pg/PgTypes"
import type { SqlError } from "effect/sql/SqlError"
import { codeOf, isUniqueViolation } from "../../sql/errors.ts"
import type { PreparedAppend } from "../../store/kit/index.ts"
import { expectedNumber } from "./append.ts"
import { statement } from "./statement.ts"

type PlaceRow = readonly [position: number, version: number]

/** Where the event stands; `undefined` when there is no head. */
export const appendOne = statement(
  `with h as (
    update {head} set position = position + 1 returning position
  ), i as (
    insert into {event} (position, version, recorded_at, schema_version, published, stream, id, type, tags, payload, metadata)
    select h.position,
           1 + case
             when $2::bigint < 0 then coalesce((select e.version from {event} e where e.stream = $1 order by e.version desc limit 1), 0)
             when $2::bigint = 0 then 0
             else $2::bigint / (exists (select from {event} e where e.stream = $1 and e.version = $2::bigint))::int
           end,
           to_timestamp($3::float8 / 1000.0), $4::int, $5::boolean, $1, $6, $7, '{}', $8::json, $9::json
      from h
    returning position, version
  )
  select i.position::float8, i.version::float8, pg_notify('{channel}head', i.position::text)::text from i`,
  ([row]: ReadonlyArray<PlaceRow>) => (row === undefined ? undefined : { position: row[0], version: row[1] })
)

/** An append that {@link appendOne} is for: its stream, and the parameters. */
export interface One {
  readonly stream: string
  readonly parameters: ReadonlyArray<unknown>
}

/** One event without tags, for one stream, at a version or at any, without a condition; `undefined` for everything else. */
export const encodeAppendOne = ({ appends, count, unless }: PreparedAppend): One | undefined => {
  const [part] = appends
  const event = part?.events[0]
  if (part === undefined || event === undefined || count !== 1 || appends.length !== 1 || unless.length > 0) return undefined
  const expected = expectedNumber(part.expected)
  if (expected < -1 || event.tags.length > 0) return undefined
  const { id, metadata, payload, published, recordedAt, schemaVersion, type } = event
  return {
    stream: part.stream,
    parameters: [part.stream, String(expected), PgTypes.float8(recordedAt), schemaVersion, published, id, type, payload, metadata]
  }
}

const divisionByZero = "22012"

/** Whether {@link appendOne} had a doubt, and nothing was written. */
export const isDoubt = (error: SqlError): boolean => isUniqueViolation(error) || codeOf(error) === divisionByZero
