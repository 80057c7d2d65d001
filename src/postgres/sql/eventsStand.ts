/**
 * `events_stand`: of each condition, whether the event that it was made on stands in its place; so is one that was made on none. It is a function so
 * that it is an index lookup whatever the tables were when its plan was made.
 */
export const createEventsStand = `create or replace function {events_stand}(p_positions float8[], p_ids text[]) returns boolean[]
  language plpgsql stable set enable_seqscan = off set plan_cache_mode = force_generic_plan as $stand$
  begin
    return array(
      select c.id is null or coalesce((select e.id from {event} e where e.position = c.position::bigint) = c.id, false)
        from unnest(p_positions, p_ids) with ordinality c(position, id, n)
       order by c.n
    );
  end
  $stand$`
