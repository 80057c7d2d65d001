import assert from "node:assert/strict"
import { describe, it } from "@effect/vitest"
import { Clock, DateTime, type Duration, Effect, Latch, Layer, Option, References, Schedule, Schema, Scope, Stream } from "effect"
import { SqlClient } from "effect/sql"
import { TestClock } from "effect/testing"
import {
  Aggregate,
  Checkpoints,
  Command,
  Event,
  EventStore,
  MessageBus,
  ParkedEvents,
  ProcessManager,
  Relay,
  Repository,
  Snapshots,
  Subscription,
  Transport,
  UnitOfWork
} from "eventfold"
import { SqliteCheckpoints, SqliteEventStore } from "eventfold/sqlite"
import { Scenario } from "eventfold/testing"
import {
  Arrived,
  arrived,
  collected,
  Collection,
  Handlers,
  Parcel,
  Remind,
  Return,
  Returned,
  ReturnLive
} from "./support/shipping.ts"
import { logs } from "./support/logs.ts"
import { core, makeWirings } from "./support/wirings.ts"
import { numbers, rest, start, until } from "./support/words.ts"

const { everywhere } = makeWirings()

/** The process of the tests. */
const Collecting = ProcessManager.layer(Collection)

/** The stream of a process whose parcel nobody collected. */
const uncollected = "$EventHandled $DeadlineSet CollectionDue $EventHandled $DeadlineSet CollectionDue $EventHandled".split(" ")

/** Waits for what comes about without time passing. */
const recorded = Stream.runCollect(EventStore.readAll())

/** All that stands in the store: where, and what. */
const log = Effect.map(recorded, (events) => events.map(({ stream, type }) => `${stream.replace(/^\$bus-.*/, "$bus")} ${type}`))

/** Those of a stream. */
const of = (stream: string) => Effect.map(Stream.runCollect(EventStore.read(stream)), (events) => events.map(({ type }) => type))

/** Waits until the process has reacted to all that stands in the store. */
const caughtUp = (name = "Collection") =>
  until(
    Effect.gen(function* () {
      const head = yield* EventStore.head
      return (yield* Subscription.status(`process:${name}`)).position >= head
    })
  )

/** Bus, handlers and checkpoints over whatever store. */
const withBus = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  effect.pipe(
    Effect.provide(Handlers.pipe(Layer.provideMerge(MessageBus.layer), Layer.provideMerge(Checkpoints.layerMemory))),
    Effect.provideService(Subscription.Registry, new Map())
  )

const inMemory = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  withBus(effect).pipe(Effect.provide(UnitOfWork.layer.pipe(Layer.provideMerge(EventStore.layerMemory))))

