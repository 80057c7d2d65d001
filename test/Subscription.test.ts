import assert from "node:assert/strict"
import { describe, it } from "@effect/vitest"
import {
  Cause,
  Context,
  DateTime,
  Deferred,
  Duration,
  Effect,
  Exit,
  Fiber,
  Layer,
  Metric,
  Option,
  Schedule,
  Schema,
  type Scope,
  Stream
} from "effect"
import { TestClock } from "effect/testing"
import { SqlClient } from "effect/sql"
import { Checkpoints, Event, EventStore, ParkedEvents, Subscription } from "eventfold"
import { SqliteCheckpoints, SqliteEventStore } from "eventfold/sqlite"
import { logs } from "./support/logs.ts"
import { numbers, rest, start, until } from "./support/words.ts"

const name = "view"
const lease = "15 seconds"
const stores = Layer.mergeAll(EventStore.layerMemory, Checkpoints.layerMemory, ParkedEvents.layerMemory)

/** A test over a store, checkpoints and parked events in memory, and with a registry of its own. */
const following = <E>(
  test: Effect.Effect<void, E, EventStore.EventStore | Checkpoints.Checkpoints | ParkedEvents.ParkedEvents | Scope.Scope>
) => test.pipe(Effect.provide(stores), Effect.provideService(Subscription.Registry, new Map()))

const events = (count: number, from = 1): ReadonlyArray<EventStore.NewEvent> =>
  Array.from({ length: count }, (_, index) => ({ type: "Counted", payload: { n: from + index } }))

const checkpoint = Effect.gen(function* () {
  const { get } = yield* Checkpoints.Checkpoints
  return Option.match(yield* get(`subscription:${name}`), { onNone: () => 0, onSome: ({ position }) => position })
})

const owner = Effect.gen(function* () {
  const { get } = yield* Checkpoints.Checkpoints
  return Option.getOrUndefined(Option.flatMap(yield* get(`subscription:${name}`), ({ owner }) => owner))
})

const state = Effect.map(Subscription.status(name), ({ state }) => state)

/** A subscription that notes the positions that it has handled, and does something else before. */
const noting = <E = never, P extends Subscription.OnFailure = "halt">(
  options: Omit<Partial<Subscription.RawOptions<E, never, P, false>>, "handler"> = {},
  before: (event: EventStore.RecordedEvent, delivery: Subscription.Delivery) => Effect.Effect<unknown, E> = () => Effect.void
) => {
  const seen: Array<number> = []
  const layer = Subscription.layer<E, never, P, false>({
    name,
    lease,
    ...options,
    handler: (event, delivery) =>
      Effect.andThen(
        before(event, delivery),
        Effect.sync(() => seen.push(event.position))
      )
  })
  return { seen, layer }
}

const steal = Effect.gen(function* () {
  const { claim, get, release } = yield* Checkpoints.Checkpoints
  const { epoch, position } = Option.getOrThrow(yield* get(`subscription:${name}`))
  yield* release({ name: `subscription:${name}`, owner: "", epoch, position, ttl: Duration.zero })
  return yield* claim(`subscription:${name}`, { owner: "thief", ttl: lease })
})

