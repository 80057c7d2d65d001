-- What eventfold 0.1.0 made in PostgreSQL, in the schema first_release and with the prefix shop_: its tables, its functions, three events, a
-- checkpoint and a message. Statements are parted by an empty line.

create schema if not exists "first_release";

CREATE TABLE "first_release"."shop_migration" (
  migration_id integer primary key,
  created_at timestamp with time zone not null default now(),
  name text not null
);

INSERT INTO "first_release"."shop_migration" (migration_id, name) VALUES (1, 'events'), (2, 'checkpoints');

create table "first_release"."shop_event" (
         position bigint not null,
         version bigint not null,
         recorded_at timestamptz not null,
         schema_version int not null,
         published boolean not null,
         stream text collate "C" not null,
         id text collate "C" not null,
         type text collate "C" not null,
         tags text[] collate "C" not null,
         payload json not null,
         metadata json not null,
         constraint "shop_event_pkey" primary key (position),
         constraint "shop_event_stream_version_key" unique (stream, version),
         constraint "shop_event_id_key" unique (id)
       ) with (autovacuum_vacuum_insert_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);

create table "first_release"."shop_tag" (
         tag text collate "C" not null,
         position bigint not null,
         primary key (tag, position)
       );

create table "first_release"."shop_head" (
         only_row boolean primary key default true check (only_row),
         position bigint not null
       ) with (fillfactor = 10);

insert into "first_release"."shop_head" (position) values (0);

create function "first_release"."shop_refuse_change"() returns trigger language plpgsql as $refuse$
       begin
         raise exception 'eventfold: % of % is refused: events are never changed', tg_op, tg_table_name using errcode = 'EF002';
       end
       $refuse$;

create trigger refuse_change before update or delete on "first_release"."shop_event" for each row execute function "first_release"."shop_refuse_change"();

create trigger refuse_truncate before truncate on "first_release"."shop_event" for each statement execute function "first_release"."shop_refuse_change"();

create trigger refuse_change before update or delete on "first_release"."shop_tag" for each row execute function "first_release"."shop_refuse_change"();

create trigger refuse_truncate before truncate on "first_release"."shop_tag" for each statement execute function "first_release"."shop_refuse_change"();

create function "first_release"."shop_newest_match"(p_after bigint, p_filter jsonb) returns bigint
       language plpgsql set enable_seqscan = off set plan_cache_mode = force_generic_plan as $match$
       declare
         v_query jsonb;
         v_newest bigint := p_after;
         v_found bigint;
         v_categories text[];
         v_types text[];
         v_tags text[];
         v_published boolean;
         v_correlation_id text;
       begin
         for v_query in select q.value from jsonb_array_elements(p_filter) q loop
           v_categories := case when v_query ? 'categories' then array(select jsonb_array_elements_text(v_query->'categories')) end;
           v_types := case when v_query ? 'types' then array(select jsonb_array_elements_text(v_query->'types')) end;
           v_tags := array(select jsonb_array_elements_text(coalesce(v_query->'tags', '[]')));
           v_published := (v_query->>'published')::boolean;
           v_correlation_id := v_query->>'correlationId';
           if cardinality(v_tags) > 0 then
             select t.position into v_found from "first_release"."shop_tag" t cross join lateral (
               select from "first_release"."shop_event" e
                where e.position = t.position
                  and e.tags @> v_tags
                  and (v_types is null or e.type = any (v_types))
                  and (v_categories is null or split_part(e.stream, '-', 1) = any (v_categories))
                  and (v_published is null or e.published = v_published)
                  and (v_correlation_id is null or e.metadata->>'correlationId' = v_correlation_id)
                limit 1
             ) e
              where t.tag = v_tags[1] and t.position > v_newest
              order by t.position desc limit 1;
           else
             select e.position into v_found from "first_release"."shop_event" e
              where e.position > v_newest
                and (v_types is null or e.type = any (v_types))
                and (v_categories is null or split_part(e.stream, '-', 1) = any (v_categories))
                and (v_published is null or e.published = v_published)
                and (v_correlation_id is null or e.metadata->>'correlationId' = v_correlation_id)
              order by e.position desc limit 1;
           end if;
           v_newest := coalesce(v_found, v_newest);
         end loop;
         return nullif(v_newest, p_after);
       end
       $match$;

