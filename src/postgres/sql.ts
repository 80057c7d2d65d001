/**
 * All SQL of the Postgres store: one object of statements for one set of tables.
 *
 * How an append works. `append` is one call, so one round trip and, outside a transaction, one commit. It first locks the one
 * row of `head`, so appends of all processes happen one after the other; every later statement of the function has a snapshot
 * taken after the lock, so it sees all that was committed before it. That makes positions dense and commit-ordered, version
 * checks and append conditions exact, and deadlocks between appends impossible: there is just one lock.
 *
 * How plans are kept good. A plan made while the tables are nearly empty lives on in prepared statements and functions while they
 * grow. The functions therefore plan once, without sequential scans, and events are joined by lateral subqueries with a limit,
 * which can only be index lookups; what reads outside of them is planned again as the log grows (see `sized` in the store).
 */

export interface Names {
  readonly schema: string
  readonly prefix: string
}

/** Positional parameters of `append`, in order; the arrays of a kind are of one length. */
export const appendParameters = [
  "p_streams", // text[]: the distinct streams of the batch
  "p_entry_stream", // int[]: for each part of a request, its stream as an index into p_streams
  "p_entry_expected", // float8[]: the expected version, -1 for any, -2 for exists
  "p_entry_count", // int[]: how many events
  "p_request_entries", // int[]: for each request, how many parts
  "p_request_after", // float8[]: the position of its append condition, -1 for no condition
  "p_request_filter", // text[]: the filter of its append condition, as JSON
  "p_event_entry", // int[]: for each event, its part
  "p_event_nth", // int[]: its place in the part, from 1
  "p_event_stream", // text[]
  "p_id", // text[]
  "p_type", // text[]
  "p_schema_version", // int[]
  "p_published", // bool[]
  "p_tags", // text[]: array literals; null when no event has tags
  "p_payload", // text[]
  "p_metadata", // text[]
  "p_recorded_at", // float8[]: milliseconds since the epoch
  "p_asked", // int[]: the events (from 1) whose id may stand already; null for none
  "p_asked_id" // text[]: their ids
] as const

/** What `append` says of a request. */
export const status = { accepted: 0, deduplicated: 1, conflict: 2, duplicate: 3, condition: 4 } as const

