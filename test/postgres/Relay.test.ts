import assert from "node:assert/strict"
import { describe, it } from "@effect/vitest"
import { Context, Effect, Fiber, Layer, Option, Schedule, Stream } from "effect"
import { Checkpoints, type EventStore, Relay } from "eventfold"
import { PgCheckpoints, PgEventStore } from "eventfold/postgres"
import { inject } from "vitest"
import { makeBroker } from "../support/broker.ts"
import { child, connect, open, terminate, until } from "./harness.ts"
import { client, freshSchema } from "./support.ts"

/** One row of what has arrived. */
interface Delivered {
  readonly id: string
  readonly stream: string
  readonly position: number
  readonly by: string
}

/** A schema with a store, and a table that relays of other processes deliver to. */
const setUp = Effect.gen(function* () {
  const url = inject("postgresUrl")
  const schema = freshSchema()
  const admin = yield* connect(url)
  const { store } = yield* open({ url, schema })
  yield* admin`create table ${admin(`${schema}.delivered`)} (n serial, id text, stream text, position float8, by text)`
  const context = yield* Layer.build(PgCheckpoints.layerWith({ schema }).pipe(Layer.provide(Layer.fresh(client()))))
  const checkpoint = Effect.map(Context.get(context, Checkpoints.Checkpoints).get("relay:shop"), Option.getOrUndefined)
  const delivered = admin<Delivered>`select id, stream, position, by from ${admin(`${schema}.delivered`)} order by n`
  /** How many different events have arrived, or how many have arrived by one relay. */
  const arrived = (by = "") =>
    Effect.map(
      admin<{
        count: number
      }>`select count(distinct id)::float8 as count from ${admin(`${schema}.delivered`)} where by like ${`${by}%`}`,
      (rows) => rows[0]?.count ?? 0
    )
  let events = 0
  return {
    schema,
    admin,
    store,
    checkpoint,
    delivered,
    relay: (name: string, options: { readonly lease?: number; readonly pause?: boolean } = {}) =>
      child("relay", { url, schema, name: `${name} of ${schema}`, lease: 500, ...options }),
    /** Appends published events to five streams, and private ones between them. */
    append: Effect.fnUntraced(function* (count: number, more: Partial<EventStore.NewEvent> = {}) {
      for (let n = 0; n < count; n++) {
        const id = `${++events}`
        yield* store.append(`Order-${events % 5}`, [
          { type: "Checked", payload: null },
          { type: "Placed", payload: null, id, published: true, ...more }
        ])
      }
    }),
    arrives: (count: number, by?: string) =>
      until(
        `${count} events have arrived`,
        Effect.map(arrived(by), (arrived) => arrived >= count)
      ),
    allDelivered: until(
      "everything has arrived",
      Effect.map(arrived(), (arrived) => arrived === events)
    ),
    /** Every published event has arrived, and apart from repetitions in the order of the store. Returns the repetitions. */
    audit: Effect.gen(function* () {
      const published = yield* Stream.runCollect(store.readAll({ filter: { published: true } }))
      const rows = yield* delivered
      const seen = new Set<string>()
      const first = rows.filter(({ id }) => !seen.has(id) && seen.add(id))
      assert.deepEqual(
        first.map(({ id, position, stream }) => ({ id, position, stream })),
        published.map(({ id, position, stream }) => ({ id, position, stream }))
      )
      return rows.filter((row) => !first.includes(row))
    })
  }
})