describe("from history to live", () => {
  it.effect("every event once, in order, while others append", () =>
    following(
      Effect.gen(function* () {
        for (let n = 0; n < 3; n++) yield* EventStore.append(`Count-${n}`, events(1000))
        const { layer, seen } = noting()
        yield* start(layer)
        yield* Effect.forEach(numbers(4), (n) => Effect.replicateEffect(EventStore.append(`Live-${n}`, events(1)), 50), {
          concurrency: 4
        })
        yield* until(() => seen.length === 3200)
        yield* rest
        assert.deepEqual(seen, numbers(3200))
        assert.deepEqual([yield* checkpoint, yield* state], [3200, "live"])
      })
    )
  )

  it.effect("after a restart it resumes behind its checkpoint, wherever `from` says new ones begin", () =>
    following(
      Effect.gen(function* () {
        yield* EventStore.append("Count-1", events(3))
        const first = noting({ from: 1 })
        const stop = yield* start(first.layer)
        yield* until(() => first.seen.length === 2)
        yield* stop
        yield* EventStore.append("Count-1", events(2, 4))
        const second = noting({ from: "end" })
        yield* start(second.layer)
        yield* until(() => second.seen.length === 2)
        yield* rest
        assert.deepEqual(
          [first.seen, second.seen],
          [
            [2, 3],
            [4, 5]
          ]
        )
      })
    )
  )

  it.effect("from the end, it sees what is appended once the Layer has been built", () =>
    following(
      Effect.gen(function* () {
        yield* EventStore.append("Count-1", events(3))
        const { layer, seen } = noting({ from: "end" })
        yield* start(layer)
        yield* EventStore.append("Count-1", events(1, 4))
        yield* until(() => seen.length === 1)
        assert.deepEqual(seen, [4])
      })
    )
  )

  it.effect("the checkpoint advances, too, when the filter drops everything", () =>
    following(
      Effect.gen(function* () {
        yield* EventStore.append("Count-1", events(100))
        const { layer, seen } = noting({ filter: { types: ["Never"] } })
        yield* start(layer)
        yield* rest
        assert.deepEqual([yield* checkpoint, yield* state], [100, "live"])
        yield* EventStore.append("Count-1", events(100))
        yield* TestClock.adjust("5 seconds")
        assert.deepEqual([yield* checkpoint, seen], [200, []])
        assert.deepEqual(yield* Subscription.lag, [{ checkpoint: "subscription:view", position: 200, lag: 0 }])
      })
    )
  )

  it.effect("the checkpoint never passes an event that the filter lets through and that is not handled", () =>
    following(
      Effect.gen(function* () {
        const gate = yield* Deferred.make<void>()
        const { layer, seen } = noting({ filter: { types: ["Rare"] } }, () => Deferred.await(gate))
        yield* start(layer)
        yield* EventStore.append("Count-1", [...events(5), { type: "Rare", payload: {} }, ...events(5)])
        yield* TestClock.adjust("1 minute")
        assert.deepEqual([yield* checkpoint, seen], [0, []])
        yield* Deferred.succeed(gate, undefined)
        yield* until(() => seen.length === 1)
        yield* TestClock.adjust("5 seconds")
        assert.deepEqual([yield* checkpoint, seen], [11, [6]])
      })
    )
  )
})

describe("a log that ends before the checkpoint", () => {
  it.effect("halts the subscription: what is appended up to there would never be handled", () =>
    following(
      Effect.gen(function* () {
        logs(/ halts/)
        const { advance, claim, release } = yield* Checkpoints.Checkpoints
        const lease = yield* claim(`subscription:${name}`, { owner: "before the log was restored", ttl: "1 second" })
        yield* release(yield* advance(lease, 10))
        yield* EventStore.append("Count-1", events(4))
        const { layer, seen } = noting()
        yield* start(layer)
        yield* until(() => seen.length > 0).pipe(Effect.raceFirst(rest))
        const { cause, position, state } = yield* Subscription.status(name)
        assert.deepEqual(
          Option.map(cause, Cause.squash),
          Option.some(new Checkpoints.CheckpointAheadError({ checkpoint: `subscription:${name}`, position: 10, head: 4 }))
        )
        assert.deepEqual([state, position, seen], ["halted", 10, []])
        // Nothing is held against it once the log is as long again.
        yield* EventStore.append("Count-1", events(7))
        yield* Subscription.resume(name)
        yield* until(() => seen.length === 1)
        assert.deepEqual([seen, yield* checkpoint], [[11], 11])
      })
    )
  )
})

describe("order", () => {
  it.effect("streams are handled at once, each in order, and the checkpoint waits for the slowest", () =>
    following(
      Effect.gen(function* () {
        const gate = yield* Deferred.make<void>()
        yield* EventStore.append("Slow-1", events(2))
        yield* EventStore.append("Fast-1", events(3))
        const { layer, seen } = noting({ concurrency: 2 }, ({ position }) =>
          position === 1 ? Deferred.await(gate) : Effect.void
        )
        yield* start(layer)
        yield* until(() => seen.length === 3)
        yield* rest
        assert.deepEqual([seen, yield* checkpoint], [[3, 4, 5], 0])
        yield* Deferred.succeed(gate, undefined)
        yield* until(() => seen.length === 5)
        yield* rest
        assert.deepEqual([seen, yield* checkpoint], [[3, 4, 5, 1, 2], 5])
      })
    )
  )

  it.effect("a checkpoint after each batch", () =>
    following(
      Effect.gen(function* () {
        yield* EventStore.append("Count-1", events(10))
        const positions: Array<number> = []
        const { layer, seen } = noting({ batch: 4 }, () =>
          Effect.flatMap(Subscription.status(name), ({ position }) => Effect.sync(() => positions.push(position))).pipe(
            Effect.orDie
          )
        )
        yield* start(layer)
        yield* until(() => seen.length === 10)
        assert.deepEqual(positions, [0, 0, 0, 0, 4, 4, 4, 4, 8, 8])
      })
    )
  )
})

