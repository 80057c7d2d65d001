import { randomUUID } from "node:crypto"
import type { Sql } from "../../src/postgres/sql.ts"
import { appendParameters } from "../../src/postgres/sql/append.ts"
import { type Parameter } from "./lab.ts"

/** Part of a request: events for one stream, as JSON text. */
export interface Part {
  readonly stream: string
  /** -1 is any. */
  readonly expected: number
  readonly type: string
  readonly payloads: ReadonlyArray<string>
  /** The id of its one event, which is published then. */
  readonly publishedAs?: string
}

const names = Object.keys(appendParameters) as ReadonlyArray<keyof typeof appendParameters>

/** The parameters of the store's function `append_batch` for a batch of requests, each of one or several parts. */
export const appendCall = (requests: ReadonlyArray<ReadonlyArray<Part>>): ReadonlyArray<Parameter | null> => {
  const streams = new Map<string, number>()
  const values = Object.fromEntries(names.map((name) => [name, []])) as unknown as Record<
    keyof typeof appendParameters,
    Array<string | number | boolean>
  >
  const now = Date.now()
  for (const parts of requests) {
    values.p_request_entries.push(parts.length)
    for (const part of parts) {
      let index = streams.get(part.stream)
      if (index === undefined) streams.set(part.stream, (index = streams.size + 1))
      const entry = values.p_entry_stream.push(index)
      values.p_entry_expected.push(part.expected)
      values.p_entry_count.push(part.payloads.length)
      for (let nth = 0; nth < part.payloads.length; nth++) {
        values.p_event_entry.push(entry)
        values.p_event_nth.push(nth + 1)
        values.p_event_stream.push(part.stream)
        values.p_id.push(part.publishedAs ?? randomUUID())
        values.p_type.push(part.type)
        values.p_schema_version.push(1)
        values.p_published.push(part.publishedAs !== undefined)
        values.p_payload.push(part.payloads[nth] as string)
        values.p_metadata.push("{}")
        values.p_recorded_at.push(now)
      }
    }
  }
  values.p_streams.push(...streams.keys())
  // No tags, no conditions, and ids that stand nowhere yet.
  return names.map((name) => (values[name].length === 0 ? null : { type: appendParameters[name], values: values[name] }))
}

const counterOf = ({ names }: Sql): string => `"${names.schema}".raw_head`

/** The counter row of those who write by themselves. */
export const createCounter = (sql: Sql): ReadonlyArray<string> => [
  `create table ${counterOf(sql)} (position bigint not null) with (fillfactor = 10)`,
  `insert into ${counterOf(sql)} values (0)`
]

/**
 * The least that appends one event safely: a counter row updated, and the event inserted after the newest of its stream. Where
 * another connection was first, a unique constraint refuses it.
 */
export const appendOne = (sql: Sql): string => `
  with head as (update ${counterOf(sql)} set position = position + 1 returning position)
  insert into ${sql.names.event} (position, version, recorded_at, schema_version, published, stream, id, type, tags, payload, metadata)
  select head.position, 1 + coalesce((select e.version from ${sql.names.event} e where e.stream = $1 order by e.version desc limit 1), 0),
         now(), 1, false, $1, $2, $3, '{}', $4::json, '{}'
    from head
  returning version::float8, position::float8`

/** The least that inserts many events: no check of ids or versions, which the caller brings along. */
export const insertMany = (sql: Sql): string => `
  with head as (update ${counterOf(sql)} set position = position + cardinality($1::text[]) returning position - cardinality($1::text[]) as base)
  insert into ${sql.names.event} (position, version, recorded_at, schema_version, published, stream, id, type, tags, payload, metadata)
  select head.base + i.n, i.version, now(), 1, false, i.stream, i.id, i.type, '{}', i.payload::json, '{}'
    from head, unnest($1::text[], $2::int[], $3::text[], $4::text[], $5::text[]) with ordinality i(stream, version, id, type, payload, n)`
