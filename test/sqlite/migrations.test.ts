import assert from "node:assert/strict"
import { join } from "node:path"
import { DatabaseSync } from "node:sqlite"
import { describe, it } from "@effect/vitest"
import { Context, Effect, Layer, Option } from "effect"
import { Checkpoints, EventStore, Projection } from "eventfold"
import { SqliteCheckpoints, SqliteClient } from "eventfold/sqlite"
import { assertConverted, old, rows } from "../support/first-release.ts"
import { temporaryDirectory } from "../support/files.ts"

/** A file as 0.1.0 left it, as far as checkpoints go; the file stays open for that program's statements. */
const firstRelease = Effect.gen(function* () {
  const filename = join(yield* temporaryDirectory, "events.db")
  const database = yield* Effect.acquireRelease(
    Effect.sync(() => new DatabaseSync(filename)),
    (database) => Effect.sync(() => database.close())
  )
  database.exec(`
    PRAGMA journal_mode = WAL;
    CREATE TABLE eventfold_migrations (migration_id integer PRIMARY KEY NOT NULL, created_at datetime NOT NULL DEFAULT current_timestamp, name VARCHAR(255) NOT NULL);
    INSERT INTO eventfold_migrations (migration_id, name) VALUES (1, 'events'), (2, 'checkpoints');
    CREATE TABLE eventfold_event (
      position INTEGER PRIMARY KEY, stream TEXT NOT NULL, version INTEGER NOT NULL, id TEXT NOT NULL UNIQUE, type TEXT NOT NULL,
      schema_version INTEGER NOT NULL, published INTEGER NOT NULL, tags TEXT NOT NULL, payload TEXT NOT NULL, metadata TEXT NOT NULL,
      recorded_at INTEGER NOT NULL, UNIQUE (stream, version)
    ) STRICT;
    CREATE TABLE eventfold_tag (tag TEXT NOT NULL, position INTEGER NOT NULL, PRIMARY KEY (tag, position)) STRICT, WITHOUT ROWID;
    CREATE TABLE eventfold_checkpoint (
      name TEXT PRIMARY KEY,
      position INTEGER NOT NULL,
      epoch INTEGER NOT NULL,
      owner TEXT,
      expires_at INTEGER NOT NULL,
      updated_at INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID`)
  const insert = database.prepare("INSERT INTO eventfold_checkpoint VALUES (?, ?, ?, ?, ?, ?)")
  for (const { epoch, name, owner, position } of rows) insert.run(name, position, epoch, owner, old.expiresAt, old.updatedAt)
  return { filename, database }
})

const layer = (filename: string) => SqliteCheckpoints.layer.pipe(Layer.provideMerge(SqliteClient.layer({ filename })))

describe("what 0.1.0 kept of the versions of projections", () => {
  it.live("is in the registry from then on, and all else is as it was", () =>
    Effect.gen(function* () {
      const { filename } = yield* firstRelease
      for (let time = 0; time < 2; time++) yield* Effect.provide(assertConverted({ fences: true }), Layer.fresh(layer(filename)))
    })
  )

  it.live("is converted once by several that open the file at the same time", () =>
    Effect.gen(function* () {
      const { filename } = yield* firstRelease
      yield* Effect.forEach([1, 2, 3, 4], () => Effect.provide(assertConverted({ fences: true }), Layer.fresh(layer(filename))), {
        concurrency: "unbounded"
      })
    })
  )

  it.live("goes on: the active version, what has been heard of, and how a version is run", () =>
    Effect.gen(function* () {
      const { filename } = yield* firstRelease
      yield* Effect.gen(function* () {
        assert.deepEqual(yield* Effect.map(Projection.active("Orders"), String), "some(2)")
        const { advance, claim } = yield* Checkpoints.Checkpoints
        const lease = yield* claim("subscription:projection:Balances@1", { owner: "a new program", ttl: "1 minute" })
        assert.deepEqual([lease.position, lease.epoch], [58, 5])
        assert.equal((yield* advance(lease, 59)).position, 59)
        const orders = Projection.make("Orders", { version: 2, events: [], handlers: {} })
        const error = yield* Effect.flip(
          Effect.scoped(Layer.build(Projection.layer(orders, { transactional: false }))).pipe(
            Effect.provide(EventStore.layerMemory)
          )
        )
        assert.equal(error._tag, "RunsInlineError")
      }).pipe(Effect.provide(layer(filename)))
    })
  )
})

describe("a program of 0.1.0 that still runs", () => {
  /** Its statements. */
  const claim = (database: DatabaseSync, name: string) =>
    database
      .prepare(
        `INSERT INTO eventfold_checkpoint AS c (name, position, epoch, owner, expires_at, updated_at) VALUES (?1, ?2, 1, ?3, ?4, ?5)
         ON CONFLICT (name) DO UPDATE
            SET epoch = c.epoch + 1, owner = excluded.owner, expires_at = excluded.expires_at, updated_at = excluded.updated_at
          WHERE c.owner IS NULL OR c.owner = excluded.owner OR c.expires_at <= excluded.updated_at
         RETURNING epoch, position`
      )
      .get(name, 0, "another process", old.expiresAt, old.updatedAt)
  const advance = (database: DatabaseSync, name: string, epoch: number, from: number) =>
    database
      .prepare(
        `UPDATE eventfold_checkpoint SET position = ?4, expires_at = ?5, updated_at = ?6
          WHERE name = ?1 AND epoch = ?2 AND owner IS NOT NULL AND position = ?3 RETURNING 1`
      )
      .get(name, epoch, from, from + 1, old.expiresAt, old.updatedAt)

  it.live(
    "is refused by name where it runs projections, which are fenced, and watches over deadlines, and goes on with all else",
    () =>
      Effect.gen(function* () {
        const { database, filename } = yield* firstRelease
        const { get, versions } = Context.get(yield* Layer.build(layer(filename)), Checkpoints.Checkpoints)
        const subscription = "subscription:projection:Balances@1"
        assert.equal(advance(database, subscription, 4, 58), undefined)
        for (const name of [subscription, "subscription:projection:New@1", "projection:Balances", "projection:New@1"]) {
          assert.throws(() => claim(database, name), /end the programs of eventfold 0\.1 that run projections/)
        }
        assert.deepEqual({ ...advance(database, "relay:shop", 2, 29) }, { 1: 1 })
        assert.throws(() => claim(database, "deadlines:Payment"), /end the programs of eventfold 0\.1 that run process managers/)
        for (const name of ["relay:shop", "subscription:new"]) {
          assert.ok(claim(database, name) !== undefined)
        }
        assert.match(String(yield* get("subscription:new")), /"another process"/)
        assert.equal((yield* versions.list()).length, 8)
      })
  )

  it.live("moves a checkpoint of which it does not say what has been seen: that is unknown from then on", () =>
    Effect.gen(function* () {
      const { database, filename } = yield* firstRelease
      const checkpoints = Context.get(yield* Layer.build(layer(filename)), Checkpoints.Checkpoints)
      const seen = Effect.map(checkpoints.get("relay:shop"), (found) => Option.getOrThrow(found).seen)
      assert.equal(yield* seen, undefined)
      yield* checkpoints.reset("relay:shop", 29)
      const lease = yield* checkpoints.claim("relay:shop", { owner: "a new program", ttl: "1 minute" })
      const next = yield* checkpoints.advance(lease, 30, { position: 30, id: "30" })
      assert.deepEqual(yield* seen, { position: 30, id: "30" })
      assert.deepEqual({ ...advance(database, "relay:shop", next.epoch, 30) }, { 1: 1 })
      assert.equal(yield* seen, undefined)
    })
  )
})
