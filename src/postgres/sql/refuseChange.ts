/** What keeps raw statements from changing events: a trigger function, and the triggers on the tables of the events. */
export const refuseChange: ReadonlyArray<string> = [
  `create function {refuse_change}() returns trigger language plpgsql as $refuse$
  begin
    raise exception 'eventfold: % of % is refused: events are never changed', tg_op, tg_table_name using errcode = 'EF002';
  end
  $refuse$`,
  ...["event", "tag"].flatMap((name) => [
    `create trigger refuse_change before update or delete on {${name}} for each row execute function {refuse_change}()`,
    `create trigger refuse_truncate before truncate on {${name}} for each statement execute function {refuse_change}()`
  ])
]
