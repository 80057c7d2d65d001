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

/** What a member gets of a message: its place, how often it has been delivered, its size, and as far as there is room for it, itself. */
export interface ClaimedRow {
  readonly seq: number
  readonly attempts: number
  readonly bytes: number
  /** JSON text. `null` where there was no room for it: it is asked for later. Of what is too large its beginning. */
  readonly body: string | null
}

/** So many characters are read of a message that is too large. */
const beginning = 1000

/**
 * Of group, types (or null for all), number, member, lease in seconds, whether the commit need not be flushed, how many bytes there is
 * room for, and the most bytes of one message. The first one comes in any case.
 */
export const claim = statement(
  `select c.o_seq::float8, c.o_attempts, c.bytes::float8, case
      when c.bytes > $8 then left(c.o_body, ${beginning})
      when c.upto <= $7 or c.upto = c.bytes then c.o_body
    end
     from (
       select b.*, sum(case when b.bytes > $8 then 0 else b.bytes end) over (order by b.o_seq) as upto
         from (select o_seq, o_attempts, o_body, octet_length(o_body) as bytes from {claim}($1, $2, $3, $4, $5, $6)) b
     ) c
    order by c.o_seq`,
  (
    rows: ReadonlyArray<readonly [seq: number, attempts: number, bytes: number, body: string | null]>
  ): ReadonlyArray<ClaimedRow> => rows.map(([seq, attempts, bytes, body]) => ({ seq, attempts, bytes, body }))
)

/** Of places and how many bytes there is room for: the first ones of these messages, at least one. Where it is gone there is none. */
export const bodies = statement(
  `select b.seq::float8, b.body from (
     select m.seq, m.body::text as body, octet_length(m.body::text) as bytes,
            sum(octet_length(m.body::text)) over (order by m.seq) as upto
       from {message} m where m.seq = any ($1::bigint[])
   ) b where b.upto <= $2 or b.upto = b.bytes order by b.seq`,
  (rows: ReadonlyArray<readonly [seq: number, body: string]>) => new Map(rows)
)