describe("a handler that fails", () => {
  it.effect("is tried again as the schedule says, in order, and the checkpoint waits", () =>
    following(
      Effect.gen(function* () {
        const attempts: Array<readonly [number, number]> = []
        yield* EventStore.append("Count-1", events(3))
        const { layer, seen } = noting({ retry: Schedule.spaced("1 second") }, ({ position }, { attempt }) =>
          Effect.suspend(() => {
            attempts.push([position, attempt])
            return position === 2 && attempt < 3 ? Effect.fail("not yet") : Effect.void
          })
        )
        yield* start(layer)
        yield* until(() => attempts.length === 2)
        yield* rest
        const status = yield* Subscription.status(name)
        assert.deepEqual([status.state, Option.map(status.cause, Cause.squash)], ["backing-off", Option.some("not yet")])
        assert.deepEqual([seen, yield* checkpoint], [[1], 0])
        yield* TestClock.adjust("2 seconds")
        yield* until(() => seen.length === 3)
        yield* rest
        assert.deepEqual(attempts, [
          [1, 1],
          [2, 1],
          [2, 2],
          [2, 3],
          [3, 1]
        ])
        assert.deepEqual([yield* checkpoint, yield* state], [3, "live"])
      })
    )
  )

  it.effect("halts the subscription before the event, and a resume tries it again", () =>
    following(
      Effect.gen(function* () {
        logs(/ halts/)
        let broken = true
        yield* EventStore.append("Count-1", events(4))
        const { layer, seen } = noting({ retry: Schedule.recurs(1) }, ({ position }) =>
          Effect.suspend(() => (broken && position === 3 ? Effect.die(new Error("a bug")) : Effect.void))
        )
        yield* start(layer)
        yield* TestClock.adjust("10 minutes")
        const { cause, position, state: halted } = yield* Subscription.status(name)
        assert.deepEqual([halted, position, seen, yield* checkpoint, yield* owner], ["halted", 2, [1, 2], 2, undefined])
        assert.match(Cause.pretty(Option.getOrThrow(cause)), /a bug/)
        broken = false
        yield* Subscription.resume(name)
        yield* TestClock.adjust("1 second")
        yield* until(() => seen.length === 4)
        yield* rest
        assert.deepEqual([seen, yield* checkpoint, yield* state], [[1, 2, 3, 4], 4, "live"])
      })
    )
  )

  it.effect("has its event parked, the rest flows, also in the same stream, and a replay works", () =>
    following(
      Effect.gen(function* () {
        logs(/has parked the event/)
        let broken = true
        yield* EventStore.append("Count-1", events(4))
        const { layer, seen } = noting({ retry: Schedule.recurs(2), onFailure: "park" }, ({ position }) =>
          Effect.suspend(() => (broken && position <= 2 ? Effect.fail(new Error(`no ${position}`)) : Effect.void))
        )
        yield* start(layer)
        yield* until(() => seen.length === 2)
        yield* rest
        assert.deepEqual([seen, yield* checkpoint], [[3, 4], 4])
        const parked = yield* ParkedEvents.ParkedEvents
        const listed = yield* parked.list(name)
        assert.deepEqual(
          listed.map(({ attempts, position, stream, type }) => ({ attempts, position, stream, type })),
          [1, 2].map((position) => ({ attempts: 3, position, stream: "Count-1", type: "Counted" }))
        )
        assert.match(listed[0]?.cause ?? "", /no 1/)
        const again = yield* Effect.flip(Subscription.retry(name, 1))
        assert.equal(again._tag, "EventRetryError")
        assert.equal((yield* parked.list(name))[0]?.attempts, 4)
        broken = false
        yield* Subscription.retry(name, 1)
        assert.deepEqual(seen, [3, 4, 1])
        assert.equal((yield* Effect.flip(Subscription.retry(name, 1)))._tag, "NotParkedError")
        assert.equal(yield* parked.discard(name, 2), true)
        assert.deepEqual(yield* parked.list(name), [])
      })
    )
  )

  it.effect("a checkpoint that fails is no failure of the event: nothing is parked, and the event comes again", () =>
    following(
      Effect.gen(function* () {
        logs(/starts again/)
        let failures = 3
        const checkpoints = yield* Checkpoints.Checkpoints
        const broken = Layer.succeed(Checkpoints.Checkpoints, {
          ...checkpoints,
          advance: (lease, position) =>
            failures-- > 0
              ? Effect.fail(new Checkpoints.CheckpointError({ operation: "advance", checkpoint: name, cause: "lost" }))
              : checkpoints.advance(lease, position)
        })
        yield* EventStore.append("Count-1", events(2))
        const { layer, seen } = noting({ onFailure: "park", retry: Schedule.recurs(0) })
        yield* start(Layer.provide(layer, broken))
        yield* TestClock.adjust("1 minute")
        assert.deepEqual([seen, yield* checkpoint], [[1, 2, 1, 2, 1, 2, 1, 2], 2])
        assert.deepEqual(yield* (yield* ParkedEvents.ParkedEvents).list(name), [])
      })
    )
  )
})

