import assert from "node:assert/strict"
import { join } from "node:path"
import { NodeFileSystem } from "@effect/platform-node"
import { describe, it } from "@effect/vitest"
import { Context, Effect, Exit, Layer, Schedule, Schema, Scope } from "effect"
import { SqlClient } from "effect/sql"
import { Checkpoints, Event, EventStore, ParkedEvents, Subscription } from "eventfold"
import { JsonlEventStore } from "eventfold/jsonl"
import { PgEventStore } from "eventfold/postgres"
import { SqliteCheckpoints, SqliteClient, SqliteEventStore } from "eventfold/sqlite"
import { client, freshSchema, pgLiteOfFile } from "../postgres/support.ts"
import { until } from "../support/child.ts"
import { temporaryDirectory } from "../support/files.ts"
import { logs as logged } from "../support/logs.ts"
import { core, declared } from "../support/wirings.ts"
import { numbers } from "../support/words.ts"

const Placed = Event.make("Placed", { total: Schema.Int })

const pgLite = pgLiteOfFile()
const inFile = (make: (file: string) => Layer.Layer<EventStore.EventStore, unknown>) =>
  Layer.unwrap(Effect.map(temporaryDirectory, (folder) => make(join(folder, "events"))))

/** A new, empty log. */
const stores: Readonly<Record<string, () => Layer.Layer<EventStore.EventStore, unknown>>> = {
  memory: () => EventStore.layerMemory,
  SQLite: () => inFile((filename) => SqliteEventStore.layerFile({ filename, pollInterval: "20 millis" })),
  "JSON lines": () => inFile((path) => JsonlEventStore.layer({ path }).pipe(Layer.provide(NodeFileSystem.layer))),
  PostgreSQL: () => PgEventStore.layerWith({ schema: freshSchema() }).pipe(Layer.provide(Layer.fresh(client()))),
  PGlite: () => PgEventStore.layerWith({ schema: freshSchema(), listen: false }).pipe(Layer.provide(pgLite))
}

/** The logs, and the database of the view. */
const world = Effect.fnUntraced(function* (make: () => Layer.Layer<EventStore.EventStore, unknown>) {
  const open = Effect.suspend(() => Effect.map(Layer.build(Layer.fresh(make())), Context.get(EventStore.EventStore)))
  const eu = yield* open
  const us = yield* open
  const filename = join(yield* temporaryDirectory, "view.db")
  const database = Layer.provideMerge(SqliteCheckpoints.layer, SqliteClient.layer({ filename }))
  const view = yield* Layer.build(database)
  const sql = Context.get(view, SqlClient.SqlClient)
  yield* sql`create table world (log text, position int, total int)`
  return {
    eu,
    us,
    logs: { eu: Layer.succeed(EventStore.EventStore, eu), us: Layer.succeed(EventStore.EventStore, us) },
    view,
    rows: sql<{ log: string; position: number; total: number }>`select log, position, total from world order by log, position`
  }
})

const placed = (total: number): EventStore.NewEvent => ({ type: "Placed", payload: { total } })

for (const [name, make] of declared(stores)) {
  describe(`a subscription to several logs on ${name}`, () => {
    it.live("writes one view, in which each event of each log takes effect once, over failures and restarts", () =>
      Effect.gen(function* () {
        const { eu, logs, rows, us, view } = yield* world(make)
        let broken = 3
        const World = Subscription.layerLogs(logs, {
          name: "world",
          transactional: true,
          batch: 3,
          retry: Schedule.recurs(5),
          events: [Placed],
          handlers: {
            Placed: ({ total }, { event, log }) =>
              Effect.gen(function* () {
                const sql = yield* SqlClient.SqlClient
                yield* sql`insert into world (log, position, total) values (${log}, ${event.position}, ${total})`
                // What has been written of the batch goes with it.
                if (total === 5 && broken-- > 0) return yield* Effect.fail("broken")
              })
          }
        })
        const start = Effect.gen(function* () {
          const scope = yield* Scope.fork(yield* Effect.scope)
          yield* Layer.buildWithScope(Layer.fresh(World), scope)
          return Scope.close(scope, Exit.void)
        }).pipe(Effect.provide(view))
        const end = yield* start
        for (const n of numbers(10)) {
          yield* eu.append(`Order-${n}`, [placed(n)])
          yield* us.append(`Order-${n}`, [placed(100 + n)])
        }
        yield* until(
          "all is in the view",
          Effect.map(rows, ({ length }) => length === 20)
        )
        yield* end
        yield* eu.append("Order-1", [placed(11)])
        const again = yield* start
        yield* us.append("Order-1", [placed(111)])
        yield* until(
          "the rest is in the view",
          Effect.map(rows, ({ length }) => length === 22)
        )
        yield* again
        assert.deepEqual(
          (yield* rows).map(({ log, position, total }) => [log, position, total]),
          [...numbers(11).map((n) => ["eu", n, n]), ...numbers(11).map((n) => ["us", n, 100 + n])]
        )
        const known = yield* Context.get(view, Checkpoints.Checkpoints).list
        assert.deepEqual(
          known.map(({ name, position }) => [name, position]),
          [
            ["subscription:world@eu", 11],
            ["subscription:world@us", 11]
          ]
        )
      }).pipe(Effect.scoped)
    )
  })
}

core.describe("a subscription to several logs", () => {
  const handler = () => Effect.void
  core.it.live("of which one is away goes on with the others, and each is steered by its name", () =>
    Effect.gen(function* () {
      logged(/"world@us" failed and starts again/)
      const eu = yield* EventStore.makeMemory
      const us = yield* EventStore.makeMemory
      const seen: Array<string> = []
      const away = new EventStore.EventStoreError({
        reason: new EventStore.StoreUnavailable({ operation: "read", detail: "gone" })
      })
      let isAway = true
      const reading = <A>(page: Effect.Effect<A, EventStore.EventStoreError>) =>
        Effect.suspend(() => (isAway ? Effect.fail(away) : page))
      const faulty: typeof us = { ...us, head: reading(us.head), readPage: (options) => reading(us.readPage(options)) }
      yield* Layer.build(
        Subscription.layerLogs(
          { eu: Layer.succeed(EventStore.EventStore, eu), us: Layer.succeed(EventStore.EventStore, faulty) },
          { name: "world", handler: ({ position }, { log }) => Effect.sync(() => seen.push(`${log} ${position}`)) }
        )
      )
      yield* us.append("Order-1", [placed(1)])
      yield* eu.append("Order-1", [placed(1)])
      yield* until(
        "the one that is there is followed",
        Effect.sync(() => seen.includes("eu 1"))
      )
      assert.deepEqual(seen, ["eu 1"])
      yield* Subscription.pause("world@eu")
      assert.equal((yield* Subscription.status("world@eu")).state, "paused")
      isAway = false
      yield* until(
        "the other has come back",
        Effect.sync(() => seen.includes("us 1"))
      )
    }).pipe(Effect.scoped, Effect.provide(Layer.merge(Checkpoints.layerMemory, ParkedEvents.layerMemory)))
  )

  core.it.effect("has logs, with names that go into those of checkpoints", () =>
    Effect.sync(() => {
      const log = EventStore.layerMemory
      assert.throws(
        () => Subscription.layerLogs({}, { name: "world", handler }),
        /Subscription "world" to several logs: there is none/
      )
      for (const name of ["", "a:b", "a@b", "1/2"]) {
        assert.throws(() => Subscription.layerLogs({ [name]: log }, { name: "world", handler }), /cannot be the name of one/)
      }
    })
  )
})
