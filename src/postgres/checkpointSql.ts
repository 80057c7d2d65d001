/**
 * The SQL of checkpoints and of the registry of projection versions, for one set of tables. Times are those of the database.
 */
import * as PgTypes from "@effect/sql-pg/PgTypes"
import * as Duration from "effect/Duration"
import type { CheckpointMove, CheckpointStatements } from "../store/kit/index.ts"
import { createOperations, operationTable } from "../store/operations.ts"
import type { Names } from "./sql.ts"
import { array, textArray } from "./sql/statement.ts"

export const makeCheckpointSql = ({ prefix, schema }: Names) => {
  const table = (name: string) => `"${schema}"."${prefix}${name}"`
  const checkpoint = table("checkpoint")
  const version = table("projection_version")
  return {
    createCheckpoints: [
      `create table ${checkpoint} (
         name text collate "C" primary key,
         position bigint not null,
         epoch bigint not null,
         owner text,
         expires_at timestamptz not null,
         updated_at timestamptz not null
       ) with (fillfactor = 50)`
    ],
    createVersions: createVersions(table, checkpoint, version, prefix),
    /** What a checkpoint's owner had seen: unknown of those that stand. */
    addSeen: [`alter table ${checkpoint} add column seen text`],
    createDeadlines: createDeadlines(table, checkpoint, prefix),
    /** Whether whoever follows under a name is to begin nothing, and what operators ask for. */
    addOperations: [
      `alter table ${checkpoint} add column if not exists paused boolean not null default false`,
      ...createOperations(table(operationTable), `${prefix}operation_alone`)
    ],
    statements: {
      ...statementsOf(checkpoint),
      ...versionStatementsOf(version),
      ...deadlineStatementsOf(table("deadline"))
    } satisfies CheckpointStatements,
    moveAll: moveAll(checkpoint)
  }
}

/**
 * Moves many checkpoints, or renews their leases, where each is as `advance` and `renew` want it; gives the places of those. What
 * somebody else has locked is passed over: nobody waits for a lock that is not about his own.
 *
 * A lateral subquery with a limit can only be an index lookup. What it has locked is found again where it stands.
 */
const moveAll = (checkpoint: string): string => `
  update ${checkpoint} c
     set position = coalesce(f.after, c.position), seen = case when f.after is null then c.seen else f.seen end,
         expires_at = clock_timestamp() + make_interval(secs => f.ttl),
         updated_at = case when f.after is null then c.updated_at else clock_timestamp() end
    from (
      select l.ctid, i.nth, i.after, i.seen, i.ttl
        from unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::text[], $6::float8[])
               with ordinality i(name, epoch, before, after, seen, ttl, nth)
       cross join lateral (
         select k.ctid from ${checkpoint} k
          where k.name = i.name and k.epoch = i.epoch and k.owner is not null and (i.after is null or k.position = i.before)
          limit 1 for update skip locked
       ) l
    ) f
   where c.ctid = f.ctid
  returning f.nth::int`

/** The parameters of {@link moveAll}. */
export const encodeMoves = (moves: ReadonlyArray<CheckpointMove>): ReadonlyArray<unknown> => {
  const numbers = (values: ReadonlyArray<number | undefined>) =>
    array(
      values.map((value) => (value === undefined ? null : BigInt(value))),
      PgTypes.OID.int8
    )
  return [
    textArray(moves.map(({ name }) => name)),
    numbers(moves.map(({ epoch }) => epoch)),
    numbers(moves.map(({ before }) => before)),
    numbers(moves.map(({ after }) => after)),
    textArray(moves.map(({ seen }) => seen)),
    array(
      moves.map(({ ttl }) => Duration.toSeconds(ttl)),
      PgTypes.OID.float8
    )
  ]
}

/**
 * Makes the registry of projection versions, out of what 0.1.0 kept in checkpoints: the owner of `projection:<name>` was the active
 * version, the position of `projection:<name>@<version>` what had been heard of, and its owner the target, `inline` or `dropped`.
 *
 * A program of 0.1.0 that still runs knows nothing of the registry. Its projections are fenced here, and a claim of theirs, which
 * cannot tell its format, is refused by name; all else that it follows goes on.
 */
