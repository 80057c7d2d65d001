/**
 * `append_event`: one event of one stream, with what `append_one` has no place for: tags, append conditions of tags and types, streams that are
 * guarded. It takes the lock as `append_batch` does, and decides on what it sees from then on; whatever is in doubt changes nothing and is
 * answered with null, and `append_batch` tells why.
 */
import * as PgTypes from "@effect/sql-pg/PgTypes"
import type { AppendResult } from "../../store/EventStore.ts"
import { expectedNumber, isMore, passes, type SeenEvents } from "./append.ts"
import { type Attempt, encodeAsk, isTagged, mostOf } from "./conditions.ts"
import { array, statement, textArray } from "./statement.ts"

type PlaceRow = readonly [
  position: number | null,
  version: number,
  guardVersions: ReadonlyArray<number> | null,
  guardPositions: ReadonlyArray<number> | null
]

const parameters = [
  "p_stream text",
  "p_expected bigint", // -1 for any, -2 for exists
  "p_id text",
  "p_asked boolean", // whether the id may stand already
  "p_type text",
  "p_schema_version int",
  "p_published boolean",
  "p_tags text[]",
  "p_payload text",
  "p_metadata text",
  "p_recorded_at float8", // milliseconds since the epoch
  "p_guard_stream text[]", // null for no guards
  "p_guard_expected float8[]",
  "p_ask_after float8[]", // of each query of a condition: the position beyond which no event may match; null for no conditions
  "p_ask_most float8[]", // how many events with its tag it may look through under the lock
  "p_ask_tag text[]", // one of its tags
  "p_ask_tags text[]", // an array literal of all of them, null when there are no others
  "p_ask_types text[]" // an array literal, null for any type
]

/** Where the event stands, and the streams that are guarded; `undefined` when there is a doubt. */
export const appendEvent = statement(
  `select o_position, o_version, o_guard_version, o_guard_position from {append_event}(${parameters.map((_, index) => `$${index + 1}`).join(", ")})`,
  ([row]: ReadonlyArray<PlaceRow>) => {
    if (row === undefined || row[0] === null) return undefined
    return { position: row[0], version: row[1], guardVersions: row[2] ?? [], guardPositions: row[3] ?? [] }
  }
)

/** {@link appendEvent}, where the events that the conditions were made on stand in their places; else there is a doubt. */
export const appendEventSeen = statement(
  `select a.o_position, a.o_version, a.o_guard_version, a.o_guard_position
     from (select true = all({events_stand}($${parameters.length + 1}::float8[], $${parameters.length + 2}::text[])) as stand offset 0) s
     cross join lateral {append_event}(case when s.stand then $1::text end, ${parameters
       .slice(1)
       .map((_, index) => `$${index + 2}`)
       .join(", ")}) a
    where s.stand`,
  appendEvent.read
)

/** Makes the function. It needs the tables of the events. */
export const createAppendEvent = `create or replace function {append_event}(
  ${parameters.join(", ")},
  out o_position float8, out o_version float8, out o_guard_version float8[], out o_guard_position float8[]
  ) language plpgsql set enable_seqscan = off set enable_bitmapscan = off set plan_cache_mode = force_generic_plan as $append$
  declare
    v_head bigint;
    v_version bigint;
    v_holds boolean;
  begin
    if current_setting('synchronous_commit') = 'off' then
      perform set_config('synchronous_commit', 'on', true);
    end if;

    -- What would look through too much is told so without the lock: see append_batch.
    -- A condition with a query in it is set up whatever comes before the query, hence those within another.
    if p_ask_after is not null then
      if exists (
        select from unnest(p_ask_after, p_ask_most, p_ask_tag, p_ask_tags, p_ask_types) a(after, most, tag, tags, types)
         where ${isMore("a", "a.after", "a.most")}
      ) then
        return;
      end if;
    end if;

    v_head := {append_lock}();

    select e.version into v_version from {event} e where e.stream = p_stream order by e.version desc limit 1;
    v_version := coalesce(v_version, 0);
    if p_expected <> -1 and p_expected <> v_version and not (p_expected = -2 and v_version > 0) then
      return;
    end if;

    if p_asked then
      if exists (select from {event} e where e.id = p_id) then
        return;
      end if;
    end if;

    if p_guard_stream is not null then
      select array_agg(coalesce(l.version, 0) order by g.n), array_agg(coalesce(l.position, 0) order by g.n),
             bool_and(g.expected = -1 or g.expected = coalesce(l.version, 0) or (g.expected = -2 and coalesce(l.version, 0) > 0))
        into o_guard_version, o_guard_position, v_holds
        from unnest(p_guard_stream, p_guard_expected) with ordinality g(stream, expected, n)
        left join lateral (
          select e.version, e.position from {event} e where e.stream = g.stream order by e.version desc limit 1
        ) l on true;
      if not v_holds then
        return;
      end if;
    end if;

    if p_ask_after is not null then
      if exists (
        select from unnest(p_ask_after, p_ask_tag, p_ask_tags, p_ask_types) a(after, tag, tags, types)
         where exists (
           select from {tag} t
            where t.tag = a.tag
              and t.position > a.after::bigint
              and ${passes}
           offset 0 -- one by one, and not as a join of all
         )
      ) then
        return;
      end if;
    end if;

    insert into {event} (position, version, recorded_at, schema_version, published, stream, id, type, tags, payload, metadata)
    values (v_head + 1, v_version + 1, to_timestamp(p_recorded_at / 1000.0), p_schema_version, p_published, p_stream, p_id, p_type,
            p_tags, p_payload::json, p_metadata::json);
    if p_tags <> '{}' then
      insert into {tag} (tag, position) select i.tag, v_head + 1 from unnest(p_tags) i(tag);
    end if;
    o_position := v_head + 1;
    o_version := v_version + 1;
  end
  $append$`

