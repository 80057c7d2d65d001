/**
 * What makes the tables of a store those of many tenants: a column that says whose a row is, keys that have it, and policies by which a
 * role that owns nothing sees the rows of one tenant alone.
 *
 * The names of streams, ids and tags bear their tenant (see `partition.ts`), so the keys of events are keys of a tenant's as they are, and
 * `append_batch` is what it is everywhere. What stands beside the events has names of its own, so its keys get the column.
 *
 * Whose the rows are is said by the setting `eventfold.tenant`, for one transaction. Where it is not set there are no rows.
 */
import type { Query } from "../../store/EventStore.ts"
import { newestMatchWith } from "./newestMatch.ts"
import { statement } from "./statement.ts"

/** The setting that says whose rows are seen. */
const setting = "eventfold.tenant"

/** Whose what is beside the events is of those who follow all tenants. No tenant can be called so. */
export const ofAll = "$"

const isOwn = `tenant = current_setting('${setting}', true)`

/** Says whose rows are seen, to the end of the transaction. */
export const enter = `select set_config('${setting}', $1, true)`

/** A query of an append's condition that names no tag: what else passes it is another tenant's. */
interface OfTenant extends Query {
  readonly tenant: string
}

export const ofTenant =
  (tenant: string) =>
  (query: Query): OfTenant => ({ ...query, tenant })

/** Whether an event of a stream may be what such a query asks for. */
export const isOfTenant = (query: Query, stream: string): boolean =>
  !("tenant" in query) || stream.startsWith(`${(query as OfTenant).tenant}/`)

/**
 * A statement that reads as one tenant, in one round trip. The rows of the inner query depend on what sets the tenant, so it is set before
 * one is looked at; that a row is of the tenant is asked for besides, and the policy is the second lock.
 */
export const asTenant = (text: string, { event, tag }: { readonly event: string; readonly tag: string }, nth: number): string => {
  const own = (table: string) => `(select x.* from ${table} x where x.tenant = own_tenant.tenant)`
  const inner = text.replaceAll(event, own(event)).replaceAll(tag, own(tag))
  return `select r.* from (select set_config('${setting}', $${nth}, true) as tenant offset 0) own_tenant cross join lateral (select q.* from (${inner}) q offset 0) r`
}

/** What an application's role may run: it appends through these, as their owner. */
const functions = [
  "append_batch",
  "append_event",
  "append_one",
  "append_lock",
  "newest_match",
  "newest_position",
  "events_stand",
  "flush_commits"
]

/** A function that is made anew has forgotten that it acts as its owner: where tenants share the tables, the appends are told again. */
export const definerAsBefore = `do $definer$
  begin
    if exists (select from pg_policy p where p.polrelid = '{event}'::regclass and p.polname = 'of_tenant') then
      alter function {append_batch} security definer set search_path = pg_catalog, pg_temp;
      alter function {events_stand} security definer set search_path = pg_catalog, pg_temp;
      alter function {append_event} security definer set search_path = pg_catalog, pg_temp;
    end if;
  end
  $definer$`

/** Tables that are of no tenant. */
const common = ["migration", "transport_migration", "tenant_registry", "projection_table"]

