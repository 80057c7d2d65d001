/**
 * How a message gets its place. `publish` locks the one row of `transport_head` until its commit, so publishers take turns and the
 * order of `seq` is that of the commits: whoever has seen a message has seen all before it. Repeated ids leave gaps, which nobody
 * minds.
 */
import type * as PgTypes from "@effect/sql-pg/PgTypes"
import { statement, textArray } from "./statement.ts"

/** A message as it is written. */
export interface Published {
  readonly id: string
  readonly type: string
  /** JSON text. */
  readonly body: string
}

/** Whether there is a head; without it nothing has been written. */
export const publish = statement(
  `with h as (
    update {transport_head} set seq = seq + cardinality($1::text[]) returning seq - cardinality($1::text[]) as base
  ), i as (
    insert into {message} (seq, id, type, body)
    select h.base + m.n, m.id, m.type, m.body::json
      from h, unnest($1::text[], $2::text[], $3::text[]) with ordinality as m(id, type, body, n)
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