describe("reacting", () => {
  everywhere((test) => {
    test("commands and deadlines of a reaction commit with the note that it has been made, and are caused by it", () =>
      withBus(
        Effect.gen(function* () {
          yield* EventStore.append("Parcel-1", [
            { type: "Arrived", payload: { parcel: "1" }, metadata: { by: "greta", correlationId: "c-1" } }
          ])
          yield* start(Collecting)
          yield* caughtUp()
          assert.deepEqual(yield* log, [
            "Parcel-1 Arrived",
            "Collection-1 $EventHandled",
            "$bus Remind",
            "Parcel-1 Reminded",
            "Collection-1 $DeadlineSet"
          ])
          const events = yield* recorded
          const byId = new Map(events.map(({ id, type }) => [id, type]))
          assert.deepEqual(
            events.map(({ metadata }) => [metadata["by"], metadata.correlationId, byId.get(metadata.causationId ?? "")]),
            [
              ["greta", "c-1", undefined],
              ["greta", "c-1", "Arrived"],
              ["greta", "c-1", "$EventHandled"],
              ["greta", "c-1", "Remind"],
              ["greta", "c-1", "$EventHandled"]
            ]
          )
          const { deadlines, state } = yield* ProcessManager.read(Collection, "1")
          assert.deepEqual(state, { arrived: 1, collected: false, reminders: 0 })
          assert.deepEqual(
            Array.from(deadlines, ([type, due]) => [type, DateTime.formatIso(due)]),
            [["CollectionDue", "1970-01-02T00:00:00.000Z"]]
          )
        })
      ))

    test("a deadline that is due is recorded, and reacted to", () =>
      withBus(
        Effect.gen(function* () {
          yield* start(Collecting)
          yield* arrived("1")
          yield* caughtUp()
          yield* TestClock.adjust("1 day")
          yield* until(Effect.map(of("Parcel-1"), (types) => types.length === 3))
          yield* caughtUp()
          yield* TestClock.adjust("1 day")
          yield* until(Effect.map(of("Parcel-1"), (types) => types.length === 4))
          assert.deepEqual(yield* of("Parcel-1"), ["Arrived", "Reminded", "Reminded", "Returned"])
          assert.deepEqual(yield* of("Collection-1"), uncollected)
          const due = (yield* recorded).filter(({ type }) => type === "CollectionDue")
          assert.deepEqual(
            due.map(({ payload, recordedAt, tags }) => [payload, DateTime.toEpochMillis(recordedAt) / 86_400_000, tags]),
            [
              [{ reminders: 1 }, 1, ["due"]],
              [{ reminders: 2 }, 2, ["due"]]
            ]
          )
          const { deadlines, state } = yield* ProcessManager.read(Collection, "1")
          assert.deepEqual([state, deadlines], [{ arrived: 1, collected: false, reminders: 3 }, new Map()])
        })
      ))

    test("a deadline that is cancelled does not come", () =>
      withBus(
        Effect.gen(function* () {
          yield* start(Collecting)
          yield* arrived("1")
          yield* caughtUp()
          yield* collected("1")
          yield* arrived("2")
          yield* caughtUp()
          yield* TestClock.adjust("1 day")
          yield* until(Effect.map(of("Parcel-2"), (types) => types.length === 3))
          yield* caughtUp()
          assert.deepEqual(yield* of("Collection-1"), ["$EventHandled", "$DeadlineSet", "$EventHandled", "$DeadlineCancelled"])
          assert.deepEqual(yield* of("Parcel-1"), ["Arrived", "Reminded", "Collected"])
          assert.deepEqual((yield* ProcessManager.read(Collection, "1")).deadlines, new Map())
        })
      ))
  })

  it.effect("what a handler writes to the database commits with the reaction, and is undone with it", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      yield* sql`create table letter (parcel text not null)`
      let broken = true
      const Letters = MessageBus.handle(Remind, ({ parcel }) =>
        Effect.gen(function* () {
          yield* Effect.orDie(sql`insert into letter values (${parcel})`)
          if (broken) return yield* Effect.die("broken")
        })
      )
      yield* start(
        Collecting.pipe(
          Layer.provide(Layer.merge(Letters, ReturnLive)),
          Layer.provide(MessageBus.layer),
          Layer.provide(UnitOfWork.layerSql)
        )
      )
      yield* arrived("1")
      const state = Effect.map(Subscription.status("process:Collection"), ({ state }) => state)
      yield* until(Effect.map(state, (state) => state === "backing-off"))
      const letters = Effect.map(sql<{ parcel: string }>`select parcel from letter`, (rows) => rows.map(({ parcel }) => parcel))
      assert.deepEqual([yield* letters, yield* EventStore.exists("Collection-1")], [[], false])
      broken = false
      yield* TestClock.adjust("1 second")
      yield* caughtUp()
      assert.deepEqual(yield* letters, ["1"])
      assert.deepEqual(yield* of("Collection-1"), ["$EventHandled", "$DeadlineSet"])
    }).pipe(
      Effect.provide(
        Layer.fresh(SqliteCheckpoints.layer.pipe(Layer.provideMerge(SqliteEventStore.layerFile({ filename: ":memory:" }))))
      ),
      Effect.provideService(Subscription.Registry, new Map())
    )
  )

  it.effect("each instance has its own state; an event that correlates to none is passed over", () =>
    inMemory(
      Effect.gen(function* () {
        yield* start(Collecting)
        for (const parcel of ["1", "2", "anonymous", "1"]) yield* arrived(parcel)
        yield* caughtUp()
        const arrivals = Effect.fnUntraced(function* (key: string) {
          return (yield* ProcessManager.read(Collection, key)).state.arrived
        })
        assert.deepEqual([yield* arrivals("1"), yield* arrivals("2"), yield* arrivals("anonymous")], [2, 1, 0])
        assert.equal(yield* EventStore.exists("Collection-anonymous"), false)
      })
    )
  )

  it.effect("the reaction sees the state before the event, decoded by today's definitions", () =>
    inMemory(
      Effect.gen(function* () {
        const seen: Array<unknown> = []
        const Counted = Event.make("Counted", { n: Schema.Int }, { version: 2, upcast: { 1: (old) => ({ n: old.count }) } })
        const Counting = ProcessManager.make("Counting", {
          events: [Counted],
          correlate: { Counted: () => "all" },
          initial: 0,
          evolve: { Counted: (sum, { n }) => sum + n },
          react: {
            Counted: (sum, { n }, { key, recorded }) => {
              seen.push([sum, n, key, recorded.position])
              return []
            }
          }
        })
        yield* EventStore.append("Count-1", [{ type: "Counted", payload: { count: 5 } }])
        yield* EventStore.append("Count-2", [{ type: "Counted", schemaVersion: 2, payload: { n: 6 } }])
        yield* start(ProcessManager.layer(Counting))
        yield* caughtUp("Counting")
        assert.deepEqual(seen, [
          [0, 5, "all", 1],
          [5, 6, "all", 2]
        ])
        assert.equal((yield* ProcessManager.read(Counting, "all")).state, 11)
        assert.deepEqual(
          (yield* recorded).slice(2).map(({ payload }) => payload),
          [
            {
              type: "Counted",
              id: (yield* recorded)[0]?.id,
              stream: "Count-1",
              version: 1,
              position: 1,
              schemaVersion: 1,
              payload: { count: 5 }
            },
            {
              type: "Counted",
              id: (yield* recorded)[1]?.id,
              stream: "Count-2",
              version: 1,
              position: 2,
              schemaVersion: 2,
              payload: { n: 6 }
            }
          ]
        )
      })
    )
  )

  it.effect("is what it is with snapshots and without, reads no more than what came after one, and forgets nothing", () =>
    inMemory(
      Effect.gen(function* () {
        const Noted = Event.make("Noted", { n: Schema.Int })
        const Due = Event.make("Due", { n: Schema.Int })
        const seen: Array<unknown> = []
        const notes = (every: number | undefined) =>
          ProcessManager.make("Notes", {
            events: [Noted],
            correlate: { Noted: () => "all" },
            deadlines: [Due],
            initial: { sum: 0 },
            evolve: { Noted: ({ sum }, { n }) => ({ sum: sum + n }), Due: ({ sum }, { n }) => ({ sum: sum + 100 * n }) },
            react: {
              Noted: ({ sum }, { n }) => {
                seen.push(sum)
                return [ProcessManager.setDeadline(Due.make({ n }), "1 day")]
              },
              Due: () => []
            },
            snapshot: every === undefined ? undefined : { state: Schema.Struct({ sum: Schema.Int }), every }
          })
        const reads: Array<number> = []
        const Counting = Layer.effect(
          EventStore.EventStore,
          EventStore.EventStore.useSync((store) => ({
            ...store,
            read: (stream: string, options?: EventStore.ReadOptions) =>
              Stream.tap(store.read(stream, options), ({ version }) => Effect.sync(() => reads.push(version)))
          }))
        )
        const noted = (n: number) => EventStore.append("Source-1", [{ type: "Noted", payload: { n } }])
        const read = (every: number | undefined) => ProcessManager.read(notes(every), "all")
        const snapshots = Layer.succeed(Snapshots.Snapshots, yield* Snapshots.Snapshots)
        const stop = yield* start(ProcessManager.layer(notes(4)).pipe(Layer.provide([Counting, snapshots])))
        for (let n = 1; n <= 20; n++) yield* noted(n)
        yield* caughtUp("Notes")
        assert.deepEqual(
          seen,
          Array.from({ length: 20 }, (_, n) => (n * (n + 1)) / 2)
        )
        // Two events each: read are those after the snapshot, and the one that it ends with.
        assert.ok(reads.length <= 20 * 5 && reads.length < (20 * 19) / 2)
        yield* stop
        const withSnapshot = yield* Effect.provide(read(4), snapshots)
        assert.deepEqual(withSnapshot, yield* read(undefined))
        // What was reacted to is known from the snapshot, and so is the deadline.
        yield* Checkpoints.Checkpoints.use((checkpoints) =>
          Effect.gen(function* () {
            const lease = yield* checkpoints.claim("subscription:process:Notes", { owner: "me", ttl: "1 second" })
            yield* checkpoints.release(yield* checkpoints.advance(lease, 0))
          })
        )
        yield* start(ProcessManager.layer(notes(4)).pipe(Layer.provide(snapshots)))
        yield* caughtUp("Notes")
        assert.equal(seen.length, 20)
        yield* TestClock.adjust("1 day")
        yield* until(Effect.map(read(undefined), ({ deadlines }) => deadlines.size === 0))
        assert.deepEqual((yield* read(undefined)).state, { sum: 210 + 2000 })
        assert.deepEqual(yield* Effect.provide(read(4), snapshots), yield* read(undefined))
      })
    ).pipe(Effect.provide(Layer.fresh(Snapshots.layerMemory)))
  )

  it.effect("costs the same after hundreds of events as after ten, forgets none of them, and takes a late one all the same", () =>
    inMemory(
      Effect.gen(function* () {
        const Noted = Event.make("Noted", { n: Schema.Int })
        const sums: Array<number> = []
        let refuses = true
        const Summing = ProcessManager.make("Summing", {
          events: [Noted],
          correlate: {
            Noted: ({ n }) => {
              if (n === 3 && refuses) throw new Error("not yet")
              return "all"
            }
          },
          initial: { sum: 0 },
          evolve: { Noted: ({ sum }, { n }) => ({ sum: sum + n }) },
          react: {
            Noted: ({ sum }) => {
              sums.push(sum)
              return []
            }
          }
        })
        let reads = 0
        const Counting = Layer.effect(
          EventStore.EventStore,
          EventStore.EventStore.useSync((store) => ({
            ...store,
            read: (stream: string, options?: EventStore.ReadOptions) =>
              Stream.tap(store.read(stream, options), () => Effect.sync(() => reads++))
          }))
        )
        logs(/has parked/)
        const run = ProcessManager.layer(Summing, { onFailure: "park", retry: Schedule.recurs(0) })
        const parking = Layer.succeed(ParkedEvents.ParkedEvents, yield* ParkedEvents.ParkedEvents)
        const stop = yield* start(run.pipe(Layer.provide([Counting, parking])))
        const noted = (from: number, count: number) =>
          EventStore.append(
            "Source-1",
            numbers(count, from).map((n) => ({ type: "Noted", payload: { n } }))
          )
        yield* noted(1, 400)
        yield* caughtUp("Summing")
        assert.equal(sums.length, 399)
        // Of its own stream: the event that it knew last, and the one that it has written since.
        assert.ok(reads <= 800, `${reads} events were read`)
        // What was parked is older than all that are listed, and has not been reacted to.
        refuses = false
        yield* Subscription.retry("process:Summing", 3)
        assert.equal(sums.at(-1), 80_197)
        // Seen again from the beginning, also by a process that has nothing in memory: nothing takes effect twice.
        yield* stop
        yield* Checkpoints.Checkpoints.use(({ reset }) => reset("subscription:process:Summing", 0))
        yield* noted(401, 1)
        yield* start(run.pipe(Layer.provide(parking)))
        yield* caughtUp("Summing")
        assert.deepEqual([sums.length, sums.at(-1)], [401, 80_200])
      })
    ).pipe(Effect.provide(Layer.fresh(ParkedEvents.layerMemory)))
  )

  it.effect("a rejected command leaves no trace, and the reaction says what is done instead", () =>
    inMemory(
      Effect.gen(function* () {
        class No extends Schema.TaggedError<No>()("No", { why: Schema.String }) {}
        const Try = Command.make("Try", { error: No })
        const Report = Command.make("Report", { payload: { why: Schema.String } })
        const Later = Event.make("Later")
        const Trying = ProcessManager.make("Trying", {
          events: [Arrived],
          correlate: { Arrived: ({ parcel }) => parcel },
          deadlines: [Later],
          initial: {},
          evolve: { Arrived: (state) => state, Later: (state) => state },
          react: {
            Arrived: () => [
              ProcessManager.send(Try, undefined, ({ why }) => [
                ProcessManager.send(Report, { why }),
                ProcessManager.setDeadline(Later.make({}), "1 hour")
              ])
            ],
            Later: () => []
          }
        })
        const Commands = Layer.merge(
          MessageBus.handle(Try, () =>
            Effect.andThen(UnitOfWork.stage("Tried-1", [{ type: "Tried", payload: {} }]), Effect.fail(new No({ why: "so" })))
          ),
          MessageBus.handle(Report, ({ why }) =>
            Effect.asVoid(UnitOfWork.stage("Report-1", [{ type: "Reported", payload: { why } }]))
          )
        )
        yield* start(Layer.provide(ProcessManager.layer(Trying), Commands))
        yield* arrived("1")
        yield* caughtUp("Trying")
        assert.deepEqual(yield* log, [
          "Parcel-1 Arrived",
          "Trying-1 $EventHandled",
          "$bus Report",
          "Report-1 Reported",
          "Trying-1 $DeadlineSet"
        ])
      })
    )
  )

  it.effect("a rejection with nothing to be done about it settles the event", () =>
    inMemory(
      Effect.gen(function* () {
        const Overdue = Event.make("Overdue", { parcel: Schema.String })
        const Returning = ProcessManager.make("Returning", {
          events: [Overdue],
          correlate: { Overdue: ({ parcel }) => parcel },
          initial: {},
          evolve: { Overdue: (state) => state },
          react: { Overdue: (_, { parcel }) => [ProcessManager.send(Return, { parcel }, () => [])] }
        })
        yield* collected("1")
        yield* EventStore.append("Desk-1", [{ type: "Overdue", payload: { parcel: "1" } }])
        yield* start(ProcessManager.layer(Returning))
        yield* caughtUp("Returning")
        assert.deepEqual(yield* of("Parcel-1"), ["Collected"])
        assert.deepEqual(yield* of("Returning-1"), ["$EventHandled"])
      })
    )
  )

  it.effect("any other failure undoes the whole reaction: retried, then halted or parked", () =>
    inMemory(
      Effect.gen(function* () {
        let failures = 2
        const Broken = MessageBus.handle(Remind, () =>
          Effect.suspend(() => (failures-- > 0 ? Effect.die("broken") : Effect.void))
        )
        const Flaky = ProcessManager.layer(Collection, { onFailure: "park" }).pipe(
          Layer.provide(Layer.merge(Broken, ReturnLive)),
          Layer.provideMerge(ParkedEvents.layerMemory)
        )
        yield* start(Layer.effectDiscard(Layer.build(Flaky)))
        yield* arrived("1")
        const state = Effect.map(Subscription.status("process:Collection"), ({ state }) => state)
        for (const wait of [100, 200]) {
          yield* until(Effect.map(state, (state) => state === "backing-off"))
          assert.equal(yield* EventStore.exists("Collection-1"), false)
          yield* TestClock.adjust(wait)
          yield* until(Effect.map(state, (state) => state !== "backing-off" || failures < 1))
        }
        yield* caughtUp()
        assert.deepEqual(yield* of("Collection-1"), ["$EventHandled", "$DeadlineSet"])
      })
    )
  )

  it.effect("a race for an aggregate is run again on fresh state", () =>
    inMemory(
      Effect.gen(function* () {
        let overtaken = false
        const store = yield* EventStore.EventStore
        // Somebody else is first, once.
        const Racing = MessageBus.handle(Remind, ({ parcel }) =>
          Effect.gen(function* () {
            yield* Repository.load(Parcel, parcel)
            if (!overtaken) yield* store.append(`Parcel-${parcel}`, [{ type: "Collected", payload: { parcel } }])
            overtaken = true
            yield* Repository.execute(Parcel, parcel, () => Effect.succeed([Returned.make({ parcel })]))
          })
        )
        yield* start(Layer.provide(Collecting, Layer.merge(Racing, ReturnLive)))
        yield* arrived("1")
        yield* caughtUp()
        assert.deepEqual(yield* of("Parcel-1"), ["Arrived", "Collected", "Returned"])
      })
    )
  )
})

