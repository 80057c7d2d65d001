/**
 * How a message gets its place. `publish` locks the one row of `transport_head` until its commit, so publishers take turns and the
 * order of `seq` is that of the commits: whoever has seen a message has seen all before it. Repeated messages leave gaps, which nobody
 * minds.
 */
import type * as PgTypes from "@effect/sql-pg/PgTypes"
import { statement, textArray } from "./statement.ts"

/** A message as it is written. */
export interface Published {
  readonly id: string
  readonly source: string
  readonly tenant: string | undefined
  /** What it is known by where another source, or another tenant, has given its id to another message. */
  readonly key: string
  readonly type: string
  /** JSON text. */
  readonly body: string
}

/** Whether there is a head; without it nothing has been written. And how many were added: not those whose id is there already. */
export const publish = statement(
  `with h as (
    update {transport_head} set seq = seq + cardinality($1::text[]) returning seq - cardinality($1::text[]) as base
  ), i as (
    insert into {message} (seq, id, type, body)
    select h.base + m.n, m.id, m.type, m.body::json
      from h, unnest($1::text[], $2::text[], $3::text[]) with ordinality as m(id, type, body, n)
    on conflict (id) do nothing returning 1
  )
  select (select count(*)::int from h), (select count(*)::int from i),
    (select pg_notify('{channel}message', $4)::text where exists (select from i))`,
  ([row]: ReadonlyArray<readonly [heads: number, added: number]>) => ({ hasHead: row?.[0] === 1, added: row?.[1] ?? 0 })
)

/**
 * Adds what {@link publish} did not add because its id was there, if that is a message of another source or tenant. Ids of one source are far
 * more often repeated than those of two are equal, so this is a statement of its own. It is a later one, which sees what was there.
 */
export const publishOthers = statement(
  `with h as (
    update {transport_head} set seq = seq + cardinality($1::text[]) returning seq - cardinality($1::text[]) as base
  ), i as (
    insert into {message} (seq, id, type, body)
    select h.base + m.n, m.key, m.type, m.body::json
      from h, unnest($1::text[], $2::text[], $3::text[], $5::text[], $6::text[]) with ordinality as m(id, type, body, key, source, n)
     where not exists (select from {message} old where old.id = m.id and strpos(old.body::text, m.source) > 0)
    on conflict (id) do nothing returning 1
  )
  select (select count(*)::int from h), (select pg_notify('{channel}message', $4)::text where exists (select from i))`,
  ([row]: ReadonlyArray<readonly [heads: number]>) => row?.[0] === 1
)

/** The parameters of {@link publish}. `origin` is what its notification says. */
export const encodePublished = (
  messages: ReadonlyArray<Published>,
  origin: string
): ReadonlyArray<PgTypes.Parameter | string> => [
  textArray(messages.map(({ id }) => id)),
  textArray(messages.map(({ type }) => type)),
  textArray(messages.map(({ body }) => body)),
  origin
]

/** The parameters of {@link publishOthers}. */
export const encodeOthers = (messages: ReadonlyArray<Published>, origin: string): ReadonlyArray<PgTypes.Parameter | string> => [
  ...encodePublished(messages, origin),
  textArray(messages.map(({ key }) => key)),
  // As it stands in a document: the operators of `json` fail where a document has an escaped U+0000 anywhere.
  textArray(
    messages.map(
      ({ source, tenant }) =>
        `"source":${JSON.stringify(source)},${tenant === undefined ? `"type":` : `"tenant":${JSON.stringify(tenant)},`}`
    )
  )
]
