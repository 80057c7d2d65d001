/** What becomes of the deliveries of a member that works on, or leaves; and of messages that are too old. */
import { windowSize } from "./messageTables.ts"
import { command, statement } from "./statement.ts"

/** Of group, member, places and lease in seconds. */
export const renew = command(`update {delivery} set due_at = clock_timestamp() + make_interval(secs => $4)
   where consumer_group = $1 and member = $2 and seq = any ($3::bigint[])`)

/** Of group, member and places: those have been claimed and never handed out, which is no delivery. */
export const release = command(`with r as (
    update {delivery} set member = null, due_at = clock_timestamp(), attempts = attempts - (seq = any ($3::bigint[]))::int
     where consumer_group = $1 and asked and member = $2
    returning 1
  )
  select pg_notify('{channel}message', '')::text where exists (select from r)`)

/** Deletes messages older than `$1` seconds that no group waits for, and those older than `$2` in any case: at most a page. How many. */
export const prune = statement(
  `with old as (
    select m.seq from {message} m
     where m.published_at < clock_timestamp() - make_interval(secs => least($1, $2))
       and (
         m.published_at < clock_timestamp() - make_interval(secs => $2)
         or (
           not exists (select from {consumer_group} g where g.seq < m.seq)
           and not exists (select from {delivery} d where d.asked and d.seq = m.seq)
         )
       )
     order by m.seq limit ${windowSize}
  ), deliveries as (
    delete from {delivery} d using old where d.seq = old.seq
  ), orphans as (
    -- Claimed while their messages were deleted by age.
    delete from {delivery} d where d.asked and d.seq < (select min(m.seq) from {message} m)
  ), messages as (
    delete from {message} m using old where m.seq = old.seq returning 1
  )
  select count(*)::int from messages`,
  ([row]: ReadonlyArray<readonly [pruned: number]>) => row?.[0] ?? 0
)