create function "first_release"."shop_append"(
         p_streams text[], p_entry_stream int[], p_entry_expected float8[], p_entry_count int[],
         p_request_entries int[], p_request_after float8[], p_request_filter text[],
         p_event_entry int[], p_event_nth int[], p_event_stream text[], p_id text[], p_type text[], p_schema_version int[],
         p_published boolean[], p_tags text[], p_payload text[], p_metadata text[], p_recorded_at float8[], p_asked int[], p_asked_id text[],
         out o_status int[], out o_detail float8[], out o_version float8[], out o_position float8[], out o_head float8
       ) language plpgsql set enable_seqscan = off set plan_cache_mode = force_generic_plan as $append$
       declare
         v_head bigint;
         v_before bigint;
         v_version bigint[];        -- of each stream, as it would be after the requests so far
         v_newest bigint[];         -- the position of each stream's newest event, likewise
         v_base_version bigint[];   -- of each part: the version before its first event
         v_base_position bigint[];  -- of each part: the position before its first event, -1 when it is not written
         v_known int[];             -- the events whose id stands already
         v_known_stream text[];
         v_known_version bigint[];
         v_known_position bigint[];
         v_requests int := coalesce(cardinality(p_request_entries), 0);
         v_entries int := coalesce(cardinality(p_entry_stream), 0);
         v_first int := 1;          -- the first part of the request
         v_last int;                -- the last
         v_event int := 0;          -- how many events come before the request's first
         v_events int;              -- how many events the request has
         v_stream int;
         v_current bigint;
         v_expected float8;
         v_match bigint;
         v_count bigint;
         v_same boolean;
         v_notified text;
       begin
         -- Acknowledged means durable, whatever the default of the server.
         if current_setting('synchronous_commit') = 'off' then
           perform set_config('synchronous_commit', 'on', true);
         end if;

         select h.position into v_head from "first_release"."shop_head" h for update;
         if not found then
           raise exception 'eventfold: the row of "first_release"."shop_head" is missing' using errcode = 'EF001';
         end if;
         v_before := v_head;

         select array_agg(coalesce(l.version, 0) order by s.n), array_agg(coalesce(l.position, 0) order by s.n)
           into v_version, v_newest
           from unnest(p_streams) with ordinality s(stream, n)
           left join lateral (
             select e.version, e.position from "first_release"."shop_event" e where e.stream = s.stream order by e.version desc limit 1
           ) l on true;

         if p_asked is not null then
           select array_agg(i.n order by i.n), array_agg(e.stream order by i.n), array_agg(e.version order by i.n), array_agg(e.position order by i.n)
             into v_known, v_known_stream, v_known_version, v_known_position
             from unnest(p_asked, p_asked_id) i(n, id)
             cross join lateral (select e.stream, e.version, e.position from "first_release"."shop_event" e where e.id = i.id limit 1) e;
         end if;

         o_status := array_fill(0, array[v_requests]);
         o_detail := array_fill(0::float8, array[v_requests]);
         o_version := array_fill(0::float8, array[v_entries]);
         o_position := array_fill(0::float8, array[v_entries]);
         v_base_version := array_fill(0::bigint, array[v_entries]);
         v_base_position := array_fill(-1::bigint, array[v_entries]);

         for r in 1 .. v_requests loop
           v_last := v_first + p_request_entries[r] - 1;
           v_events := 0;
           for e in v_first .. v_last loop
             v_events := v_events + p_entry_count[e];
           end loop;

           -- ids first: a repetition succeeds whatever it expects
           if v_known is not null then
             select count(*) into v_count from unnest(v_known) k(n) where k.n > v_event and k.n <= v_event + v_events;
             if v_count > 0 then
               select v_count = v_events and coalesce(bool_and(p.same), false) into v_same from (
                 select bool_and(k.stream = i.stream) and count(distinct k.version - i.nth) = 1 as same
                   from unnest(v_known, v_known_stream, v_known_version) k(n, stream, version)
                   join unnest(p_event_stream, p_event_entry, p_event_nth) with ordinality i(stream, entry, nth, n) on i.n = k.n
                  where k.n > v_event and k.n <= v_event + v_events
                  group by i.entry
               ) p;
               if v_same then
                 o_status[r] := 1;
                 for e in v_first .. v_last loop
                   if p_entry_count[e] = 0 then
                     o_version[e] := v_version[p_entry_stream[e]];
                     o_position[e] := v_newest[p_entry_stream[e]];
                   else
                     select k.version, k.position into v_current, v_match
                       from unnest(v_known, v_known_version, v_known_position) k(n, version, position)
                       join unnest(p_event_entry, p_event_nth) with ordinality i(entry, nth, n) on i.n = k.n
                      where i.entry = e and i.nth = p_entry_count[e];
                     o_version[e] := v_current;
                     o_position[e] := v_match;
                   end if;
                 end loop;
               else
                 o_status[r] := 3;
                 select min(k.n) into v_match from unnest(v_known) k(n) where k.n > v_event and k.n <= v_event + v_events;
                 o_detail[r] := v_match;
               end if;
             end if;
           end if;

           if o_status[r] = 0 then
             for e in v_first .. v_last loop
               v_stream := p_entry_stream[e];
               v_current := v_version[v_stream];
               v_expected := p_entry_expected[e];
               v_base_version[e] := v_current;
               if p_entry_count[e] > 0 then
                 if v_expected <> -1 and v_expected <> v_current and not (v_expected = -2 and v_current > 0) then
                   o_status[r] := 2;
                   o_detail[r] := e;
                   v_last := e - 1; -- the parts to take back
                   exit;
                 end if;
                 v_version[v_stream] := v_current + p_entry_count[e];
               end if;
             end loop;

             if o_status[r] = 0 and p_request_after[r] >= 0 and v_events > 0 then
               v_match := "first_release"."shop_newest_match"(p_request_after[r]::bigint, p_request_filter[r]::jsonb);
               if v_match is not null then
                 o_status[r] := 4;
                 o_detail[r] := v_match;
               end if;
             end if;

             if o_status[r] = 0 then
               for e in v_first .. v_last loop
                 v_stream := p_entry_stream[e];
                 if p_entry_count[e] > 0 then
                   v_base_position[e] := v_head;
                   v_head := v_head + p_entry_count[e];
                   v_newest[v_stream] := v_head;
                 end if;
                 o_version[e] := v_base_version[e] + p_entry_count[e];
                 o_position[e] := v_newest[v_stream];
               end loop;
             else
               for e in reverse v_last .. v_first loop
                 v_version[p_entry_stream[e]] := v_base_version[e];
               end loop;
               if o_status[r] = 2 then
                 o_version[v_last + 1] := v_version[p_entry_stream[v_last + 1]];
               end if;
             end if;
           end if;

           v_first := v_first + p_request_entries[r];
           v_event := v_event + v_events;
         end loop;

         if v_head > v_before then
           insert into "first_release"."shop_event" (position, version, recorded_at, schema_version, published, stream, id, type, tags, payload, metadata)
           select v_base_position[i.entry] + i.nth, v_base_version[i.entry] + i.nth, to_timestamp(i.recorded_at / 1000.0),
                  i.schema_version, i.published, i.stream, i.id, i.type, coalesce(i.tags, '{}')::text[], i.payload::json, i.metadata::json
             from unnest(p_event_entry, p_event_nth, p_recorded_at, p_schema_version, p_published, p_event_stream, p_id, p_type, p_tags, p_payload, p_metadata)
               as i(entry, nth, recorded_at, schema_version, published, stream, id, type, tags, payload, metadata)
            where v_base_position[i.entry] >= 0;

           if p_tags is not null then
             insert into "first_release"."shop_tag" (tag, position)
             select unnest(i.tags::text[]), v_base_position[i.entry] + i.nth
               from unnest(p_event_entry, p_event_nth, p_tags) as i(entry, nth, tags)
              where i.tags <> '{}' and v_base_position[i.entry] >= 0;
           end if;

           update "first_release"."shop_head" set position = v_head;
           v_notified := pg_notify('first_release.shop_head', v_head::text)::text;
         end if;
         o_head := v_head;
       end
       $append$;

