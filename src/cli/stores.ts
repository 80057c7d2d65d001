/**
 * Opens the stores that URLs name. What it takes is loaded when it is known, so that who has one driver alone can use it. Looking makes
 * no table and no file, and brings none up to date.
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import { existsSync } from "node:fs"
import { dirname } from "node:path"
import { Checkpoints, layerMemory } from "../store/Checkpoints.ts"
import type { EventStore } from "../store/EventStore.ts"
import { CliFailure, codes, lineOf, tell, unreachable, usage } from "./failure.ts"
import type { Target } from "./target.ts"

/** What a store has, and what stands beside it, as far as that is there. */
export type Services = EventStore | Checkpoints

/** `"look"`: nothing is made. `"make"`: files and tables are made, and brought up to date. */
export type Mode = "look" | "make"

/** Loads a package that need not be installed. */
export const load = <A>(what: string, names: string, open: () => Promise<A>): Effect.Effect<A, CliFailure> =>
  Effect.tryPromise({
    try: open,
    catch: (cause) => {
      const { code, message } = cause as { readonly code?: string; readonly message?: string }
      const isMissing = code === "ERR_MODULE_NOT_FOUND"
      return isMissing
        ? unreachable(`${what} needs ${names}: npm install ${names}`)
        : new CliFailure({ tag: "Defect", code: codes.defect, message: `${what} cannot be loaded: ${String(message ?? cause)}` })
    }
  })

/** Tables beside the events, where they are. */
const beside = <A, E, R>(layer: Layer.Layer<A, E, R>): Layer.Layer<never, never, R> =>
  // What is not there is not shown: the events are.
  Layer.catchCause(layer, () => Layer.empty) as Layer.Layer<never, never, R>


const besideSql = Effect.map(
  Effect.promise(() =>
    Promise.all([import("../store/ParkedEvents.ts"), import("../consuming/DeadLetters.ts"), import("../store/Snapshots.ts")])
  ),
  ([parked, letters, snapshots]) => {
    const options = { migrate: false }
    return Layer.mergeAll(
      beside(parked.layerSqlWith(options)),
      beside(letters.layerSqlWith(options)),
      beside(snapshots.layerSqlWith(options))
    )
  }
)

/** Where the tables are: `?schema=` and `?tablePrefix=` of the URL. */
const placeOf = (url: string) => {
  const parsed = new URL(url)
  const schema = parsed.searchParams.get("schema") ?? undefined
  const tablePrefix = parsed.searchParams.get("tablePrefix") ?? undefined
  parsed.searchParams.delete("schema")
  parsed.searchParams.delete("tablePrefix")
  return { url: parsed.href, place: { schema, tablePrefix } }
}

const postgres = Effect.fnUntraced(function* (text: string, mode: Mode) {
  const [PgClient, { PgCheckpoints, PgEventStore }] = yield* load("postgres://", "@effect/sql-pg", () =>
    Promise.all([import("@effect/sql-pg/PgClient"), import("../postgres/index.ts")])
  )
  const { place, url } = placeOf(text)
  const options = { ...place, migrate: mode === "make", listen: false }
  const client = PgClient.layer({ url: Redacted.make(url), applicationName: "eventfold", maxConnections: 4 })
  return Layer.mergeAll(PgCheckpoints.layerWith(options), yield* besideSql).pipe(
    Layer.provideMerge(PgEventStore.layerWith(options)),
    Layer.provideMerge(client)
  )
})

const pglite = Effect.fnUntraced(function* (dataDir: string, mode: Mode) {
  const { PgCheckpoints, PgEventStore } = yield* load("pglite:", "@effect/sql-pg @electric-sql/pglite", async () => {
    await import("@electric-sql/pglite")
    return await import("../postgres/index.ts")
  })
  const options = { migrate: mode === "make" }
  return Layer.mergeAll(PgCheckpoints.layerWith(options), yield* besideSql).pipe(
    Layer.provideMerge(PgEventStore.layerEmbeddedWith({ ...options, dataDir }))
  )
})

const sqlite = Effect.fnUntraced(function* (filename: string) {
  const { SqliteCheckpoints, SqliteClient, SqliteEventStore } = yield* Effect.promise(() => import("../sqlite/index.ts"))
  return Layer.mergeAll(SqliteCheckpoints.layer, yield* besideSql).pipe(
    Layer.provideMerge(SqliteEventStore.layer),
    Layer.provideMerge(SqliteClient.layer({ filename }))
  )
})

const jsonl = Effect.fnUntraced(function* (path: string, mode: Mode) {
  const [{ JsonlEventStore }, NodeFileSystem] = yield* Effect.promise(() =>
    Promise.all([import("../jsonl/index.ts"), import("@effect/platform-node/NodeFileSystem")])
  )
  const access = mode === "make" ? ("write" as const) : ("read" as const)
  return Layer.provideMerge(layerMemory, Layer.provide(JsonlEventStore.layer({ path, access }), NodeFileSystem.layer))
})

/** The Layer of the store that a URL names. */
export const storeLayer = (target: Target, mode: Mode): Effect.Effect<Layer.Layer<Services, CliFailure>, CliFailure> =>
  Effect.gen(function* () {
    if (target.kind === "http" || target.kind === "module") return yield* usage("This takes the URL of a store.")
    if ("path" in target) {
      const needed = mode === "look" ? target.path : dirname(target.path)
      const what = target.kind === "pglite" || mode === "make" ? "folder" : "file"
      if (!existsSync(needed)) return yield* unreachable(`There is no ${what} ${needed}.`)
    }
    const layer: Layer.Layer<Services, unknown> =
      target.kind === "postgres"
        ? yield* postgres(target.url, mode)
        : target.kind === "pglite"
          ? yield* pglite(target.path, mode)
          : target.kind === "sqlite"
            ? yield* sqlite(target.path)
            : yield* jsonl(target.path, mode)
    return orUnreachable(layer)
  })

/** A store that cannot be opened, in its own words. */
export const orUnreachable = <A, R>(layer: Layer.Layer<A, unknown, R>): Layer.Layer<A, CliFailure, R> =>
  Layer.catchCause(layer, (cause) => Layer.effectContext(Effect.fail(unreachable(lineOf(tell(cause).message)))))
