/**
 * Opens the stores that URLs name. What it takes is loaded when it is known, so that who has one driver alone can use it. Looking makes
 * no table and no file, and brings none up to date.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import { existsSync, readdirSync, statSync } from "node:fs"
import { dirname, join } from "node:path"
import { type Checkpoints, layerMemory } from "../store/Checkpoints.ts"
import * as SqlClient from "effect/sql/SqlClient"
import type { MigrationStatus } from "../sql/migrating.ts"
import type { EventStore } from "../store/EventStore.ts"
import { asFailure, CliFailure, codes, refused, tell, unreachable, usage } from "./failure.ts"
import type { Target } from "./target.ts"

/** What a store has, and what stands beside it, as far as that is there. */
export type Services = EventStore | Checkpoints

/** `"look"`: nothing is made. `"act"`: the table of acts is. `"make"`: files and tables are made, and brought up to date. */
export type Mode = "look" | "act" | "make"

/** Loads what need not be there, or may fail to load; where it is made of packages, these may have to be installed. */
export const load = <A>(what: string, names: string | undefined, open: () => Promise<A>): Effect.Effect<A, CliFailure> =>
  Effect.tryPromise({
    try: open,
    catch: (cause) => {
      const { code, message } = (cause ?? {}) as { readonly code?: string; readonly message?: string }
      return code === "ERR_MODULE_NOT_FOUND" && names !== undefined
        ? unreachable(`${what} needs ${names}: npm install ${names}`)
        : unreachable(`${what} cannot be loaded: ${String(message ?? cause)}`)
    }
  })

/**
 * What stands beside the events: nothing where its table was never made. What cannot be read is left out, and who asks for it is told so;
 * the rest is shown.
 */
const beside = <A, R>(
  sql: Layer.Layer<A, { readonly message: string }, R>,
  nothing: Layer.Layer<A>
): Layer.Layer<never, never, R> =>
  // It may provide nothing, so nobody may rely on it.
  Layer.catch(sql, (error) =>
    tell(Cause.fail(error)).message.includes("there is no table") ? nothing : Layer.empty
  ) as unknown as Layer.Layer<never, never, R>

const besideSql = Effect.map(
  Effect.promise(() =>
    Promise.all([import("../store/ParkedEvents.ts"), import("../consuming/DeadLetters.ts"), import("../store/Snapshots.ts")])
  ),
  ([parked, letters, snapshots]) => {
    const options = { migrate: false }
    return Layer.mergeAll(
      beside(parked.layerSqlWith(options), parked.layerMemory),
      beside(letters.layerSqlWith(options), letters.layerMemory),
      beside(snapshots.layerSqlWith(options), snapshots.layerMemory)
    )
  }
)

/**
 * Tables that a later release has changed are not touched. An act keeps what was asked for in a table of its own, and makes that where it
 * may: beside tables that are up to date, and brings none up to date itself. Who may not read which migrations have run finds out by what
 * fails.
 */
const guarded = <E>(status: Effect.Effect<MigrationStatus, E, SqlClient.SqlClient>, mode: Mode) =>
  Layer.effectDiscard(
    Effect.gen(function* () {
      const { pending, unknown } = yield* Effect.orElseSucceed(status, () => ({ pending: [], unknown: [] }))
      if (unknown.length > 0) return yield* laterRelease(unknown)
      if (mode !== "act" || pending.length === 0) return
      return yield* refused(
        `These tables are of an earlier release (${pending.join(", ")} to do): eventfold migrate comes first.`
      )
    })
  )

export const laterRelease = (unknown: ReadonlyArray<string>) =>
  refused(`A later release has changed these tables (${unknown.join(", ")}): use its command line.`)

/** Where the tables are: `?schema=` and `?tablePrefix=` of the URL. */
const placeOf = (url: string) => {
  const parsed = new URL(url)
  const schema = parsed.searchParams.get("schema") ?? undefined
  const tablePrefix = parsed.searchParams.get("tablePrefix") ?? undefined
  parsed.searchParams.delete("schema")
  parsed.searchParams.delete("tablePrefix")
  return { url: parsed.href, place: { schema, tablePrefix } }
}

const postgresClient = Effect.fnUntraced(function* (url: string, applicationName = "eventfold") {
  const PgClient = yield* load("postgres://", "@effect/sql-pg", () => import("@effect/sql-pg/PgClient"))
  return PgClient.layer({ url: Redacted.make(url), applicationName, maxConnections: 4 })
})

