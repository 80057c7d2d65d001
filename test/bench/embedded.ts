import { NodeFileSystem } from "@effect/platform-node"
import { Effect, Layer, type Scope } from "effect"
import { JsonlEventStore } from "eventfold/jsonl"
import { SqliteEventStore } from "eventfold/sqlite"
import { closeSync, fsync, openSync, readFileSync, rmSync, statSync, write } from "node:fs"
import { join } from "node:path"
import { DatabaseSync } from "node:sqlite"
import { makeSql } from "../../src/sqlite/sql.ts"
import { checkStore, type Lab, noPostgres, type RawAppend, type Services } from "./lab.ts"
import { type Part } from "./raw.ts"

let files = 0

/** The path of a file in a folder that goes when the scope closes, and what stands beside it. */
const freshFile = (folder: string, extension: string) =>
  Effect.acquireRelease(
    Effect.sync(() => join(folder, `${++files}.${extension}`)),
    (path) => Effect.sync(() => ["", "-wal", "-shm"].forEach((end) => rmSync(path + end, { force: true })))
  )

const bytesOf = (path: string) => Effect.sync(() => statSync(path).size)

/** Gives each event its place, as a caller who is alone may: what stands is not looked up. */
const makePlaces = () => {
  const versions = new Map<string, number>()
  let position = 0
  return <A>(
    requests: ReadonlyArray<ReadonlyArray<Part>>,
    use: (event: {
      readonly position: number
      readonly stream: string
      readonly version: number
      readonly id: string
      readonly type: string
      readonly payload: string
    }) => A
  ): Array<A> =>
    requests.flat().flatMap(({ payloads, stream, type }) =>
      payloads.map((payload) => {
        const version = (versions.get(stream) ?? 0) + 1
        versions.set(stream, version)
        position++
        // As long as a UUID, and ascending as those of the store.
        return use({
          position,
          stream,
          version,
          id: `00000000-0000-7000-8000-${String(position).padStart(12, "0")}`,
          type,
          payload
        })
      })
    )
}

// -----------------------------------------------------------------------------
// SQLite
// -----------------------------------------------------------------------------

const sql = makeSql("eventfold_")

/** `node:sqlite` with the pragmas of the store. */
const openDatabase = (filename: string): Effect.Effect<DatabaseSync, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const database = new DatabaseSync(filename)
      for (const pragma of ["synchronous = FULL", "fullfsync = ON", "recursive_triggers = ON", "journal_mode = WAL"]) {
        database.exec(`PRAGMA ${pragma}`)
      }
      return database
    }),
    (database) => Effect.sync(() => database.close())
  )

const sqliteAppend = (filename: string): Effect.Effect<RawAppend, never, Scope.Scope> =>
  Effect.map(openDatabase(filename), (database) => {
    const begin = database.prepare("BEGIN IMMEDIATE")
    const insert = database.prepare(sql.insertEvent)
    const commit = database.prepare("COMMIT")
    const place = makePlaces()
    return (requests) =>
      Effect.sync(() => {
        begin.run()
        const now = Date.now()
        place(requests, ({ id, payload, position, stream, type, version }) =>
          insert.run(position, stream, version, id, type, 1, 0, "[]", payload, "{}", now)
        )
        commit.run()
      })
  })

/** A file of its own, with the tables of the store. */
export const sqliteLab = (folder: string): Effect.Effect<Lab, unknown, Scope.Scope> =>
  Effect.gen(function* () {
    const filename = yield* freshFile(folder, "sqlite")
    const layer = Layer.fresh(SqliteEventStore.layerFile({ filename }))
    yield* Effect.scoped(Layer.build(layer))
    return {
      ...noPostgres(filename),
      store: layer as Layer.Layer<Services, unknown>,
      append: sqliteAppend(filename),
      check: (events: number) => Effect.provide(checkStore(events), layer),
      bytes: bytesOf(filename)
    }
  })

/** Pages of a thousand rows, and their payloads and metadata parsed. */
const sqlitePages =
  (where: string, key: "position" | "version") =>
  ({ address }: Lab) =>
    Effect.map(openDatabase(address.url), (database) => {
      const statement = database.prepare(`SELECT * FROM eventfold_event WHERE ${where} > ? ORDER BY ${key} LIMIT 1000`)
      return Effect.sync(() => {
        let read = 0
        for (let after = 0; ;) {
          const rows = statement.all(after)
          for (const { metadata, payload, tags } of rows) {
            for (const text of [metadata, payload, tags]) JSON.parse(text as string)
          }
          read += rows.length
          if (rows.length < 1000) return read
          after = rows.at(-1)?.[key] as number
        }
      })
    })

export const rawSqliteStream = sqlitePages("stream = 'Account-0' AND version", "version")
export const rawSqliteAll = sqlitePages("position", "position")

// -----------------------------------------------------------------------------
// JSON lines
// -----------------------------------------------------------------------------

/** How many of so many callers' appends group commit writes at once: one half, while the other half is answered. */
export const jsonlBatch = (callers: number): number => callers / 2

/** One write and one fsync, neither of which blocks the thread. */
const jsonlAppend = (path: string): Effect.Effect<RawAppend, unknown, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(
      Effect.sync(() => openSync(path, "a")),
      (file) => Effect.sync(() => closeSync(file))
    ),
    (file) => {
      const place = makePlaces()
      return (requests) =>
        Effect.callback<void, Error>((resume) => {
          const recordedAt = new Date().toISOString()
          const lines = place(
            requests,
            ({ id, payload, position, stream, type, version }) =>
              `{"position":${position},"stream":"${stream}","version":${version},"id":"${id}","type":"${type}","schemaVersion":1,"published":false,"tags":[],"recordedAt":"${recordedAt}","metadata":{},"payload":${payload},"commit":${position},"crc":"00000000"}\n`
          )
          const done = (error: Error | null) => resume(error === null ? Effect.void : Effect.fail(error))
          write(file, lines.join(""), (error) => (error === null ? fsync(file, done) : done(error)))
        })
    }
  )

/** A file of its own. */
export const jsonlLab = (folder: string): Effect.Effect<Lab, unknown, Scope.Scope> =>
  Effect.gen(function* () {
    const path = yield* freshFile(folder, "jsonl")
    const layer = Layer.fresh(Layer.provide(JsonlEventStore.layer({ path }), NodeFileSystem.layer))
    return {
      ...noPostgres(path),
      store: layer as Layer.Layer<Services, unknown>,
      append: jsonlAppend(path),
      check: (events: number, who: "ours" | "raw") =>
        who === "ours"
          ? Effect.provide(checkStore(events), layer)
          : Effect.suspend(() => {
              const lines = linesOf(path).length
              return lines === events ? Effect.void : Effect.fail(new Error(`${events} events were appended as ${lines} lines`))
            }),
      bytes: bytesOf(path)
    }
  })

const linesOf = (path: string) => readFileSync(path, "utf8").split("\n").slice(0, -1)

/** All lines at once, each parsed. */
export const rawJsonlAll = ({ address }: Lab) =>
  Effect.succeed(Effect.sync(() => linesOf(address.url).map((line) => JSON.parse(line) as unknown).length))
