/**
 * `newest_position`: the position of the newest event, 0 when there is none: as the snapshot of the calling statement sees it. It is a
 * function so that it is an index lookup whatever the tables were when its plan was made.
 */
export const createNewestPosition = `create or replace function {newest_position}() returns bigint
  language plpgsql stable set enable_seqscan = off set plan_cache_mode = force_generic_plan as $newest$
  begin
    return coalesce((select e.position from {event} e order by e.position desc limit 1), 0);
  end
  $newest$`
