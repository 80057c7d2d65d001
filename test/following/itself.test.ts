/** What steers itself: no control waits for the handler that it was called from, nor is it undone by it. */
import assert from "node:assert/strict"
import { describe, it } from "@effect/vitest"
import { Effect, Exit, Layer, Option, Schedule, Stream } from "effect"
import { SqlClient } from "effect/sql"
import { TestClock } from "effect/testing"
import {
  Checkpoints,
  Consumer,
  DeadLetters,
  Event,
  EventStore,
  MessageBus,
  ParkedEvents,
  ProcessManager,
  Projection,
  Repository,
  Subscription,
  Transport,
  UnitOfWork
} from "eventfold"
import { SqliteCheckpoints, SqliteEventStore } from "eventfold/sqlite"
import { message } from "../support/failing.ts"
import { logs } from "../support/logs.ts"
import { Arrived, collection, Parcel, Remind, ReturnLive } from "../support/shipping.ts"
import { start } from "../support/words.ts"

const Counted = Event.make("Counted", {}, { published: true })

const sqlite = Layer.mergeAll(SqliteCheckpoints.layer, ParkedEvents.layerSql).pipe(
  Layer.provideMerge(SqliteEventStore.layerFile({ filename: ":memory:" }))
)
const memory = Layer.mergeAll(EventStore.layerMemory, Checkpoints.layerMemory, ParkedEvents.layerMemory)

const append = (count = 3) =>
  EventStore.append(
    "Count-1",
    Array.from({ length: count }, () => ({ type: "Counted", payload: {} }))
  )

/** Until it is so, in real turns of the event loop, while the clock of the test goes on: not for ever. */
const untilTrue = <E, R>(condition: Effect.Effect<boolean, E, R>, turns = 5000): Effect.Effect<void, E, R> =>
  Effect.flatMap(condition, (reached) => {
    if (reached) return Effect.void
    if (turns === 0) return Effect.die(new Error("waited in vain"))
    return Effect.yieldNow.pipe(Effect.andThen(TestClock.adjust("20 millis")), Effect.andThen(untilTrue(condition, turns - 1)))
  })

const stateIs = (name: string, state: Subscription.State) =>
  untilTrue(Effect.map(Subscription.status(name), (status) => status.state === state))
const positionIs = (name: string, position: number) =>
  untilTrue(Effect.map(Subscription.status(name), (status) => status.position === position))

type Stores = EventStore.EventStore | Checkpoints.Checkpoints | ParkedEvents.ParkedEvents | SqlClient.SqlClient

const reset = (name: string, position: number) =>
  Checkpoints.Checkpoints.use((all) => Effect.orDie(Effect.asVoid(all.reset(`subscription:${name}`, position))))
const remove = (name: string) =>
  Checkpoints.Checkpoints.use((all) => Effect.orDie(Effect.asVoid(all.remove(`subscription:${name}`, { force: true }))))

const kinds = {
  "one by one": {},
  "several streams at once": { concurrency: 3 },
  "in a transaction": { transactional: true },
  "each in a transaction": { transactional: true, batch: 1 }
} as const

describe("a handler that sets its own checkpoint", () => {
  const sets = {
    back: (name: string) => reset(name, 1),
    ahead: (name: string) => reset(name, 3),
    "to nothing": remove
  }
  const goesOnWith = { back: [2, 3, 4], ahead: [4], "to nothing": [1, 2, 3, 4] }
  for (const [kind, options] of Object.entries(kinds)) {
    for (const to of ["back", "ahead", "to nothing"] as const) {
      it.effect(`${to} has done so: it goes on from there, ${kind}`, () =>
        Effect.gen(function* () {
          logs(/starts again/)
          const sql = yield* SqlClient.SqlClient
          yield* sql`create table done (n integer primary key, position integer)`
          yield* append(4)
          let steered = 0
          yield* start(
            Subscription.layer<unknown, Stores, "halt", boolean>({
              name: "view",
              ...options,
              handler: ({ position }) =>
                Effect.gen(function* () {
                  yield* Effect.orDie(sql`insert into done (position) values (${position})`)
                  if (position === 2 && steered++ === 0) yield* sets[to]("view")
                })
            })
          )
          yield* positionIs("view", 4)
          const done = (yield* sql<{ position: number }>`select position from done order by n`).map(({ position }) => position)
          assert.equal(steered > 0, true)
          // What was handled before it stands.
          const before = done.slice(0, done.indexOf(2) + 1)
          assert.deepEqual(before, [1, 2])
          // What had begun when the lease was lost is done, outside of transactions.
          const after = done.slice(before.length)
          assert.deepEqual(after.slice(-goesOnWith[to].length), goesOnWith[to])
          if ("transactional" in options) assert.deepEqual(after, goesOnWith[to])
        }).pipe(Effect.scoped, Effect.provide(sqlite))
      )
    }
  }
})

