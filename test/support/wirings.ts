import { join } from "node:path"
import { NodeFileSystem } from "@effect/platform-node"
import type { PgClient } from "@effect/sql-pg"
import { describe, it } from "@effect/vitest"
import { Context, Deferred, Effect, type Exit, Layer, Schema, type Scope } from "effect"
import { SqlClient } from "effect/sql"
import { EventStore, UnitOfWork } from "eventfold"
import { JsonlEventStore } from "eventfold/jsonl"
import { PgEventStore } from "eventfold/postgres"
import { SqliteClient, SqliteEventStore } from "eventfold/sqlite"
import { temporaryDirectory } from "./files.ts"
import { freshSchema, pgLiteOfFile, serverOfFile } from "../postgres/support.ts"

/** The database schema of a test: tables of its own may be made there. */
export class TestSchema extends Context.Service<TestSchema, string>()("test/TestSchema") {}

/** What every wiring provides. */
export type Wired = EventStore.EventStore | UnitOfWork.UnitOfWork

/** What the wirings on a database provide. */
export type SqlWired = Wired | UnitOfWork.SqlTransactions | PgClient.PgClient | SqlClient.SqlClient | TestSchema

export interface Suite<R> {
  (name: string, test: () => Effect.Effect<void, unknown, R | Scope.Scope>): void
}

/**
 * The wirings that this project of the run declares, by their names. `core` has those that need nothing beside the process,
 * `servers` has the others, and mutation tests have memory alone: a mutant of the core shows there, and a database a mutant would
 * take too long. Without a project it is all of them.
 */
export const declared = <A>(wirings: Readonly<Record<string, A>>): ReadonlyArray<readonly [name: string, wiring: A]> => {
  const project = process.env["EVENTFOLD_TEST_WIRINGS"]
  return Object.entries(wirings).filter(([name]) => {
    const needs = /^(PostgreSQL|PGlite|JSON lines)/.test(name) ? "servers" : "core"
    return project === undefined || project === needs || (project === "memory" && name.startsWith("memory"))
  })
}

interface Declare {
  readonly describe: (name: string, tests: () => void) => void
  readonly it: Readonly<Record<"effect" | "live", (name: string, test: () => Effect.Effect<void, unknown, Scope.Scope>) => void>>
}

const nowhere: Declare = { describe: () => {}, it: { effect: () => {}, live: () => {} } }

/** Declares what needs a server, beside the wirings: nothing comes of it in a project that has none. */
export const servers: Declare = declared({ PostgreSQL: true }).length > 0 ? { describe, it } : nowhere

/** Declares what needs no wiring, in a file that has some: in `core` alone, and not once more in `servers`. */
export const core: Declare = declared({ memory: true }).length > 0 ? { describe, it } : nowhere

