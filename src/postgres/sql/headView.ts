/**
 * `head`: what programs of an earlier release read and update. There it was a table of one row, which said how far the log had come, and whose
 * lock ordered the appends. Now the newest event says so, and `append_lock` orders them; the view stands in for the row:
 *
 * - who reads it is told the newest position;
 * - who updates it (an append of 0.1 did so first, and took the position from what came back) gets the lock and the next position, whatever
 *   it wanted to set.
 *
 * What was waiting for the row while the table was replaced goes on with the functions of before, and would lock a row that is none. So who
 * began before that gets the lock with the position.
 */
export const headView: ReadonlyArray<string> = [
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
  begin
    lock table {head} in access exclusive mode;
    select h.position into v_head from {head} h;
    v_newest := {newest_position}();
    if v_head > v_newest then
      raise exception 'eventfold: the head counter says %, and the newest event has position %: events are missing, as after restoring half a backup; restore them, or go on without them: update {head} set position = (%)',
        v_head, v_newest, v_newest using errcode = 'EF001';
    end if;
    select array_agg(format(
             case a.privilege_type
               when 'SELECT' then 'grant select on {head} to %1$s; grant execute on function {newest_position} to %1$s'
               else 'grant update on {head} to %1$s'
             end,
             a.grantee::regrole
           ))
      into v_granted
      from pg_class c cross join lateral aclexplode(c.relacl) a
     where c.oid = '{head}'::regclass and a.grantee not in (0, c.relowner) and a.privilege_type in ('SELECT', 'UPDATE');
    drop table {head};
    execute format(
      'create view {head} as select true as only_row, case when now() < %L::timestamptz then {append_lock}() else {newest_position}() end as position',
      clock_timestamp() + interval '10 seconds'
    );
    create trigger update_head instead of update on {head} for each row execute function {update_head}();
    foreach v_grant in array coalesce(v_granted, '{}') loop
      execute v_grant;
    end loop;
  end
  $head$`
]