describe("relays in processes of their own", () => {
  it.live("killed between publishing and checkpoint: the one that stood by publishes the page again, and goes on", () =>
    Effect.gen(function* () {
      const { allDelivered, append, arrives, audit, checkpoint, relay } = yield* setUp
      const first = yield* relay("first", { pause: true, lease: 2000 })
      yield* append(20)
      yield* arrives(20)
      const second = yield* relay("second")
      yield* append(1, { type: "Pause" })
      yield* first.says("paused")
      const before = yield* checkpoint
      assert.ok(before !== undefined && before.position < 42)
      yield* append(20)
      yield* first.kill
      yield* allDelivered
      const again = yield* audit
      assert.ok(again.some(({ id }) => id === "21"))
      assert.ok(again.every(({ by, position }) => by.startsWith("second") && position > before.position))
      yield* until(
        "the checkpoint is at the last published event",
        Effect.map(checkpoint, (now) => now?.position === 82 && now.epoch > before.epoch)
      )
      assert.deepEqual(second.lines, [])
      yield* second.end
    }).pipe(Effect.scoped)
  )

  it.live("killed at any moment, time after time, under load: every event arrives, in order", () =>
    Effect.gen(function* () {
      const { allDelivered, append, arrives, audit, relay } = yield* setUp
      let load = true
      const appending = yield* Effect.forkScoped(
        Effect.repeat(append(5), { schedule: Schedule.spaced("10 millis"), while: () => load })
      )
      for (const round of [1, 2, 3, 4]) {
        const victim = yield* relay(`victim ${round}`)
        yield* arrives(round * round * 7, `victim ${round}`)
        yield* victim.kill
      }
      const last = yield* relay("last")
      yield* arrives(50, "last")
      load = false
      yield* Fiber.join(appending)
      yield* allDelivered
      yield* audit
      yield* last.end
    }).pipe(Effect.scoped)
  )

  it.live("stopped in the middle for longer than its lease, a relay commits nothing more when it wakes up", () =>
    Effect.gen(function* () {
      const { allDelivered, append, audit, checkpoint, delivered, relay } = yield* setUp
      const sleeper = yield* relay("sleeper", { pause: true })
      yield* append(10)
      yield* append(1, { type: "Pause" })
      yield* sleeper.says("paused")
      sleeper.process.kill("SIGSTOP")
      // Long enough that the sleeper does not take the lease back because the machine is busy.
      const other = yield* relay("other", { lease: 6000 })
      yield* append(10)
      yield* allDelivered
      yield* until(
        "the other's checkpoint is at the end",
        Effect.map(checkpoint, (now) => now?.position === 42)
      )
      const taken = yield* checkpoint
      sleeper.process.stdin?.write("answer\n")
      sleeper.process.kill("SIGCONT")
      yield* sleeper.says("failed: CheckpointFencedError")
      yield* append(10)
      yield* allDelivered
      yield* until(
        "the checkpoint is at the end",
        Effect.map(checkpoint, (now) => now?.position === 62)
      )
      const after = yield* checkpoint
      assert.deepEqual([after?.epoch, after?.owner], [taken?.epoch, taken?.owner])
      yield* audit
      assert.ok((yield* delivered).slice(-10).every(({ by }) => by.startsWith("other")))
      yield* sleeper.end
      yield* other.end
    }).pipe(Effect.scoped)
  )

  it.live("ended in good order, a relay leaves its lease to whoever comes next, and nothing is published twice", () =>
    Effect.gen(function* () {
      const { allDelivered, append, audit, checkpoint, relay } = yield* setUp
      for (const name of ["first", "second"]) {
        const working = yield* relay(name, { lease: 3_600_000 })
        yield* append(20)
        yield* allDelivered
        yield* working.end
        assert.deepEqual((yield* checkpoint)?.owner, Option.none())
      }
      assert.deepEqual(yield* audit, [])
    }).pipe(Effect.scoped)
  )

  it.live("its connections terminated, a relay goes on by itself", () =>
    Effect.gen(function* () {
      const { admin, allDelivered, append, audit, relay, schema } = yield* setUp
      const working = yield* relay("working")
      for (const _ of [1, 2, 3]) {
        yield* append(10)
        yield* allDelivered
        const pids = yield* admin<{
          pid: number
        }>`select pid from pg_stat_activity where application_name = ${`working of ${schema}`}`
        assert.ok(pids.length > 0)
        yield* terminate(
          admin,
          pids.map(({ pid }) => pid)
        )
      }
      yield* append(10)
      yield* allDelivered
      yield* audit
      yield* working.end
    }).pipe(Effect.scoped)
  )
})

describe("a relay on PostgreSQL", () => {
  it.live("waits for open transactions, and nothing of a rolled back one ever leaves", () =>
    Effect.gen(function* () {
      const url = inject("postgresUrl")
      const schema = freshSchema()
      const { sql, store } = yield* open({ url, schema })
      const broker = makeBroker()
      yield* Layer.build(
        Relay.layer({ name: "shop" }).pipe(
          Layer.provide(broker.layer),
          Layer.provide([PgEventStore.layerWith({ schema }), PgCheckpoints.layerWith({ schema })]),
          Layer.provide(Layer.fresh(client()))
        )
      )
      const append = (id: string) => store.append("Order-1", [{ type: "Placed", id, payload: null, published: true }])
      const rolledBack = sql.withTransaction(Effect.andThen(append("rolled back"), Effect.fail("no")))
      yield* append("1")
      yield* Effect.flip(rolledBack)
      yield* append("2")
      yield* sql.withTransaction(
        Effect.gen(function* () {
          yield* append("3")
          yield* until(
            "2 has arrived",
            Effect.sync(() => broker.taken.length === 2)
          )
        })
      )
      yield* Effect.flip(rolledBack)
      yield* append("4")
      yield* until(
        "4 has arrived",
        Effect.sync(() => broker.taken.some(({ id }) => id === "4"))
      )
      assert.deepEqual(
        broker.taken.map(({ id, position }) => [id, position]),
        [
          ["1", 1],
          ["2", 2],
          ["3", 3],
          ["4", 4]
        ]
      )
    }).pipe(Effect.scoped)
  )
})
