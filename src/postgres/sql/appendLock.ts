/**
 * `append_lock`: waits until nobody else appends, and from then on, until the transaction ends, all other appends wait. Gives the position
 * of the newest event.
 *
 * It locks no row: each change of a row leaves an old version behind, which stays as long as any snapshot in the database is open, and
 * whoever looks for the row passes them all. The next statement of a function has a snapshot that was taken after the lock, so it sees all
 * that was committed before. In a transaction of REPEATABLE READ or stricter it has not: then what others have appended since its snapshot
 * makes it fail as a serialization failure, before anything is decided.
 *
 * Positions go on from the newest event, so whatever may ever remove events has to leave that one.
 */
export const createAppendLock = `create or replace function {append_lock}() returns bigint
  language plpgsql as $lock$
  declare
    v_head bigint;
  begin
    perform pg_advisory_xact_lock(hashtextextended('{channel}append', 0));
    select e.position into v_head from {event} e order by e.position desc limit 1;
    v_head := coalesce(v_head, 0);
    if current_setting('transaction_isolation') <> 'read committed' then
      -- What others have appended since stands at the next position. No read of this transaction sees it, but the index does.
      begin
        insert into {event} (position, version, recorded_at, schema_version, published, stream, id, type, tags, payload, metadata)
        values (v_head + 1, 0, now(), 0, false, '', '', '', '{}', 'null', 'null');
        raise exception using errcode = 'EF004';
      exception
        when sqlstate 'EF004' then
          null; -- It is free, and taken back.
        when unique_violation then
          raise exception 'eventfold: others have appended since the snapshot of the transaction was taken' using errcode = 'serialization_failure';
      end;
    end if;
    return v_head;
  end
  $lock$`