create table "first_release"."shop_checkpoint" (
         name text collate "C" primary key,
         position bigint not null,
         epoch bigint not null,
         owner text,
         expires_at timestamptz not null,
         updated_at timestamptz not null
       ) with (fillfactor = 50);

CREATE TABLE "first_release"."shop_transport_migration" (
  migration_id integer primary key,
  created_at timestamp with time zone not null default now(),
  name text not null
);

INSERT INTO "first_release"."shop_transport_migration" (migration_id, name) VALUES (1, 'transport');

create table "first_release"."shop_message" (
         seq bigint primary key,
         published_at timestamptz not null default clock_timestamp(),
         id text collate "C" not null unique,
         type text collate "C" not null,
         body json not null
       ) with (autovacuum_vacuum_insert_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);

create table "first_release"."shop_transport_head" (
         only_row boolean primary key default true check (only_row),
         seq bigint not null
       ) with (fillfactor = 10);

insert into "first_release"."shop_transport_head" (seq) values (0);

create table "first_release"."shop_consumer_group" (
         name text collate "C" primary key,
         seq bigint not null default 0,
         every_type boolean not null default false,
         types text[] collate "C" not null default '{}'
       ) with (fillfactor = 50);

create table "first_release"."shop_delivery" (
         consumer_group text collate "C" not null,
         seq bigint not null,
         type text collate "C" not null,
         asked boolean not null,
         attempts int not null,
         due_at timestamptz not null,
         member text,
         primary key (consumer_group, seq)
       ) with (fillfactor = 70);

