import assert from "node:assert/strict"
import { describe, it } from "@effect/vitest"
import { Context, DateTime, Deferred, Effect, Latch, Layer, Schedule, type Scope, Stream } from "effect"
import { SqlClient } from "effect/sql"
import { Checkpoints, EventStore, ParkedEvents, Subscription, UnitOfWork } from "eventfold"
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

describe("a transactional handler that appends", () => {
  const echo = (n: number) => [{ type: "Echo", payload: { n } }]
  const ways: Readonly<
    Record<string, (n: number) => Effect.Effect<unknown, unknown, EventStore.EventStore | UnitOfWork.UnitOfWork>>
  > = {
    "by itself": (n) => EventStore.append(`Echo-${n}`, echo(n)),
    "in a unit of work": (n) => UnitOfWork.transact(UnitOfWork.stage(`Echo-${n}`, echo(n)))
  }
  for (const [way, append] of Object.entries(ways)) {
    it.live(`${way} keeps no other writer waiting while the next one is at work, and each takes effect once`, () => {
      const schema = freshSchema()
      const store = Layer.fresh(PgEventStore.layerWith({ schema })).pipe(Layer.provide(Layer.fresh(client())))
      const Base = Layer.mergeAll(PgCheckpoints.layerWith({ schema }), UnitOfWork.layerSql).pipe(
        Layer.provideMerge(PgEventStore.layerWith({ schema })),
        Layer.provideMerge(client())
      )
      return Effect.gen(function* () {
        const gates = new Map(
          numbers(12).map((n) => [n, { arrived: Deferred.makeUnsafe<void>(), open: Latch.makeUnsafe(false) }])
        )
        const gate = (n: number) => gates.get(n) ?? assert.fail()
        yield* EventStore.append(
          "Count-1",
          numbers(12).map(() => event())
        )
        const view = Subscription.layer({
          name: "view",
          transactional: true,
          filter: { categories: ["Count"] },
          handler: ({ position }) =>
            Effect.gen(function* () {
              yield* Deferred.succeed(gate(position).arrived, undefined)
              yield* gate(position).open.await
              yield* append(position)
            })
        })
        const foreign = yield* Layer.build(store).pipe(Effect.map(Context.get(EventStore.EventStore)))
        yield* Layer.build(view)
        for (const n of numbers(12)) {
          // Those before have appended, and this one is in the midst of its work, as long as it likes.
          yield* Deferred.await(gate(n).arrived)
          const appended = yield* Effect.timeoutOption(foreign.append(`Foreign-${n}`, [event()]), "10 seconds")
          assert.ok(appended._tag === "Some", `a foreign append waits for the transaction of the handlers before ${n}`)
          gate(n).open.openUnsafe()
        }
        yield* until(
          "all are done with",
          Effect.map(Subscription.status("view"), ({ position }) => position >= 12)
        )
        const echoes = yield* Stream.runCollect(EventStore.readAll({ filter: { types: ["Echo"] } }))
        assert.deepEqual(
          echoes.map(({ payload }) => payload),
          numbers(12).map((n) => ({ n }))
        )
      }).pipe(Effect.scoped, Effect.provide(Base), Effect.provideService(Subscription.Registry, new Map()))
    })
  }
})
