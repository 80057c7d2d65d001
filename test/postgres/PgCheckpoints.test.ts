import assert from "node:assert/strict"
import { afterAll, beforeAll, describe, it } from "@effect/vitest"
import { Context, Duration, Effect, Exit, Fiber, Layer, Option, Result, Scope } from "effect"
import { SqlClient } from "effect/sql"
import { Checkpoints } from "eventfold"
import { PgCheckpoints, PgLite } from "eventfold/postgres"
import { CheckpointsConformance } from "eventfold/testing"
import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { client, freshSchema } from "./support.ts"

const conforms = (
  storage: string,
  options: Parameters<typeof CheckpointsConformance.cases>[0],
  only: (testCase: CheckpointsConformance.Case) => boolean = () => true
) =>
  describe(`conformance of ${storage}`, () => {
    for (const { name, run } of CheckpointsConformance.cases(options).filter(only)) it.effect(name, () => run)
  })

conforms("PgCheckpoints on a server", {
  storage: Effect.sync(() => PgCheckpoints.layerWith({ schema: freshSchema() }).pipe(Layer.provide(Layer.fresh(client())))),
  abilities: { clock: "live", durable: true, shared: true, deadlines: true }
})

// Starting PGlite takes a second, so all cases share one, each in a schema of its own.
const scope = Effect.runSync(Scope.make())
let embedded: Layer.Layer<SqlClient.SqlClient>

beforeAll(async () => {
  const context = await Effect.runPromise(Layer.buildWithScope(PgLite.layer, scope))
  embedded = Layer.succeed(SqlClient.SqlClient, Context.get(context, SqlClient.SqlClient))
})

afterAll(() => Effect.runPromise(Scope.close(scope, Exit.void)))

conforms("PgCheckpoints on PGlite in memory", {
  storage: Effect.sync(() => PgCheckpoints.layerWith({ schema: freshSchema() }).pipe(Layer.provide(embedded))),
  abilities: { clock: "live", durable: true, shared: false, deadlines: true }
})

conforms(
  "PgCheckpoints on PGlite in a folder",
  {
    storage: Effect.map(
      Effect.acquireRelease(
        Effect.promise(() => mkdtemp(join(tmpdir(), "eventfold-pglite-"))),
        (dataDir) => Effect.promise(() => rm(dataDir, { recursive: true, force: true }))
      ),
      (dataDir) => PgCheckpoints.layer.pipe(Layer.provide(PgLite.layerWith({ dataDir })))
    ),
    abilities: { clock: "live", durable: true, shared: false, deadlines: true }
  },
  // Each of these starts a PGlite of its own, so just the case that a folder is for.
  ({ name }) => name.includes("closing and opening")
)

/** Checkpoints and client over a schema of its own that has a table of the user's, too. */
const withView = (test: (schema: string) => Effect.Effect<void, unknown, Checkpoints.Checkpoints | SqlClient.SqlClient>) =>
  Effect.suspend(() => {
    const schema = freshSchema()
    return Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      yield* sql`create table ${sql(schema)}.view (n int primary key)`
      yield* test(schema)
    }).pipe(Effect.provide(Layer.provideMerge(PgCheckpoints.layerWith({ schema }), Layer.fresh(client()))))
  })

const rows = Effect.fnUntraced(function* (schema: string) {
  const sql = yield* SqlClient.SqlClient
  const { get } = yield* Checkpoints.Checkpoints
  return {
    view: (yield* sql<{ n: number }>`select n from ${sql(schema)}.view order by n`).map(({ n }) => n),
    position: Option.getOrThrow(yield* get("view")).position
  }
})