create index on "first_release"."shop_delivery" (consumer_group, seq) where asked;

create index on "first_release"."shop_delivery" (seq) where asked;

create function "first_release"."shop_claim"(p_group text, p_types text[], p_count int, p_member text, p_lease float8, p_async boolean)
       returns table (o_seq bigint, o_attempts int, o_body text)
       language plpgsql set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan as $claim$
       declare
         v_group "first_release"."shop_consumer_group"%rowtype;
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
           select * into v_group from "first_release"."shop_consumer_group" g where g.name = p_group for update;
           exit when found;
           insert into "first_release"."shop_consumer_group" (name) values (p_group) on conflict do nothing;
         end loop;

         if p_types is null and not v_group.every_type then
           v_group.every_type := true;
           update "first_release"."shop_consumer_group" g set every_type = true where g.name = p_group;
           update "first_release"."shop_delivery" d set asked = true where d.consumer_group = p_group and not d.asked;
         elsif not v_group.every_type and not p_types <@ v_group.types then
           v_group.types := array(select unnest(v_group.types) union select unnest(p_types));
           update "first_release"."shop_consumer_group" g set types = v_group.types where g.name = p_group;
           update "first_release"."shop_delivery" d set asked = true where d.consumer_group = p_group and not d.asked and d.type = any (p_types);
         end if;

         return query
           with due as (
             select d.seq from "first_release"."shop_delivery" d
              where d.consumer_group = p_group and d.asked and d.due_at <= clock_timestamp() and (p_types is null or d.type = any (p_types))
              order by d.seq limit v_free for update skip locked
           ), taken as (
             update "first_release"."shop_delivery" d set attempts = d.attempts + 1, due_at = v_due, member = p_member
               from due where d.consumer_group = p_group and d.seq = due.seq
             returning d.seq, d.attempts
           )
           select m.seq, t.attempts, m.body::text from taken t join "first_release"."shop_message" m on m.seq = t.seq;
         get diagnostics v_taken = row_count;
         v_free := v_free - v_taken;

         while v_free > 0 loop
           -- What is beyond is left for the next call: only what was committed before this statement is known to be complete.
           select max(m.seq) into v_newest from "first_release"."shop_message" m;
           exit when v_newest is null or v_newest <= v_group.seq;
           v_newest := least(v_newest, greatest(v_group.seq, (select min(m.seq) from "first_release"."shop_message" m where m.seq > v_group.seq)) + 10000);
           select count(*), max(w.seq) into v_taken, v_upto from (
             select m.seq from "first_release"."shop_message" m
              where m.seq > v_group.seq and m.seq <= v_newest and (p_types is null or m.type = any (p_types))
              order by m.seq limit v_free
           ) w;
           if v_taken < v_free then
             v_upto := v_newest;
           end if;
           if p_types is not null then
             insert into "first_release"."shop_delivery" (consumer_group, seq, type, asked, attempts, due_at)
             select p_group, m.seq, m.type, v_group.every_type or m.type = any (v_group.types), 0, '-infinity'
               from "first_release"."shop_message" m where m.seq > v_group.seq and m.seq <= v_upto and not m.type = any (p_types);
           end if;
           return query
             with fresh as (
               select m.seq, m.type, m.body from "first_release"."shop_message" m
                where m.seq > v_group.seq and m.seq <= v_upto and (p_types is null or m.type = any (p_types))
             ), taken as (
               insert into "first_release"."shop_delivery" (consumer_group, seq, type, asked, attempts, due_at, member)
               select p_group, f.seq, f.type, true, 1, v_due, p_member from fresh f
             )
             select f.seq, 1, f.body::text from fresh f;
           v_group.seq := v_upto;
           v_free := v_free - v_taken;
           update "first_release"."shop_consumer_group" g set seq = v_upto where g.name = p_group;
         end loop;
       end
       $claim$;