const Counted = Event.make("Counted", { n: Schema.Int })
const Renamed = Event.make("Renamed", { to: Schema.String })

describe("by definitions", () => {
  it.effect("each event goes to the handler of its type; others are not seen", () =>
    following(
      Effect.gen(function* () {
        const seen: Array<string> = []
        yield* EventStore.append("Count-1", [
          ...events(1),
          { type: "Other", payload: 1 },
          { type: "Renamed", payload: { to: "b" } }
        ])
        const layer = Subscription.layer({
          name,
          events: [Counted, Renamed],
          handlers: {
            Counted: ({ n }) => Effect.sync(() => seen.push(`n ${n + 1}`)),
            Renamed: ({ to }, { event }) => Effect.sync(() => seen.push(`${event.stream} ${to}`))
          }
        })
        yield* start(layer)
        yield* until(() => seen.length === 2)
        assert.deepEqual(seen, ["n 2", "Count-1 b"])
      })
    )
  )

  it.effect("what cannot be decoded or is unknown is parked at once, and the rest flows", () =>
    following(
      Effect.gen(function* () {
        logs(/has parked the event/)
        const seen: Array<number> = []
        yield* EventStore.append("Count-1", [{ type: "Counted", payload: "?" }, { type: "Other", payload: 1 }, ...events(1)])
        const layer = Subscription.layer({
          name,
          filter: { categories: ["Count"] },
          onFailure: "park",
          events: [Counted],
          handlers: { Counted: ({ n }) => Effect.sync(() => seen.push(n)) }
        })
        yield* start(layer)
        yield* until(() => seen.length === 1)
        const parked = yield* (yield* ParkedEvents.ParkedEvents).list(name)
        assert.deepEqual(
          parked.map(({ attempts, cause, position }) => [
            position,
            attempts,
            /EventDecodeError|UnknownEventTypeError/.exec(cause)?.[0]
          ]),
          [
            [1, 1, "EventDecodeError"],
            [2, 1, "UnknownEventTypeError"]
          ]
        )
      })
    )
  )
})

