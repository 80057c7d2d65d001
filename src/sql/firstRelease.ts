/**
 * What 0.1.0 made without a schema or prefix, whatever the store: the tables beside the events, and those of projections. They go to the
 * store that they belong to. Where several stores of 0.1.0 share a database nothing tells whose they are, and nobody guesses.
 */
import * as Effect from "effect/Effect"
import type * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import { folded, quoted, type TableName } from "./names.ts"
import { isThere } from "./table.ts"
import { inTransaction } from "./transaction.ts"

/** Where the tables of a store are. */
export interface Place {
  readonly schema: string | undefined
  readonly prefix: string
}

const isPostgres = (sql: SqlClient.SqlClient): boolean => sql.onDialectOrElse({ pg: () => true, orElse: () => false })

/** The rows of a statement, whose columns are text. */
const rowsOf = (sql: SqlClient.SqlClient, text: string, parameters: ReadonlyArray<string> = []) =>
  Effect.map(sql.unsafe(text, parameters).values, (rows) => rows.map((row) => row.map(String)))

/** A table (no view) that is found without a schema, as 0.1.0 looked for it. */
const find = (sql: SqlClient.SqlClient, name: string): Effect.Effect<TableName | undefined, SqlError> =>
  Effect.map(
    rowsOf(
      sql,
      isPostgres(sql)
        ? `select n.nspname from pg_class c join pg_namespace n on n.oid = c.relnamespace
            where c.oid = to_regclass($1) and c.relkind = 'r'`
        : "select name from sqlite_schema where type = 'table' and name = ?1 collate nocase",
      [isPostgres(sql) ? quoted({ schema: undefined, name }) : name]
    ),
    ([row]) => (row === undefined ? undefined : { schema: isPostgres(sql) ? row[0] : undefined, name })
  )

/** Whether a table is there that the role may read. */
const isReadable = (sql: SqlClient.SqlClient, table: TableName): Effect.Effect<boolean, SqlError> =>
  isPostgres(sql)
    ? Effect.map(
        rowsOf(
          sql,
          `select 1 from pg_class c join pg_namespace n on n.oid = c.relnamespace
            where n.nspname = $1 and c.relname = $2 and has_schema_privilege(n.oid, 'usage') and has_table_privilege(c.oid, 'select')`,
          [table.schema ?? "", table.name]
        ),
        (rows) => rows.length > 0
      )
    : isThere(sql, table)

/** The stores of a database, and whether the tables of their migrations can be read. */
const stores = {
  pg: `select n.nspname, left(e.relname, -5), has_schema_privilege(n.oid, 'usage') and has_table_privilege(m.oid, 'select')
         from pg_class e
         join pg_namespace n on n.oid = e.relnamespace
         join pg_class t on t.relnamespace = n.oid and t.relname = left(e.relname, -5) || 'tag'
         join pg_class m on m.relnamespace = n.oid and m.relname = left(e.relname, -5) || 'migration'
        where e.relkind = 'r' and right(e.relname, 5) = 'event' and t.relkind = 'r' and m.relkind = 'r'`,
  sqlite: `select '', substr(e.name, 1, length(e.name) - 5), 'true'
             from sqlite_schema e
             join sqlite_schema t on t.type = 'table' and t.name = substr(e.name, 1, length(e.name) - 5) || 'tag'
             join sqlite_schema m on m.type = 'table' and m.name = substr(e.name, 1, length(e.name) - 5) || 'migrations'
            where e.type = 'table' and e.name like '%event'`
}

/** The table of a store's migrations. */
const migrationsOf = (sql: SqlClient.SqlClient, { prefix, schema }: Place): TableName => ({
  schema,
  name: `${prefix}${isPostgres(sql) ? "migration" : "migrations"}`
})

/** Whether 0.1.0 made a store: a later release makes the events and the registry of projection versions in one transaction. */
const isOfFirstRelease = (sql: SqlClient.SqlClient, place: Place): Effect.Effect<boolean, SqlError> => {
  const migrations = quoted(migrationsOf(sql, place))
  const madeAtOnce = rowsOf(
    sql,
    `select 1 from ${migrations} a join ${migrations} b on b.migration_id = 3 and b.created_at = a.created_at where a.migration_id = 1`
  )
  return Effect.map(madeAtOnce, (rows) => rows.length === 0)
}

