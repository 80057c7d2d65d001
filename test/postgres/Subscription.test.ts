import assert from "node:assert/strict"
import { describe, it } from "@effect/vitest"
import { Context, DateTime, Effect, Layer, Schedule, type Scope } from "effect"
import { SqlClient } from "effect/sql"
import { Checkpoints, EventStore, ParkedEvents, Subscription } from "eventfold"
import { PgCheckpoints, PgEventStore } from "eventfold/postgres"
import { inject } from "vitest"
import { applied, followsInProcesses, type World } from "../support/followers.ts"
import { logs } from "../support/logs.ts"
import { numbers } from "../support/words.ts"
import { child, connect, event, open, until } from "./harness.ts"
import { client, freshSchema } from "./support.ts"

const world = (test: (world: World) => Effect.Effect<void, unknown, Scope.Scope>) =>
  Effect.gen(function* () {
    const schema = freshSchema()
    const url = inject("postgresUrl")
    const { store } = yield* open({ url, schema })
    const sql: SqlClient.SqlClient = yield* connect(url)
    const checkpoints = yield* Layer.build(Layer.provide(PgCheckpoints.layerWith({ schema }), Layer.fresh(client())))
    yield* sql`create table ${sql(schema)}.view (n bigserial, position int not null, who text not null)`
    yield* test({
      store,
      checkpoints: Context.get(checkpoints, Checkpoints.Checkpoints),
      follower: (name, partitions) => child("follower", { url, schema, name, partitions }),
      view: Effect.map(sql<{ position: number }>`select position from ${sql(schema)}.view order by n`, (rows) =>
        rows.map(({ position }) => position)
      )
    })
  }).pipe(Effect.scoped)

followsInProcesses(world)

describe("two processes of one name", () => {
  it.live(
    "the owner is stopped in the midst of a batch: the other takes over, and what the first had in hand is not committed",
    () =>
      world((world) =>
        Effect.gen(function* () {
          const first = yield* world.follower("first")
          yield* first.says("live")
          const second = yield* world.follower("second")
          yield* second.says("standby")
          yield* world.store.append("Count-1", [event(), event(), event(undefined, "Held"), event()])
          yield* first.says("at 3")
          first.process.kill("SIGSTOP")
          yield* applied(world, 4)
          first.process.kill("SIGCONT")
          yield* first.says("standby")
          yield* world.store.append("Count-1", [event(), event()])
          yield* applied(world, 6)
          assert.deepEqual(yield* world.view, numbers(6))
          yield* first.end
          yield* second.end
          assert.deepEqual(
            second.lines.filter((line) => line.startsWith("at ")),
            numbers(6).map((n) => `at ${n}`)
          )
        })
      )
  )
})

describe("notifications", () => {
  it.live("are hints: without any, events are seen by polling", () =>
    Effect.gen(function* () {
      const schema = freshSchema()
      const { store } = yield* open({ url: inject("postgresUrl"), schema })
      const seen: Array<number> = []
      // A process that does not listen, so it hears nothing of what the other commits.
      const deaf = Layer.mergeAll(PgEventStore.layerWith({ schema, listen: false }), PgCheckpoints.layerWith({ schema })).pipe(
        Layer.provide(Layer.fresh(client()))
      )
      yield* Layer.build(
        Subscription.layer({ name: "view", handler: ({ position }) => Effect.sync(() => seen.push(position)) }).pipe(
          Layer.provide(deaf)
        )
      )
      for (let n = 1; n <= 3; n++) {
        yield* store.append("Count-1", [event()])
        yield* until(
          `event ${n} has been seen`,
          Effect.sync(() => seen.length === n)
        )
      }
      assert.deepEqual(seen, [1, 2, 3])
    }).pipe(Effect.provideService(Subscription.Registry, new Map()))
  )
})

describe("parked events on PostgreSQL", () => {
  it.live("are listed, parked again and discarded, also in a schema of their own", () =>
    Effect.gen(function* () {
      const schema = freshSchema()
      const sql = yield* connect(inject("postgresUrl"))
      yield* sql`create schema ${sql(schema)}`
      const layer = Layer.provide(ParkedEvents.layerSqlWith({ table: `${schema}.parked` }), Layer.fresh(client()))
      const context = yield* Layer.build(layer)
      const { discard, list, park } = Context.get(context, ParkedEvents.ParkedEvents)
      const parkedAt = DateTime.makeUnsafe(1_700_000_000_123)
      const parked = { subscription: "view", stream: "S-1", type: "T", cause: "half \u0000", attempts: 2, parkedAt }
      for (const position of [30, 4]) yield* park({ ...parked, position })
      yield* park({ ...parked, position: 4, attempts: 3 })
      assert.deepEqual(yield* list("view"), [
        { ...parked, cause: "half \ufffd", position: 4, attempts: 3 },
        { ...parked, cause: "half \ufffd", position: 30 }
      ])
      assert.deepEqual(
        (yield* list("view", { after: 4, limit: 1 })).map(({ position }) => position),
        [30]
      )
      assert.deepEqual([yield* discard("view", 4), yield* discard("view", 4)], [true, false])
    })
  )
})

it.live("a statement that failed in a transactional handler is a failure of the event, whatever the handler made of it", () => {
  logs(/has parked the event/)
  const schema = freshSchema()
  const table = `${schema}_parked`
  const Live = Subscription.layer({
    name: "view",
    transactional: true,
    onFailure: "park",
    retry: Schedule.recurs(1),
    handler: ({ position }) =>
      position === 2 ? SqlClient.SqlClient.use((sql) => Effect.ignore(sql`select * from nowhere`)) : Effect.void
  }).pipe(
    Layer.provideMerge(Layer.mergeAll(PgCheckpoints.layerWith({ schema }), ParkedEvents.layerSqlWith({ table }))),
    Layer.provideMerge(PgEventStore.layerWith({ schema })),
    Layer.provideMerge(client())
  )
  return Effect.gen(function* () {
    yield* EventStore.append("Count-1", [event(), event(), event()])
    const { list } = yield* ParkedEvents.ParkedEvents
    yield* until(
      "all are done with",
      Effect.map(Subscription.status("view"), ({ position }) => position === 3)
    )
    assert.deepEqual(
      (yield* list("view")).map(({ attempts, position }) => [position, attempts]),
      [[2, 2]]
    )
  }).pipe(Effect.provide(Live), Effect.provideService(Subscription.Registry, new Map()))
})
