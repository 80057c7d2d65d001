/** Forgetting a group: what it stands on goes, unless a member has messages in hand. */
import { command, statement } from "./statement.ts"

/** Of a group. Its members take turns with it from then on, until the transaction ends. A row if there is such a group. */
export const lockGroup = command(`select 1 from {consumer_group} where name = $1 for update`)

/** Of a group: what it has not been handed, of the types that it asks for, and what is in hand or waits for another try. */
export const waiting = statement(
  `select (select count(*) from {message} m where m.seq > g.seq and (g.every_type or m.type = any (g.types)))::float8
        + (select count(*) from {delivery} d where d.consumer_group = g.name and d.asked)::float8
     from {consumer_group} g where g.name = $1`,
  ([row]: ReadonlyArray<readonly [waiting: number]>) => row?.[0]
)

/** Of a group that is locked. Whether it was forgotten: not where a member has something in hand. */
export const forget = statement(
  `with busy as (
    select 1 from {delivery} where consumer_group = $1 and asked and member is not null and due_at > clock_timestamp() limit 1
  ), gone as (
    delete from {consumer_group} where name = $1 and not exists (select from busy) returning 1
  ), deliveries as (
    delete from {delivery} where consumer_group = $1 and exists (select from gone)
  )
  select count(*)::int from gone`,
  ([row]: ReadonlyArray<readonly [forgotten: number]>) => row?.[0] === 1
)
