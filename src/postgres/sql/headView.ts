/**
 * `head`: what programs of an earlier release read and update. There it was a table of one row, which said how far the log had come, and whose
 * lock ordered the appends. Now the newest event says so, and `append_lock` orders them; the view stands in for the row:
 *
 * - who reads it is told the newest position, and needs no right on what stands beneath: `head_position` has those of its owner;
 * - who updates it (an append of 0.1 did so first, and took the position from what came back) gets the lock and the next position, whatever
 *   it wanted to set.
 *
 * What was waiting for the row while the table was replaced goes on with the functions of before, and would lock a row that is none. So who
 * may append and began before that gets the lock with the position.
 *
 * Who had rights on the table has them on the view, its owner too. A new store never has the table.
 */
export const headView: ReadonlyArray<string> = [
  `create or replace function {head_position}(p_locked boolean) returns bigint
  language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $head$
  begin
    return case when p_locked then {append_lock}() else {newest_position}() end;
  end
  $head$`,
  `create or replace function {update_head}() returns trigger language plpgsql set enable_seqscan = off as $head$
  begin
    new.position := {append_lock}() + 1;
    return new;
  end
  $head$`,
  `do $head$
  declare
    v_head bigint;
    v_newest bigint;
    v_granted text[];
    v_grant text;
    v_waiting timestamptz := '-infinity';
  begin
    if to_regclass('{head}') is not null then
      lock table {head} in access exclusive mode;
      select h.position into v_head from {head} h;
      v_newest := {newest_position}();
      if v_head > v_newest then
        raise exception 'eventfold: the head counter says %, and the newest event has position %: events are missing, as after restoring half a backup; restore them, or go on without them: update {head} set position = (%)',
          v_head, v_newest, v_newest using errcode = 'EF001';
      end if;
      select array_agg(format(
               'grant %1$s%2$s on {head} to %3$s%4$s; grant execute on function {head_position} to %3$s',
               a.privilege_type, a.columns,
               case a.grantee when 0 then 'public' else a.grantee::regrole::text end,
               case when a.is_grantable then ' with grant option' else '' end
             ))
        into v_granted
        from (
          select x.*, '' as columns
            from pg_class c cross join lateral aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) x
           where c.oid = '{head}'::regclass
          union all
          select x.*, format('(%I)', t.attname)
            from pg_attribute t cross join lateral aclexplode(t.attacl) x
           where t.attrelid = '{head}'::regclass and t.attnum > 0
        ) a
       where a.privilege_type in ('SELECT', 'UPDATE');
      drop table {head};
      v_waiting := clock_timestamp() + interval '10 seconds';
    end if;
    execute format(
      $view$create view {head} as
        select true as only_row,
               {head_position}(now() < %L::timestamptz and has_table_privilege('{event}', 'insert')) as position$view$,
      v_waiting
    );
    create trigger update_head instead of update on {head} for each row execute function {update_head}();
    foreach v_grant in array coalesce(v_granted, '{}') loop
      execute v_grant;
    end loop;
  end
  $head$`
]
