/**
 * `append_one`: one event of one stream, which most appends are, with as little as that takes. Whatever is in doubt changes nothing (it is answered
 * with null, or is a unique violation where the id stands already), and `append_batch` is asked instead.
 */
import * as PgTypes from "@effect/sql-pg/PgTypes"
import type { PreparedAppend } from "../../store/kit/index.ts"
import { expectedNumber } from "./append.ts"
import { statement } from "./statement.ts"

type PlaceRow = readonly [position: number | null, version: number]

/** Where the event stands; `undefined` when there is a doubt. */
export const appendOne = statement(
  `select o_position, o_version from {append_one}($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
  ([row]: ReadonlyArray<PlaceRow>) => {
    if (row === undefined || row[0] === null) return undefined
    return { position: row[0], version: row[1] }
  }
)

/** Makes the function. It needs the table of the events and `append_lock`. */
export const createAppendOne = `create or replace function {append_one}(
  p_stream text, p_expected bigint, p_recorded_at float8, p_schema_version int, p_published boolean, p_id text, p_type text, p_payload text,
  p_metadata text, out o_position float8, out o_version float8
  ) language plpgsql set enable_seqscan = off set plan_cache_mode = force_generic_plan as $append$
  declare
    v_head bigint;
    v_version bigint;
  begin
    if current_setting('synchronous_commit') = 'off' then
      perform set_config('synchronous_commit', 'on', true);
    end if;

    v_head := {append_lock}();

    select e.version into v_version from {event} e where e.stream = p_stream order by e.version desc limit 1;
    v_version := coalesce(v_version, 0);
    if p_expected <> -1 and p_expected <> v_version then
      return;
    end if;

    insert into {event} (position, version, recorded_at, schema_version, published, stream, id, type, tags, payload, metadata)
    values (v_head + 1, v_version + 1, to_timestamp(p_recorded_at / 1000.0), p_schema_version, p_published, p_stream, p_id, p_type, '{}',
            p_payload::json, p_metadata::json);
    o_position := v_head + 1;
    o_version := v_version + 1;
  end
  $append$`

/** An append that {@link appendOne} is for: its stream, and the parameters. */
export interface One {
  readonly stream: string
  readonly parameters: ReadonlyArray<unknown>
}

/** One event without tags, for one stream, at a version or at any, without a condition; `undefined` for everything else. */
export const encodeAppendOne = ({ appends, count, unless }: PreparedAppend): One | undefined => {
  const [part] = appends
  const event = part?.events[0]
  if (part === undefined || event === undefined || count !== 1 || appends.length !== 1 || unless.length > 0) return undefined
  const expected = expectedNumber(part.expected)
  if (expected < -1 || event.tags.length > 0) return undefined
  const { id, metadata, payload, published, recordedAt, schemaVersion, type } = event
  return {
    stream: part.stream,
    parameters: [part.stream, String(expected), PgTypes.float8(recordedAt), schemaVersion, published, id, type, payload, metadata]
  }
}
