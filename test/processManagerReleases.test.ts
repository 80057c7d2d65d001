/** Two releases of a process manager on one log, the newer of which has a deadline more. */
import assert from "node:assert/strict"
import { describe, it } from "@effect/vitest"
import { Effect, Layer, Schema, Stream } from "effect"
import { TestClock } from "effect/testing"
import { Checkpoints, Command, Event, EventStore, MessageBus, ProcessManager, Subscription, UnitOfWork } from "eventfold"
import { SqliteCheckpoints, SqliteEventStore } from "eventfold/sqlite"
import { until } from "./support/words.ts"

const Placed = Event.make("Placed", { order: Schema.String })
const Due = Event.make("Due", {})
const Late = Event.make("Late", {})
const Remind = Command.make("Remind", { payload: { order: Schema.String, by: Schema.String } })

const send = (by: string, order: string) => [ProcessManager.send(Remind, { order, by })]
const older = ProcessManager.make("Delivery", {
  events: [Placed],
  correlate: { Placed: ({ order }) => order },
  deadlines: [Due],
  initial: 0,
  evolve: { Placed: (placed) => placed + 1, Due: (placed) => placed },
  react: { Placed: () => [ProcessManager.setDeadline(Due.make({}), "1 hour")], Due: (_, __, { key }) => send("Due", key) }
})
const newer = ProcessManager.make("Delivery", {
  events: [Placed],
  correlate: { Placed: ({ order }) => order },
  deadlines: [Due, Late],
  initial: 0,
  evolve: { Placed: (placed) => placed + 1, Due: (placed) => placed, Late: (placed) => placed },
  react: {
    Placed: () => [ProcessManager.setDeadline(Late.make({}), "2 hours"), ProcessManager.setDeadline(Due.make({}), "1 hour")],
    Due: (_, __, { key }) => send("Due", key),
    Late: (_, __, { key }) => send("Late", key)
  }
})

const stores = {
  memory: Layer.merge(EventStore.layerMemory, Checkpoints.layerMemory),
  SQLite: SqliteCheckpoints.layer.pipe(Layer.provideMerge(SqliteEventStore.layerFile({ filename: ":memory:" })))
}

describe("a deadline that one release knows and the other does not", () => {
  for (const [name, store] of Object.entries(stores)) {
    it.effect(`waits for the one that does, on ${name}`, () => {
      const reminded: Array<string> = []
      const Live = MessageBus.handle(Remind, ({ by, order }) => Effect.sync(() => void reminded.push(`${by} ${order}`))).pipe(
        Layer.provideMerge(MessageBus.layer),
        Layer.provideMerge(UnitOfWork.layer),
        Layer.provideMerge(store)
      )
      const place = (order: string) => EventStore.append(`Order-${order}`, [{ type: "Placed", payload: { order } }])
      const caughtUp = until(
        Effect.gen(function* () {
          return (yield* Subscription.status("process:Delivery")).position >= (yield* EventStore.head)
        })
      )
      const during = <A, E, R>(process: typeof older | typeof newer, body: Effect.Effect<A, E, R>) =>
        Effect.scoped(Effect.andThen(Layer.build(ProcessManager.layer(process as typeof newer)), body))
      return Effect.gen(function* () {
        yield* during(newer, Effect.andThen(place("1"), caughtUp))
        yield* during(
          older,
          Effect.gen(function* () {
            yield* caughtUp
            yield* TestClock.adjust("3 hours")
            // Its own comes, and takes the place of no other.
            yield* until(() => reminded.length === 1)
            yield* place("2")
            yield* caughtUp
          })
        )
        assert.deepEqual(reminded, ["Due 1"])
        yield* during(
          newer,
          Effect.andThen(
            TestClock.adjust("1 second"),
            until(() => reminded.length === 2)
          )
        )
        assert.deepEqual(reminded, ["Due 1", "Late 1"])
        const types = yield* Effect.map(Stream.runCollect(EventStore.read("Delivery-1")), (all) => all.map(({ type }) => type))
        assert.deepEqual(types.filter((type) => type === "Late").length, 1)
      }).pipe(Effect.provide(Live))
    })
  }
})