const createVersions = (
  table: (name: string) => string,
  checkpoint: string,
  version: string,
  prefix: string
): ReadonlyArray<string> => [
  // A name that was removed keeps its epoch, so that a lease from before stays fenced.
  `alter table ${checkpoint} add column removed boolean not null default false, add column format smallint not null default 1`,
  `create table ${version} (
     projection text collate "C" not null,
     version bigint not null,
     mode text not null check (mode in ('async', 'inline', 'dropped')),
     active boolean not null,
     target bigint,
     heard bigint not null,
     revision bigint not null,
     updated_at timestamptz not null,
     primary key (projection, version)
   )`,
  `create unique index "${prefix}projection_version_active_key" on ${version} (projection) where active`,
  `insert into ${version} (projection, version, mode, active, target, heard, revision, updated_at)
   select split_part(substr(name, 12), '@', 1), split_part(name, '@', 2)::bigint,
          case when owner in ('inline', 'dropped') then owner else 'async' end, false,
          case when owner ~ '^[1-9][0-9]{0,15}$' then owner::bigint end, position, 1, updated_at
     from ${checkpoint} where name ~ '^projection:[^@]+@[1-9][0-9]{0,15}$'`,
  `insert into ${version} as v (projection, version, mode, active, target, heard, revision, updated_at)
   select substr(name, 12), owner::bigint, 'async', true, null, 0, 1, updated_at
     from ${checkpoint} where name ~ '^projection:[^@]+$' and owner ~ '^[1-9][0-9]{0,15}$'
   on conflict (projection, version) do update
      set active = true, mode = case v.mode when 'dropped' then 'async' else v.mode end`,
  `delete from ${checkpoint}
    where name ~ '^projection:[^@]+@[1-9][0-9]{0,15}$' or (name ~ '^projection:[^@]+$' and owner ~ '^[1-9][0-9]{0,15}$')`,
  `update ${checkpoint} set owner = null where name like 'subscription:projection:%'`,
  `create function ${table("refuse_old_program")}() returns trigger language plpgsql as $refuse$
   begin
     raise exception 'eventfold: % is refused: a later release keeps the versions of projections in a table of their own; end the programs of eventfold 0.1 that run projections', new.name using errcode = 'EF003';
   end
   $refuse$`,
  `create trigger refuse_old_program before insert on ${checkpoint} for each row
   when (new.format < 2 and (new.name like 'projection:%' or new.name like 'subscription:projection:%'))
   execute function ${table("refuse_old_program")}()`
]

/**
 * Makes the table of the deadlines that are set. It is filled by the watches over them, from the log.
 *
 * A watch of eventfold 0.1 would begin at a checkpoint that has passed them, and let none of them come: its claim, which cannot tell its format,
 * is refused by name.
 */
const createDeadlines = (table: (name: string) => string, checkpoint: string, prefix: string): ReadonlyArray<string> => [
  `create table ${table("deadline")} (
     checkpoint text collate "C" not null,
     stream text collate "C" not null,
     type text collate "C" not null,
     due bigint not null,
     position bigint not null,
     id text not null,
     primary key (checkpoint, stream, type)
   )`,
  `create index "${prefix}deadline_due_key" on ${table("deadline")} (checkpoint, due, position)`,
  `create function ${table("refuse_old_watch")}() returns trigger language plpgsql as $refuse$
   begin
     raise exception 'eventfold: % is refused: a later release keeps the deadlines that are set in a table of their own; end the programs of eventfold 0.1 that run process managers', new.name using errcode = 'EF003';
   end
   $refuse$`,
  `create trigger refuse_old_watch before insert on ${checkpoint} for each row
   when (new.format < 2 and new.name like 'deadlines:%')
   execute function ${table("refuse_old_watch")}()`
]

const millis = (column: string) => `date_part('epoch', ${column}) * 1000`