describe("advance inside a transaction of the same client", () => {
  it.effect("commits with the user's rows", () =>
    withView((schema) =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const checkpoints = yield* Checkpoints.Checkpoints
        const lease = yield* checkpoints.claim("view", { owner: "a", ttl: "1 minute" })
        const next = yield* sql.withTransaction(
          Effect.andThen(sql`insert into ${sql(schema)}.view values (1)`, checkpoints.advance(lease, 1))
        )
        assert.deepEqual(yield* rows(schema), { view: [1], position: 1 })
        yield* checkpoints.advance(next, 2)
      })
    )
  )

  it.effect("rolls back with the user's rows, and the lease is as good as before", () =>
    withView((schema) =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const checkpoints = yield* Checkpoints.Checkpoints
        const lease = yield* checkpoints.claim("view", { owner: "a", ttl: "1 minute" })
        const insert = sql`insert into ${sql(schema)}.view values (1)`
        const work = sql.withTransaction(
          Effect.gen(function* () {
            yield* insert
            yield* checkpoints.advance(lease, 1)
            return yield* Effect.fail("no")
          })
        )
        assert.equal(yield* Effect.flip(work), "no")
        assert.deepEqual(yield* rows(schema), { view: [], position: 0 })
        yield* sql.withTransaction(Effect.andThen(checkpoints.advance(lease, 1), insert))
        assert.deepEqual(yield* rows(schema), { view: [1], position: 1 })
      })
    )
  )

  it.effect("keeps a superseded owner's rows from being committed", () =>
    withView((schema) =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const checkpoints = yield* Checkpoints.Checkpoints
        const lease = yield* checkpoints.claim("view", { owner: "a", ttl: "1 minute" })
        yield* checkpoints.release(lease)
        yield* checkpoints.claim("view", { owner: "b", ttl: "1 minute" })
        const work = sql.withTransaction(
          Effect.andThen(sql`insert into ${sql(schema)}.view values (1)`, checkpoints.advance(lease, 1))
        )
        assert.equal((yield* Effect.flip(work))._tag, "CheckpointFencedError")
        assert.deepEqual(yield* rows(schema), { view: [], position: 0 })
      })
    )
  )

  // The lease runs out at once, so that the outcome of the transaction decides about the claim that waits for it.
  const claimDuringTransaction = Effect.fnUntraced(function* (schema: string, outcome: Effect.Effect<void, string>) {
    const sql = yield* SqlClient.SqlClient
    const checkpoints = yield* Checkpoints.Checkpoints
    const elsewhere = yield* Layer.build(
      Layer.provideMerge(PgCheckpoints.layerWith({ schema, migrate: false }), Layer.fresh(client()))
    )
    const other = Context.get(elsewhere, Checkpoints.Checkpoints)
    const observer = Context.get(elsewhere, SqlClient.SqlClient)
    const lease = yield* checkpoints.claim("view", { owner: "a", ttl: "1 milli" })
    const blocked = observer`select 1 from pg_stat_activity where wait_event_type = 'Lock' and query like ${`%"${schema}"%`}`
    let claim: Fiber.Fiber<Checkpoints.Lease, unknown> | undefined
    yield* sql
      .withTransaction(
        Effect.gen(function* () {
          yield* checkpoints.advance({ ...lease, ttl: Duration.minutes(1) }, 1)
          claim = yield* Effect.forkDetach(other.claim("view", { owner: "b", ttl: "1 minute" }))
          while ((yield* blocked).length === 0) yield* Effect.yieldNow
          yield* outcome
        })
      )
      .pipe(Effect.ignore)
    assert.ok(claim !== undefined)
    return { lease, claimed: yield* Effect.result(Fiber.join(claim)) }
  }, Effect.scoped)

  it.effect("makes a claim wait: the lease that the commit renews is not taken", () =>
    withView((schema) =>
      Effect.gen(function* () {
        const { claimed } = yield* claimDuringTransaction(schema, Effect.void)
        assert.deepEqual(
          { ...(Result.getOrThrow(Result.flip(claimed)) as Checkpoints.CheckpointHeldError) },
          { _tag: "CheckpointHeldError", checkpoint: "view", owner: "a" }
        )
        assert.equal((yield* rows(schema)).position, 1)
      })
    )
  )

  it.effect("makes a claim wait: after a rollback it takes the lease, and the owner is fenced", () =>
    withView((schema) =>
      Effect.gen(function* () {
        const { advance } = yield* Checkpoints.Checkpoints
        const { claimed, lease } = yield* claimDuringTransaction(schema, Effect.fail("no"))
        const { epoch, owner, position } = Result.getOrThrow(claimed)
        assert.deepEqual({ epoch, owner, position }, { epoch: 2, owner: "b", position: 0 })
        assert.equal((yield* Effect.flip(advance(lease, 1)))._tag, "CheckpointFencedError")
      })
    )
  )
})

