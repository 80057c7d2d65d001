/**
 * All SQL of the Postgres transport: one object of statements for one set of tables.
 *
 * How a message gets its place. `publish` locks the one row of `transport_head` until its commit, so publishers take turns and the
 * order of `seq` is that of the commits: whoever has seen a message has seen all before it. Repeated ids leave gaps, which nobody
 * minds.
 *
 * How a group gets its messages. It has gone as far as `consumer_group.seq` says. `claim` locks its row, so the members of a group
 * take turns in claiming: first what lies in `delivery` and is due (given back, waited long enough, or its lease has run out),
 * then what comes beyond `seq`, which becomes a `delivery` in the hand of the member. An acknowledgement deletes the delivery. So
 * that table holds what is in hand or waits for another try, and what lies behind `seq` and has a type which no member has asked
 * for (`asked` is false): a member that asks for it later finds it there.
 */
import type { Names } from "./sql.ts"

/** How many messages are looked through at a time for those of the wanted types. */
const windowSize = 10_000

export const makeTransportSql = ({ prefix, schema }: Names) => {
  const table = (name: string) => `"${schema}"."${prefix}${name}"`
  const message = table("message")
  const head = table("transport_head")
  const group = table("consumer_group")
  const delivery = table("delivery")
  const claim = table("claim")
  const settle = table("settle")
  const channel = `${schema}.${prefix}message`
  const notify = `pg_notify('${channel}', '')::text`

  /**
   * Whatever the statistics say: by index, and in its order. A bitmap scan would visit, at each claim, every delivery that has been
   * acknowledged since the last vacuum; an index scan marks them as dead, and passes them by from then on.
   */
  const byIndex =
    "set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan"

  return {
    migrations: `${schema}.${prefix}transport_migration`,
    channel,

    createTables: [
      `create table ${message} (
         seq bigint primary key,
         published_at timestamptz not null default clock_timestamp(),
         id text collate "C" not null unique,
         type text collate "C" not null,
         body json not null
       ) with (autovacuum_vacuum_insert_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02)`,
      `create table ${head} (
         only_row boolean primary key default true check (only_row),
         seq bigint not null
       ) with (fillfactor = 10)`,
      `insert into ${head} (seq) values (0)`,
      `create table ${group} (
         name text collate "C" primary key,
         seq bigint not null default 0,
         every_type boolean not null default false,
         types text[] collate "C" not null default '{}'
       ) with (fillfactor = 50)`,
      `create table ${delivery} (
         consumer_group text collate "C" not null,
         seq bigint not null,
         type text collate "C" not null,
         asked boolean not null,
         attempts int not null,
         due_at timestamptz not null,
         member text,
         primary key (consumer_group, seq)
       ) with (fillfactor = 70)`,
      `create index on ${delivery} (consumer_group, seq) where asked`,
      `create index on ${delivery} (seq) where asked`,
      `create function ${claim}(p_group text, p_types text[], p_count int, p_member text, p_lease float8, p_async boolean)
       returns table (o_seq bigint, o_attempts int, o_body text)
       language plpgsql ${byIndex} as $claim$
       declare
         v_group ${group}%rowtype;
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
           select * into v_group from ${group} g where g.name = p_group for update;
           exit when found;
           insert into ${group} (name) values (p_group) on conflict do nothing;
         end loop;

         if p_types is null and not v_group.every_type then
           v_group.every_type := true;
           update ${group} g set every_type = true where g.name = p_group;
           update ${delivery} d set asked = true where d.consumer_group = p_group and not d.asked;
         elsif not v_group.every_type and not p_types <@ v_group.types then
           v_group.types := array(select unnest(v_group.types) union select unnest(p_types));
           update ${group} g set types = v_group.types where g.name = p_group;
           update ${delivery} d set asked = true where d.consumer_group = p_group and not d.asked and d.type = any (p_types);
         end if;

         return query
           with due as (
             select d.seq from ${delivery} d
              where d.consumer_group = p_group and d.asked and d.due_at <= clock_timestamp() and (p_types is null or d.type = any (p_types))
              order by d.seq limit v_free for update skip locked
           ), taken as (
             update ${delivery} d set attempts = d.attempts + 1, due_at = v_due, member = p_member
               from due where d.consumer_group = p_group and d.seq = due.seq
             returning d.seq, d.attempts
           )
           select m.seq, t.attempts, m.body::text from taken t join ${message} m on m.seq = t.seq;
         get diagnostics v_taken = row_count;
         v_free := v_free - v_taken;

         while v_free > 0 loop
           -- What is beyond is left for the next call: only what was committed before this statement is known to be complete.
           select max(m.seq) into v_newest from ${message} m;
           exit when v_newest is null or v_newest <= v_group.seq;
           v_newest := least(v_newest, greatest(v_group.seq, (select min(m.seq) from ${message} m where m.seq > v_group.seq)) + ${windowSize});
           select count(*), max(w.seq) into v_taken, v_upto from (
             select m.seq from ${message} m
              where m.seq > v_group.seq and m.seq <= v_newest and (p_types is null or m.type = any (p_types))
              order by m.seq limit v_free
           ) w;
           if v_taken < v_free then
             v_upto := v_newest;
           end if;
           if p_types is not null then
             insert into ${delivery} (consumer_group, seq, type, asked, attempts, due_at)
             select p_group, m.seq, m.type, v_group.every_type or m.type = any (v_group.types), 0, '-infinity'
               from ${message} m where m.seq > v_group.seq and m.seq <= v_upto and not m.type = any (p_types);
           end if;
           return query
             with fresh as (
               select m.seq, m.type, m.body from ${message} m
                where m.seq > v_group.seq and m.seq <= v_upto and (p_types is null or m.type = any (p_types))
             ), taken as (
               insert into ${delivery} (consumer_group, seq, type, asked, attempts, due_at, member)
               select p_group, f.seq, f.type, true, 1, v_due, p_member from fresh f
             )
             select f.seq, 1, f.body::text from fresh f;
           v_group.seq := v_upto;
           v_free := v_free - v_taken;
           update ${group} g set seq = v_upto where g.name = p_group;
         end loop;
       end
       $claim$`,
      `create function ${settle}(p_groups text[], p_seqs float8[], p_attempts int[], p_members text[], p_delays float8[]) returns void
       language plpgsql ${byIndex} as $settle$
       begin
         delete from ${delivery} d
          using unnest(p_groups, p_seqs, p_attempts, p_members, p_delays) as s(consumer_group, seq, attempts, member, delay)
          where s.delay is null and d.consumer_group = s.consumer_group and d.seq = s.seq::bigint
            and d.member = s.member and d.attempts = s.attempts;
         if array_remove(p_delays, null) <> '{}' then
           update ${delivery} d set member = null, due_at = clock_timestamp() + make_interval(secs => s.delay)
             from unnest(p_groups, p_seqs, p_attempts, p_members, p_delays) as s(consumer_group, seq, attempts, member, delay)
            where s.delay is not null and d.consumer_group = s.consumer_group and d.seq = s.seq::bigint
              and d.member = s.member and d.attempts = s.attempts;
           if 0 = any (p_delays) then
             perform ${notify};
           end if;
         end if;
       end
       $settle$`
    ],

    publish: `
      with h as (
        update ${head} set seq = seq + cardinality($1::text[]) returning seq - cardinality($1::text[]) as base
      ), i as (
        insert into ${message} (seq, id, type, body)
        select h.base + m.n, m.id, m.type, m.body::json
          from h, unnest($1::text[], $2::text[], $3::text[]) with ordinality as m(id, type, body, n)
        on conflict (id) do nothing returning 1
      )
      select (select count(*)::int from h), (select pg_notify('${channel}', $4)::text where exists (select from i))`,
    claim: `select o_seq::float8, o_attempts, o_body from ${claim}($1, $2, $3, $4, $5, $6) order by o_seq`,
    settle: `select ${settle}($1, $2, $3, $4, $5)::text`,
    renew: `
      update ${delivery} set due_at = clock_timestamp() + make_interval(secs => $4)
       where consumer_group = $1 and member = $2 and seq = any ($3::bigint[])`,
    /** Those of `$3` have been claimed and never handed out, which is no delivery. */
    release: `
      with r as (
        update ${delivery} set member = null, due_at = clock_timestamp(), attempts = attempts - (seq = any ($3::bigint[]))::int
         where consumer_group = $1 and asked and member = $2
        returning 1
      )
      select ${notify} where exists (select from r)`,
    /** Deletes messages older than `$1` seconds that no group waits for, and those older than `$2` in any case. */
    prune: `
      with old as (
        select m.seq from ${message} m
         where m.published_at < clock_timestamp() - make_interval(secs => least($1, $2))
           and (
             m.published_at < clock_timestamp() - make_interval(secs => $2)
             or (
               not exists (select from ${group} g where g.seq < m.seq)
               and not exists (select from ${delivery} d where d.asked and d.seq = m.seq)
             )
           )
         order by m.seq limit ${windowSize}
      ), deliveries as (
        delete from ${delivery} d using old where d.seq = old.seq
      ), orphans as (
        -- Claimed while their messages were deleted by age.
        delete from ${delivery} d where d.asked and d.seq < (select min(m.seq) from ${message} m)
      ), messages as (
        delete from ${message} m using old where m.seq = old.seq returning 1
      )
      select count(*)::int from messages`
  }
}