/** The stores that 0.1.0 made, and those of which nobody may tell. */
const ownersIn = (sql: SqlClient.SqlClient): Effect.Effect<ReadonlyArray<Place>, SqlError> =>
  Effect.gen(function* () {
    const onPostgres = isPostgres(sql)
    const owners: Array<Place> = []
    for (const [schema = "", prefix = "", readable] of yield* rowsOf(sql, onPostgres ? stores.pg : stores.sqlite)) {
      const place = { schema: onPostgres ? schema : undefined, prefix }
      if (readable !== "true" || (yield* isOfFirstRelease(sql, place))) owners.push(place)
    }
    return owners
  })

const isSame = (a: Place, b: Place): boolean => a.schema === b.schema && a.prefix === b.prefix

/**
 * Whose it is what 0.1.0 made without a schema: `theirs` says of whom it could be, where that is not known. A store that a later release
 * made is no owner, whatever other stores there are: it does not look at those, which may be thousands.
 */
const claim = Effect.fnUntraced(function* (
  sql: SqlClient.SqlClient,
  place: Place,
  isOfStore: boolean
): Effect.fn.Return<"ours" | "not ours" | { readonly theirs: ReadonlyArray<Place> }, SqlError> {
  if (isOfStore && (yield* isReadable(sql, migrationsOf(sql, place))) && !(yield* isOfFirstRelease(sql, place))) return "not ours"
  const owners = yield* ownersIn(sql)
  const isOwner = owners.some((owner) => isSame(owner, place))
  if (isOfStore && !isOwner) return "not ours"
  return owners.length === 0 || (owners.length === 1 && isOwner) ? "ours" : { theirs: owners }
})

const nameOf = ({ prefix, schema }: Place): string => JSON.stringify(schema === undefined ? prefix : `${schema}.${prefix}`)

/** What somebody has to do who alone knows whose a table is. */
const undecided = (sql: SqlClient.SqlClient, old: TableName, to: TableName, theirs: ReadonlyArray<Place>, how: string): Error => {
  const moved = { schema: to.schema, name: old.name }
  const move =
    (isPostgres(sql) ? `alter table ${quoted(old)} set schema "${to.schema}"; ` : "") +
    `alter table ${quoted(isPostgres(sql) ? moved : old)} rename to "${to.name}"`
  return new Error(
    `${quoted(old)} was made by eventfold 0.1.0 and could belong to any of these stores: ${theirs.map(nameOf).join(", ")}. ${how}, or give it to this one: ${move}`
  )
}

/**
 * Fails where the store has no checkpoints, and those of 0.1.0, which did not look for them beside the store, stand beside no events in
 * the tables of a store that was told nothing.
 */
export const refuseLeftCheckpoints = Effect.fnUntraced(function* (
  sql: SqlClient.SqlClient,
  place: Place,
  usual: Place
): Effect.fn.Return<void, SqlError | Error> {
  if (isSame(place, usual)) return
  const table = (name: string, { prefix, schema }: Place) => ({ schema, name: `${prefix}${name}` })
  const some = (found: TableName) =>
    Effect.map(
      Effect.flatMap(isReadable(sql, found), (readable) =>
        readable ? rowsOf(sql, `select 1 from ${quoted(found)} limit 1`) : Effect.succeed([])
      ),
      (rows) => rows.length > 0
    )
  if (yield* some(table("checkpoint", place))) return
  if (!(yield* some(table("checkpoint", usual))) || (yield* some(table("event", usual)))) return
  return yield* Effect.fail(
    new Error(
      `the checkpoints of 0.1.0 are in ${quoted(table("checkpoint", usual))}, and no store has its events there: to go on with them, say ${isPostgres(sql) ? `{ schema: "${usual.schema}" }` : `{ tablePrefix: "${usual.prefix}" }`}`
    )
  )
})

/** One at a time: whoever comes second finds the work done. */
const alone = <A, E>(sql: SqlClient.SqlClient, work: Effect.Effect<A, E>): Effect.Effect<A, E | SqlError> =>
  inTransaction(
    sql,
    isPostgres(sql)
      ? Effect.andThen(sql`select pg_advisory_xact_lock(hashtextextended('eventfold: what 0.1.0 made', 0))`, work)
      : work
  )