/** The statements that do it, and do it again for what has come since. `{role}` is the role that the application logs in with. */
export const tenantTables: ReadonlyArray<string> = [
  newestMatchWith("\n           and (not v_query ? 'tenant' or e.tenant = v_query->>'tenant')"),
  `alter table {event} add column if not exists tenant text collate "C" generated always as (split_part(stream, '/', 1)) stored`,
  `alter table {tag} add column if not exists tenant text collate "C" generated always as (split_part(tag, '/', 1)) stored`,
  `create index if not exists "{prefix}event_tenant_position" on {event} (tenant, position)`,
  `do $isolate$
  declare
    v_table record;
    v_key record;
  begin
    for v_table in
      select c.oid, c.oid::regclass as name, c.relkind, c.relname in ('{prefix}event', '{prefix}tag') as is_log
        from pg_class c
       where c.relnamespace = '{schema}'::regnamespace and c.relkind in ('r', 'v')
         and c.relname <> all (array[${common.map((name) => `'{prefix}${name}'`).join(", ")}])
    loop
      if v_table.relkind = 'v' then
        -- A view has the rights of its owner, who sees all, unless it is told to have those of who asks.
        execute format('alter view %s set (security_invoker = true)', v_table.name);
        execute format('grant select on %s to {role}', v_table.name);
        continue;
      end if;
      if not v_table.is_log and not exists (select from pg_attribute a where a.attrelid = v_table.oid and a.attname = 'tenant' and not a.attisdropped) then
        execute format('alter table %s add column tenant text collate "C" not null default nullif(current_setting(''${setting}'', true), '''') check (tenant <> '''')', v_table.name);
        for v_key in
          select n.conname as name, pg_get_constraintdef(n.oid) as is
            from pg_constraint n where n.conrelid = v_table.oid and n.contype in ('p', 'u')
        loop
          execute format('alter table %s drop constraint %I', v_table.name, v_key.name);
          execute format('alter table %s add constraint %I %s', v_table.name, v_key.name, regexp_replace(v_key.is, '\\(', '(tenant, '));
        end loop;
        for v_key in
          select i.indexrelid::regclass as name, pg_get_indexdef(i.indexrelid) as is
            from pg_index i
           where i.indrelid = v_table.oid and i.indisunique and not exists (select from pg_constraint n where n.conindid = i.indexrelid)
        loop
          execute format('drop index %s', v_key.name);
          execute regexp_replace(v_key.is, 'USING btree \\(', 'USING btree (tenant, ');
        end loop;
      end if;
      execute format('alter table %s enable row level security', v_table.name);
      if not exists (select from pg_policy p where p.polrelid = v_table.oid and p.polname = 'of_tenant') then
        if v_table.is_log then
          execute format('create policy of_tenant on %s for select using (${isOwn.replaceAll("'", "''")})', v_table.name);
        else
          execute format('create policy of_tenant on %s using (${isOwn.replaceAll("'", "''")}) with check (${isOwn.replaceAll("'", "''")})', v_table.name);
        end if;
      end if;
      execute format(case when v_table.is_log then 'grant select on %s to {role}' else 'grant select, insert, update, delete on %s to {role}' end, v_table.name);
    end loop;
  end
  $isolate$`,
  `do $definer$
  declare
    v_function record;
  begin
    for v_function in
      select p.oid::regprocedure as name from pg_proc p
       where p.pronamespace = '{schema}'::regnamespace
         and p.proname = any (array[${functions.map((name) => `'{prefix}${name}'`).join(", ")}])
    loop
      execute format('alter function %s security definer set search_path = pg_catalog, pg_temp', v_function.name);
      execute format('revoke execute on function %s from public', v_function.name);
      execute format('grant execute on function %s to {role}', v_function.name);
    end loop;
  end
  $definer$`,
  `grant usage on schema {schema} to {role}`,
  `grant usage on all sequences in schema {schema} to {role}`,
  `do $common$
  declare
    v_table text;
  begin
    for v_table in
      select c.oid::regclass from pg_class c
       where c.relnamespace = '{schema}'::regnamespace and c.relname in ('{prefix}migration', '{prefix}projection_table')
    loop
      execute format('grant select on %s to {role}', v_table);
    end loop;
  end
  $common$`
]

/**
 * Tombstones for one tenant: the function that removes, which refuses whatever is not the tenant's. A role may run it that is granted it, by
 * {@link mayRemove}.
 */
