/**
 * Tombstones: `event_digest`, the digest of an event as every store makes it; `refuse_change`, which lets through what makes a tombstone and
 * nothing else; and `tombstone`, which makes them, for those who have been granted it.
 *
 * What protects the events is the shape of the change, which the trigger checks whoever asks, and that a role of the application may not update
 * at all. The setting keeps statements that were typed by hand from passing by accident.
 */
import { statement } from "./statement.ts"

export const tombstones: ReadonlyArray<string> = [
  `create or replace function {event_digest}(e {event}) returns text language sql stable set search_path = pg_catalog, pg_temp as $digest$
  select encode(sha256(convert_to(format('[%s,%s,%s,%s,%s,%s,%s,%s,%s,%s,%s]', e.position, e.version, to_json(e.stream), to_json(e.id), to_json(e.type),
           e.schema_version, e.published::text, to_json(e.tags), round(date_part('epoch', e.recorded_at) * 1000)::bigint, e.metadata, e.payload), 'UTF8')), 'hex')
  $digest$`,
  `create or replace function {refuse_change}() returns trigger language plpgsql as $refuse$
  begin
    if current_setting('eventfold.maintaining', true) = 'on' then
      if tg_op = 'UPDATE' and tg_relid = '{event}'::regclass then
        if old.type <> '$Tombstone' and new.type = '$Tombstone' and new.tags = '{}' and new.metadata::text = '{}' and not new.published
           and new.payload->>'type' = old.type and new.payload->>'digest' = {event_digest}(old)
           and (new.position, new.version, new.stream, new.id, new.recorded_at, new.schema_version)
             = (old.position, old.version, old.stream, old.id, old.recorded_at, old.schema_version) then
          return new;
        end if;
      elsif tg_op = 'DELETE' and tg_relid = '{tag}'::regclass then
        if exists (select from {event} e where e.position = old.position and e.type = '$Tombstone') then
          return old;
        end if;
      end if;
    end if;
    raise exception 'eventfold: % of % is refused: events are never changed', tg_op, tg_table_name using errcode = 'EF002';
  end
  $refuse$`,
  `create or replace function {tombstone}(p_positions bigint[], p_ids text[], p_reason text, p_archive text,
    p_closed text[] default '{}', p_versions bigint[] default '{}') returns bigint
  language plpgsql security definer
  set search_path = pg_catalog, pg_temp set enable_seqscan = off set plan_cache_mode = force_generic_plan as $tombstone$
  declare
    v_positions bigint[];
    v_tags text[];
    v_tagged bigint[];
    v_open text[];
  begin
    if current_setting('synchronous_commit') = 'off' then
      perform set_config('synchronous_commit', 'on', true);
    end if;
    -- Not of the function's head: there only a superuser may name it. An error takes it back with all else.
    perform set_config('eventfold.maintaining', 'on', true);
    select array_agg(c.stream) into v_open from unnest(p_closed, p_versions) c(stream, version)
     where c.version <> (select e.version from {event} e where e.stream = c.stream order by e.version desc limit 1);
    -- In the order of their positions, so that two who remove at once do not wait for one another.
    select array_agg(l.position) into v_positions
      from (
        select e.position from unnest(p_positions, p_ids) r(position, id)
          join {event} e on e.position = r.position and e.id = r.id
         where e.type <> '$Tombstone' and e.stream <> all (coalesce(v_open, '{}')) order by e.position for update of e
      ) l;
    select array_agg(t.tag), array_agg(e.position) into v_tags, v_tagged
      from {event} e cross join lateral unnest(e.tags) t(tag) where e.position = any (v_positions);
    update {event} e
       set type = '$Tombstone', tags = '{}', metadata = '{}', published = false,
           payload = format('{"type":%s,"reason":%s,"digest":"%s"%s}', to_json(e.type), to_json(p_reason), {event_digest}(e),
                            coalesce(',"archive":' || to_json(p_archive), ''))::json
     where e.position = any (v_positions);
    delete from {tag} t using unnest(v_tags, v_tagged) r(tag, position) where t.tag = r.tag and t.position = r.position;
    perform set_config('eventfold.maintaining', 'off', true);
    -- At the end, so that appends wait for the commit alone: of what was closed when this began, is anything open now?
    if cardinality(v_positions) > 0 and cardinality(p_closed) > 0 then
      perform {append_lock}();
      if exists (
        select from unnest(p_closed, p_versions) c(stream, version)
         where c.stream <> all (coalesce(v_open, '{}'))
           and c.version <> (select e.version from {event} e where e.stream = c.stream order by e.version desc limit 1)
      ) then
        raise exception 'eventfold: a stream that was to be removed has been appended to' using errcode = 'serialization_failure';
      end if;
    end if;
    return coalesce(cardinality(v_positions), 0);
  end
  $tombstone$`,
  `revoke execute on function {tombstone} from public`,
  `create index if not exists "{prefix}event_tombstone" on {event} (position) where type = '$Tombstone'`
]

/** The position of the newest tombstone. */
export const newestTombstone = statement(
  `select coalesce(max(position), 0)::float8 from {event} where type = '$Tombstone'`,
  ([row]: ReadonlyArray<readonly [position: number]>) => row?.[0] ?? 0
)

/** Makes tombstones of the events that stand at these positions and have these ids; gives how many there were. */
export const tombstone = statement(
  `select {tombstone}($1::bigint[], $2::text[], $3, $4, $5::text[], $6::bigint[])::float8`,
  ([row]: ReadonlyArray<readonly [changed: number]>) => row?.[0] ?? 0
)