/** Moves a table to where nothing stands. The names of its indexes go with it. */
const move = Effect.fnUntraced(function* (sql: SqlClient.SqlClient, old: TableName, to: TableName) {
  if (isPostgres(sql) && old.schema !== to.schema) yield* sql.unsafe(`alter table ${quoted(old)} set schema "${to.schema}"`)
  const moved = { schema: to.schema, name: old.name }
  if (old.name === to.name) return
  yield* sql.unsafe(`alter table ${quoted(moved)} rename to "${to.name}"`)
  if (!isPostgres(sql)) {
    // An index has no other name to be given: it is made again.
    const own = yield* rowsOf(
      sql,
      "select name from sqlite_schema where type = 'index' and tbl_name = ?1 and sql is not null and name glob ?2 || '_*'",
      [to.name, old.name]
    )
    return yield* Effect.forEach(own, ([index]) => sql.unsafe(`drop index "${index}"`), { discard: true })
  }
  const indexes = yield* rowsOf(
    sql,
    "select c.relname from pg_index i join pg_class c on c.oid = i.indexrelid where i.indrelid = to_regclass($1) and starts_with(c.relname, $2)",
    [quoted(to), old.name]
  )
  for (const [index = ""] of indexes) {
    const name = `${to.name}${index.slice(old.name.length)}`
    yield* sql.unsafe(`alter index ${quoted({ schema: to.schema, name: index })} rename to "${name}"`)
  }
})

/**
 * Takes over the rows of a table beside the events that 0.1.0 kept in `eventfold_<name>`, whatever the store. `to` is where they belong.
 * Fails where there are some, and several stores could be meant.
 */
export const adoptTable = (
  sql: SqlClient.SqlClient,
  name: string,
  to: TableName,
  { columns, isOfStore, place }: { readonly columns: ReadonlyArray<string>; readonly isOfStore: boolean; readonly place: Place }
): Effect.Effect<void, SqlError | Error> => {
  const look = Effect.map(find(sql, `eventfold_${name}`), (old) =>
    old === undefined || (old.schema === to.schema && old.name === to.name) ? undefined : old
  )
  const work = Effect.gen(function* () {
    const old = yield* look
    if (old === undefined) return
    const whose = yield* claim(sql, place, isOfStore)
    if (whose === "not ours") return
    if (whose !== "ours") {
      if ((yield* rowsOf(sql, `select 1 from ${quoted(old)} limit 1`)).length === 0) return
      const how = `To go on with it as it is, name it: { table: ${JSON.stringify(old.schema === undefined ? old.name : `${old.schema}.${old.name}`)} }`
      return yield* Effect.fail(undecided(sql, old, to, whose.theirs, how))
    }
    // What the migrations of a table that has no more of them had noted.
    const noted = yield* find(sql, `${old.name}_migration`)
    if (noted !== undefined) yield* sql.unsafe(`drop table ${quoted(noted)}`)
    if (!(yield* isThere(sql, to))) return yield* move(sql, old, to)
    // A program of 0.1.0 that still runs has made it again.
    const list = columns.map((column) => `"${column}"`).join(", ")
    yield* sql.unsafe(`insert into ${quoted(to)} (${list}) select ${list} from ${quoted(old)} where true on conflict do nothing`)
    yield* sql.unsafe(`drop table ${quoted(old)}`)
  })
  return Effect.flatMap(look, (old): Effect.Effect<void, SqlError | Error> =>
    old === undefined ? Effect.void : alone(sql, work)
  )
}

/** The views that projections of 0.1.0 show their tables by: each is of the name of its table without the version. */
const views = {
  pg: `select distinct n.nspname, v.relname, t.relname
         from pg_class v
         join pg_namespace n on n.oid = v.relnamespace
         join pg_rewrite r on r.ev_class = v.oid
         join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = r.oid and d.refclassid = 'pg_class'::regclass
         join pg_class t on t.oid = d.refobjid and t.relnamespace = n.oid and t.relkind = 'r'
        where v.relkind = 'v' and pg_table_is_visible(v.oid) and v.relname ~ '^[a-z0-9_]+$'
          and t.relname ~ ('^' || v.relname || '_v[1-9][0-9]*$')`,
  sqlite: `select '', v.name, t.name from sqlite_schema v join sqlite_schema t
            where v.type = 'view' and t.type = 'table' and t.name glob v.name || '_v[1-9]*'
              and replace(v.sql, '"', '') like '%from ' || t.name`
}