const postgres = Effect.fnUntraced(function* (text: string, mode: Mode) {
  const { place, url } = placeOf(text)
  const client = yield* postgresClient(url)
  const [{ PgCheckpoints, PgEventStore }, { statusOf }, { checkNames }] = yield* Effect.promise(() =>
    Promise.all([import("../postgres/index.ts"), import("../postgres/migrations.ts"), import("../postgres/names.ts")])
  )
  const options = { ...place, migrate: mode !== "look", listen: false }
  return Layer.mergeAll(PgCheckpoints.layerWith(options), yield* besideSql).pipe(
    Layer.provideMerge(PgEventStore.layerWith(options)),
    Layer.provideMerge(guarded(Effect.flatMap(checkNames(place), statusOf), mode)),
    Layer.provideMerge(client)
  )
})

const loadPglite = load("pglite:", "@effect/sql-pg @electric-sql/pglite", async () => {
  await import("@electric-sql/pglite")
  return await import("../postgres/index.ts")
})

const pgliteClient = (dataDir: string) => Effect.map(loadPglite, ({ PgLite }) => PgLite.layerWith({ dataDir }))

const pglite = Effect.fnUntraced(function* (dataDir: string, mode: Mode) {
  const { PgCheckpoints, PgEventStore } = yield* loadPglite
  const options = { migrate: mode !== "look" }
  return Layer.mergeAll(PgCheckpoints.layerWith(options), yield* besideSql).pipe(
    Layer.provideMerge(PgEventStore.layerEmbeddedWith({ ...options, dataDir }))
  )
})

const sqlite = Effect.fnUntraced(function* (filename: string, mode: Mode) {
  const [{ SqliteCheckpoints, SqliteClient, SqliteEventStore }, { statusOf }] = yield* Effect.promise(() =>
    Promise.all([import("../sqlite/index.ts"), import("../sqlite/tables.ts")])
  )
  return Layer.mergeAll(SqliteCheckpoints.layer, yield* besideSql).pipe(
    Layer.provideMerge(SqliteEventStore.layer),
    Layer.provideMerge(guarded(statusOf(), mode)),
    Layer.provideMerge(SqliteClient.layer({ filename }))
  )
})

const jsonl = Effect.fnUntraced(function* (path: string, mode: Mode) {
  if (mode === "act") {
    return yield* refused("A file of JSON lines has one process that writes to it: ask that one, at the address where it serves.")
  }
  const [{ JsonlEventStore }, NodeFileSystem] = yield* Effect.promise(() =>
    Promise.all([import("../jsonl/index.ts"), import("@effect/platform-node/NodeFileSystem")])
  )
  const access = mode === "make" ? ("write" as const) : ("read" as const)
  return Layer.provideMerge(layerMemory, Layer.provide(JsonlEventStore.layer({ path, access }), NodeFileSystem.layer))
})

/** What is looked at must be there; what is made is made in a folder that is. */
const checkPath = ({ kind, path }: Extract<Target, { readonly path: string }>, mode: Mode): Effect.Effect<void, CliFailure> => {
  const needed = mode === "make" ? dirname(path) : path
  const what = kind === "pglite" || mode === "make" ? "folder" : "file"
  if (!existsSync(needed)) return Effect.fail(unreachable(`There is no ${what} ${needed}.`))
  if (kind !== "pglite" && existsSync(path) && statSync(path).isDirectory()) return Effect.fail(usage(`${path} is a folder.`))
  if (kind !== "pglite" || existsSync(join(path, "PG_VERSION"))) return Effect.void
  // A database is made where nothing is yet, and never beside other things.
  const isFree = mode === "make" && (!existsSync(path) || readdirSync(path).length === 0)
  return isFree ? Effect.void : Effect.fail(unreachable(`There is no database in the folder ${path}.`))
}

/** The Layer of the store that a URL names. */
export const storeLayer = (target: Target, mode: Mode): Effect.Effect<Layer.Layer<Services, CliFailure>, CliFailure> =>
  Effect.gen(function* () {
    if (target.kind === "http" || target.kind === "module") return yield* usage("This takes the URL of a store.")
    if ("path" in target) yield* checkPath(target, mode)
    const layer: Layer.Layer<Services, unknown> =
      target.kind === "postgres"
        ? yield* postgres(target.url, mode)
        : target.kind === "pglite"
          ? yield* pglite(target.path, mode)
          : target.kind === "sqlite"
            ? yield* sqlite(target.path, mode)
            : yield* jsonl(target.path, mode)
    return orUnreachable(layer)
  })