core.describe("many processes", () => {
  const Noted = Event.make("Noted", { key: Schema.String, n: Schema.Int })
  const noted = (stream: string, key: string, n: number) => EventStore.append(stream, [{ type: "Noted", payload: { key, n } }])
  const Note = Command.make("Note", { payload: { key: Schema.String, n: Schema.Int } })

  const Noting = ProcessManager.make("Noting", {
    events: [Noted],
    correlate: { Noted: ({ key }) => key },
    initial: [] as ReadonlyArray<number>,
    evolve: { Noted: (all, { n }) => [...all, n] },
    react: { Noted: (_, { key, n }) => [ProcessManager.send(Note, { key, n })] }
  })

  it.effect("react at once, each to its events in the order of the log, whichever streams they are in", () =>
    inMemory(
      Effect.gen(function* () {
        const began: Array<string> = []
        const mayEnd = Latch.makeUnsafe(false)
        const NoteLive = MessageBus.handle(Note, ({ key, n }) =>
          Effect.andThen(
            Effect.sync(() => began.push(`${key}${n}`)),
            key === "a" ? mayEnd.await : Effect.void
          )
        )
        yield* noted("One-1", "a", 1)
        yield* noted("Two-1", "a", 2)
        yield* noted("Two-2", "b", 1)
        yield* noted("One-2", "b", 2)
        yield* noted("One-1", "c", 1)
        yield* noted("Three-1", "d", 1)
        yield* start(Layer.provide(ProcessManager.layer(Noting), NoteLive))
        // c1 is behind a1 in its stream.
        yield* until(() => began.length === 4)
        yield* rest
        assert.deepEqual(began, ["a1", "b1", "b2", "d1"])
        mayEnd.openUnsafe()
        yield* caughtUp("Noting")
        assert.deepEqual(began.slice(4).toSorted(), ["a2", "c1"])
        assert.deepEqual((yield* ProcessManager.read(Noting, "a")).state, [1, 2])
      })
    )
  )

  it.effect("react one after the other, in the order of the log, where that is asked for", () =>
    inMemory(
      Effect.gen(function* () {
        const began: Array<string> = []
        const NoteLive = MessageBus.handle(Note, ({ key, n }) =>
          Effect.andThen(
            Effect.sync(() => began.push(`${key}${n}`)),
            rest
          )
        )
        for (const key of ["a", "b", "c"]) yield* noted(`One-${key}`, key, 1)
        yield* start(Layer.provide(ProcessManager.layer(Noting, { concurrency: 1 }), NoteLive))
        yield* until(() => began.length === 1)
        yield* Effect.yieldNow
        assert.deepEqual(began, ["a1"])
        yield* caughtUp("Noting")
        assert.deepEqual(began, ["a1", "b1", "c1"])
      })
    )
  )

  it.effect("that all command one aggregate get their turns: none waits for time to pass, and none gives up", () =>
    inMemory(
      Effect.gen(function* () {
        const Counted = Event.make("Counted", { by: Schema.String })
        const Counter = Aggregate.make("Counter", {
          events: [Counted],
          initial: 0,
          evolve: { Counted: (count) => count + 1 }
        })
        let tries = 0
        const NoteLive = MessageBus.handle(Note, ({ key }) =>
          Effect.gen(function* () {
            tries++
            yield* Repository.load(Counter, "all")
            // All the others come to this point as well.
            yield* rest
            yield* Repository.execute(Counter, "all", () => Counted.make({ by: key }))
          })
        )
        for (const n of numbers(200)) yield* noted(`One-${n}`, String(n), n)
        yield* start(Layer.provide(ProcessManager.layer(Noting), NoteLive))
        yield* caughtUp("Noting")
        assert.equal((yield* Repository.read(Counter, "all")).state, 200)
        assert.equal((yield* Subscription.status("process:Noting")).state, "live")
        assert.ok(tries < 3 * 200, `${tries} tries`)
      })
    )
  )
})

