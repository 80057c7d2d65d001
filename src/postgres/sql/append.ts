/**
 * `append_batch`: a batch of requests, each of parts (some events for one stream), decided and written in one call, with a verdict for each.
 *
 * How it works. One call is one round trip and, outside a transaction, one commit. It first takes the lock (`append_lock`), so appends of
 * all processes happen one after the other; every later statement of the function has a snapshot taken after the lock, so it sees all
 * that was committed before it. That makes positions dense and commit-ordered, version checks and append conditions exact, and
 * deadlocks between appends impossible: there is just one lock.
 *
 * How conditions are checked. Against what stood before the batch: those of tags and types alone all in one statement, the rest by
 * `newest_match`. Against the batch itself: the caller says which of its events match which queries, and the function whether they were
 * accepted. What is looked through under the lock is bounded: so many events that bear a query's tag, so many positions where it names none.
 * A condition that would have to look through more is not checked, and its request is `wide`: the caller looks through the log without the lock,
 * and comes back with what it has found.
 */
import * as PgTypes from "@effect/sql-pg/PgTypes"
import type { ExpectedVersion } from "../../store/EventStore.ts"
import { array, statement } from "./statement.ts"

/** The arrays that `append_batch` takes, in order, and the type of their elements. The call, its values and the function's head follow it. */
export const appendParameters = {
  p_streams: "text", // the distinct streams of the batch
  p_entry_stream: "int4", // for each part of a request, its stream as an index into p_streams
  p_entry_expected: "float8", // the expected version, -1 for any, -2 for exists
  p_entry_count: "int4", // how many events
  p_request_entries: "int4", // for each request, how many parts
  p_request_conditions: "int4", // where its append conditions end among all; null in place of all arrays of conditions when no request has any
  p_request_checked: "bool", // whether its conditions ask more than what is of tags and types, and stood before the batch
  p_condition_request: "int4", // the request of each
  p_condition_after: "float8", // the position beyond which no event may match
  p_condition_match: "float8", // the newest match that is known already, 0 for none
  p_condition_most: "float8", // how many events with its tag each query may look through under the lock, and over how many positions those without
  p_condition_rest: "int4", // its place in p_rest_filter, 0 for none
  p_condition_own: "int4", // where its queries end in p_own_query
  p_ask_condition: "int4", // for each query of tags and types alone, its condition
  p_ask_tag: "text", // one of its tags
  p_ask_tags: "text", // an array literal of all of them, null when there are no others
  p_ask_types: "text", // an array literal, null for any type
  p_rest_filter: "text", // what other queries a condition has, as JSON
  p_own_query: "int4", // the queries of conditions that events of the batch match
  p_matched_event: "int4", // the events of the batch that a query matches, in their order
  p_matched_query: "int4", // and the query
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

/** What `append_batch` says of a request. */
export const status = { accepted: 0, deduplicated: 1, conflict: 2, duplicate: 3, condition: 4, wide: 5 } as const

/** What `append_batch` answers. */
export interface Appended {
  /** Of each request: one of {@link status}. */
  readonly statuses: ReadonlyArray<number>
  /**
   * Of each request: on a conflict the part that was refused, on a duplicate the event whose id is in use (both counted in the batch,
   * from 1), on a condition the position that it matches.
   */
  readonly details: ReadonlyArray<number>
  /** Of each request: which of its conditions has that match, counted from 1; 0 where none is broken. */
  readonly conditions: ReadonlyArray<number>
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
  conditions: ReadonlyArray<number>,
  versions: ReadonlyArray<number>,
  positions: ReadonlyArray<number>,
  head: number
]

const toAppended = ([statuses, details, conditions, versions, positions, head]: AppendedRow): Appended => ({
  statuses,
  details,
  conditions,
  versions,
  positions,
  head
})

/** The call, with an expression in place of what comes of one parameter. */
const callWith = (name: keyof AppendValues | undefined, expression: string) =>
  statement(
    `select o_status, o_detail, o_condition, o_version, o_position, o_head from {append_batch}(${parameters.map(([parameter], index) => (parameter === name ? expression : `$${index + 1}`)).join(", ")})`,
    ([row]: ReadonlyArray<AppendedRow>): Appended => toAppended(row as AppendedRow)
  )

export const append = callWith(undefined, "")

/** The parameter of what is known of each condition, and those that {@link appendSeen} has besides. */
const [match, position, id] = [
  parameters.findIndex(([name]) => name === "p_condition_match") + 1,
  parameters.length + 1,
  parameters.length + 2
]

/**
 * {@link append}, where conditions say which event stood at their position. Where another stands there, it is a match that is known already: what
 * stands in a log changes only when it becomes another log, and not within one statement. Arrays in a `select` of their own: see `readBoundary`.
 */
export const appendSeen = callWith(
  "p_condition_match",
  `array(
      select case when c.stands then c.match else c.position end
        from unnest((select $${match}::float8[]), (select $${position}::float8[]), (select {events_stand}($${position}::float8[], $${id}::text[])))
             with ordinality c(match, position, stands, n)
       order by c.n
    )`
)

/** Of each condition the event that it was made on. */
export interface SeenEvents {
  readonly positions: ReadonlyArray<number>
  readonly ids: ReadonlyArray<string | null>
}

export const encodeSeen = ({ ids, positions }: SeenEvents): ReadonlyArray<PgTypes.Parameter> => [
  array(positions, PgTypes.OID.float8),
  array(ids, PgTypes.OID.text)
]

/**
 * Whether there are more events with the tag of a query than `most`. Where it asks for nothing else, the newest alone is looked at, and it does not
 * matter. The query has `tag`, `tags` and `types`.
 */
export const isMore = (query: string, after: string, most: string): string =>
  `((${query}.tags is not null or ${query}.types is not null) and exists (select from {tag} t where t.tag = ${query}.tag and t.position > ${after}::bigint offset ${most}::bigint limit 1))`

/** Whether the event of a tag's row `t` passes the rest of a query `a`. With `offset 0` it is looked up by its position, and not among all events of a type. */
export const passes = `(
                 (a.tags is null and a.types is null)
                 or exists (
                   select from {event} e
                    where e.position = t.position
                      and (a.types is null or e.type = any (a.types::text[]))
                      and (a.tags is null or e.tags @> a.tags::text[])
                   offset 0
                 )
               )`

/** Makes the function. It needs the tables of the events and `newest_match`. */
export const createAppend = `create or replace function {append_batch}(
  ${parameters.map(([name, type]) => `${name} ${type}[]`).join(", ")},
  out o_status int[], out o_detail float8[], out o_condition int[], out o_version float8[], out o_position float8[], out o_head float8
  ) language plpgsql set enable_seqscan = off set enable_bitmapscan = off set plan_cache_mode = force_generic_plan as $append$
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
    v_matches bigint[] := p_condition_match::bigint[]; -- of each condition: its newest match before the batch, 0 for none
    v_own bigint[] := '{}';    -- of each query that events of the batch match: the newest of those accepted so far
    v_matched int := 0;        -- how many of these matches come before the request's
    v_checked boolean[] := p_request_checked; -- whether conditions of the request are to be looked at one by one
    v_wide boolean[];          -- of each condition: whether there are more events with a tag of its queries than may be looked through
    v_condition int;
    v_after bigint;
    v_found bigint;
    v_more boolean;
  begin
    -- Acknowledged means durable, whatever the default of the server.
    if current_setting('synchronous_commit') = 'off' then
      perform set_config('synchronous_commit', 'on', true);
    end if;

    -- Who is alone learns that it has to look through the log before it has the lock: a transaction of the caller's would keep it.
    if v_requests = 1 and p_condition_after is not null then
      select e.position into v_head from {event} e order by e.position desc limit 1;
      v_head := coalesce(v_head, 0);
      if exists (select from unnest(p_condition_after, p_condition_most, p_condition_rest) c(after, most, rest) where c.rest > 0 and v_head - c.after > c.most)
        or exists (
          select from unnest(p_ask_condition, p_ask_tag, p_ask_tags, p_ask_types) a(condition, tag, tags, types)
           where ${isMore("a", "p_condition_after[a.condition]", "p_condition_most[a.condition]")}
        )
      then
        o_status := array[${status.wide}];
        o_detail := array[0];
        o_condition := array[0];
        o_version := array_fill(0, array[v_entries]);
        o_position := array_fill(0, array[v_entries]);
        o_head := v_head;
        return;
      end if;
    end if;

    v_head := {append_lock}();
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
    o_condition := array_fill(0, array[v_requests]);
    o_version := array_fill(0::float8, array[v_entries]);
    o_position := array_fill(0::float8, array[v_entries]);
    v_base_version := array_fill(0::bigint, array[v_entries]);
    v_base_position := array_fill(-1::bigint, array[v_entries]);

    if p_ask_condition is not null then
      for v_current, v_found, v_more in
        select a.condition, max(m.position), bool_or(a.is_more)
          from (
            -- most tags have no newer event at all; offset 0: one by one, and not as a join of all
            select a.*, p_condition_after[a.condition]::bigint as after,
                   ${isMore("a", "p_condition_after[a.condition]", "p_condition_most[a.condition]")} as is_more
              from unnest(p_ask_condition, p_ask_tag, p_ask_tags, p_ask_types) a(condition, tag, tags, types)
             where exists (select from {tag} t where t.tag = a.tag and t.position > p_condition_after[a.condition]::bigint offset 0)
            offset 0
          ) a
          left join lateral (
            select t.position from {tag} t
             where t.tag = a.tag
               and t.position > a.after
               and not a.is_more
               and ${passes}
             order by t.position desc limit 1
          ) m on true
         where a.is_more or m.position is not null
         group by a.condition
      loop
        v_matches[v_current] := greatest(v_matches[v_current], v_found);
        v_wide[v_current] := v_more;
        v_checked[p_condition_request[v_current]] := true;
      end loop;
    end if;

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
          -- of an append that writes nothing there is nothing to be in conflict with
          if v_events > 0 and v_expected <> -1 and v_expected <> v_current and not (v_expected = -2 and v_current > 0) then
            o_status[r] := ${status.conflict};
            o_detail[r] := e;
            v_last := e - 1; -- the parts to take back
            exit;
          end if;
          v_version[v_stream] := v_current + p_entry_count[e];
        end loop;

        if v_checked[r] and o_status[r] = ${status.accepted} and v_events > 0 then
          v_condition := coalesce(p_request_conditions[r - 1], 0);
          for c in v_condition + 1 .. p_request_conditions[r] loop
            v_after := p_condition_after[c];
            if v_wide[c] or (p_condition_rest[c] > 0 and v_before - v_after > p_condition_most[c]) then
              o_status[r] := ${status.wide};
              exit;
            end if;
            v_match := v_matches[c];
            if p_condition_rest[c] > 0 then
              v_match := coalesce({newest_match}(greatest(v_after, v_match), p_rest_filter[p_condition_rest[c]]::jsonb), v_match);
            end if;
            for q in coalesce(p_condition_own[c - 1], 0) + 1 .. p_condition_own[c] loop
              v_found := v_own[p_own_query[q]];
              if v_found > v_after and v_found > v_match then
                v_match := v_found;
              end if;
            end loop;
            if v_match > o_detail[r] then
              o_status[r] := ${status.condition};
              o_detail[r] := v_match;
              o_condition[r] := c - v_condition;
            end if;
          end loop;
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
      while p_matched_event[v_matched + 1] <= v_event loop
        v_matched := v_matched + 1;
        if o_status[r] = ${status.accepted} then
          v_own[p_matched_query[v_matched]] :=
            v_base_position[p_event_entry[p_matched_event[v_matched]]] + p_event_nth[p_matched_event[v_matched]];
        end if;
      end loop;
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

    end if;
    o_head := v_head;
  end
  $append$`