create function "first_release"."shop_settle"(p_groups text[], p_seqs float8[], p_attempts int[], p_members text[], p_delays float8[]) returns void
       language plpgsql set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan as $settle$
       begin
         delete from "first_release"."shop_delivery" d
          using unnest(p_groups, p_seqs, p_attempts, p_members, p_delays) as s(consumer_group, seq, attempts, member, delay)
          where s.delay is null and d.consumer_group = s.consumer_group and d.seq = s.seq::bigint
            and d.member = s.member and d.attempts = s.attempts;
         if array_remove(p_delays, null) <> '{}' then
           update "first_release"."shop_delivery" d set member = null, due_at = clock_timestamp() + make_interval(secs => s.delay)
             from unnest(p_groups, p_seqs, p_attempts, p_members, p_delays) as s(consumer_group, seq, attempts, member, delay)
            where s.delay is not null and d.consumer_group = s.consumer_group and d.seq = s.seq::bigint
              and d.member = s.member and d.attempts = s.attempts;
           if 0 = any (p_delays) then
             perform pg_notify('first_release.shop_message', '')::text;
           end if;
         end if;
       end
       $settle$;

select o_head from "first_release"."shop_append"(
  array['Order-1', 'Order-2'], array[1, 2], array[0, -1]::float8[], array[2, 1],
  array[1, 1], array[-1, -1]::float8[], array[null, null]::text[],
  array[1, 1, 2], array[1, 2, 1], array['Order-1', 'Order-1', 'Order-2'],
  array['a', 'b', 'c'], array['Placed', 'Paid', 'Placed'], array[1, 2, 1],
  array[false, true, false], array['{"customer:ada"}', '{}', '{"customer:bob"}'],
  array['{"total":5}', '{}', '{"total":7}'], array['{"correlationId":"x"}', '{}', '{}'],
  array[1767225600000, 1767225600001, 1767225600002]::float8[], null, null
);

insert into "first_release"."shop_checkpoint" (name, position, epoch, owner, expires_at, updated_at)
values ('emails', 2, 3, null, '2026-01-01 00:00:00+00', '2026-01-01 00:00:00+00');

insert into "first_release"."shop_message" (seq, id, type, body)
values (1, 'm1', 'Placed', '{"specversion":"1.0","id":"m1","source":"/shop","type":"Placed","subject":"Order-1","time":"2026-01-01T00:00:00.000Z","datacontenttype":"application/json","data":{"total":5},"schemaversion":1,"position":"1"}');

update "first_release"."shop_transport_head" set seq = 1;