describe("what changes inside a transaction of the same client", () => {
  it.effect("commits or rolls back with the user's rows: resets, removals and versions of projections", () =>
    withView((schema) =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const { advance, claim, get, remove, reset, versions } = yield* Checkpoints.Checkpoints
        let lease = yield* claim("view", { owner: "a", ttl: "1 minute", from: 5 })
        yield* claim("other", { owner: "a", ttl: "1 minute" })
        yield* versions.activate("View", 1, Option.none())
        const work = Effect.gen(function* () {
          yield* sql`insert into ${sql(schema)}.view values (1)`
          yield* reset("view", 2)
          yield* remove("other", { force: true })
          yield* versions.put({ projection: "View", version: 2, mode: "async", heard: 7, target: Option.none(), revision: 0 })
          yield* versions.activate("View", 2, Option.some(1))
        })
        const facts = Effect.gen(function* () {
          const active = (yield* versions.list()).flatMap(({ active, version }) => (active ? [version] : []))
          return { ...(yield* rows(schema)), other: Option.isSome(yield* get("other")), active }
        })
        assert.equal(yield* Effect.flip(sql.withTransaction(Effect.andThen(work, Effect.fail("no")))), "no")
        assert.deepEqual(yield* facts, { view: [], position: 5, other: true, active: [1] })
        // The lease is as good as before.
        lease = yield* advance(lease, 6)
        yield* sql.withTransaction(work)
        assert.deepEqual(yield* facts, { view: [1], position: 2, other: false, active: [2] })
        assert.equal((yield* Effect.flip(advance(lease, 7)))._tag, "CheckpointFencedError")
      })
    )
  )

  it.effect("a version that another has activated first leaves the transaction as it was, and usable", () =>
    withView((schema) =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const { versions } = yield* Checkpoints.Checkpoints
        yield* versions.activate("View", 1, Option.none())
        yield* sql.withTransaction(
          Effect.gen(function* () {
            yield* sql`insert into ${sql(schema)}.view values (1)`
            const error = yield* Effect.flip(versions.activate("View", 2, Option.none()))
            assert.equal(error._tag, "ProjectionVersionChangedError")
            yield* versions.activate("View", 3, Option.some(1))
          })
        )
        const known = (yield* versions.list("View")).map(({ active, version }) => [version, active])
        assert.deepEqual(known, [
          [1, false],
          [3, true]
        ])
        assert.deepEqual(yield* sql`select n from ${sql(schema)}.view`, [{ n: 1 }])
      })
    )
  )

  it.effect("makes whoever means to keep a version active wait for one who switches, and be told", () =>
    withView((schema) =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const { versions } = yield* Checkpoints.Checkpoints
        const elsewhere = yield* Layer.build(
          Layer.provideMerge(PgCheckpoints.layerWith({ schema, migrate: false }), Layer.fresh(client()))
        )
        const other = Context.get(elsewhere, Checkpoints.Checkpoints)
        const observer = Context.get(elsewhere, SqlClient.SqlClient)
        yield* versions.activate("View", 1, Option.none())
        const blocked = observer`select 1 from pg_stat_activity where wait_event_type = 'Lock' and query like ${`%"${schema}"%`}`
        const keeping = yield* sql.withTransaction(
          Effect.gen(function* () {
            yield* versions.activate("View", 2, Option.some(1))
            const keeping = yield* Effect.forkDetach(Effect.flip(other.versions.activate("View", 1, Option.some(1))))
            while ((yield* blocked).length === 0) yield* Effect.yieldNow
            return keeping
          })
        )
        assert.equal((yield* Fiber.join(keeping))._tag, "ProjectionVersionChangedError")
      }).pipe(Effect.scoped)
    )
  )

  it.effect("makes a reset wait for the owner's transaction, and then says where that has left the checkpoint", () =>
    withView((schema) =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const checkpoints = yield* Checkpoints.Checkpoints
        const elsewhere = yield* Layer.build(
          Layer.provideMerge(PgCheckpoints.layerWith({ schema, migrate: false }), Layer.fresh(client()))
        )
        const other = Context.get(elsewhere, Checkpoints.Checkpoints)
        const observer = Context.get(elsewhere, SqlClient.SqlClient)
        const lease = yield* checkpoints.claim("view", { owner: "a", ttl: "1 minute", from: 5 })
        const blocked = observer`select 1 from pg_stat_activity where wait_event_type = 'Lock' and query like ${`%"${schema}"%`}`
        const resetting = yield* sql.withTransaction(
          Effect.gen(function* () {
            yield* checkpoints.advance(lease, 6)
            const resetting = yield* Effect.forkDetach(other.reset("view", 2))
            while ((yield* blocked).length === 0) yield* Effect.yieldNow
            return resetting
          })
        )
        assert.equal(Option.getOrThrow(yield* Fiber.join(resetting)).position, 6)
        assert.equal((yield* rows(schema)).position, 2)
        assert.equal((yield* Effect.flip(checkpoints.advance({ ...lease, position: 6 }, 7)))._tag, "CheckpointFencedError")
      }).pipe(Effect.scoped)
    )
  )
})

describe("PgCheckpoints", () => {
  it.effect("answers a lost database with a typed error", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const schema = freshSchema()
      const { claim, list, remove, reset, versions } = Context.get(
        yield* Layer.build(PgCheckpoints.layerWith({ schema })),
        Checkpoints.Checkpoints
      )
      yield* sql`drop schema ${sql(schema)} cascade`
      const errors = [
        yield* Effect.flip(claim("mail", { owner: "a", ttl: "1 minute" })),
        yield* Effect.flip(list),
        yield* Effect.flip(reset("mail", 1)),
        yield* Effect.flip(remove("mail")),
        yield* Effect.flip(versions.list()),
        yield* Effect.flip(versions.activate("View", 1, Option.none()))
      ]
      assert.deepEqual(
        errors.map((error) => [error._tag, error._tag === "CheckpointError" && error.operation]),
        [
          ["CheckpointError", "claim"],
          ["CheckpointError", "list"],
          ["CheckpointError", "reset"],
          ["CheckpointError", "remove"],
          ["CheckpointError", "list"],
          ["CheckpointError", "activate"]
        ]
      )
    }).pipe(Effect.provide(client()))
  )

  it.effect("refuses a schema that cannot be one", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(Effect.scoped(Layer.build(PgCheckpoints.layerWith({ schema: 'a"b' }))))
      assert.match(String(error), /schema "a\\"b" must be/)
    }).pipe(Effect.provide(client()))
  )
})
