/**
 * How a group gets its messages. It has gone as far as `consumer_group.seq` says. `claim` locks its row, so the members of a group
 * take turns in claiming: first what lies in `delivery` and is due (given back, waited long enough, or its lease has run out),
 * then what comes beyond `seq`, which becomes a `delivery` in the hand of the member. An acknowledgement deletes the delivery. So
 * that table holds what is in hand or waits for another try, and what lies behind `seq` and has a type which no member has asked
 * for (`asked` is false): a member that asks for it later finds it there.
 */
import { byIndex, windowSize } from "./messageTables.ts"
import { statement } from "./statement.ts"

/** Makes the function. */
export const createClaim = `create function {claim}(p_group text, p_types text[], p_count int, p_member text, p_lease float8, p_async boolean)
  returns table (o_seq bigint, o_attempts int, o_body text)
  language plpgsql ${byIndex} as $claim$
  declare
    v_group {consumer_group}%rowtype;
    v_due timestamptz := clock_timestamp() + make_interval(secs => p_lease);
    v_free int := p_count;
    v_newest bigint;
    v_upto bigint;
    v_taken int;
  begin
    if p_async then
      perform set_config('synchronous_commit', 'off', true);
    end if;
    loop
      select * into v_group from {consumer_group} g where g.name = p_group for update;
      exit when found;
      insert into {consumer_group} (name) values (p_group) on conflict do nothing;
    end loop;

    if p_types is null and not v_group.every_type then
      v_group.every_type := true;
      update {consumer_group} g set every_type = true where g.name = p_group;
      update {delivery} d set asked = true where d.consumer_group = p_group and not d.asked;
    elsif not v_group.every_type and not p_types <@ v_group.types then
      v_group.types := array(select unnest(v_group.types) union select unnest(p_types));
      update {consumer_group} g set types = v_group.types where g.name = p_group;
      update {delivery} d set asked = true where d.consumer_group = p_group and not d.asked and d.type = any (p_types);
    end if;

    return query
      with due as (
        select d.seq from {delivery} d
         where d.consumer_group = p_group and d.asked and d.due_at <= clock_timestamp() and (p_types is null or d.type = any (p_types))
         order by d.seq limit v_free for update skip locked
      ), taken as (
        update {delivery} d set attempts = d.attempts + 1, due_at = v_due, member = p_member
          from due where d.consumer_group = p_group and d.seq = due.seq
        returning d.seq, d.attempts
      )
      select m.seq, t.attempts, m.body::text from taken t join {message} m on m.seq = t.seq;
    get diagnostics v_taken = row_count;
    v_free := v_free - v_taken;

    while v_free > 0 loop
      -- What is beyond is left for the next call: only what was committed before this statement is known to be complete.
      select max(m.seq) into v_newest from {message} m;
      exit when v_newest is null or v_newest <= v_group.seq;
      v_newest := least(v_newest, greatest(v_group.seq, (select min(m.seq) from {message} m where m.seq > v_group.seq)) + ${windowSize});
      select count(*), max(w.seq) into v_taken, v_upto from (
        select m.seq from {message} m
         where m.seq > v_group.seq and m.seq <= v_newest and (p_types is null or m.type = any (p_types))
         order by m.seq limit v_free
      ) w;
      if v_taken < v_free then
        v_upto := v_newest;
      end if;
      if p_types is not null then
        insert into {delivery} (consumer_group, seq, type, asked, attempts, due_at)
        select p_group, m.seq, m.type, v_group.every_type or m.type = any (v_group.types), 0, '-infinity'
          from {message} m where m.seq > v_group.seq and m.seq <= v_upto and not m.type = any (p_types);
      end if;
      return query
        with fresh as (
          select m.seq, m.type, m.body from {message} m
           where m.seq > v_group.seq and m.seq <= v_upto and (p_types is null or m.type = any (p_types))
        ), taken as (
          insert into {delivery} (consumer_group, seq, type, asked, attempts, due_at, member)
          select p_group, f.seq, f.type, true, 1, v_due, p_member from fresh f
        )
        select f.seq, 1, f.body::text from fresh f;
      v_group.seq := v_upto;
      v_free := v_free - v_taken;
      update {consumer_group} g set seq = v_upto where g.name = p_group;
    end loop;
  end
  $claim$`

/** What a member gets: the place of the message, how often it has been delivered, and itself as JSON text. */
export interface ClaimedRow {
  readonly seq: number
  readonly attempts: number
  readonly body: string
}

/** Of group, types (or null for all), number, member, lease in seconds, and whether the commit need not be flushed. */
export const claim = statement(
  `select o_seq::float8, o_attempts, o_body from {claim}($1, $2, $3, $4, $5, $6) order by o_seq`,
  (rows: ReadonlyArray<readonly [seq: number, attempts: number, body: string]>): ReadonlyArray<ClaimedRow> =>
    rows.map(([seq, attempts, body]) => ({ seq, attempts, body }))
)
