/** What is steered while something is in hand, also from inside of it. */
import assert from "node:assert/strict"
import { describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Layer, Schedule, Schema } from "effect"
import { TestClock } from "effect/testing"
import { Checkpoints, Consumer, DeadLetters, Event, EventStore, ParkedEvents, Subscription, Transport } from "eventfold"
import { SqliteCheckpoints, SqliteEventStore } from "eventfold/sqlite"
import { message } from "../support/failing.ts"
import { logs } from "../support/logs.ts"
import { start } from "../support/words.ts"

const Counted = Event.make("Counted", { n: Schema.Int }, { published: true })
const append = EventStore.append(
  "Count-1",
  [1, 2, 3].map((n) => ({ type: "Counted", payload: { n } }))
)

const memory = Layer.mergeAll(
  EventStore.layerMemory,
  Checkpoints.layerMemory,
  ParkedEvents.layerMemory,
  Transport.layerMemory,
  DeadLetters.layerMemory
)
const sqlite = Layer.mergeAll(SqliteCheckpoints.layer, ParkedEvents.layerSql, DeadLetters.layerSql, Transport.layerMemory).pipe(
  Layer.provideMerge(SqliteEventStore.layerFile({ filename: ":memory:" }))
)

/** In real turns of the event loop, as the database answers. */
const untilTrue = <E, R>(condition: Effect.Effect<boolean, E, R>): Effect.Effect<void, E, R> =>
  Effect.flatMap(condition, (reached) => (reached ? Effect.void : Effect.andThen(Effect.yieldNow, untilTrue(condition))))

const alone = <A, E, R>(test: Effect.Effect<A, E, R>) =>
  test.pipe(
    Effect.scoped,
    Effect.provideService(Subscription.Registry, new Map()),
    Effect.provideService(Consumer.Registry, new Map())
  )

const orders = [
  { ...message, id: "1", type: "Counted", data: { n: 1 } },
  { ...message, id: "2", type: "Counted", data: { n: 2 } }
] as const

describe("a handler that pauses what it works for does not wait for itself:", () => {
  const cases = {
    "a subscription": {},
    "a group": { partitions: 3 },
    "several streams at once": { concurrency: 3 },
    "a transaction": { transactional: true }
  } as const
  it.effect.each(Object.entries(cases))("%s", ([, options]) =>
    Effect.gen(function* () {
      const done: Array<number> = []
      yield* append
      yield* start(
        Subscription.layer<unknown, never, "halt", boolean>({
          name: "view",
          ...options,
          handler: ({ position }) =>
            Effect.andThen(
              position === 2 ? Subscription.pause("view") : Effect.void,
              Effect.sync(() => done.push(position))
            )
        })
      )
      const status = Subscription.status("view")
      yield* untilTrue(Effect.map(status, ({ state }) => state === "paused" && done.length === 2))
      assert.deepEqual(done.toSorted(), [1, 2])
      yield* Subscription.resume("view")
      yield* untilTrue(Effect.sync(() => done.length === 3))
      assert.deepEqual(done.toSorted(), [1, 2, 3])
    }).pipe(alone, Effect.provide(sqlite))
  )

  it.effect("a consumer", () =>
    Effect.gen(function* () {
      const done: Array<string> = []
      yield* start(
        Consumer.layer(
          [Counted],
          {
            Counted: ({ n }, received) =>
              Effect.andThen(
                n === 1 ? Consumer.pause("mails") : Effect.void,
                Effect.sync(() => done.push(received.message.id))
              )
          },
          { group: "mails" }
        )
      )
      yield* Transport.Transport.use(({ publish }) => publish(orders))
      const status = Consumer.status("mails")
      yield* untilTrue(Effect.map(status, ({ inFlight, state }) => state === "paused" && inFlight === 0))
      assert.deepEqual(done, ["1"])
      yield* Consumer.resume("mails")
      yield* untilTrue(Effect.sync(() => done.length === 2))
      assert.deepEqual(done, ["1", "2"])
    }).pipe(alone, Effect.provide(memory))
  )
})

describe("what is discarded stays discarded", () => {
  const stores = { memory, SQLite: sqlite }
  it.effect.each(["memory", "SQLite"] as const)("while it is retried, in %s", (store) =>
    Effect.gen(function* () {
      logs(/has parked the event/, /is a dead letter/)
      let begun = 0
      const goOn = yield* Deferred.make<void>()
      let retrying = false
      const fails = Effect.suspend(() =>
        Effect.andThen(
          retrying
            ? Effect.andThen(
                Effect.sync(() => begun++),
                Deferred.await(goOn)
              )
            : Effect.void,
          Effect.fail("no")
        )
      )
      yield* append
      yield* start(
        Subscription.layer({
          name: "view",
          onFailure: "park",
          retry: Schedule.recurs(0),
          handler: ({ position }) => (position === 2 ? fails : Effect.void)
        })
      )
      yield* start(
        Consumer.layer([Counted], { Counted: ({ n }) => (n === 1 ? fails : Effect.void) }, { group: "mails", maxAttempts: 1 })
      )
      yield* Transport.Transport.use(({ publish }) => publish(orders))
      const parked = yield* ParkedEvents.ParkedEvents
      const letters = yield* DeadLetters.DeadLetters
      yield* untilTrue(Effect.map(parked.list("view"), ({ length }) => length === 1))
      yield* untilTrue(Effect.map(letters.list("mails"), ({ length }) => length === 1))
      retrying = true
      const event = yield* Effect.forkChild(Effect.flip(Subscription.retry("view", 2)))
      const letter = yield* Effect.forkChild(Effect.flip(Consumer.retry("mails", "1")))
      yield* untilTrue(Effect.sync(() => begun === 2))
      assert.deepEqual([yield* parked.discard("view", 2), yield* letters.discard("mails", "1")], [true, true])
      yield* Deferred.succeed(goOn, undefined)
      assert.deepEqual(
        [(yield* Fiber.join(event))._tag, (yield* Fiber.join(letter))._tag],
        ["EventRetryError", "MessageRetryError"]
      )
      assert.deepEqual([yield* parked.list("view"), yield* letters.list("mails")], [[], []])
    }).pipe(alone, Effect.provide(stores[store]))
  )

  it.effect("when what was in hand with it is done again: it is behind the checkpoint when it is parked", () =>
    Effect.gen(function* () {
      logs(/has parked the event/, /starts again/)
      const away = new EventStore.EventStoreError({
        reason: new EventStore.StoreUnavailable({ operation: "append", detail: "gone" })
      })
      let broken = true
      const { discard, list } = yield* ParkedEvents.ParkedEvents
      yield* append
      yield* start(
        Subscription.layer({
          name: "view",
          onFailure: "park",
          retry: Schedule.recurs(0),
          handler: Effect.fnUntraced(function* ({ position }) {
            if (position === 2) return yield* Effect.fail("no")
            if (position === 3 && broken) return yield* Effect.andThen(discard("view", 2), Effect.fail(away))
          })
        })
      )
      yield* untilTrue(Effect.map(Subscription.status("view"), ({ state }) => state === "backing-off"))
      assert.deepEqual([(yield* Subscription.status("view")).position, yield* list("view")], [2, []])
      broken = false
      yield* TestClock.adjust("1 second")
      yield* untilTrue(Effect.map(Subscription.status("view"), ({ position }) => position === 3))
      assert.deepEqual(yield* list("view"), [])
    }).pipe(alone, Effect.provide(memory))
  )
})
