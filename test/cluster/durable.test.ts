import assert from "node:assert/strict"
import { describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer, Stream } from "effect"
import { EventStore, MessageBus, UnitOfWork } from "eventfold"
import { ClusterBus } from "eventfold/cluster"
import { PgEventStore } from "eventfold/postgres"
import { randomInt } from "node:crypto"
import { inject } from "vitest"
import { connect } from "../postgres/harness.ts"
import { freshSchema } from "../postgres/support.ts"
import { startChild } from "../support/child.ts"
import { freePort, nodeOf } from "../support/clusterNode.ts"
import { eventually } from "../support/words.ts"
import { Add, Counter, options } from "./counter.ts"

const durable = { ...options, delivery: "durable" } as const

describe("a durable command whose process is killed amid the commit", () => {
  it.live(
    "has one effect and its first answer, whether the server commits or not",
    () =>
      Effect.gen(function* () {
        const url = inject("postgresUrl")
        const schema = freshSchema()
        const admin = yield* connect(url)
        const client = yield* Layer.build(
          ClusterBus.layerClient(Counter, [Add], { ...durable, patience: "60 seconds" }).pipe(
            Layer.provideMerge(MessageBus.layer),
            Layer.provideMerge(UnitOfWork.layerSql),
            Layer.provideMerge(PgEventStore.layerWith({ schema })),
            Layer.provideMerge(nodeOf({ url, schema }))
          )
        )
        const start = Effect.gen(function* () {
          const port = yield* freePort
          const child = yield* startChild(new URL("processes/runner.ts", import.meta.url), {
            url,
            schema,
            port,
            delivery: "durable"
          })
          yield* child.says("ready")
          return child
        })
        const add = (call: string) => Effect.provide(MessageBus.execute(Add, { counter: "a", call }, { id: call }), client)

        // A COMMIT that has events waits for whoever holds this.
        const gate = randomInt(2 ** 31)
        yield* admin.unsafe(`
          create function ${schema}.wait_at_commit() returns trigger language plpgsql as
          $$ begin perform pg_advisory_xact_lock_shared(${gate}); return null; end $$`)
        yield* admin.unsafe(`
          create constraint trigger wait_at_commit after insert on ${schema}.event
          deferrable initially deferred for each row execute function ${schema}.wait_at_commit()`)
        const hold = yield* admin.reserve
        const holding = (verb: string) => hold.executeUnprepared(`select ${verb}(${gate})`, [], undefined)
        const waiting = Effect.map(
          admin<{ pid: number; query: string }>`
            select a.pid, a.query from pg_locks l join pg_stat_activity a using (pid)
            where l.locktype = 'advisory' and not l.granted and l.objid = ${gate}`,
          ([first]) => first
        )

        let runner = yield* start
        assert.equal(yield* add("0"), 1)
        for (const [nth, ending] of (["commits", "rolls back", "commits"] as const).entries()) {
          const call = `${nth + 1}`
          yield* holding("pg_advisory_lock")
          const calling = yield* Effect.forkChild(add(call))
          yield* eventually(
            "it is amid the commit",
            Effect.map(waiting, (found) => found !== undefined)
          )
          const found = yield* waiting
          assert.match(found?.query ?? "", /^commit/i)
          yield* runner.kill
          if (ending === "rolls back") {
            yield* admin`select pg_terminate_backend(${found?.pid ?? 0})`
            yield* eventually(
              "the server has rolled back",
              Effect.map(waiting, (found) => found === undefined)
            )
          }
          yield* holding("pg_advisory_unlock")
          runner = yield* start
          assert.equal(yield* Fiber.join(calling), nth + 2)
          // Whoever asks again gets the first answer.
          assert.equal(yield* add(call), nth + 2)
        }

        const events = Array.from(
          yield* Effect.provide(
            EventStore.EventStore.use(({ readAll }) => Stream.runCollect(readAll({ filter: { types: ["Added"] } }))),
            client
          )
        )
        assert.deepEqual(
          events.map(({ payload, version }) => [(payload as { readonly call: string }).call, version]),
          [
            ["0", 1],
            ["1", 2],
            ["2", 3],
            ["3", 4]
          ]
        )
      }).pipe(Effect.scoped),
    180_000
  )
})