/** Those who only read see nothing of a name that was removed. */
const statementsOf = (checkpoint: string) => {
  const columns = `name, position::float8, epoch::float8, owner, ${millis("expires_at")}, ${millis("updated_at")}, seen, paused::int`
  return {
    claim: `
      insert into ${checkpoint} as c (name, position, epoch, owner, expires_at, updated_at, format)
      values ($1, $3::bigint, 1, $2, clock_timestamp() + make_interval(secs => $4), clock_timestamp(), 2)
      on conflict (name) do update
         set epoch = c.epoch + 1, owner = excluded.owner, expires_at = excluded.expires_at, updated_at = excluded.updated_at, format = 2,
             removed = false, position = case when c.removed then excluded.position else c.position end, paused = c.paused and not c.removed
       where c.owner is null or c.owner = excluded.owner or c.expires_at <= clock_timestamp()
      returning epoch::float8, position::float8, seen, paused::int`,
    renew: `
      update ${checkpoint} set expires_at = clock_timestamp() + make_interval(secs => $3)
       where name = $1 and epoch = $2::bigint and owner is not null returning 1`,
    advance: `
      update ${checkpoint}
         set position = $4::bigint, seen = $5, expires_at = clock_timestamp() + make_interval(secs => $6), updated_at = clock_timestamp()
       where name = $1 and epoch = $2::bigint and owner is not null and position = $3::bigint returning 1`,
    release: `update ${checkpoint} set owner = null where name = $1 and epoch = $2::bigint`,
    pause: `update ${checkpoint} set paused = $2::bigint = 1 where name = $1 and not removed returning 1`,
    lock: `select ${columns} from ${checkpoint} where name = $1 and not removed for update`,
    reset: `
      insert into ${checkpoint} as c (name, position, epoch, owner, expires_at, updated_at, format)
      values ($1, $2::bigint, 1, null, clock_timestamp(), clock_timestamp(), 2)
      on conflict (name) do update
         set position = excluded.position, epoch = c.epoch + 1, owner = null, expires_at = excluded.expires_at,
             updated_at = excluded.updated_at, format = 2, paused = c.paused and not c.removed, removed = false, seen = null`,
    remove: `
      update ${checkpoint}
         set owner = null, position = 0, seen = null, removed = true, expires_at = clock_timestamp(), updated_at = clock_timestamp()
       where name = $1 and not removed and ($2::bigint = 1 or owner is null or expires_at <= clock_timestamp()) returning 1`,
    get: `select ${columns} from ${checkpoint} where name = $1 and not removed`,
    list: `select ${columns} from ${checkpoint} where not removed order by name`
  }
}

const versionStatementsOf = (version: string) => {
  const columns = `projection, version::float8, mode, active::int, target::float8, heard::float8, revision::float8, ${millis("updated_at")}`
  return {
    version: `select ${columns} from ${version} where projection = $1 and version = $2::bigint`,
    versionsOf: `select ${columns} from ${version} where projection = $1 order by ${version}.version`,
    versions: `select ${columns} from ${version} order by ${version}.projection, ${version}.version`,
    insertVersion: `
      insert into ${version} (projection, version, mode, active, target, heard, revision, updated_at)
      values ($1, $2::bigint, $3, false, $4::bigint, $5::bigint, 1, clock_timestamp())
      on conflict (projection, version) do nothing returning 1`,
    updateVersion: `
      update ${version}
         set mode = $3, active = active and $3 <> 'dropped', target = $4::bigint, heard = $5::bigint, revision = revision + 1,
             updated_at = clock_timestamp()
       where projection = $1 and version = $2::bigint and revision = $6::bigint returning 1`,
    lockActive: `select 1 from ${version} where projection = $1 and version = $2::bigint and active for update`,
    deactivate: `
      update ${version} set active = false, revision = revision + 1, updated_at = clock_timestamp()
       where projection = $1 and version = $2::bigint and active returning 1`,
    activate: `
      insert into ${version} as v (projection, version, mode, active, target, heard, revision, updated_at)
      values ($1, $2::bigint, 'async', true, null, 0, 1, clock_timestamp())
      on conflict (projection, version) do update
         set active = true, mode = case v.mode when 'dropped' then 'async' else v.mode end, revision = v.revision + 1,
             updated_at = excluded.updated_at
       where not v.active
      returning 1`
  }
}

const deadlineStatementsOf = (deadline: string) => ({
  dropDeadlines: `
    delete from ${deadline} as d using jsonb_to_recordset($2::jsonb) as c (stream text, type text, id text)
     where d.checkpoint = $1 and d.stream = c.stream and d.type = c.type and (c.id is null or c.id = d.id)`,
  keepDeadlines: `
    insert into ${deadline} (checkpoint, stream, type, due, position, id)
    select $1, stream, type, due, position, id
      from jsonb_to_recordset($2::jsonb) as c (stream text, type text, due bigint, position bigint, id text)`,
  // By name of the table, for `due` alone would be the column that is given, and sorted.
  dueDeadlines: `
    select d.stream, d.type, d.due::float8, d.position::float8, d.id from ${deadline} as d
     where d.checkpoint = $1 and (d.due, d.position) > ($2::bigint, $3::bigint) and d.due <= $4::bigint
     order by d.checkpoint, d.due, d.position limit $5::bigint`,
  clearDeadlines: `delete from ${deadline} where checkpoint = $1`
})
