import assert from "node:assert/strict"
import { join } from "node:path"
import { describe, it } from "@effect/vitest"
import { Effect, Layer, Option } from "effect"
import { SqlClient } from "effect/sql"
import { Checkpoints } from "eventfold"
import { SqliteCheckpoints, SqliteEventStore } from "eventfold/sqlite"
import { CheckpointsConformance } from "eventfold/testing"
import { temporaryDirectory } from "../support/files.ts"

describe("conformance of SqliteCheckpoints in a file", () => {
  const cases = CheckpointsConformance.cases({
    storage: Effect.map(temporaryDirectory, (directory) =>
      Layer.provide(SqliteCheckpoints.layer, SqliteEventStore.layerFile({ filename: join(directory, "events.db") }))
    ),
    abilities: { clock: "test", durable: true, shared: true, deadlines: true }
  })
  for (const { name, run } of cases) it.effect(name, () => run)
})

describe("what changes inside a transaction of the same client", () => {
  it.effect("commits or rolls back with it: resets, removals and versions of projections", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const { advance, claim, get, remove, reset, versions } = yield* Checkpoints.Checkpoints
      let lease = yield* claim("view", { owner: "a", ttl: "1 minute", from: 5 })
      yield* claim("other", { owner: "a", ttl: "1 minute" })
      yield* versions.activate("View", 1, Option.none())
      const work = Effect.gen(function* () {
        yield* reset("view", 2)
        yield* remove("other", { force: true })
        assert.equal((yield* Effect.flip(versions.activate("View", 2, Option.none())))._tag, "ProjectionVersionChangedError")
        yield* versions.put({ projection: "View", version: 2, mode: "async", heard: 7, target: Option.none(), revision: 0 })
        yield* versions.activate("View", 2, Option.some(1))
      })
      const facts = Effect.gen(function* () {
        const active = (yield* versions.list()).flatMap(({ active, version }) => (active ? [version] : []))
        const { position } = Option.getOrThrow(yield* get("view"))
        return { position, other: Option.isSome(yield* get("other")), active }
      })
      assert.equal(yield* Effect.flip(sql.withTransaction(Effect.andThen(work, Effect.fail("no")))), "no")
      assert.deepEqual(yield* facts, { position: 5, other: true, active: [1] })
      // The lease is as good as before.
      lease = yield* advance(lease, 6)
      yield* sql.withTransaction(work)
      assert.deepEqual(yield* facts, { position: 2, other: false, active: [2] })
      assert.equal((yield* Effect.flip(advance(lease, 7)))._tag, "CheckpointFencedError")
    }).pipe(Effect.provide(Layer.provideMerge(SqliteCheckpoints.layer, SqliteEventStore.layerFile({ filename: ":memory:" }))))
  )
})