describe("steering", () => {
  it.effect("a pause lets the event in hand end, keeps the lease, and a resume goes on behind it", () =>
    following(
      Effect.gen(function* () {
        const gate = yield* Deferred.make<void>()
        yield* EventStore.append("Count-1", events(3))
        let begun = 0
        const { layer, seen } = noting({}, () => Effect.suspend(() => (++begun, Deferred.await(gate))))
        yield* start(layer)
        yield* until(() => begun === 1)
        const pausing = yield* Effect.forkChild(Subscription.pause(name))
        yield* rest
        assert.equal(pausing.pollUnsafe(), undefined)
        yield* Deferred.succeed(gate, undefined)
        yield* Fiber.join(pausing)
        yield* TestClock.adjust("1 minute")
        assert.deepEqual([seen, yield* checkpoint, yield* state], [[1], 1, "paused"])
        assert.notEqual(yield* owner, undefined)
        yield* Subscription.resume(name)
        yield* until(() => seen.length === 3)
        yield* rest
        assert.deepEqual([seen, yield* state], [[1, 2, 3], "live"])
        yield* Subscription.pause(name)
        yield* EventStore.append("Count-1", events(1))
        yield* rest
        assert.deepEqual([seen.length, yield* state], [3, "paused"])
        yield* Subscription.resume(name)
        yield* until(() => seen.length === 4)
      })
    )
  )

  it.effect("a resume tries the event that halted it at once, however often it has halted before", () =>
    following(
      Effect.gen(function* () {
        logs(/ halts/)
        let tries = 0
        yield* EventStore.append("Count-1", events(1))
        const { layer } = noting({ retry: Schedule.recurs(0) }, () => Effect.suspend(() => Effect.fail(++tries)))
        yield* start(layer)
        for (let n = 1; n <= 10; n++) {
          yield* until(() => tries === n)
          yield* rest
          assert.equal(yield* state, "halted")
          yield* Subscription.resume(name)
        }
      })
    )
  )

  it.effect("a resume while the scope closes begins no other event", () =>
    following(
      Effect.gen(function* () {
        const gate = yield* Deferred.make<void>()
        yield* EventStore.append("Count-1", events(3))
        let begun = 0
        const { layer, seen } = noting({}, () => Effect.suspend(() => (++begun, Deferred.await(gate))))
        const stop = yield* start(layer)
        yield* until(() => begun === 1)
        const stopping = yield* Effect.forkChild(stop)
        yield* rest
        yield* Subscription.resume(name)
        yield* Deferred.succeed(gate, undefined)
        yield* Fiber.join(stopping)
        assert.deepEqual([seen, yield* checkpoint], [[1], 1])
      })
    )
  )

  it.effect("what this process does not run is a typed error", () =>
    following(
      Effect.gen(function* () {
        const errors = [Subscription.status("x"), Subscription.pause("x"), Subscription.resume("x"), Subscription.retry("x", 1)]
        for (const effect of errors)
          assert.equal((yield* Effect.flip<unknown, { _tag: string }, never>(effect))._tag, "UnknownSubscriptionError")
        assert.equal((yield* Effect.flip(Stream.runDrain(Subscription.changes("x"))))._tag, "UnknownSubscriptionError")
      })
    )
  )

  it.effect("its life can be followed, and is measured", () =>
    following(
      Effect.gen(function* () {
        yield* EventStore.append("Count-1", events(2))
        const gate = yield* Deferred.make<void>()
        const { layer, seen } = noting({}, () => Deferred.await(gate))
        const stop = yield* start(layer)
        const states: Array<string> = []
        const watching = yield* Effect.forkChild(
          Stream.runForEach(Subscription.changes(name), ({ state }) =>
            Effect.sync(() => states.at(-1) !== state && states.push(state))
          )
        )
        yield* until(() => states.length > 0)
        yield* Deferred.succeed(gate, undefined)
        yield* until(() => seen.length === 2)
        yield* rest
        yield* stop
        yield* rest
        yield* Fiber.interrupt(watching)
        assert.deepEqual(states.slice(-3), ["catching-up", "live", "stopped"])
        const metrics = (yield* Metric.snapshot).filter(({ attributes }) => attributes?.["subscription"] === name)
        const value = (id: string, state?: string) =>
          metrics.find((metric) => metric.id === id && metric.attributes?.["state"] === state)?.state
        assert.deepEqual(value("eventfold_subscription_lag"), { value: 0 })
        assert.deepEqual(value("eventfold_subscription_handled_events"), { count: 2, incremental: true })
        assert.deepEqual(
          [value("eventfold_subscription_state", "live"), value("eventfold_subscription_state", "stopped")],
          [{ value: 0 }, { value: 1 }]
        )
      }).pipe(
        Effect.provideServiceEffect(
          Metric.MetricRegistry,
          Effect.sync(() => new Map())
        )
      )
    )
  )
})

