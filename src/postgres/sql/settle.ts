/** How what a consumer says of its messages is written: acknowledged, or given back. */
import * as PgTypes from "@effect/sql-pg/PgTypes"
import { byIndex } from "./messageTables.ts"
import { array, command, textArray } from "./statement.ts"

/** Makes the function. What another member has got since is let alone. */
export const createSettle = `create function {settle}(p_groups text[], p_seqs float8[], p_attempts int[], p_members text[], p_delays float8[]) returns void
  language plpgsql ${byIndex} as $settle$
  begin
    delete from {delivery} d
     using unnest(p_groups, p_seqs, p_attempts, p_members, p_delays) as s(consumer_group, seq, attempts, member, delay)
     where s.delay is null and d.consumer_group = s.consumer_group and d.seq = s.seq::bigint
       and d.member = s.member and d.attempts = s.attempts;
    if array_remove(p_delays, null) <> '{}' then
      update {delivery} d set member = null, due_at = clock_timestamp() + make_interval(secs => s.delay)
        from unnest(p_groups, p_seqs, p_attempts, p_members, p_delays) as s(consumer_group, seq, attempts, member, delay)
       where s.delay is not null and d.consumer_group = s.consumer_group and d.seq = s.seq::bigint
         and d.member = s.member and d.attempts = s.attempts;
      if 0 = any (p_delays) then
        perform pg_notify('{channel}message', '')::text;
      end if;
    end if;
  end
  $settle$`

export const settle = command(`select {settle}($1, $2, $3, $4, $5)::text`)

/** What is said of a delivery: acknowledged (`delay` is `null`), or given back for so many seconds. */
export interface Settled {
  readonly group: string
  readonly seq: number
  readonly attempts: number
  readonly member: string
  readonly delay: number | null
}

/** The parameters of {@link settle}. */
export const encodeSettled = (settled: ReadonlyArray<Settled>): ReadonlyArray<PgTypes.Parameter> => [
  textArray(settled.map(({ group }) => group)),
  array(
    settled.map(({ seq }) => seq),
    PgTypes.OID.float8
  ),
  array(
    settled.map(({ attempts }) => attempts),
    PgTypes.OID.int4
  ),
  textArray(settled.map(({ member }) => member)),
  array(
    settled.map(({ delay }) => delay),
    PgTypes.OID.float8
  )
]