core.describe("deadlines", () => {
  /** A day later, if all that is to happen now has happened. */
  const nextDay = Effect.andThen(caughtUp(), TestClock.adjust("1 day"))
  const count = (stream: string, type: string) =>
    Effect.map(of(stream), (types) => types.filter((other) => other === type).length)

  it.effect("survive a restart, also one that comes when they are long due", () =>
    inMemory(
      Effect.gen(function* () {
        const stop = yield* start(Collecting)
        yield* arrived("1")
        yield* caughtUp()
        yield* TestClock.adjust("12 hours")
        yield* arrived("2")
        yield* caughtUp()
        yield* stop
        yield* TestClock.adjust("10 days")
        assert.equal(yield* count("Collection-1", "CollectionDue"), 0)
        yield* start(Collecting)
        yield* until(Effect.map(count("Parcel-2", "Reminded"), (times) => times === 2))
        yield* caughtUp()
        assert.deepEqual(
          (yield* recorded).filter(({ type }) => type === "CollectionDue").map(({ stream }) => stream),
          ["Collection-1", "Collection-2"]
        )
        // The next one is counted from the moment at which this one came.
        const { deadlines } = yield* ProcessManager.read(Collection, "1")
        assert.deepEqual(Array.from(deadlines.values(), DateTime.toEpochMillis), [11.5 * 86_400_000])
        yield* nextDay
        yield* until(Effect.map(count("Parcel-2", "Returned"), (times) => times === 1))
      })
    )
  )

  it.effect("the watch goes on before the oldest that is set, and forgets what is settled", () =>
    inMemory(
      Effect.gen(function* () {
        const position = Effect.gen(function* () {
          const [checkpoint] = (yield* Checkpoints.Checkpoints.use(({ list }) => list)).filter(
            ({ name }) => name === "deadlines:Collection"
          )
          return checkpoint?.position
        })
        yield* start(Collecting)
        yield* arrived("1")
        yield* arrived("2")
        yield* caughtUp()
        const [first, second] = (yield* recorded).filter(({ type }) => type === "$DeadlineSet")
        assert.ok(first !== undefined && second !== undefined)
        yield* until(Effect.map(position, (at) => at === first.position - 1))
        // It waits for no event, so nothing is behind.
        const laggards = (yield* Subscription.lag).filter(({ lag }) => lag > 0)
        assert.deepEqual(laggards, [])
        yield* collected("1")
        yield* until(Effect.map(position, (at) => at === second.position - 1))
        yield* collected("2")
        yield* caughtUp()
        const head = yield* EventStore.head
        yield* until(Effect.map(position, (at) => at === head))
      })
    )
  )

  it.effect("comes within the hour when the clock has been put forward, as where a machine has slept", () =>
    inMemory(
      Effect.gen(function* () {
        const clock = yield* Clock.Clock
        let slept = 0
        const millis = () => clock.currentTimeMillisUnsafe() + slept
        const Woken = Layer.provide(
          Collecting,
          Layer.succeed(Clock.Clock, {
            ...clock,
            currentTimeMillisUnsafe: millis,
            currentTimeMillis: Effect.sync(millis),
            sleep: (duration) => clock.sleep(duration)
          })
        )
        yield* start(Woken)
        yield* arrived("1")
        yield* caughtUp()
        slept = 86_400_000
        yield* TestClock.adjust("59 minutes")
        assert.equal(yield* count("Collection-1", "CollectionDue"), 0)
        yield* TestClock.adjust("1 minute")
        yield* until(Effect.map(count("Collection-1", "CollectionDue"), (times) => times === 1))
      })
    )
  )

  it.effect("one that is set again takes the place of the one before", () =>
    inMemory(
      Effect.gen(function* () {
        yield* start(Collecting)
        yield* arrived("1")
        yield* caughtUp()
        yield* TestClock.adjust("23 hours")
        yield* arrived("1")
        yield* caughtUp()
        yield* TestClock.adjust("23 hours")
        yield* arrived("2")
        yield* caughtUp()
        assert.equal(yield* count("Collection-1", "CollectionDue"), 0)
        yield* TestClock.adjust("1 hour")
        yield* until(Effect.map(count("Collection-1", "CollectionDue"), (times) => times === 1))
      })
    )
  )

  it.effect("one that is cancelled by an event which the process has not come to yet does not come", () =>
    inMemory(
      Effect.gen(function* () {
        yield* start(Collecting)
        yield* arrived("1")
        yield* arrived("2")
        yield* caughtUp()
        yield* Subscription.pause("process:Collection")
        yield* collected("1")
        yield* TestClock.adjust("25 hours")
        yield* rest
        assert.equal(yield* count("Collection-2", "CollectionDue"), 0)
        yield* Subscription.resume("process:Collection")
        yield* until(Effect.map(count("Collection-2", "CollectionDue"), (times) => times === 1))
        yield* caughtUp()
        assert.deepEqual(yield* of("Collection-1"), ["$EventHandled", "$DeadlineSet", "$EventHandled", "$DeadlineCancelled"])
      })
    )
  )

  it.effect("one that comes and is cancelled at the same moment counts in the order of the log", () =>
    inMemory(
      Effect.gen(function* () {
        // The parcel is collected when it has been looked for the last time, and its deadline is about to be recorded.
        const Overtaken = Layer.effect(
          EventStore.EventStore,
          EventStore.EventStore.useSync((store) => ({
            ...store,
            appendAll: (...args: Parameters<typeof store.appendAll>) =>
              Effect.andThen(
                store.append("Parcel-1", [{ type: "Collected", payload: { parcel: "1" } }]),
                store.appendAll(...args)
              )
          }))
        )
        yield* start(Layer.provide(Collecting, Overtaken))
        yield* arrived("1")
        yield* caughtUp()
        yield* TestClock.adjust("1 day")
        yield* until(Effect.map(count("Collection-1", "CollectionDue"), (times) => times === 1))
        yield* caughtUp()
        assert.deepEqual(yield* of("Parcel-1"), ["Arrived", "Reminded", "Collected"])
        assert.deepEqual((yield* ProcessManager.read(Collection, "1")).state, { arrived: 1, collected: true, reminders: 0 })
      })
    )
  )

  it.effect("at an instant; in the past at once; all that is due in the order of the times", () =>
    inMemory(
      Effect.gen(function* () {
        const Soon = Event.make("Soon")
        const Late = Event.make("Late")
        const Past = Event.make("Past")
        const Timed = ProcessManager.make("Timed", {
          events: [Arrived],
          correlate: { Arrived: ({ parcel }) => parcel },
          deadlines: [Soon, Late, Past],
          initial: [] as ReadonlyArray<string>,
          evolve: {
            Arrived: (state) => state,
            Soon: (state) => [...state, "Soon"],
            Late: (state) => [...state, "Late"],
            Past: (state) => [...state, "Past"]
          },
          react: {
            Arrived: () => [
              ProcessManager.setDeadline(Late.make({}), DateTime.makeUnsafe("1970-03-01T00:00:00Z")),
              ProcessManager.setDeadline(Soon.make({}), "20 days"),
              ProcessManager.setDeadline(Past.make({}), DateTime.makeUnsafe(0))
            ],
            Soon: () => [],
            Late: () => [],
            Past: () => []
          }
        })
        const state = Effect.map(ProcessManager.read(Timed, "1"), ({ state }) => state)
        yield* TestClock.adjust("1 hour")
        const stop = yield* start(ProcessManager.layer(Timed))
        yield* arrived("1")
        yield* until(Effect.map(state, (state) => state.length === 1))
        assert.deepEqual(yield* state, ["Past"])
        yield* stop
        yield* TestClock.adjust("100 days")
        yield* start(ProcessManager.layer(Timed))
        yield* until(Effect.map(state, (state) => state.length === 3))
        assert.deepEqual(yield* state, ["Past", "Soon", "Late"])
      })
    )
  )

  it.effect("that are due at no time fail the reaction, by process, deadline and value", () => {
    const Due = Event.make("Due")
    const timed = (due: Duration.Input) =>
      ProcessManager.make("Endless", {
        events: [Arrived],
        correlate: { Arrived: ({ parcel }) => parcel },
        deadlines: [Due],
        initial: {},
        evolve: { Arrived: (state) => state, Due: (state) => state },
        react: { Arrived: () => [ProcessManager.setDeadline(Due.make({}), due)], Due: () => [] }
      })
    return Effect.forEach(
      [
        ["Infinity", /"Infinity"/],
        ["1000000000 days", /"1000000000 days"/],
        [Number.NaN, /NaN/],
        [{ days: Number.NaN }, /leads to no time/]
      ] as const,
      ([due, told]) =>
        inMemory(
          Effect.gen(function* () {
            logs(/Error eventfold: the subscription "process:Endless" halts/)
            const process = timed(due)
            const stop = yield* start(ProcessManager.layer(process, { retry: Schedule.recurs(0) }))
            yield* arrived("1")
            const status = Subscription.status("process:Endless")
            yield* until(Effect.map(status, ({ state }) => state === "halted"))
            const cause = String((yield* status).cause)
            assert.match(cause, /ProcessManager "Endless": the deadline "Due" cannot be due in/)
            assert.match(cause, told)
            yield* stop
            const story = yield* Effect.exit(
              Scenario.process(process)
                .given([Arrived.make({ parcel: "1" })])
                .then([])
            )
            assert.match(String(story), /ProcessManager "Endless": the deadline "Due" cannot be due in/)
          })
        ),
      { discard: true }
    )
  })

  it.effect("wait without a heartbeat where all runs in one process: days pass in a test at no cost", () =>
    inMemory(
      Effect.gen(function* () {
        let sleeps = 0
        const clock = yield* Clock.Clock
        const counting: Clock.Clock = Object.assign(Object.create(clock), {
          sleep: (duration: Duration.Duration) => Effect.suspend(() => (sleeps++, clock.sleep(duration)))
        })
        yield* Effect.gen(function* () {
          yield* start(
            Layer.mergeAll(
              Collecting,
              Subscription.layer({ name: "rare", handler: () => Effect.void, filter: { types: ["Rare"] } }),
              Layer.provide(Relay.layer({ name: "shop" }), Transport.layerMemory)
            )
          )
          yield* arrived("1")
          yield* caughtUp()
        }).pipe(Effect.provideService(Clock.Clock, counting))
        yield* TestClock.adjust("15 days")
        yield* until(Effect.map(of("Parcel-1"), (types) => types.includes("Returned")))
        yield* caughtUp()
        // The deadlines ask for the time once an hour; a follower looks once after the log has grown.
        assert.ok(sleeps < 15 * 24 + 40, `${sleeps} sleeps`)
        // What is not its own is passed all the same.
        yield* TestClock.adjust("5 seconds")
        assert.equal((yield* Subscription.status("rare")).position, yield* EventStore.head)
      })
    )
  )

  it.effect("come once though two watch, each taking itself for the only one", () =>
    Effect.gen(function* () {
      // Each has checkpoints of its own, so no lease keeps one from doing what the other does.
      yield* start(Layer.provide(Collecting, Layer.fresh(Checkpoints.layerMemory)))
      yield* start(Layer.provide(Collecting, Layer.fresh(Checkpoints.layerMemory)))
      for (const parcel of ["1", "2", "3"]) yield* arrived(parcel)
      yield* until(
        Effect.map(
          Effect.forEach(["1", "2", "3"], (parcel) => count(`Parcel-${parcel}`, "Reminded")),
          (times) => times.every((n) => n === 1)
        )
      )
      for (let day = 1; day <= 2; day++) {
        yield* until(Effect.map(log, (log) => log.filter((line) => line.endsWith("$DeadlineSet")).length === 3 * day))
        yield* TestClock.adjust("1 day")
        yield* until(Effect.map(log, (log) => log.filter((line) => line.endsWith("CollectionDue")).length === 3 * day))
      }
      yield* until(Effect.map(log, (log) => log.filter((line) => line.endsWith("Returned")).length === 3))
      yield* rest
      for (const parcel of ["1", "2", "3"]) {
        assert.deepEqual(yield* of(`Parcel-${parcel}`), ["Arrived", "Reminded", "Reminded", "Returned"])
        assert.deepEqual(yield* of(`Collection-${parcel}`), uncollected)
      }
    }).pipe(inMemory)
  )
})