describe("who works, and how it ends", () => {
  it.effect("one works and the other stands by; when the first ends, the other takes over", () =>
    following(
      Effect.gen(function* () {
        const [first, second] = [noting(), noting()]
        const stop = yield* start(first.layer)
        yield* rest
        const elsewhere = Effect.provideService(Subscription.Registry, new Map())
        yield* elsewhere(start(second.layer))
        yield* EventStore.append("Count-1", events(2))
        yield* TestClock.adjust("1 minute")
        assert.deepEqual([first.seen, second.seen, yield* elsewhere(state)], [[1, 2], [], "standby"])
        yield* stop
        yield* EventStore.append("Count-1", events(2))
        yield* TestClock.adjust("5 seconds")
        yield* until(() => second.seen.length === 2)
        assert.deepEqual(
          [first.seen, second.seen],
          [
            [1, 2],
            [3, 4]
          ]
        )
      })
    )
  )

  it.effect("one whose lease was taken commits nothing more, and stands by", () =>
    following(
      Effect.gen(function* () {
        logs(/starts again/)
        const gate = yield* Deferred.make<void>()
        yield* EventStore.append("Count-1", events(2))
        let begun = 0
        const { layer } = noting({}, () => Effect.suspend(() => (++begun, Deferred.await(gate))))
        yield* start(layer)
        yield* until(() => begun === 1)
        yield* steal
        yield* Deferred.succeed(gate, undefined)
        yield* rest
        yield* TestClock.adjust("1 second")
        assert.deepEqual([yield* checkpoint, yield* owner, yield* state], [0, "thief", "standby"])
      })
    )
  )

  it.effect("a closing scope finishes the event in hand, begins no other, and gives the lease back", () =>
    following(
      Effect.gen(function* () {
        const gate = yield* Deferred.make<void>()
        yield* EventStore.append("Count-1", events(3))
        let begun = 0
        const { layer, seen } = noting({}, () => Effect.suspend(() => (++begun, Deferred.await(gate))))
        const stop = yield* start(layer)
        yield* until(() => begun === 1)
        const stopping = yield* Effect.forkChild(stop)
        yield* TestClock.adjust("4 seconds")
        assert.equal(stopping.pollUnsafe(), undefined)
        yield* Deferred.succeed(gate, undefined)
        yield* Fiber.join(stopping)
        assert.deepEqual([seen, yield* checkpoint, yield* owner, yield* state], [[1], 1, undefined, "stopped"])
      })
    )
  )

  it.effect("a closing scope does not wait for ever for a handler that hangs", () =>
    following(
      Effect.gen(function* () {
        yield* EventStore.append("Count-1", events(3))
        let hanging = false
        const { layer, seen } = noting({}, ({ position }) =>
          Effect.suspend(() => (position === 2 ? ((hanging = true), Effect.never) : Effect.void))
        )
        const stop = yield* start(layer)
        yield* until(() => hanging)
        const stopping = yield* Effect.forkChild(stop)
        yield* TestClock.adjust("5 seconds")
        yield* Fiber.join(stopping)
        assert.deepEqual([seen, yield* checkpoint, yield* owner], [[1], 1, undefined])
      })
    )
  )
})

