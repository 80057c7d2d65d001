/**
 * `append`: a batch of requests, each of parts (some events for one stream), decided and written in one call, with a verdict for each.
 *
 * How it works. One call is one round trip and, outside a transaction, one commit. It first locks the one row of `head`, so appends of
 * all processes happen one after the other; every later statement of the function has a snapshot taken after the lock, so it sees all
 * that was committed before it. That makes positions dense and commit-ordered, version checks and append conditions exact, and
 * deadlocks between appends impossible: there is just one lock.
 */
import * as PgTypes from "@effect/sql-pg/PgTypes"
import type { ExpectedVersion } from "../../store/EventStore.ts"
import { array, statement } from "./statement.ts"

/** The arrays that `append` takes, in order, and the type of their elements. The call, its values and the function's head follow it. */
export const appendParameters = {
  p_streams: "text", // the distinct streams of the batch
  p_entry_stream: "int4", // for each part of a request, its stream as an index into p_streams
  p_entry_expected: "float8", // the expected version, -1 for any, -2 for exists
  p_entry_count: "int4", // how many events
  p_request_entries: "int4", // for each request, how many parts
  p_request_after: "float8", // the position of its append condition, -1 for no condition
  p_request_filter: "text", // the filter of its append condition, as JSON; null for no condition
  p_event_entry: "int4", // for each event, its part
  p_event_nth: "int4", // its place in the part, from 1
  p_event_stream: "text",
  p_id: "text",
  p_type: "text",
  p_schema_version: "int4",
  p_published: "bool",
  p_tags: "text", // array literals; null in place of the array when no event has tags
  p_payload: "text",
  p_metadata: "text",
  p_recorded_at: "float8", // milliseconds since the epoch
  p_asked: "int4", // the events (from 1) whose id may stand already; null in place of the array for none
  p_asked_id: "text" // their ids
} as const

type Elements = { readonly text: string | null; readonly int4: number; readonly float8: number; readonly bool: boolean }

/** The values of a call; `null` in place of an array where the parameter may be absent. */
export type AppendValues = {
  readonly [Name in keyof typeof appendParameters]: ReadonlyArray<Elements[(typeof appendParameters)[Name]]> | null
}

const parameters = Object.entries(appendParameters) as ReadonlyArray<
  { readonly [Name in keyof AppendValues]: readonly [Name, (typeof appendParameters)[Name]] }[keyof AppendValues]
>

/** The parameters of the {@link append} statement. */
export const encodeAppendValues = (values: AppendValues): ReadonlyArray<PgTypes.Parameter | null> =>
  parameters.map(([name, type]) => {
    const value = values[name]
    return value === null ? null : array(value, PgTypes.OID[type])
  })

/** An expected version as the SQL has it. */
export const expectedNumber = (expected: ExpectedVersion): number =>
  expected === "any" ? -1 : expected === "exists" ? -2 : expected === "no-stream" ? 0 : expected

/** What `append` says of a request. */
export const status = { accepted: 0, deduplicated: 1, conflict: 2, duplicate: 3, condition: 4 } as const

/** What `append` answers. */
export interface Appended {
  /** Of each request: one of {@link status}. */
  readonly statuses: ReadonlyArray<number>
  /**
   * Of each request: on a conflict the part that was refused, on a duplicate the event whose id is in use (both counted in the batch,
   * from 1), on a condition the position that it matches.
   */
  readonly details: ReadonlyArray<number>
  /** Of each part: the version of its stream. */
  readonly versions: ReadonlyArray<number>
  /** Of each part: the position of the newest event of its stream. */
  readonly positions: ReadonlyArray<number>
  /** The position of the newest event of all. */
  readonly head: number
}

type AppendedRow = readonly [
  statuses: ReadonlyArray<number>,
  details: ReadonlyArray<number>,
  versions: ReadonlyArray<number>,
  positions: ReadonlyArray<number>,
  head: number
]

const toAppended = ([statuses, details, versions, positions, head]: AppendedRow): Appended => ({
  statuses,
  details,
  versions,
  positions,
  head
})

export const append = statement(
  `select o_status, o_detail, o_version, o_position, o_head from {append}(${parameters.map((_, index) => `$${index + 1}`).join(", ")})`,
  ([row]: ReadonlyArray<AppendedRow>): Appended => toAppended(row as AppendedRow)
)

/** Makes the function, in place of an older one that takes the same. It needs the tables of the events and `newest_match`. */
export const createAppend = `create or replace function {append}(
  ${parameters.map(([name, type]) => `${name} ${type}[]`).join(", ")},
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
    v_known_same boolean[];    -- whether it has the same type and payload, whatever the order of the keys
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

    select h.position into v_head from {head} h for update;
    if not found then
      raise exception 'eventfold: the row of {head} is missing' using errcode = 'EF001';
    end if;
    v_before := v_head;

    select array_agg(coalesce(l.version, 0) order by s.n), array_agg(coalesce(l.position, 0) order by s.n)
      into v_version, v_newest
      from unnest(p_streams) with ordinality s(stream, n)
      left join lateral (
        select e.version, e.position from {event} e where e.stream = s.stream order by e.version desc limit 1
      ) l on true;

    if p_asked is not null then
      select array_agg(i.n order by i.n), array_agg(e.stream order by i.n), array_agg(e.version order by i.n), array_agg(e.position order by i.n),
             array_agg(
               e.type = p_type[i.n]
                 and case when e.payload::text = p_payload[i.n] then true else e.payload::jsonb = p_payload[i.n]::jsonb end
               order by i.n
             )
        into v_known, v_known_stream, v_known_version, v_known_position, v_known_same
        from unnest(p_asked, p_asked_id) i(n, id)
        cross join lateral (
          select e.stream, e.version, e.position, e.type, e.payload from {event} e where e.id = i.id limit 1
        ) e;
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
            select bool_and(k.stream = i.stream and k.same) and count(distinct k.version - i.nth) = 1 as same
              from unnest(v_known, v_known_stream, v_known_version, v_known_same) k(n, stream, version, same)
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
          v_match := {newest_match}(p_request_after[r]::bigint, p_request_filter[r]::jsonb);
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
      insert into {event} (position, version, recorded_at, schema_version, published, stream, id, type, tags, payload, metadata)
      select v_base_position[i.entry] + i.nth, v_base_version[i.entry] + i.nth, to_timestamp(i.recorded_at / 1000.0),
             i.schema_version, i.published, i.stream, i.id, i.type, coalesce(i.tags, '{}')::text[], i.payload::json, i.metadata::json
        from unnest(p_event_entry, p_event_nth, p_recorded_at, p_schema_version, p_published, p_event_stream, p_id, p_type, p_tags, p_payload, p_metadata)
          as i(entry, nth, recorded_at, schema_version, published, stream, id, type, tags, payload, metadata)
       where v_base_position[i.entry] >= 0;

      if p_tags is not null then
        insert into {tag} (tag, position)
        select unnest(i.tags::text[]), v_base_position[i.entry] + i.nth
          from unnest(p_event_entry, p_event_nth, p_tags) as i(entry, nth, tags)
         where i.tags <> '{}' and v_base_position[i.entry] >= 0;
      end if;

      update {head} set position = v_head;
      v_notified := pg_notify('{channel}head', v_head::text)::text;
    end if;
    o_head := v_head;
  end
  $append$`