export const makeSql = ({ prefix, schema }: Names) => {
  const table = (name: string) => `"${schema}"."${prefix}${name}"`
  const event = table("event")
  const tag = table("tag")
  const head = table("head")
  const channel = `${schema}.${prefix}head`
  const columns =
    "e.version::float8, e.position::float8, e.stream, e.id, e.type, e.schema_version, e.published, e.tags, e.payload::text, e.metadata::text, date_part('epoch', e.recorded_at)"

  return {
    names: { schema, event, tag, head, migrations: `${schema}.${prefix}migration` },
    channel,

    createSchema: `create schema if not exists "${schema}"`,

    createTables: [
      `create table ${event} (
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
         constraint "${prefix}event_pkey" primary key (position),
         constraint "${prefix}event_stream_version_key" unique (stream, version),
         constraint "${prefix}event_id_key" unique (id)
       ) with (autovacuum_vacuum_insert_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02)`,
      `create table ${tag} (
         tag text collate "C" not null,
         position bigint not null,
         primary key (tag, position)
       )`,
      `create table ${head} (
         only_row boolean primary key default true check (only_row),
         position bigint not null
       ) with (fillfactor = 10)`,
      `insert into ${head} (position) values (0)`,
      `create function ${table("refuse_change")}() returns trigger language plpgsql as $refuse$
       begin
         raise exception 'eventfold: % of % is refused: events are never changed', tg_op, tg_table_name using errcode = 'EF002';
       end
       $refuse$`,
      ...[event, tag].flatMap((name) => [
        `create trigger refuse_change before update or delete on ${name} for each row execute function ${table("refuse_change")}()`,
        `create trigger refuse_truncate before truncate on ${name} for each statement execute function ${table("refuse_change")}()`
      ]),
      `create function ${table("newest_match")}(p_after bigint, p_filter jsonb) returns bigint
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
             select t.position into v_found from ${tag} t cross join lateral (
               select from ${event} e
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
             select e.position into v_found from ${event} e
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
       $match$`,
      `create function ${table("append")}(
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

         select h.position into v_head from ${head} h for update;
         if not found then
           raise exception 'eventfold: the row of ${head.replaceAll("'", "''")} is missing' using errcode = 'EF001';
         end if;
         v_before := v_head;

         select array_agg(coalesce(l.version, 0) order by s.n), array_agg(coalesce(l.position, 0) order by s.n)
           into v_version, v_newest
           from unnest(p_streams) with ordinality s(stream, n)
           left join lateral (
             select e.version, e.position from ${event} e where e.stream = s.stream order by e.version desc limit 1
           ) l on true;

         if p_asked is not null then
           select array_agg(i.n order by i.n), array_agg(e.stream order by i.n), array_agg(e.version order by i.n), array_agg(e.position order by i.n)
             into v_known, v_known_stream, v_known_version, v_known_position
             from unnest(p_asked, p_asked_id) i(n, id)
             cross join lateral (select e.stream, e.version, e.position from ${event} e where e.id = i.id limit 1) e;
         end if;

         o_status := array_fill(${status.accepted}, array[v_requests]);
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
                 o_status[r] := ${status.deduplicated};
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
                 o_status[r] := ${status.duplicate};
                 select min(k.n) into v_match from unnest(v_known) k(n) where k.n > v_event and k.n <= v_event + v_events;
                 o_detail[r] := v_match;
               end if;
             end if;
           end if;

           if o_status[r] = ${status.accepted} then
             for e in v_first .. v_last loop
               v_stream := p_entry_stream[e];
               v_current := v_version[v_stream];
               v_expected := p_entry_expected[e];
               v_base_version[e] := v_current;
               if p_entry_count[e] > 0 then
                 if v_expected <> -1 and v_expected <> v_current and not (v_expected = -2 and v_current > 0) then
                   o_status[r] := ${status.conflict};
                   o_detail[r] := e;
                   v_last := e - 1; -- the parts to take back
                   exit;
                 end if;
                 v_version[v_stream] := v_current + p_entry_count[e];
               end if;
             end loop;

             if o_status[r] = ${status.accepted} and p_request_after[r] >= 0 and v_events > 0 then
               v_match := ${table("newest_match")}(p_request_after[r]::bigint, p_request_filter[r]::jsonb);
               if v_match is not null then
                 o_status[r] := ${status.condition};
                 o_detail[r] := v_match;
               end if;
             end if;

             if o_status[r] = ${status.accepted} then
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
               if o_status[r] = ${status.conflict} then
                 o_version[v_last + 1] := v_version[p_entry_stream[v_last + 1]];
               end if;
             end if;
           end if;

           v_first := v_first + p_request_entries[r];
           v_event := v_event + v_events;
         end loop;

         if v_head > v_before then
           insert into ${event} (position, version, recorded_at, schema_version, published, stream, id, type, tags, payload, metadata)
           select v_base_position[i.entry] + i.nth, v_base_version[i.entry] + i.nth, to_timestamp(i.recorded_at / 1000.0),
                  i.schema_version, i.published, i.stream, i.id, i.type, coalesce(i.tags, '{}')::text[], i.payload::json, i.metadata::json
             from unnest(p_event_entry, p_event_nth, p_recorded_at, p_schema_version, p_published, p_event_stream, p_id, p_type, p_tags, p_payload, p_metadata)
               as i(entry, nth, recorded_at, schema_version, published, stream, id, type, tags, payload, metadata)
            where v_base_position[i.entry] >= 0;

           if p_tags is not null then
             insert into ${tag} (tag, position)
             select unnest(i.tags::text[]), v_base_position[i.entry] + i.nth
               from unnest(p_event_entry, p_event_nth, p_tags) as i(entry, nth, tags)
              where i.tags <> '{}' and v_base_position[i.entry] >= 0;
           end if;

           update ${head} set position = v_head;
           v_notified := pg_notify('${channel}', v_head::text)::text;
         end if;
         o_head := v_head;
       end
       $append$`
    ],

    append: `select o_status, o_detail, o_version, o_position, o_head from ${table("append")}(${appendParameters.map((_, index) => `$${index + 1}`).join(", ")})`,

    /**
     * One event of one stream in one statement: what most appends are. It takes the same lock, but decides on a snapshot from
     * before it, so every doubt is an error that changes nothing (a unique violation, or a division by zero where the expected
     * version does not stand), and `append` is asked instead. $2 is the expected version, -1 for any.
     */
    appendOne: `
      with h as (
        update ${head} set position = position + 1 returning position
      ), i as (
        insert into ${event} (position, version, recorded_at, schema_version, published, stream, id, type, tags, payload, metadata)
        select h.position,
               1 + case
                 when $2::bigint < 0 then coalesce((select e.version from ${event} e where e.stream = $1 order by e.version desc limit 1), 0)
                 when $2::bigint = 0 then 0
                 else $2::bigint / (exists (select from ${event} e where e.stream = $1 and e.version = $2::bigint))::int
               end,
               to_timestamp($3::float8 / 1000.0), $4::int, $5::boolean, $1, $6, $7, '{}', $8::json, $9::json
          from h
        returning position, version
      )
      select i.position::float8, i.version::float8, pg_notify('${channel}', i.position::text)::text from i`,

    durable: `select current_setting('synchronous_commit') <> 'off'`,

    // One statement, so one snapshot: others append meanwhile.
    open: `select (select position from ${head})::float8, (select coalesce(max(position), 0) from ${event})::float8`,
    head: `select position::float8 from ${head}`,
    version: `select version::float8 from ${event} where stream = $1 order by version desc limit 1`,
    versionAt: `select coalesce(max(version), 0)::float8 from ${event} where stream = $1 and recorded_at <= to_timestamp($2::float8 / 1000.0)`,
    readForward: `select ${columns} from ${event} e where e.stream = $1 and e.version >= $2::bigint and e.version <= $3::bigint order by e.version limit $4::bigint`,
    readBackward: `select ${columns} from ${event} e where e.stream = $1 and e.version >= $2::bigint and e.version <= $3::bigint order by e.version desc limit $4::bigint`,
    streams: `
      with recursive found as (
        (select e.stream from ${event} e where e.stream > $1 order by e.stream limit 1)
        union all
        select (select e.stream from ${event} e where e.stream > f.stream order by e.stream limit 1) from found f where f.stream is not null
      )
      select f.stream, n.version::float8, n.position::float8
        from found f, lateral (select e.version, e.position from ${event} e where e.stream = f.stream order by e.version desc limit 1) n
       where f.stream is not null limit $2::bigint`,
    streamsOfCategory: `
      with recursive found as (
        (select e.stream from ${event} e where e.stream > $1 and (e.stream = $3 or (e.stream >= $3 || '-' and e.stream < $3 || '.')) order by e.stream limit 1)
        union all
        select (
          select e.stream from ${event} e where e.stream > f.stream and e.stream >= $3 || '-' and e.stream < $3 || '.' order by e.stream limit 1
        ) from found f where f.stream is not null
      )
      select f.stream, n.version::float8, n.position::float8
        from found f, lateral (select e.version, e.position from ${event} e where e.stream = f.stream order by e.version desc limit 1) n
       where f.stream is not null limit $2::bigint`,
    columns
  }
}

export type Sql = ReturnType<typeof makeSql>