export const tombstoneOwn: ReadonlyArray<string> = [
  `create or replace function {tombstone_own}(p_positions bigint[], p_ids text[], p_reason text, p_archive text, p_closed text[], p_versions bigint[])
  returns bigint language plpgsql security definer set search_path = pg_catalog, pg_temp as $own$
  declare
    v_tenant text := current_setting('${setting}', true);
    v_behind text;
  begin
    if exists (select from unnest(p_positions) p(position) join {event} e on e.position = p.position where e.tenant is distinct from v_tenant)
       or exists (select from unnest(p_closed) c(stream) where split_part(c.stream, '/', 1) is distinct from v_tenant) then
      raise exception 'eventfold: an event of another tenant is not removed' using errcode = 'EF002';
    end if;
    -- Who follows all tenants is seen by none of them.
    select c.name into v_behind from {checkpoint} c
     where c.tenant = '${ofAll}' and not c.removed and c.name !~ ':join/[0-9]+$'
       and c.position < (select max(p.position) from unnest(p_positions) p(position))
     order by c.name limit 1;
    if v_behind is not null then
      raise exception 'eventfold: % follows all tenants, and has not yet seen what was to be removed', v_behind using errcode = 'EF002';
    end if;
    return {tombstone}(p_positions, p_ids, p_reason, p_archive, p_closed, p_versions);
  end
  $own$`,
  `revoke execute on function {tombstone_own} from public`
]

/** What makes a role one that follows all tenants: it reads the events of all, writes none, and has what stands beside them under a name of its own. */
export const readAllTenants: ReadonlyArray<string> = [
  `do $reader$
  declare
    v_table record;
  begin
    for v_table in
      select c.oid, c.oid::regclass as name, c.relkind, c.relname in ('{prefix}event', '{prefix}tag') as is_log,
             exists (select from pg_attribute a where a.attrelid = c.oid and a.attname = 'tenant' and not a.attisdropped) as is_tenants
        from pg_class c
       where c.relnamespace = '{schema}'::regnamespace and c.relkind in ('r', 'v')
    loop
      if v_table.is_log then
        execute format('grant select on %s to {role}', v_table.name);
        if not exists (select from pg_policy p where p.polrelid = v_table.oid and p.polname = 'of_all') then
          execute format('create policy of_all on %s for select to {role} using (true)', v_table.name);
        else
          execute format('alter policy of_all on %s to {role}', v_table.name);
        end if;
      elsif v_table.is_tenants and v_table.relkind = 'r' then
        execute format('grant select, insert, update, delete on %s to {role}', v_table.name);
      else
        execute format('grant select on %s to {role}', v_table.name);
      end if;
    end loop;
  end
  $reader$`,
  `grant usage on schema {schema} to {role}`,
  `grant usage on all sequences in schema {schema} to {role}`,
  `grant execute on function {newest_position}, {flush_commits} to {role}`
]

/** Whether the role of the session reads the events of all tenants: it is what has been prepared for that. */
export const readsAll = `
  select current_user::text, exists (
    select from pg_policy p
     where p.polrelid = $1::regclass and p.polname = 'of_all' and (select r.oid from pg_roles r where r.rolname = current_user) = any (p.polroles))`

/** What a role is granted that may remove events of the tenant that it names. */
export const mayRemove = `grant execute on function {tombstone_own} to {role}`

/** As the statement `tombstone`, of one tenant. */
export const tombstoneOfTenant = statement(
  `select {tombstone_own}($1::bigint[], $2::text[], $3, $4, $5::text[], $6::bigint[])::float8`,
  ([row]: ReadonlyArray<readonly [changed: number]>) => row?.[0] ?? 0
)

/** The tables that tenants have rows in beside their events. */
export const ownTables = statement(
  `select c.oid::regclass::text
    from pg_class c
   where c.relnamespace = '{schema}'::regnamespace and c.relkind = 'r' and c.relname not in ('{prefix}event', '{prefix}tag')
     and exists (select from pg_policy p where p.polrelid = c.oid and p.polname = 'of_tenant')
   order by c.relname collate "C"`,
  (rows: ReadonlyArray<readonly [table: string]>) => rows.map(([table]) => table)
)

/** The tables that the role of the session reads without a policy: none, where they have been prepared for it. */
export const openTables = `
  select c.relname, current_user::text
    from pg_class c
   where c.relnamespace = $1::regnamespace and c.relkind in ('r', 'p', 'm')
     and c.relname <> all ($2::text[])
     and has_table_privilege(c.oid, 'select') and not row_security_active(c.oid)
   order by c.relname = $3 desc, c.relname collate "C"`

export const commonTables = (prefix: string): ReadonlyArray<string> => common.map((name) => `${prefix}${name}`)
