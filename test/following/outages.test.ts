/** What is away is held against no event and no message, whoever follows. */
import assert from "node:assert/strict"
import { describe, it } from "@effect/vitest"
import { Cause, Data, Effect, Exit, Layer, Schedule, Schema } from "effect"
import { TestClock } from "effect/testing"
import { SqlClient } from "effect/sql"
import { ConnectionError, SqlError, StatementTimeoutError, UnknownError } from "effect/sql/SqlError"
import {
  Checkpoints,
  Command,
  Consumer,
  DeadLetters,
  Event,
  EventStore,
  Inbox,
  MessageBus,
  ParkedEvents,
  ProcessManager,
  Projection,
  Snapshots,
  Subscription,
  Transport,
  UnitOfWork
} from "eventfold"
import { SqliteCheckpoints, SqliteEventStore } from "eventfold/sqlite"
import { isOutage } from "../../src/following/outages.ts"
import { message } from "../support/failing.ts"
import { logs } from "../support/logs.ts"
import { start } from "../support/words.ts"

const about = { operation: "append", detail: "gone" }
const away = new EventStore.EventStoreError({ reason: new EventStore.StoreUnavailable(about) })

class Wrapped extends Data.TaggedError("Wrapped")<{ readonly cause: unknown }> {}
class Named extends Schema.TaggedError<Named>()("Named", { inner: Schema.Defect() }) {}

const props = (cause: unknown) => ({ cause, message: "no", operation: "query" })
const sqlState = (code: string) => new SqlError({ reason: new UnknownError(props(Object.assign(new Error("no"), { code }))) })
const connection = (operation: string) =>
  new SqlError({ reason: new ConnectionError({ ...props(new Error("broken")), operation }) })

describe("what a handler failed with", () => {
  const outages: Readonly<Record<string, unknown>> = {
    "a store that is away": away,
    "an answer of the store that is lost": new EventStore.EventStoreError({ reason: new EventStore.OutcomeUnknown(about) }),
    "a store that failed because its disk is full": new EventStore.EventStoreError({
      reason: new EventStore.StoreFailure({ ...about, cause: sqlState("53100") })
    }),
    "a file that could not be written": new EventStore.EventStoreError({
      reason: new EventStore.StoreFailure({ ...about, cause: Object.assign(new Error("no"), { code: "ENOSPC" }) })
    }),
    "a transport that is away": new Transport.TransportError({
      reason: new Transport.TransportUnavailable({ operation: "publish", detail: "gone" })
    }),
    "checkpoints that are away": new Checkpoints.CheckpointError({
      operation: "get",
      checkpoint: "a",
      cause: connection("connect")
    }),
    "an inbox that is away": new Inbox.InboxError({ operation: "open", cause: connection("query") }),
    "snapshots that are away": new Snapshots.SnapshotError({ operation: "get", cause: connection("query") }),
    "parked events that are away": new ParkedEvents.ParkedEventsError({ operation: "list", cause: sqlState("57P03") }),
    "an error of the user around it": new Wrapped({ cause: away }),
    "an error of the user with a Schema around it": new Named({ inner: away }),
    "an error around an error around it": new Error("no", { cause: new Wrapped({ cause: new Named({ inner: away }) }) }),
    "a plain object around it": { _tag: "Mail", error: away },
    "several errors, one of which is it": new AggregateError([new Error("no"), away]),
    "a cause around it": new Wrapped({ cause: Cause.die(away) }),
    "an exit around it": new Wrapped({ cause: Exit.fail(away) }),
    ...Object.fromEntries(
      ["08006", "25006", "53100", "53200", "53300", "57P01", "57P02", "57P03", "57P05"].map((code) => [code, sqlState(code)])
    ),
    SQLITE_FULL: sqlState("SQLITE_FULL"),
    SQLITE_READONLY: sqlState("SQLITE_READONLY"),
    SQLITE_IOERR: sqlState("SQLITE_IOERR")
  }
  it.each(Object.entries(outages))("is an outage: %s", (_, error) => {
    assert.equal(isOutage(Cause.fail(error)), true)
    assert.equal(isOutage(Cause.die(error)), true)
    assert.equal(isOutage(Cause.combine(Cause.fail("no"), Cause.fail(error))), true)
  })

  const circle: { _tag: string; self?: unknown } = { _tag: "Circle" }
  circle.self = circle
  const timedOut = new SqlError({ reason: new StatementTimeoutError(props(new Error("too long"))) })
  const own: Readonly<Record<string, unknown>> = {
    "a word": "no",
    nothing: undefined,
    "an error of the user": new Wrapped({ cause: new Error("StoreUnavailable") }),
    "a circle": circle,
    "a getter that throws": Object.defineProperty({}, "bad", { enumerable: true, get: () => assert.fail("was run") }),
    "a constraint": sqlState("23505"),
    "a missing right": sqlState("42501"),
    "a deadlock": sqlState("40P01"),
    "a statement that took too long": timedOut,
    "a transaction that took too long, in the store": new EventStore.EventStoreError({
      reason: new EventStore.StoreUnavailable({ ...about, cause: sqlState("25P04") })
    }),
    "a lock that is lost": new EventStore.OptimisticLockError({ stream: "A-1", expected: 1, actual: 2 }),
    "a message that is refused": new Transport.TransportError({
      reason: new Transport.MessageRefused({ operation: "publish", detail: "too large", id: "1" })
    })
  }
  it.each(Object.entries(own))("is its own fault: %s", (_, error) => {
    assert.equal(isOutage(Cause.fail(error)), false)
    assert.equal(isOutage(Cause.die(error)), false)
  })
})

