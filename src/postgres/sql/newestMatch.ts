/**
 * The newest event beyond a position that passes a filter (JSON, as `Filter` is), `null` when there is none: for append conditions. `also` is what
 * else an event `e` must be that a query without tags passes.
 */
export const newestMatchWith = (
  also: string
) => `create or replace function {newest_match}(p_after bigint, p_filter jsonb) returns bigint
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
        select t.position into v_found from {tag} t cross join lateral (
          select from {event} e
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
        select e.position into v_found from {event} e
         where e.position > v_newest
           and (v_types is null or e.type = any (v_types))
           and (v_categories is null or split_part(e.stream, '-', 1) = any (v_categories))
           and (v_published is null or e.published = v_published)
           and (v_correlation_id is null or e.metadata->>'correlationId' = v_correlation_id)${also}
         order by e.position desc limit 1;
      end if;
      v_newest := coalesce(v_found, v_newest);
    end loop;
    return nullif(v_newest, p_after);
  end
  $match$`

export const newestMatch = newestMatchWith("")