/** What a later release has made for projections in a schema, which says whose tables are whose; `undefined` where that cannot be read. */
const ownedIn = Effect.fnUntraced(function* (
  sql: SqlClient.SqlClient,
  schema: string | undefined
): Effect.fn.Return<ReadonlySet<string> | undefined, SqlError> {
  const owned = new Set<string>()
  const registries = isPostgres(sql)
    ? rowsOf(
        sql,
        `select c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
          where n.nspname = $1 and c.relkind = 'r' and right(c.relname, 16) = 'projection_table'`,
        [schema ?? ""]
      )
    : rowsOf(sql, "select name from sqlite_schema where type = 'table' and name like '%projection\\_table' escape '\\'")
  for (const [name = ""] of yield* registries) {
    const registry = { schema, name }
    if (!(yield* isReadable(sql, registry))) return undefined
    const prefix = folded(name.slice(0, -"projection_table".length))
    for (const [table = ""] of yield* rowsOf(sql, `select table_name from ${quoted(registry)}`)) {
      owned.add(table)
      owned.add(`${prefix}${table}`)
    }
  }
  return owned
})

/** The tables of all versions that a view could show. */
const versionsOf = (sql: SqlClient.SqlClient, schema: string, view: string) =>
  isPostgres(sql)
    ? rowsOf(
        sql,
        `select relname from pg_class where relkind = 'r' and relnamespace = (select oid from pg_namespace where nspname = $1)
            and relname ~ ('^' || $2 || '_v[1-9][0-9]*$')`,
        [schema, view]
      )
    : rowsOf(sql, "select name from sqlite_schema where type = 'table' and name glob ?1 || '_v[1-9]*'", [view])

/**
 * Takes over the tables of projections that 0.1.0 made without a schema, and their views. `prefix` is what the names of such tables begin
 * with. Nothing happens where several stores could be meant: {@link refuseUndecided} says so to whoever needs a table.
 */
export const adoptViews = Effect.fnUntraced(function* (
  sql: SqlClient.SqlClient,
  place: Place,
  prefix: string
): Effect.fn.Return<void, SqlError> {
  const onPostgres = isPostgres(sql)
  if ((!onPostgres && prefix === "") || (yield* claim(sql, place, true)) !== "ours") return
  for (const [schema = "", view = "", shown = ""] of yield* rowsOf(sql, onPostgres ? views.pg : views.sqlite)) {
    const from = onPostgres ? schema : undefined
    // Whoever made the store's tables by hand has a schema of its own on the search path.
    if (from === place.schema && prefix === "") continue
    const to = { schema: place.schema, name: `${prefix}${view}` }
    const owned = yield* ownedIn(sql, from)
    if (owned === undefined || owned.has(folded(view)) || (yield* isThere(sql, to))) continue
    for (const [table = ""] of yield* versionsOf(sql, schema, view)) {
      yield* move(sql, { schema: from, name: table }, { schema: place.schema, name: `${prefix}${table}` })
    }
    if (onPostgres) {
      if (schema !== place.schema) yield* sql.unsafe(`alter view ${quoted({ schema, name: view })} set schema "${place.schema}"`)
      const moved = { schema: place.schema, name: view }
      if (prefix !== "") yield* sql.unsafe(`alter view ${quoted(moved)} rename to "${to.name}"`)
    } else {
      yield* sql.unsafe(`drop view "${view}"`)
      yield* sql.unsafe(`create view "${to.name}" as select * from "${prefix}${shown}"`)
    }
  }
})

/** Fails where a table of a projection is missing and 0.1.0 had made one that several stores could own. */
export const refuseUndecided = Effect.fnUntraced(function* (
  sql: SqlClient.SqlClient,
  table: string,
  version: number,
  to: TableName,
  place: Place
): Effect.fn.Return<void, SqlError | Error> {
  if (yield* isThere(sql, to)) return
  const old = yield* find(sql, `${isPostgres(sql) ? folded(table) : table}_v${version}`)
  if (old === undefined || quoted(old) === quoted(to)) return
  const whose = yield* claim(sql, place, true)
  if (typeof whose === "string") return
  const how = isPostgres(sql)
    ? `To go on with it as it is, define its table as ${JSON.stringify(`${old.schema}.${table}`)}`
    : "Drop it, with its view, if it is to be built anew"
  return yield* Effect.fail(undecided(sql, old, to, whose.theirs, how))
})