/** The tables of a store: what migrations there are, and what makes them. */
export interface Tables {
  readonly client: Layer.Layer<SqlClient.SqlClient, CliFailure>
  readonly status: Effect.Effect<MigrationStatus, CliFailure, SqlClient.SqlClient>
  readonly migrate: Effect.Effect<unknown, CliFailure, SqlClient.SqlClient>
  /** Whom the client waits for at the moment, as far as the database tells. */
  readonly blockers: Effect.Effect<ReadonlyArray<string>, never, SqlClient.SqlClient>
}

/** The sessions that hold what those of this process wait for, which PostgreSQL knows by the name of the application. */
const postgresBlockers = Effect.gen(function* () {
  const sql = (yield* SqlClient.SqlClient).withoutTransforms()
  const rows = yield* sql<{ readonly pid: number; readonly name: string | null; readonly user: string | null }>`
    select distinct blocking.pid, blocker.application_name as name, blocker.usename::text as "user"
      from pg_stat_activity waiting
      cross join lateral unnest(pg_blocking_pids(waiting.pid)) as blocking(pid)
      left join pg_stat_activity blocker on blocker.pid = blocking.pid
     where waiting.application_name = current_setting('application_name')
     order by blocking.pid limit 3`
  return rows.map(({ name, pid, user }) => {
    const who = [...(user ? [`of ${user}`] : []), ...(name ? [`in "${name}"`] : [])]
    return `session ${pid}${who.length === 0 ? "" : ` (${who.join(" ")})`}`
  })
}).pipe(Effect.orElseSucceed(() => []))

const tablesOf = <E2, E3>(
  client: Layer.Layer<SqlClient.SqlClient, unknown>,
  status: Effect.Effect<MigrationStatus, E2, SqlClient.SqlClient>,
  migrate: Effect.Effect<unknown, E3, SqlClient.SqlClient>,
  blockers: Tables["blockers"] = Effect.succeed([])
): Tables => ({
  client: orUnreachable(client),
  status: Effect.mapError(status, asFailure),
  migrate: Effect.mapError(migrate, asFailure),
  blockers
})

/** The tables of the store that a URL names. A file is made where it may be. */
export const storeTables = (target: Target, mode: Mode): Effect.Effect<Tables, CliFailure> =>
  Effect.gen(function* () {
    if (target.kind === "sqlite") {
      yield* checkPath(target, mode)
      const [{ SqliteClient }, tables] = yield* Effect.promise(() =>
        Promise.all([import("../sqlite/index.ts"), import("../sqlite/tables.ts")])
      )
      return tablesOf(SqliteClient.layer({ filename: target.path }), tables.statusOf(), tables.openTables())
    }
    if (target.kind !== "postgres" && target.kind !== "pglite") {
      return yield* usage("Only the stores on PostgreSQL and SQLite have tables: postgres://…, pglite:folder, sqlite:file.")
    }
    const opened = target.kind === "postgres" ? placeOf(target.url) : { url: "", place: {} }
    if (target.kind === "pglite") yield* checkPath(target, mode)
    const client: Layer.Layer<SqlClient.SqlClient, unknown> =
      target.kind === "postgres"
        ? yield* postgresClient(opened.url, `eventfold migrate ${process.pid}`)
        : yield* pgliteClient(target.path)
    const [migrations, { checkNames }] = yield* Effect.promise(() =>
      Promise.all([import("../postgres/migrations.ts"), import("../postgres/names.ts")])
    )
    const names = yield* Effect.mapError(checkNames(opened.place), asFailure)
    const blockers = target.kind === "postgres" ? postgresBlockers : undefined
    return tablesOf(client, migrations.statusOf(names), migrations.migrate(names), blockers)
  })

/** A store, a program or a server that cannot be opened, in its own words. */
export const orUnreachable = <A, R>(layer: Layer.Layer<A, unknown, R>): Layer.Layer<A, CliFailure, R> =>
  Layer.catchCause(layer, (cause) => {
    const { code, message, tag } = asFailure(Cause.squash(cause))
    const failure = new CliFailure({ tag, message, code: code === codes.defect ? codes.unreachable : code })
    return Layer.effectContext(Effect.fail(failure))
  })