/** Fails so often that no schedule of retries would have been left, and works then. Gives the attempts that it was told of. */
const flaky = (times = 20) => {
  const told: Array<number> = []
  return {
    told,
    attempt: (attempt: number) =>
      Effect.suspend(() => {
        told.push(attempt)
        return told.length <= times ? Effect.fail(new Wrapped({ cause: away })) : Effect.void
      })
  }
}

const Counted = Event.make("Counted", { n: Schema.Int }, { published: true })
const append = EventStore.append(
  "Count-1",
  [1, 2, 3].map((n) => Counted.make({ n })).map(({ _tag: type, ...payload }) => ({ type, payload }))
)

/** Lets time pass until it is so; the database answers in real turns of the event loop. */
const untilPassed = <E, R>(condition: Effect.Effect<boolean, E, R>): Effect.Effect<void, E, R> =>
  Effect.flatMap(condition, (reached) =>
    reached ? Effect.void : Effect.andThen(TestClock.adjust("1 second"), untilPassed(condition))
  )

const isAt = (checkpoint: string, position: number) =>
  untilPassed(
    Effect.map(
      Checkpoints.Checkpoints.use(({ get }) => get(checkpoint)),
      (found) => found._tag === "Some" && found.value.position >= position
    )
  )

const nothingParked = (name: string) =>
  Effect.gen(function* () {
    assert.deepEqual(yield* ParkedEvents.ParkedEvents.use(({ list }) => list(name)), [])
  })

const memory = Layer.mergeAll(EventStore.layerMemory, Checkpoints.layerMemory, ParkedEvents.layerMemory)
const sqlite = Layer.mergeAll(SqliteCheckpoints.layer, ParkedEvents.layerSql).pipe(
  Layer.provideMerge(SqliteEventStore.layerFile({ filename: ":memory:" }))
)

