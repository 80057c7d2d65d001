/**
 * `append`: what programs of 0.1 call, which run on while a new release is rolled out. Each request has one append condition at most, and
 * such a program sees to it that none could match an event of its own batch. Guards are checked for it as well.
 */
export const appendOld = `create or replace function {append}(
  p_streams text[], p_entry_stream int4[], p_entry_expected float8[], p_entry_count int4[], p_request_entries int4[],
  p_request_after float8[], p_request_filter text[], p_event_entry int4[], p_event_nth int4[], p_event_stream text[],
  p_id text[], p_type text[], p_schema_version int4[], p_published bool[], p_tags text[],
  p_payload text[], p_metadata text[], p_recorded_at float8[], p_asked int4[], p_asked_id text[],
  out o_status int[], out o_detail float8[], out o_version float8[], out o_position float8[], out o_head float8
  ) language plpgsql as $append$
  begin
    select b.o_status, b.o_detail, b.o_version, b.o_position, b.o_head
      into o_status, o_detail, o_version, o_position, o_head
      from (
        select array_agg(r.conditions order by r.n) as conditions,
               array_agg(r.after >= 0 order by r.n) as checked,
               array_agg(r.n::int order by r.n) filter (where r.after >= 0) as requests,
               array_agg(r.after order by r.n) filter (where r.after >= 0) as afters,
               array_agg(r.filter order by r.n) filter (where r.after >= 0) as filters,
               count(*) filter (where r.after >= 0)::int as count
          from (
            select r.*, (count(*) filter (where r.after >= 0) over (order by r.n))::int as conditions
              from unnest(p_request_after, p_request_filter) with ordinality r(after, filter, n)
          ) r
      ) c
      cross join lateral {append_batch}(
        p_streams => p_streams, p_entry_stream => p_entry_stream, p_entry_expected => p_entry_expected, p_entry_count => p_entry_count,
        p_request_entries => p_request_entries,
        p_request_conditions => c.conditions,
        p_request_checked => c.checked,
        p_condition_request => c.requests,
        p_condition_after => c.afters,
        p_condition_match => array_fill(0::float8, array[c.count]),
        p_condition_most => array_fill('infinity'::float8, array[c.count]),
        p_condition_rest => array(select generate_series(1, c.count)),
        p_condition_own => array_fill(0, array[c.count]),
        p_ask_condition => null, p_ask_tag => null, p_ask_tags => null, p_ask_types => null,
        p_rest_filter => c.filters,
        p_own_query => null, p_matched_event => null, p_matched_query => null,
        p_event_entry => p_event_entry, p_event_nth => p_event_nth, p_event_stream => p_event_stream, p_id => p_id, p_type => p_type,
        p_schema_version => p_schema_version, p_published => p_published, p_tags => p_tags, p_payload => p_payload,
        p_metadata => p_metadata, p_recorded_at => p_recorded_at, p_asked => p_asked, p_asked_id => p_asked_id
      ) b;
    -- Such a program sends no hint behind its commit.
    perform pg_notify('{channel}head', o_head::text);
  end
  $append$`

/** Who may run `append` may run what it has become, and need not be granted it anew. */
export const grantAsBefore = `do $grant$
  declare
    v_role oid;
  begin
    for v_role in
      select distinct a.grantee
        from pg_proc p cross join lateral aclexplode(p.proacl) a
       where p.pronamespace = '{schema}'::regnamespace and p.proname = '{prefix}append'
         and a.privilege_type = 'EXECUTE' and a.grantee not in (0, p.proowner)
    loop
      execute format('grant execute on function {append_batch}, {append_event}, {append_one}, {append_lock}, {newest_position} to %s', v_role::regrole);
    end loop;
  end
  $grant$`