describe("transactional, on SQLite", () => {
  const sqlite = Layer.mergeAll(SqliteCheckpoints.layer, ParkedEvents.layerSql).pipe(
    Layer.provideMerge(SqliteEventStore.layerFile({ filename: ":memory:" }))
  )

  type Services = Layer.Success<typeof sqlite>

  const inDatabase = <E>(test: (sql: SqlClient.SqlClient) => Effect.Effect<void, E, Services | Scope.Scope>) =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      // A view that holds nothing twice would hide it, so this one does.
      yield* sql`create table view (n integer not null)`
      yield* EventStore.append("Count-1", events(10))
      yield* test(sql)
    }).pipe(Effect.provide(Layer.fresh(sqlite)), Effect.provideService(Subscription.Registry, new Map()))

  const view = (sql: SqlClient.SqlClient) =>
    Effect.map(sql<{ n: number }>`select n from view order by rowid`, (rows) => rows.map(({ n }) => n))

  const subscription = (
    options: { readonly batch?: number; readonly onFailure?: Subscription.OnFailure },
    after: (event: EventStore.RecordedEvent, delivery: Subscription.Delivery) => Effect.Effect<unknown, unknown> = () =>
      Effect.void
  ) =>
    Subscription.layer({
      name,
      lease,
      retry: Schedule.recurs(2),
      transactional: true,
      ...options,
      handler: (event, delivery) =>
        Effect.gen(function* () {
          const sql = yield* SqlClient.SqlClient
          yield* sql`insert into view values (${event.position})`
          yield* after(event, delivery)
        })
    })

  /** Waits, in real turns of the event loop, as the database answers. */
  const untilCheckpoint = (position: number): Effect.Effect<void, unknown, Checkpoints.Checkpoints> =>
    Effect.flatMap(checkpoint, (at) =>
      at === position ? Effect.void : Effect.andThen(Effect.yieldNow, untilCheckpoint(position))
    )

  it.effect("what handlers write and the checkpoint commit together, batch by batch", () =>
    inDatabase((sql) =>
      Effect.gen(function* () {
        yield* start(subscription({ batch: 4 }))
        yield* untilCheckpoint(10)
        assert.deepEqual(yield* view(sql), numbers(10))
      })
    )
  )

  it.effect("a failing handler's rows are rolled back, those of its neighbours stand once, and it is tried again", () =>
    inDatabase((sql) =>
      Effect.gen(function* () {
        let failures = 3
        yield* start(
          subscription({}, ({ position }) =>
            Effect.suspend(() => (position === 5 && failures-- > 0 ? Effect.fail("no") : Effect.void))
          )
        )
        yield* untilCheckpoint(10)
        assert.deepEqual(yield* view(sql), numbers(10))
        assert.equal(failures, -1)
      })
    )
  )

  it.effect("one that halts leaves the view and the checkpoint before the event", () =>
    inDatabase((sql) =>
      Effect.gen(function* () {
        logs(/ halts/)
        yield* start(subscription({ onFailure: "halt" }, ({ position }) => (position === 5 ? Effect.fail("no") : Effect.void)))
        yield* untilCheckpoint(4)
        while ((yield* state) !== "halted") yield* Effect.yieldNow
        assert.deepEqual([yield* view(sql), yield* checkpoint], [numbers(4), 4])
      })
    )
  )

  it.effect("an event is parked with the move of the checkpoint; replayed at once by two, it takes effect once", () =>
    inDatabase((sql) =>
      Effect.gen(function* () {
        logs(/has parked the event/)
        let broken = true
        yield* start(
          subscription({ onFailure: "park" }, ({ position }) =>
            Effect.suspend(() => (broken && position === 5 ? Effect.fail("no") : Effect.void))
          )
        )
        yield* untilCheckpoint(10)
        const others = numbers(10).filter((n) => n !== 5)
        const { list } = yield* ParkedEvents.ParkedEvents
        assert.deepEqual(yield* view(sql), others)
        assert.deepEqual(
          (yield* list(name)).map(({ attempts, position, stream }) => [position, stream, attempts]),
          [[5, "Count-1", 3]]
        )
        assert.equal((yield* Effect.flip(Subscription.retry(name, 5)))._tag, "EventRetryError")
        assert.equal((yield* list(name))[0]?.attempts, 4)
        broken = false
        const exits = yield* Effect.all([Effect.exit(Subscription.retry(name, 5)), Effect.exit(Subscription.retry(name, 5))], {
          concurrency: 2
        })
        assert.equal(exits.filter(Exit.isSuccess).length, 1)
        assert.deepEqual([yield* view(sql), yield* list(name)], [[...others, 5], []])
      })
    )
  )

  it.effect("what the database refuses to commit is a failure of the event, and not an outage", () =>
    inDatabase((sql) =>
      Effect.gen(function* () {
        logs(/has parked the event/)
        yield* sql`create table link (n integer primary key, next integer references link (n) deferrable initially deferred)`
        yield* start(
          subscription({ onFailure: "park" }, ({ position }) =>
            position === 5 ? sql`insert into link values (1, 2)` : Effect.void
          )
        )
        yield* untilCheckpoint(10)
        assert.deepEqual(
          yield* view(sql),
          numbers(10).filter((n) => n !== 5)
        )
        const { list } = yield* ParkedEvents.ParkedEvents
        const [parked] = yield* list(name)
        assert.deepEqual([parked?.position, parked?.attempts], [5, 3])
        assert.match(parked?.cause ?? "", /FOREIGN KEY/)
        assert.equal((yield* Effect.flip(Subscription.retry(name, 5)))._tag, "EventRetryError")
        assert.equal((yield* list(name))[0]?.attempts, 4)
      })
    )
  )

  it.effect("a handler that appends ends its transaction: other writers come before the next event", () =>
    inDatabase((sql) =>
      Effect.gen(function* () {
        const store = yield* EventStore.EventStore
        const withoutTransaction = Effect.updateContext<never, never>(
          (context: Context.Context<never>) => Context.omit(sql.transactionService)(context as never) as Context.Context<never>
        )
        yield* start(
          subscription({}, ({ position }) =>
            Effect.gen(function* () {
              if (position > 10) return
              // Whoever is outside of the transaction waits for its end.
              const outside = store.append("Foreign-1", events(1, position))
              yield* Effect.forkDetach(withoutTransaction(outside), { startImmediately: true })
              yield* store.append("Echo-1", events(1, position))
            })
          )
        )
        yield* untilCheckpoint(30)
        const order = yield* Stream.runCollect(store.readAll({ after: 10 }))
        const at = (stream: string, n: number) =>
          order.find((event) => event.stream === stream && (event.payload as { n: number }).n === n)?.position ?? assert.fail()
        for (const n of numbers(8)) assert.ok(at("Foreign-1", n) < at("Echo-1", n + 2), `${n}`)
      })
    )
  )

  it.effect("a batch is committed when a third of the lease has passed, and goes on with the next event", () =>
    inDatabase((sql) =>
      Effect.gen(function* () {
        let committed = 0
        const before: Array<number> = []
        yield* start(
          subscription({}, () =>
            Effect.gen(function* () {
              before.push(committed)
              yield* sql.afterCommit(Effect.sync(() => void committed++))
              yield* TestClock.adjust("4 seconds")
            })
          )
        )
        yield* untilCheckpoint(10)
        assert.deepEqual(yield* view(sql), numbers(10))
        // The third of an event would begin after eight seconds, and five is a third of the lease.
        assert.deepEqual(before, [0, 0, 2, 2, 4, 4, 6, 6, 8, 8])
      })
    )
  )

  it.effect("a handler that takes longer than the lease is interrupted, and has failed", () =>
    inDatabase((sql) =>
      Effect.gen(function* () {
        logs(/has parked the event/)
        let waits = 0
        yield* start(
          subscription({ onFailure: "park" }, ({ position }) =>
            position === 5
              ? Effect.andThen(
                  Effect.sync(() => waits++),
                  Effect.never
                )
              : Effect.void
          )
        )
        for (let tries = 1; tries <= 4; tries++) {
          while (waits < tries) yield* Effect.yieldNow
          yield* TestClock.adjust(lease)
        }
        yield* untilCheckpoint(10)
        const others = numbers(10).filter((n) => n !== 5)
        assert.deepEqual(yield* view(sql), others)
        const [parked] = yield* ParkedEvents.ParkedEvents.use(({ list }) => list(name))
        assert.deepEqual([parked?.position, parked?.attempts], [5, 3])
        assert.match(parked?.cause ?? "", /HandlerTimeoutError.*longer than the lease of 15000 milliseconds/)
      })
    )
  )

  it.effect("dies over checkpoints that do not commit with the handlers: one could be moved and the other rolled back", () =>
    inDatabase(() =>
      Effect.gen(function* () {
        const exit = yield* Effect.exit(start(Layer.provide(subscription({}), Layer.fresh(Checkpoints.layerMemory))))
        assert.match(Exit.isFailure(exit) ? Cause.pretty(exit.cause) : "", /"view" is transactional.*the Checkpoints do not/)
      })
    )
  )

  it.effect("an owner whose lease was taken commits nothing", () =>
    inDatabase((sql) =>
      Effect.gen(function* () {
        logs(/starts again/)
        const gate = yield* Deferred.make<void>()
        // The name is taken away before the batch, in which nothing else can write.
        const stolen = steal.pipe(Effect.provideService(Checkpoints.Checkpoints, yield* Checkpoints.Checkpoints), Effect.orDie)
        yield* start(
          subscription({}, ({ position }) =>
            Effect.suspend(() => (position === 1 ? Effect.andThen(stolen, Deferred.succeed(gate, undefined)) : Effect.void))
          )
        )
        yield* Deferred.await(gate)
        while ((yield* state) !== "backing-off") yield* Effect.yieldNow
        assert.deepEqual([yield* view(sql), yield* checkpoint], [[], 0])
      })
    )
  )
})