/** Declares the tests of a file over all wirings of store and unit of work. One server client and one PGlite serve the whole file. */
export const makeWirings = () => {
  const databases = { server: serverOfFile(), pglite: pgLiteOfFile() }

  const onDatabase = (name: keyof typeof databases, unitOfWork: "layer" | "layerSql", options: PgEventStore.Options = {}) => {
    const schema = freshSchema()
    return Layer.mergeAll(
      unitOfWork === "layer" ? UnitOfWork.layer : UnitOfWork.layerSql,
      Layer.succeed(TestSchema, schema)
    ).pipe(Layer.provideMerge(PgEventStore.layerWith({ schema, listen: false, ...options })), Layer.provideMerge(databases[name]))
  }
  const sqlWirings = {
    "PostgreSQL, layerSql": () => onDatabase("server", "layerSql"),
    "PostgreSQL, layerSql, flushed together": () => onDatabase("server", "layerSql", { sharedFlush: true }),
    "PGlite, layerSql": () => onDatabase("pglite", "layerSql")
  }
  const concurrentWirings = {
    "memory, layer": () => UnitOfWork.layer.pipe(Layer.provideMerge(EventStore.layerMemory)),
    "PostgreSQL, layer": () => onDatabase("server", "layer"),
    "PostgreSQL, layerSql": sqlWirings["PostgreSQL, layerSql"],
    "PostgreSQL, layerSql, flushed together": sqlWirings["PostgreSQL, layerSql, flushed together"]
  }
  const wirings = { ...concurrentWirings, ...sqlWirings }
  const sqlite = <R>(unitOfWork: Layer.Layer<UnitOfWork.UnitOfWork | R, never, EventStore.EventStore | SqlClient.SqlClient>) =>
    unitOfWork.pipe(Layer.provideMerge(SqliteEventStore.layer), Layer.provideMerge(SqliteClient.layer({ filename: ":memory:" })))
  const jsonl = () =>
    UnitOfWork.layer.pipe(
      Layer.provideMerge(
        Layer.unwrap(
          Effect.map(temporaryDirectory, (directory) => JsonlEventStore.layer({ path: join(directory, "events.jsonl") }))
        ).pipe(Layer.provide(NodeFileSystem.layer))
      )
    )
  const storeWirings = {
    ...wirings,
    "SQLite, layer": () => sqlite(UnitOfWork.layer),
    "SQLite, layerSql": () => sqlite(UnitOfWork.layerSql),
    "JSON lines, layer": jsonl
  }
  const over =
    <R>(wirings: Record<string, () => Layer.Layer<R, unknown>>) =>
    (suite: (test: Suite<R>) => void): void => {
      for (const [name, make] of declared(wirings)) {
        describe(`${name}:`, () => {
          suite((title, test) => it.effect(title, () => Effect.provide(test(), make())))
        })
      }
    }

  return {
    /** Runs the tests over every wiring. */
    everywhere: over<Wired>(wirings),
    /** Runs the tests over every wiring, and on the stores that need no server. */
    onEveryStore: over<Wired>(storeWirings),
    /** Runs the tests over the wirings whose units of work are SQL transactions, SQLite's among them. */
    inEverySql: over<Wired | UnitOfWork.SqlTransactions | SqlClient.SqlClient>({
      ...sqlWirings,
      "SQLite, layerSql": storeWirings["SQLite, layerSql"]
    }),
    /** Runs the tests where units of work do not wait for each other: PGlite is one connection, and so one transaction at a time. */
    concurrently: over<Wired>(concurrentWirings),
    /** The same, and on the stores that need no server: units of work there append at their end, and hold nothing before. */
    concurrentlyOnEveryStore: over<Wired>({
      ...concurrentWirings,
      "PGlite, layer": () => onDatabase("pglite", "layer"),
      "SQLite, layer": storeWirings["SQLite, layer"],
      "JSON lines, layer": storeWirings["JSON lines, layer"]
    }),
    /** Runs the tests over the wirings whose units of work are SQL transactions. */
    inSql: over<SqlWired>(sqlWirings),
    /** The same for what takes two connections at once. */
    onServer: over<SqlWired>({
      "PostgreSQL, layerSql": sqlWirings["PostgreSQL, layerSql"],
      "PostgreSQL, layerSql, flushed together": sqlWirings["PostgreSQL, layerSql, flushed together"]
    })
  }
}

/** A table of the user's own, beside the events. */
export const notes = Effect.gen(function* () {
  const sql = yield* SqlClient.SqlClient
  const table = `"${yield* TestSchema}".note`
  yield* sql.unsafe(
    `create table if not exists ${table} (text text primary key, parent text references ${table} (text) deferrable initially deferred)`
  )
  return {
    /** Writes a row; a text that stands already is a `UniqueViolation`. */
    add: (text: string, parent: string | null = null) =>
      Effect.asVoid(sql.unsafe(`insert into ${table} (text, parent) values ($1, $2)`, [text, parent])),
    all: Effect.map(sql.unsafe(`select text from ${table} order by text`), (rows) =>
      Schema.decodeUnknownSync(Schema.Array(Schema.Struct({ text: Schema.String })))(rows).map(({ text }) => text)
    )
  }
})

/** What another process does: the effect runs when `go` is called, outside of whatever transaction that is called in. */
export const elsewhere = Effect.fnUntraced(function* <A, E, R>(effect: Effect.Effect<A, E, R>) {
  const start = yield* Deferred.make<void>()
  const result = yield* Deferred.make<Exit.Exit<A, E>>()
  yield* Deferred.await(start).pipe(
    Effect.andThen(Effect.exit(effect)),
    Effect.flatMap((exit) => Deferred.succeed(result, exit)),
    Effect.forkChild
  )
  return {
    go: Deferred.succeed(start, undefined).pipe(
      Effect.andThen(Deferred.await(result)),
      Effect.flatMap((exit) => exit)
    )
  }
})
