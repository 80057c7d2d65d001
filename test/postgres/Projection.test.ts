import assert from "node:assert/strict"
import { describe, it } from "@effect/vitest"
import { Context, Effect, Layer, Option, type Scope } from "effect"
import { SqlClient } from "effect/sql"
import { type Checkpoints, EventStore, Projection } from "eventfold"
import { PgCheckpoints, PgEventStore } from "eventfold/postgres"
import { inject } from "vitest"
import { child, type Child, event, until } from "./harness.ts"
import { definition } from "./processes/projection-definition.ts"
import { client, freshSchema } from "./support.ts"

interface World extends ReturnType<typeof definition> {
  readonly append: (count: number, type?: string) => Effect.Effect<number, unknown>
  readonly run: (name: string, mode?: "follow" | "rebuild") => Effect.Effect<Child, never, Scope.Scope>
  /** Waits until the view holds everything, and asserts that it does so exactly once. */
  readonly exactly: (count: number) => Effect.Effect<void, unknown>
  readonly here: Context.Context<EventStore.EventStore | Checkpoints.Checkpoints | SqlClient.SqlClient>
}

/** A store, and processes that run one projection of it; this one runs none, and waits for theirs. */
const world = (test: (world: World) => Effect.Effect<void, unknown, Scope.Scope>) =>
  Effect.gen(function* () {
    const schema = freshSchema()
    const url = inject("postgresUrl")
    const here = yield* Layer.build(
      Layer.mergeAll(PgEventStore.layerWith({ schema }), PgCheckpoints.layerWith({ schema })).pipe(
        Layer.provideMerge(Layer.fresh(client()))
      )
    )
    const store = Context.get(here, EventStore.EventStore)
    const defined = definition(schema)
    yield* test({
      ...defined,
      here,
      append: (count, type) =>
        Effect.map(
          store.append(
            "Count-1",
            Array.from({ length: count }, () => ({ ...event(undefined, type), payload: {} }))
          ),
          ({ position }) => position
        ),
      run: (name, mode = "follow") => child("projection", { url, schema, name, mode }),
      exactly: (count) =>
        Effect.gen(function* () {
          yield* Projection.awaitPosition(defined.projection, count, { timeout: "20 seconds" })
          assert.deepEqual(yield* defined.Counts.get("all"), Option.some({ id: "all", count }))
          const seen = new Map((yield* defined.Positions.list({ limit: 100_000 })).map(({ id, times }) => [Number(id), times]))
          assert.equal(seen.size, count)
          for (let position = 1; position <= count; position++) assert.equal(seen.get(position), 1)
        }).pipe(Effect.provide(here))
    })
  }).pipe(Effect.scoped)

describe("two processes that run one projection", () => {
  it.live("the owner is killed in the midst of its work: nothing is lost, nothing applied twice", () =>
    world(({ append, exactly, run }) =>
      Effect.gen(function* () {
        const first = yield* run("first")
        yield* first.says("live")
        const second = yield* run("second")
        yield* second.says("standby")
        yield* append(500)
        yield* first.says("at 100")
        yield* first.kill
        const head = yield* append(50)
        yield* exactly(head)
        assert.equal(head, 550)
        assert.ok(second.lines.includes("at 550"))
        yield* second.end
      })
    )
  )

  it.live(
    "the owner is stopped in the midst of a batch, with rows locked: the other takes over, and the first commits nothing",
    () =>
      world(({ append, exactly, run }) =>
        Effect.gen(function* () {
          const first = yield* run("first")
          yield* first.says("live")
          const second = yield* run("second")
          yield* second.says("standby")
          yield* append(2)
          yield* append(1, "Held")
          yield* first.says("at 3")
          first.process.kill("SIGSTOP")
          const head = yield* append(4)
          yield* exactly(head)
          first.process.kill("SIGCONT")
          yield* first.says("standby")
          yield* exactly(yield* append(3))
          yield* first.end
          yield* second.end
          assert.deepEqual(second.lines.filter((line) => /^at ([3-9]|10)$/.test(line)).length >= 8, true)
        })
      )
  )
})

describe("two versions", () => {
  it.live("many that start at once make the tables once, and one version is active", () =>
    Effect.gen(function* () {
      const schema = freshSchema()
      const store = () =>
        Layer.mergeAll(PgEventStore.layerWith({ schema }), PgCheckpoints.layerWith({ schema })).pipe(
          Layer.provideMerge(Layer.fresh(client({ maxConnections: 2 })))
        )
      const here = yield* Layer.build(store())
      const { Counts, projection } = definition(schema)
      yield* Effect.forEach(
        Array.from({ length: 6 }, (_, n) => ({
          ...projection,
          version: 1 + (n % 2),
          subscription: `projection:Counts@${1 + (n % 2)}`
        })),
        (version) => Layer.build(Layer.provide(Projection.layer(version), store())),
        { concurrency: "unbounded" }
      )
      const active = yield* Effect.provide(Projection.active("Counts"), here)
      assert.ok(Option.contains(active, 1) || Option.contains(active, 2))
      assert.deepEqual(yield* Effect.provide(Counts.list(), here), [])
    }).pipe(Effect.scoped)
  )

  it.live("are not switched while a database view of somebody else's is based on theirs", () =>
    world(({ here, projection }) =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const two = { ...projection, version: 2, subscription: "projection:Counts@2" }
        yield* Layer.build(Projection.layer(projection))
        yield* Layer.build(Projection.layer(two))
        const [table] = projection.tables
        assert.ok(table !== undefined)
        yield* sql.unsafe(`create view ${table.name}_report as select * from ${table.name}`)
        assert.equal((yield* Effect.flip(Projection.switchTo(two)))._tag, "SqlError")
        assert.deepEqual(yield* Projection.active("Counts"), Option.some(1))
        yield* sql.unsafe(`drop view ${table.name}_report`)
        yield* Projection.switchTo(two)
        assert.deepEqual(yield* Projection.active("Counts"), Option.some(2))
      }).pipe(Effect.provide(here))
    )
  )
})

describe("a rebuild in a process of its own", () => {
  it.live("is killed, and goes on in another, while a third runs the projection and events are appended", () =>
    world(({ append, exactly, here, projection, run }) =>
      Effect.gen(function* () {
        const follower = yield* run("follower")
        yield* follower.says("live")
        yield* exactly(yield* append(300))
        const first = yield* run("a", "rebuild")
        yield* until(
          "the rebuild has begun",
          Effect.sync(() => first.lines.some((line) => line.endsWith(" of 300")))
        )
        yield* append(20)
        yield* first.kill
        const second = yield* run("b", "rebuild")
        yield* second.says("rebuilt")
        yield* second.end
        yield* exactly(yield* append(30))
        assert.deepEqual(yield* Effect.provide(Projection.active(projection.name), here), Option.some(1))
        yield* follower.end
      })
    )
  )
})