describe("parked events in a table", () => {
  it.effect("are refused under a name that cannot be one", () =>
    Effect.gen(function* () {
      const layer = Layer.provide(
        ParkedEvents.layerSqlWith({ table: "a b" }),
        SqliteEventStore.layerFile({ filename: ":memory:" })
      )
      assert.match(String(yield* Effect.flip(Layer.build(layer))), /cannot be called a b/)
    })
  )

  it.effect("are listed page by page, in order, for each subscription by itself", () =>
    Effect.gen(function* () {
      const { discard, list, park } = yield* ParkedEvents.ParkedEvents
      const parkedAt = yield* Effect.map(
        Effect.clockWith((clock) => clock.currentTimeMillis),
        DateTime.makeUnsafe
      )
      const event = { subscription: "a", stream: "S-1", type: "T", cause: "half \ud800 and \u0000", attempts: 2, parkedAt }
      for (const position of [30, 4, 200]) yield* park({ ...event, position })
      yield* park({ ...event, subscription: "b", position: 7 })
      yield* park({ ...event, position: 4, attempts: 3 })
      const cause = "half \ufffd and \ufffd"
      assert.deepEqual(yield* list("a", { limit: 2 }), [
        { ...event, cause, position: 4, attempts: 3 },
        { ...event, cause, position: 30 }
      ])
      assert.deepEqual(
        (yield* list("a", { after: 30 })).map(({ position }) => position),
        [200]
      )
      assert.deepEqual([yield* discard("b", 7), yield* discard("b", 7), yield* list("b")], [true, false, []])
    }).pipe(Effect.provide(Layer.provide(ParkedEvents.layerSql, SqliteEventStore.layerFile({ filename: ":memory:" }))))
  )
})