describe("an outage in a handler is backed off, and held against nothing:", () => {
  const cases = {
    "a subscription that parks": { onFailure: "park" },
    "a subscription that halts": { onFailure: "halt" },
    "a group": { onFailure: "park", partitions: 2 },
    "several streams at once": { onFailure: "park", concurrency: 4 }
  } as const
  it.effect.each(Object.entries(cases))("%s", ([, options]) =>
    Effect.gen(function* () {
      logs(/starts again/)
      const { attempt, told } = flaky()
      const done: Array<number> = []
      yield* append
      yield* start(
        Subscription.layer({
          name: "view",
          retry: Schedule.recurs(1),
          ...options,
          handler: (event, delivery) =>
            Effect.andThen(
              event.position === 2 ? attempt(delivery.attempt) : Effect.void,
              Effect.sync(() => done.push(event.position))
            )
        })
      )
      yield* untilPassed(Effect.sync(() => done.includes(3)))
      assert.deepEqual([told.length, new Set(told)], [21, new Set([1])])
      assert.deepEqual(
        done.filter((position) => position > 1),
        [2, 3]
      )
      yield* nothingParked("view")
    }).pipe(Effect.scoped, Effect.provide(memory), Effect.provideService(Subscription.Registry, new Map()))
  )

  it.effect("but for the event that cuts off the connection each time it comes: that is its own failure", () =>
    Effect.gen(function* () {
      logs(/starts again|has parked/)
      let cuts = 0
      const done: Array<number> = []
      yield* append
      yield* start(
        Subscription.layer({
          name: "view",
          retry: Schedule.recurs(1),
          onFailure: "park",
          handler: ({ position }) =>
            position === 2
              ? Effect.suspend(() => (cuts++, Effect.fail(new Wrapped({ cause: connection("query") }))))
              : Effect.sync(() => done.push(position))
        })
      )
      yield* isAt("subscription:view", 3)
      assert.deepEqual(done, [1, 3])
      // Ten outages are none, and then it has failed twice.
      assert.equal(cuts, 11)
      const [parked] = yield* ParkedEvents.ParkedEvents.use(({ list }) => list("view"))
      assert.equal(parked?.position, 2)
    }).pipe(Effect.provide(memory), Effect.provideService(Subscription.Registry, new Map()))
  )

  it.effect("a transaction on SQLite, whose rows are rolled back", () =>
    Effect.gen(function* () {
      logs(/starts again/)
      const { attempt, told } = flaky()
      const sql = yield* SqlClient.SqlClient
      yield* sql`create table view (n integer not null)`
      yield* append
      yield* start(
        Subscription.layer({
          name: "view",
          transactional: true,
          onFailure: "park",
          retry: Schedule.recurs(1),
          handler: ({ position }, delivery) =>
            Effect.andThen(sql`insert into view values (${position})`, position === 2 ? attempt(delivery.attempt) : Effect.void)
        })
      )
      yield* isAt("subscription:view", 3)
      const rows = yield* sql<{ n: number }>`select n from view order by rowid`
      assert.deepEqual([rows.map(({ n }) => n), told.length], [[1, 2, 3], 21])
      yield* nothingParked("view")
    }).pipe(Effect.scoped, Effect.provide(sqlite), Effect.provideService(Subscription.Registry, new Map()))
  )

  it.effect("a projection, event by event and as a batch", () =>
    Effect.gen(function* () {
      logs(/starts again/)
      const one = flaky()
      const all = flaky()
      yield* append
      const each = Projection.make("each", {
        version: 1,
        events: [Counted],
        handlers: { Counted: ({ n }) => (n === 2 ? one.attempt(1) : Effect.void) }
      })
      yield* start(Projection.layer(each, { onFailure: "park", retry: Schedule.recurs(1) }))
      yield* start(
        Projection.layer(Projection.make("whole", { version: 1, events: [Counted], batch: () => all.attempt(1) }), {
          onFailure: "park",
          retry: Schedule.recurs(1)
        })
      )
      yield* isAt("subscription:projection:each@1", 3)
      yield* isAt("subscription:projection:whole@1", 3)
      // After an outage the events of a batch come one by one.
      assert.deepEqual([one.told.length, all.told.length], [21, 23])
      yield* nothingParked("projection:each@1")
      yield* nothingParked("projection:whole@1")
    }).pipe(Effect.scoped, Effect.provide(sqlite), Effect.provideService(Subscription.Registry, new Map()))
  )

  it.effect("a process manager, whose reaction takes effect once, and the watch over its deadlines", () => {
    const { attempt, told } = flaky()
    const Greet = Command.make("Greet", { payload: { n: Schema.Int } })
    const Greeted = Event.make("Greeted", { n: Schema.Int })
    const Due = Event.make("Due", {})
    const greeting = ProcessManager.make("Greeting", {
      events: [Counted],
      correlate: { Counted: ({ n }) => String(n) },
      deadlines: [Due],
      initial: {},
      evolve: { Counted: (state) => state, Due: (state) => state },
      react: {
        Counted: (_, { n }) => [ProcessManager.send(Greet, { n }), ProcessManager.setDeadline(Due.make({}), "1 hour")],
        Due: (_, __, { key }) => [ProcessManager.send(Greet, { n: Number(key) + 10 })]
      }
    })
    const GreetLive = MessageBus.handle(Greet, ({ n }) =>
      Effect.andThen(
        n === 2 || n === 12 ? Effect.orDie(attempt(n)) : Effect.void,
        MessageBus.publish(Greeted, Greeted.make({ n }))
      )
    )
    return Effect.gen(function* () {
      logs(/starts again/)
      yield* append
      const greeted = Effect.map(
        EventStore.EventStore.use((store) => store.readPage({ after: 0, filter: { types: ["Greeted"] }, size: 100 })),
        ({ events }) => events.map(({ payload }) => (payload as { readonly n: number }).n)
      )
      yield* start(ProcessManager.layer(greeting, { retry: Schedule.recurs(1) }))
      yield* untilPassed(Effect.map(greeted, (all) => all.length === 6))
      assert.deepEqual(
        (yield* greeted).toSorted((a, b) => a - b),
        [1, 2, 3, 11, 12, 13]
      )
      assert.deepEqual(told, [...Array.from({ length: 21 }, () => 2), 12])
    }).pipe(
      Effect.scoped,
      Effect.provide(
        GreetLive.pipe(Layer.provideMerge(MessageBus.layer), Layer.provideMerge(UnitOfWork.layer), Layer.provideMerge(memory))
      ),
      Effect.provideService(Subscription.Registry, new Map())
    )
  })

  it.effect.each([false, true])("a consumer (inbox: %s), whose message is tried as often as it likes", (inbox) => {
    const { attempt, told } = flaky()
    return Effect.gen(function* () {
      logs(/cannot go on/)
      const done: Array<string> = []
      const { publish } = yield* Transport.Transport
      yield* start(
        Consumer.layer(
          [Counted],
          {
            Counted: ({ n }, received) =>
              Effect.andThen(
                n === 1 ? attempt(received.attempt) : Effect.void,
                Effect.sync(() => done.push(received.message.id))
              )
          },
          { group: "mails", inbox, maxAttempts: 2 }
        )
      )
      yield* publish([
        { ...message, id: "1", type: "Counted", data: { n: 1 } },
        { ...message, id: "2", type: "Counted", data: { n: 2 } }
      ])
      yield* untilPassed(Effect.sync(() => done.length === 2))
      assert.deepEqual([done, told.length, new Set(told)], [["1", "2"], 21, new Set([1])])
      const letters = yield* DeadLetters.DeadLetters
      assert.deepEqual(yield* letters.list("mails"), [])
    }).pipe(
      Effect.scoped,
      Effect.provide(Layer.mergeAll(Transport.layerMemory, DeadLetters.layerMemory, Inbox.layerMemory)),
      Effect.provideService(Consumer.Registry, new Map())
    )
  })

  it.effect("a parked event and a dead letter that are retried: they stay what they are, with the attempts that they had", () =>
    Effect.gen(function* () {
      logs(/has parked the event/, /is a dead letter/)
      let failure: unknown = "its own"
      yield* append
      yield* start(
        Subscription.layer({
          name: "view",
          onFailure: "park",
          retry: Schedule.recurs(0),
          handler: ({ position }) => (position === 2 ? Effect.fail(failure) : Effect.void)
        })
      )
      yield* start(Consumer.layer([Counted], { Counted: () => Effect.fail(failure) }, { group: "mails", maxAttempts: 1 }))
      const letters = yield* DeadLetters.DeadLetters
      yield* Transport.Transport.use(({ publish }) => publish([{ ...message, id: "1", type: "Counted", data: { n: 1 } }]))
      yield* isAt("subscription:view", 3)
      yield* untilPassed(Effect.map(letters.list("mails"), ({ length }) => length === 1))
      const { list } = yield* ParkedEvents.ParkedEvents
      const before = [yield* list("view"), yield* letters.list("mails")]
      failure = new Wrapped({ cause: away })
      yield* TestClock.adjust("1 hour")
      assert.equal((yield* Effect.flip(Subscription.retry("view", 2)))._tag, "EventRetryError")
      assert.equal((yield* Effect.flip(Consumer.retry("mails", "1")))._tag, "MessageRetryError")
      assert.deepEqual([yield* list("view"), yield* letters.list("mails")], before)
    }).pipe(
      Effect.scoped,
      Effect.provide(Layer.mergeAll(memory, Transport.layerMemory, DeadLetters.layerMemory)),
      Effect.provideService(Subscription.Registry, new Map()),
      Effect.provideService(Consumer.Registry, new Map())
    )
  )
})