core.describe("deadlines that are kept in a table", () => {
  /** A lease that is renewed seldom: days go by here. */
  const Patient = ProcessManager.layer(Collection, { lease: "6 hours" })

  /** A new database in memory for each test, over which Layers may come and go. */
  const onSqlite = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
    effect.pipe(
      Effect.provide(Handlers.pipe(Layer.provideMerge(MessageBus.layer), Layer.provideMerge(UnitOfWork.layer))),
      Effect.provide(
        Layer.fresh(SqliteCheckpoints.layer.pipe(Layer.provideMerge(SqliteEventStore.layerFile({ filename: ":memory:" }))))
      ),
      Effect.provideService(Subscription.Registry, new Map())
    )

  const watch = "deadlines:Collection"
  const kept = Effect.gen(function* () {
    const { deadlines } = yield* Checkpoints.Checkpoints
    assert.ok(deadlines !== undefined)
    return yield* deadlines.due(watch, { upTo: 8.64e15, after: { due: -8.64e15, position: 0 }, limit: 1000 })
  })
  const position = Effect.map(
    Checkpoints.Checkpoints.use(({ get }) => get(watch)),
    (found) => Option.getOrUndefined(found)?.position
  )
  /** The watch has seen all that has been said of deadlines. */
  const watched = until(
    Effect.gen(function* () {
      const own = (yield* recorded).findLast(({ stream, type }) => stream.startsWith("Collection-") && type !== "$EventHandled")
      return ((yield* position) ?? 0) >= (own?.position ?? 0)
    })
  )

  it.effect("a restart reads none of those that were set and cancelled, however old one is that still stands", () =>
    onSqlite(
      Effect.gen(function* () {
        const stop = yield* start(Patient)
        yield* arrived("old")
        for (const n of numbers(50)) {
          yield* arrived(`${n}`)
          yield* collected(`${n}`)
        }
        yield* caughtUp()
        yield* watched
        assert.deepEqual(
          (yield* kept).map(({ due, stream, type }) => [due, stream, type]),
          [[86_400_000, "Collection-old", "CollectionDue"]]
        )
        yield* stop
        let read = 0
        const Counting = Layer.effect(
          EventStore.EventStore,
          EventStore.EventStore.useSync((store) => {
            const counted = <E>(events: Stream.Stream<EventStore.RecordedEvent, E>) =>
              Stream.tap(events, ({ type }) => Effect.sync(() => void (type.startsWith("$Deadline") && read++)))
            return {
              ...store,
              readAll: (options?: EventStore.ReadAllOptions) => counted(store.readAll(options)),
              subscribe: (options?: EventStore.SubscribeOptions) => counted(store.subscribe(options)),
              readPage: (options?: EventStore.ReadPageOptions) =>
                Effect.tap(store.readPage(options), ({ events }) =>
                  Effect.sync(() => void (read += events.filter(({ type }) => type.startsWith("$Deadline")).length))
                )
            }
          })
        )
        yield* TestClock.adjust("1 day")
        yield* start(Layer.provide(Patient, Counting))
        yield* until(Effect.map(of("Parcel-old"), (types) => types.length === 3))
        yield* caughtUp()
        yield* watched
        // The one that has come, what was seen last, and the one that is set anew: each once, or once more on the way to the next look.
        assert.ok(read <= 6, `${read} events were read`)
        assert.deepEqual(
          (yield* kept).map(({ due, stream }) => [due, stream]),
          [[2 * 86_400_000, "Collection-old"]]
        )
      })
    )
  )

  it.effect("one of which the log says nothing is not forgotten: the watch says so, and goes on when that is mended", () =>
    onSqlite(
      Effect.gen(function* () {
        logs(/the watch over the deadlines of "Collection" failed/)
        const sql = yield* SqlClient.SqlClient
        yield* start(Patient)
        yield* arrived("1")
        yield* caughtUp()
        yield* watched
        const before = yield* kept
        yield* sql`update eventfold_deadline set position = 1`
        yield* TestClock.adjust("1 day")
        yield* until(
          Effect.map(ProcessManager.status(Collection), ({ deadlines }) =>
            Option.exists(deadlines, ({ cause }) => Option.isSome(cause))
          )
        )
        assert.equal((yield* kept).length, 1)
        assert.equal((yield* of("Collection-1")).includes("CollectionDue"), false)
        yield* sql`update eventfold_deadline set position = ${before[0]?.position ?? 0}`
        yield* TestClock.adjust("1 minute")
        yield* until(Effect.map(of("Collection-1"), (types) => types.includes("CollectionDue")))
      })
    )
  )

  it.effect("are filled from the log where the checkpoint was moved without them, was reset, or was removed", () =>
    onSqlite(
      Effect.gen(function* () {
        const checkpoints = yield* Checkpoints.Checkpoints
        const losses: ReadonlyArray<Effect.Effect<unknown, unknown>> = [
          // As a program does that keeps none.
          Effect.gen(function* () {
            const lease = yield* checkpoints.claim(watch, { owner: "other", ttl: "1 second" })
            yield* checkpoints.release(yield* checkpoints.advance(lease, lease.position))
          }),
          Effect.flatMap(EventStore.head, (head) => checkpoints.reset(watch, head)).pipe(
            Effect.provideService(EventStore.EventStore, yield* EventStore.EventStore)
          ),
          checkpoints.remove(watch)
        ]
        for (const [nth, loss] of losses.entries()) {
          const stop = yield* start(Patient)
          yield* arrived(`${nth}`)
          yield* caughtUp()
          yield* watched
          yield* stop
          yield* loss
        }
        yield* start(Patient)
        yield* watched
        assert.deepEqual(
          (yield* kept).map(({ stream }) => stream),
          ["Collection-0", "Collection-1", "Collection-2"]
        )
        yield* TestClock.adjust("1 day")
        for (const nth of losses.keys()) {
          yield* until(Effect.map(of(`Parcel-${nth}`), (types) => types.filter((type) => type === "Reminded").length === 2))
        }
      })
    )
  )

  it.effect("many that are due at once come in the order of their times, each once, also beside another who watches", () =>
    onSqlite(
      Effect.gen(function* () {
        const stop = yield* start(Patient)
        for (const n of numbers(60)) {
          yield* arrived(`${n}`)
          yield* caughtUp()
          yield* TestClock.adjust(1)
        }
        yield* watched
        yield* stop
        yield* TestClock.adjust("1 day")
        // The other one has its own checkpoints, and has recorded some of them already.
        const others = yield* EventStore.EventStore
        const sets = (yield* recorded).filter(({ type }) => type === "$DeadlineSet")
        for (const { id, metadata, payload, stream } of sets.slice(20, 30)) {
          const { due: _, ...event } = payload as unknown as EventStore.NewEvent & { readonly due: string }
          yield* others.append(stream, [{ ...event, metadata: { ...metadata, causationId: id } }])
        }
        yield* start(Patient)
        const come = Effect.map(recorded, (events) =>
          events.filter(({ type }) => type === "CollectionDue").map(({ stream }) => stream)
        )
        yield* until(Effect.map(come, (streams) => streams.length === 60))
        yield* caughtUp()
        yield* watched
        const inOrder = (from: number, to: number) => numbers(to - from + 1, from).map((n) => `Collection-${n}`)
        assert.deepEqual(yield* come, [...inOrder(21, 30), ...inOrder(1, 20), ...inOrder(31, 60)])
        assert.equal((yield* kept).length, 60)
      })
    )
  )

  it.effect("are right after whatever is set, moved, cancelled and comes, over restarts at any moment", () =>
    Effect.forEach(
      numbers(6),
      (seed) => {
        let state = seed * 7919
        const next = (below: number) => (state = (state * 48_271) % 2_147_483_647) % below
        const Short = Event.make("Short")
        const Long = Event.make("Long")
        const Told = Event.make("Told", { key: Schema.String, what: Schema.String, minutes: Schema.Int })
        const Telling = ProcessManager.make("Collection", {
          events: [Told],
          correlate: { Told: ({ key }) => key },
          deadlines: [Short, Long],
          initial: [] as ReadonlyArray<string>,
          evolve: {
            Told: (all) => all,
            Short: (all) => [...all, "Short"],
            Long: (all) => [...all, "Long"]
          },
          react: {
            Told: (_, { minutes, what }) => {
              switch (what) {
                case "short":
                  return [ProcessManager.setDeadline(Short.make({}), `${minutes} minutes`)]
                case "long":
                  return [ProcessManager.setDeadline(Long.make({}), `${minutes + 100} minutes`)]
                case "both":
                  return [
                    ProcessManager.setDeadline(Long.make({}), `${minutes} minutes`),
                    ProcessManager.setDeadline(Short.make({}), `${minutes + 1} minutes`)
                  ]
                default:
                  return [ProcessManager.cancelDeadline(Short), ProcessManager.cancelDeadline(Long)]
              }
            },
            Short: () => [],
            Long: () => []
          }
        })
        return onSqlite(
          Effect.gen(function* () {
            /** By key and type, when it is due; and what has come of each key. */
            const set = new Map<string, number>()
            const come = new Map<string, Array<string>>()
            let now = 0
            /** Who sleeps may have looked at the clock before it was moved: so it is moved by little, and then a moment passes. */
            const soon = <E, R>(check: Effect.Effect<boolean, E, R>): Effect.Effect<void, E, R> =>
              Effect.gen(function* () {
                for (let moment = 0; !(yield* check); moment++) {
                  assert.ok(moment < 1000, `${seed}: it never comes`)
                  for (let turn = 0; turn < 20; turn++) yield* Effect.yieldNow
                  yield* TestClock.adjust(1)
                }
              })
            const pass = Effect.fnUntraced(function* (minutes: number) {
              now += minutes
              const due = Array.from(set).filter(([, at]) => at <= now)
              for (const [place] of due.sort(([, a], [, b]) => a - b)) {
                set.delete(place)
                const [key = "", type = ""] = place.split(" ")
                come.set(key, [...(come.get(key) ?? []), type])
              }
              for (let minute = 0; minute < minutes; minute++) {
                yield* TestClock.adjust("1 minute")
                for (let turn = 0; turn < 100; turn++) yield* Effect.yieldNow
              }
            })
            const settled = Effect.gen(function* () {
              yield* caughtUp()
              yield* watched
              for (const [key, types] of come) {
                yield* soon(Effect.map(ProcessManager.read(Telling, key), ({ state }) => state.length >= types.length))
                assert.deepEqual((yield* ProcessManager.read(Telling, key)).state, types, `${seed}: ${key}`)
              }
              yield* caughtUp()
              yield* watched
              const standing = (yield* kept).map(
                ({ due, stream, type }) => `${stream.slice(11)} ${type} ${Math.floor(due / 60_000)}`
              )
              assert.deepEqual(standing.toSorted(), Array.from(set, ([place, due]) => `${place} ${due}`).toSorted(), `${seed}`)
            })
            const TellingLive = ProcessManager.layer(Telling, { lease: "6 hours" })
            // Milliseconds pass besides, and minutes are counted.
            yield* TestClock.adjust("30 seconds")
            let stop = yield* start(TellingLive)
            for (let step = 0; step < 40; step++) {
              const key = String(next(4))
              const what = ["short", "long", "both", "none"][next(4)] ?? ""
              const minutes = 1 + next(40)
              switch (next(6)) {
                case 0:
                  yield* settled
                  yield* pass(1 + next(60))
                  yield* settled
                  break
                case 1:
                  yield* stop
                  stop = yield* start(TellingLive)
                  break
                case 2:
                  yield* settled
                  yield* stop
                  yield* pass(1 + next(60))
                  stop = yield* start(TellingLive)
                  yield* settled
                  break
                default:
                  yield* EventStore.append(`Source-${key}`, [{ type: "Told", payload: { key, what, minutes } }])
                  if (what === "none") for (const type of ["Short", "Long"]) set.delete(`${key} ${type}`)
                  if (what === "short") set.set(`${key} Short`, now + minutes)
                  if (what === "long") set.set(`${key} Long`, now + minutes + 100)
                  if (what === "both") {
                    set.set(`${key} Long`, now + minutes)
                    set.set(`${key} Short`, now + minutes + 1)
                  }
              }
            }
            yield* settled
            yield* stop
          }).pipe(Effect.provide(TestClock.layer()))
        )
      },
      { discard: true }
    )
  )
})

