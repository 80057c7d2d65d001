/**
 * `flush_commits`: waits until all that has been committed is on the disk, and on the standbys that the server waits for. Gives the position of the
 * newest event of which that is then true.
 *
 * The head is read first: what is seen was in the write-ahead log before, and a commit that is waited for flushes all of the log before it. Where all of
 * that is on the disk already, nothing is written.
 *
 * Its comment is where a database says whether units of work may be flushed behind their commits: see `sharedFlush` of the store.
 */
import { command, statement } from "./statement.ts"

export const createFlush = `create or replace function {flush_commits}() returns float8 language plpgsql as $flush$
  declare
    v_head bigint := {newest_position}();
  begin
    if pg_is_in_recovery() then
      return v_head; -- A standby is sent what is on the disk of the primary.
    end if;
    if current_setting('synchronous_standby_names') <> '' or pg_current_wal_insert_lsn() > pg_current_wal_flush_lsn() then
      if current_setting('synchronous_commit') = 'off' then
        perform set_config('synchronous_commit', 'on', true);
      end if;
      perform pg_logical_emit_message(true, 'eventfold', '');
    end if;
    return v_head;
  end
  $flush$`

export const flush = statement("select {flush_commits}()", ([row]: ReadonlyArray<readonly [position: number]>) => row?.[0] ?? 0)

/** What the comment says where they may. */
const shared = "eventfold: shared"

/** Whether the database has been told so, and whether the role may flush. It takes no right but to connect. */
export const sharesFlush = statement(
  `select obj_description(p.oid, 'pg_proc') = '${shared}', has_function_privilege(p.oid, 'execute')
     from to_regprocedure('{flush_commits}()') p(oid)`,
  ([row]: ReadonlyArray<readonly [shares: boolean | null, may: boolean | null]>) => ({
    shares: row?.[0] === true,
    mayFlush: row?.[1] === true
  })
)

/** Tells it so. */
export const shareFlush = command(`comment on function {flush_commits}() is '${shared}'`)