describe("from the outside it is set back", () => {
  const states = ["while a batch is in hand", "while it backs off", "while it is paused", "while it is halted"] as const
  it.effect.each(states)("%s: it begins again there", (state) =>
    Effect.gen(function* () {
      logs(state === "while it is halted" ? / halts/ : /starts again/)
      const done: Array<number> = []
      let fails = state === "while it backs off" || state === "while it is halted"
      let inHand = state === "while a batch is in hand"
      yield* append()
      yield* start(
        Subscription.layer({
          name: "view",
          retry: state === "while it is halted" ? Schedule.recurs(0) : Schedule.spaced("1 second"),
          handler: ({ position }) =>
            Effect.suspend(() => {
              done.push(position)
              if (position !== 3) return Effect.void
              return fails ? Effect.fail("no") : inHand ? Effect.sleep("1 second") : Effect.void
            })
        })
      )
      if (state === "while it is paused") {
        yield* positionIs("view", 3)
        yield* Subscription.pause("view")
      }
      yield* untilTrue(Effect.sync(() => done.includes(3)))
      if (state === "while it backs off") yield* stateIs("view", "backing-off")
      if (state === "while it is halted") yield* stateIs("view", "halted")
      fails = inHand = false
      done.length = 0
      yield* reset("view", 0)
      if (state === "while it is paused" || state === "while it is halted") yield* Subscription.resume("view")
      yield* untilTrue(Effect.sync(() => done.slice(-3).join() === "1,2,3"))
      yield* positionIs("view", 3)
    }).pipe(Effect.scoped, Effect.provide(memory))
  )

  it.effect("while another process stands by: one of them begins again there", () =>
    Effect.gen(function* () {
      logs(/starts again/)
      const done: Array<number> = []
      const layer = Subscription.layer({ name: "view", handler: ({ position }) => Effect.sync(() => done.push(position)) })
      yield* append()
      yield* start(layer)
      yield* positionIs("view", 3)
      yield* Effect.provideService(start(layer), Subscription.Registry, new Map())
      yield* reset("view", 0)
      yield* untilTrue(Effect.sync(() => done.length === 6))
      assert.deepEqual(done, [1, 2, 3, 1, 2, 3])
    }).pipe(Effect.scoped, Effect.provide(memory))
  )
})

describe("a handler that would remove what it works for is refused", () => {
  for (const [kind, options] of Object.entries({ ...kinds, "of a group": { partitions: 2 } })) {
    it.effect(kind, () =>
      Effect.gen(function* () {
        const refused: Array<unknown> = []
        yield* append()
        yield* start(
          Subscription.layer<unknown, Stores, "halt", boolean>({
            name: "view",
            ...options,
            handler: () => Effect.map(Effect.flip(Subscription.remove("view")), (error) => refused.push(error))
          })
        )
        yield* untilTrue(Effect.sync(() => refused.length === 3))
        const error = new Subscription.StillRunningError({ checkpoint: "subscription:view", owner: Option.none() })
        assert.deepEqual(refused, [error, error, error])
      }).pipe(Effect.scoped, Effect.provide(sqlite))
    )
  }
})

describe("a projection's handler that steers its own projection is refused, and the view goes on:", () => {
  const expected = { rebuild: "RebuildError", switchTo: "NotCaughtUpError", drop: "StillRunningError" }
  const databases = [
    ["in transactions", true],
    ["without", false]
  ] as const
  for (const control of ["rebuild", "switchTo", "drop"] as const) {
    for (const [kind, transactional] of databases) {
      it.effect(`${control}, ${kind}`, () =>
        Effect.gen(function* () {
          const found: Array<unknown> = []
          let total = 0
          let steer: Effect.Effect<unknown, { readonly _tag: string }, Stores> = Effect.void
          const View = Projection.make("View", {
            version: 1,
            events: [Counted],
            handlers: {
              Counted: () =>
                Effect.gen(function* () {
                  found.push((yield* Effect.flip(steer))._tag)
                  total++
                })
            }
          })
          steer = {
            rebuild: Stream.runDrain(Projection.rebuild(View, { transactional })),
            switchTo: Projection.switchTo(View),
            drop: Projection.drop(View)
          }[control]
          yield* append(2)
          yield* start(Projection.layer(View, { transactional }))
          yield* positionIs(View.subscription, 2)
          assert.deepEqual(found, [expected[control], expected[control]])
          assert.equal(total, 2)
        }).pipe(Effect.scoped, Effect.provide(sqlite))
      )
    }
  }
})