core.describe("whatever happens in between, an event takes effect once", () => {
  type Fault = "refused" | "answer lost" | "killed before" | "killed after"
  const faults: ReadonlyArray<Fault> = ["refused", "answer lost", "killed before", "killed after"]

  /** What a process sees of the store and of the checkpoints: its write number `at` goes wrong. One that is killed hears no more. */
  const makeSight = (at: number, fault: Fault) => {
    let writes = 0
    let killed = false
    const dead = Effect.interruptible(Effect.never)
    const guard =
      <E>(failure: E) =>
      <A, E2>(operation: Effect.Effect<A, E2>): Effect.Effect<A, E | E2> =>
        Effect.suspend(() => {
          if (killed) return dead
          if (++writes !== at) return operation
          if (fault === "refused") return Effect.fail(failure)
          if (fault === "answer lost") return Effect.andThen(operation, Effect.fail(failure))
          killed = true
          return fault === "killed before" ? dead : Effect.andThen(operation, dead)
        })
    const reason = { operation: "test", detail: fault, cause: undefined }
    const ofStore = guard(
      new EventStore.EventStoreError({
        reason: fault === "answer lost" ? new EventStore.OutcomeUnknown(reason) : new EventStore.StoreUnavailable(reason)
      })
    )
    const ofCheckpoints = guard(new Checkpoints.CheckpointError({ operation: "test", checkpoint: "test", cause: fault }))
    const layer = Layer.merge(
      Layer.effect(
        EventStore.EventStore,
        EventStore.EventStore.useSync((store) => ({
          ...store,
          append: (...args: Parameters<typeof store.append>) => ofStore(store.append(...args)),
          appendAll: (...args: Parameters<typeof store.appendAll>) => ofStore(store.appendAll(...args)),
          head: Effect.suspend(() => (killed ? dead : store.head))
        }))
      ),
      Layer.effect(
        Checkpoints.Checkpoints,
        Checkpoints.Checkpoints.useSync((checkpoints) => ({
          ...checkpoints,
          // A process that was killed keeps nothing.
          keep: undefined,
          advance: (...args: Parameters<typeof checkpoints.advance>) => ofCheckpoints(checkpoints.advance(...args)),
          renew: (...args: Parameters<typeof checkpoints.renew>) =>
            Effect.suspend(() => (killed ? dead : checkpoints.renew(...args))),
          release: (...args: Parameters<typeof checkpoints.release>) =>
            Effect.suspend(() => (killed ? dead : checkpoints.release(...args)))
        }))
      )
    )
    return { layer, writes: () => writes, killed: () => killed }
  }

  /** The story of two parcels, told by a process whose write number `at` goes wrong, and by another if the first is killed. */
  const story = (at: number, fault: Fault) =>
    Effect.gen(function* () {
      const sight = makeSight(at, fault)
      const run = (
        seen: Layer.Layer<EventStore.EventStore | Checkpoints.Checkpoints, never, EventStore.EventStore | Checkpoints.Checkpoints>
      ) =>
        Effect.flatMap(Scope.make(), (scope) =>
          ProcessManager.layer(Collection, { lease: "3 hours" }).pipe(
            Layer.provide(Handlers),
            Layer.provide(MessageBus.layer),
            Layer.provide(UnitOfWork.layer),
            Layer.provide(seen),
            Layer.fresh,
            Layer.buildWithScope(scope)
          )
        )
      let alone = true
      const eventually = Effect.fnUntraced(function* (stream: string, type: string, times: number) {
        for (let hour = 0; (yield* of(stream)).filter((other) => other === type).length < times; hour++) {
          assert.ok(hour < 60, `${stream} never has ${times} ${type}: ${yield* of(stream)}`)
          if (alone && sight.killed()) {
            alone = false
            yield* run(makeSight(0, fault).layer)
          }
          yield* Effect.forEach(Array.from({ length: 20 }), () => Effect.yieldNow, { discard: true })
          if ((yield* of(stream)).filter((other) => other === type).length < times) yield* TestClock.adjust("1 hour")
        }
      })
      yield* run(sight.layer)
      yield* arrived("1")
      yield* arrived("2")
      yield* eventually("Parcel-2", "Reminded", 1)
      yield* collected("2")
      yield* eventually("Collection-2", "$DeadlineCancelled", 1)
      yield* eventually("Parcel-1", "Returned", 1)
      yield* eventually("Collection-1", "$EventHandled", 3)
      yield* TestClock.adjust("2 days")
      assert.deepEqual(yield* of("Parcel-1"), ["Arrived", "Reminded", "Reminded", "Returned"])
      assert.deepEqual(yield* of("Parcel-2"), ["Arrived", "Reminded", "Collected"])
      assert.deepEqual(yield* of("Collection-1"), uncollected)
      assert.deepEqual(yield* of("Collection-2"), ["$EventHandled", "$DeadlineSet", "$EventHandled", "$DeadlineCancelled"])
      return sight.writes()
    }).pipe(
      Effect.provide(Layer.fresh(Layer.merge(EventStore.layerMemory, Checkpoints.layerMemory))),
      Effect.provideService(Subscription.Registry, new Map()),
      Effect.provide(TestClock.layer()),
      Effect.provideService(References.MinimumLogLevel, "None")
    )

  it.effect.each(faults)("%s, at each step in turn", (fault) =>
    Effect.gen(function* () {
      const steps = yield* story(0, fault)
      assert.ok(steps > 12)
      for (let at = 1; at <= steps; at++) yield* story(at, fault)
    })
  )
})

core.describe("definitions", () => {
  it("a name that no category can have, and a type that is listed twice, are refused", () => {
    const define = (name: string, deadlines: ReadonlyArray<Event.Any>) =>
      ProcessManager.make(name, {
        events: [Arrived],
        correlate: { Arrived: ({ parcel }) => parcel },
        deadlines,
        initial: {},
        evolve: { Arrived: (state) => state },
        react: { Arrived: () => [] }
      })
    assert.throws(() => define("a-b", []), RangeError)
    assert.throws(() => define("$a", []), RangeError)
    assert.throws(() => define("A", [Arrived]), /"Arrived" is listed twice/)
  })
})