/** An append that {@link appendEvent} is for: the parameters, and its results. */
export interface Single {
  readonly parameters: ReadonlyArray<unknown>
  /** The events that its conditions were made on, where they say so. */
  readonly seen: SeenEvents | undefined
  readonly results: (place: Exclude<ReturnType<typeof appendEvent.read>, undefined>) => ReadonlyArray<AppendResult>
}

const float8Array = (values: ReadonlyArray<number>): PgTypes.Parameter => array(values, PgTypes.OID.float8)

/** The queries of the conditions, as parameters; `undefined` where there are others than of tags and types, or one is broken for sure. */
const encodeAsks = ({ known, unless }: Attempt): ReadonlyArray<unknown> | undefined => {
  if (known?.matches.some((match) => match > 0) === true) return undefined
  const asks = unless.flatMap(({ after, filter }) => {
    const [beyond, most] = [Math.max(after, known?.upTo ?? 0), known?.final === true ? Number.MAX_SAFE_INTEGER : mostOf(filter)]
    return filter.map((query) => (isTagged(query) ? { ...encodeAsk(query), after: beyond, most } : undefined))
  })
  if (asks.length === 0) return [null, null, null, null, null]
  const known_ = asks.filter((ask) => ask !== undefined)
  if (known_.length < asks.length) return undefined
  return [
    float8Array(known_.map(({ after }) => after)),
    float8Array(known_.map(({ most }) => most)),
    textArray(known_.map(({ tag }) => tag)),
    textArray(known_.map(({ tags }) => tags)),
    textArray(known_.map(({ types }) => types))
  ]
}

/** One event for one stream, and guards of others; `undefined` for everything else. */
export const encodeAppendEvent = (attempt: Attempt, again: boolean, seen: SeenEvents | undefined): Single | undefined => {
  const { appends, count } = attempt
  const part = appends.find(({ events }) => events.length > 0)
  const event = part?.events[0]
  if (part === undefined || event === undefined || count !== 1) return undefined
  const { expected, stream } = part
  const guards = appends.filter((other) => other !== part)
  if (guards.some((guard) => guard.stream === stream)) return undefined
  const asks = encodeAsks(attempt)
  if (asks === undefined) return undefined
  const { fresh, id, metadata, payload, published, recordedAt, schemaVersion, tags, type } = event
  return {
    seen,
    parameters: [
      stream,
      String(expectedNumber(expected)),
      id,
      again || !fresh,
      type,
      schemaVersion,
      published,
      textArray(tags),
      payload,
      metadata,
      PgTypes.float8(recordedAt),
      guards.length === 0 ? null : textArray(guards.map(({ stream }) => stream)),
      guards.length === 0 ? null : float8Array(guards.map(({ expected }) => expectedNumber(expected))),
      ...asks
    ],
    results: ({ guardPositions, guardVersions, position, version }) =>
      appends.map((one) => {
        if (one === part) return { stream, version, position, deduplicated: false }
        const nth = guards.indexOf(one)
        return {
          stream: one.stream,
          version: guardVersions[nth] as number,
          position: guardPositions[nth] as number,
          deduplicated: false
        }
      })
  }
}
