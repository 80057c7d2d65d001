/**
 * The hash chain: a table of its links, and the trigger that adds one behind each statement that inserts events, which is one for a whole batch.
 * The trigger is there where a store was asked for a chain, and from then on it holds for whoever inserts.
 *
 * Inserts come one after the other, under `append_lock`, so each sees the link before it. What stands between that link and the statement's
 * first event (it was inserted while the trigger was disabled) belongs to the link as well.
 */
import type { ChainLink } from "../../store/EventStore.ts"
import { statement } from "./statement.ts"

export const chain: ReadonlyArray<string> = [
  `create table if not exists {chain} (
    position bigint primary key,
    after bigint not null,
    digest text not null
  )`,
  `create or replace function {add_link}() returns trigger language plpgsql security definer
  set search_path = pg_catalog, pg_temp set enable_seqscan = off as $chain$
  declare
    v_first bigint;
    v_last bigint;
    v_after bigint;
    v_before text;
    v_digests text;
  begin
    select min(n.position) - 1, max(n.position) into v_first, v_last from inserted n;
    if v_last is null then
      return null;
    end if;
    select c.position, c.digest into v_after, v_before from {chain} c order by c.position desc limit 1;
    v_after := coalesce(v_after, v_first);
    if v_after = v_first then
      select string_agg(case n.type when '$Tombstone' then n.payload->>'digest' else {event_digest}(row(n.*)::{event}) end, E'\\n' order by n.position)
        into v_digests from inserted n;
    else
      select string_agg(case e.type when '$Tombstone' then e.payload->>'digest' else {event_digest}(e) end, E'\\n' order by e.position)
        into v_digests from {event} e where e.position > v_after and e.position <= v_last;
    end if;
    insert into {chain} (after, position, digest)
    values (v_after, v_last, encode(sha256(convert_to(coalesce(v_before, '') || E'\\n' || v_digests, 'UTF8')), 'hex'));
    return null;
  end
  $chain$`
]

/** The trigger, where it is not yet. */
export const createChainTrigger =
  "create trigger add_link after insert on {event} referencing new table as inserted for each statement execute function {add_link}()"

/** Whether the trigger is there. It takes no right but to connect. */
export const isChained = statement(
  `select count(*)::float8 from pg_trigger where tgrelid = to_regclass('{event}') and tgname = 'add_link'`,
  ([row]: ReadonlyArray<readonly [count: number]>) => row?.[0] === 1
)

type LinkRow = readonly [after: number, position: number, digest: string]

const toLink = ([after, position, digest]: LinkRow): ChainLink => ({ after, position, digest })

export const links = statement(
  `select c.after::float8, c.position::float8, c.digest from {chain} c where c.position > $1::bigint order by c.position limit $2::bigint`,
  (rows: ReadonlyArray<LinkRow>) => rows.map(toLink)
)

export const linkBefore = statement(
  `select c.after::float8, c.position::float8, c.digest from {chain} c where c.position <= $1::bigint order by c.position desc limit 1`,
  ([row]: ReadonlyArray<LinkRow>) => (row === undefined ? undefined : toLink(row))
)