const tagOf = (exit: Exit.Exit<unknown, { readonly _tag: string }>) => Option.getOrUndefined(Exit.findErrorOption(exit))?._tag

describe("a handler that retries what is parked of its own", () => {
  for (const [kind, options] of Object.entries(kinds)) {
    for (const onFailure of ["park", "park-stream"] as const) {
      it.effect(`does not wait for itself, ${kind}, ${onFailure}`, () =>
        Effect.gen(function* () {
          logs(/has parked the event/)
          const found: Array<ReadonlyArray<unknown>> = []
          let retrying = false
          yield* EventStore.append("Broken-1", [{ type: "Counted", payload: {} }])
          yield* start(
            Subscription.layer<unknown, never, "park" | "park-stream", boolean>({
              name: "view",
              onFailure,
              retry: Schedule.recurs(0),
              ...options,
              handler: ({ position }) =>
                Effect.gen(function* () {
                  if (!retrying) return yield* Effect.fail("no")
                  const one = yield* Effect.exit(Subscription.retry("view", 1))
                  const all = yield* Effect.exit(Subscription.retryParked("view"))
                  found.push([position, tagOf(one), tagOf(all)])
                })
            })
          )
          yield* positionIs("view", 1)
          retrying = true
          yield* append(1)
          yield* positionIs("view", 2)
          // The retry begins it once more; what is asked for in there is refused.
          assert.deepEqual(found, [
            [1, "EventRetryError", "ParkedEventsError"],
            [2, undefined, undefined]
          ])
          assert.deepEqual(yield* ParkedEvents.ParkedEvents.use(({ list }) => list("view")), [])
        }).pipe(Effect.scoped, Effect.provide(sqlite))
      )
    }
  }
})

describe("a handler that retries its own dead letter", () => {
  it.effect("does not begin itself again and again", () =>
    Effect.gen(function* () {
      logs(/is a dead letter/)
      let tried = 0
      let error: Consumer.MessageRetryError | undefined
      yield* start(
        Consumer.layer(
          [Counted],
          {
            Counted: (_, { message: { id } }) =>
              Effect.suspend(() =>
                ++tried === 1
                  ? Effect.fail("no")
                  : Effect.map(Effect.flip(Consumer.retry("mails", id)), (refused) => {
                      error = refused as Consumer.MessageRetryError
                    })
              )
          },
          { group: "mails", maxAttempts: 1 }
        )
      )
      yield* Transport.Transport.use(({ publish }) => publish([{ ...message, id: "1", type: "Counted", data: {} }]))
      const letters = yield* DeadLetters.DeadLetters
      yield* untilTrue(Effect.map(letters.list("mails"), ({ length }) => length === 1))
      yield* Consumer.retry("mails", "1")
      assert.equal(error?._tag, "MessageRetryError")
      assert.match(error?.message ?? "", /inside of its own handler/)
      assert.deepEqual([tried, yield* letters.list("mails")], [2, []])
    }).pipe(Effect.scoped, Effect.provide(Layer.mergeAll(Transport.layerMemory, DeadLetters.layerMemory)))
  )
})

describe("a process manager that is paused by a command that it sends", () => {
  for (const from of ["a reaction", "a deadline"] as const) {
    it.effect(`of ${from}, does not wait for itself, and goes on when it is resumed`, () =>
      Effect.gen(function* () {
        const sent: Array<number> = []
        const Collection = collection("1 hour")
        const pausing = from === "a reaction" ? 1 : 2
        const Handle = MessageBus.handle(Remind, ({ times }) =>
          Effect.andThen(
            times === pausing ? Effect.orDie(ProcessManager.pause(Collection)) : Effect.void,
            Effect.sync(() => sent.push(times))
          )
        )
        const bus = Handle.pipe(
          Layer.merge(ReturnLive),
          Layer.provideMerge(MessageBus.layer),
          Layer.provideMerge(UnitOfWork.layer)
        )
        yield* Effect.gen(function* () {
          yield* start(ProcessManager.layer(Collection))
          yield* Repository.append(Parcel, "1", [Arrived.make({ parcel: "1" })])
          if (from === "a deadline") {
            yield* untilTrue(Effect.sync(() => sent.length === 1))
            yield* TestClock.adjust("1 hour")
          }
          const status = ProcessManager.status(Collection)
          yield* untilTrue(Effect.map(status, ({ reacting }) => reacting.state === "paused" && sent.length === pausing))
          yield* ProcessManager.resume(Collection)
          yield* Repository.append(Parcel, "2", [Arrived.make({ parcel: "2" })])
          yield* untilTrue(Effect.sync(() => sent.length > pausing))
        }).pipe(Effect.provide(bus))
      }).pipe(Effect.scoped, Effect.provide(memory))
    )
  }
})
