/** Acts that are asked for one after the other in one process, and done in another: nobody waits a whole look for each. */
import { assert, it } from "@effect/vitest"
import { Effect, Fiber, Layer, Stream } from "effect"
import { TestClock } from "effect/testing"
import { DeadLetters, MessageBus, ParkedEvents, Snapshots, Subscription, Transport, UnitOfWork } from "eventfold"
import { SqliteCheckpoints, SqliteClient, SqliteEventStore } from "eventfold/sqlite"
import { logs } from "../support/logs.ts"
import { until } from "../support/words.ts"
import { clientOf, Faults, Followers, place } from "./support.ts"

const Shop = Layer.mergeAll(
  ParkedEvents.layerSql,
  DeadLetters.layerSql,
  Snapshots.layerSql,
  MessageBus.layer,
  Transport.layerMemory,
  Layer.sync(Faults, () => ({ mails: true, labels: false, messages: false }))
).pipe(
  Layer.provideMerge(UnitOfWork.layer),
  Layer.provideMerge(SqliteCheckpoints.layer),
  Layer.provideMerge(SqliteEventStore.layer),
  Layer.provideMerge(SqliteClient.layer({ filename: ":memory:" }))
)

it.effect("thirty parked events are retried in a few seconds", () =>
  Effect.gen(function* () {
    logs(/mails.* parked/)
    const parking = yield* ParkedEvents.ParkedEvents
    const acting = clientOf({ name: "ada", mayAct: true }, { acts: true })
    const count = 30
    yield* Layer.build(Followers)
    for (let order = 1; order <= count; order++) yield* place(String(order))
    yield* until(
      Effect.andThen(
        TestClock.adjust("50 millis"),
        Effect.map(parking.list("mails"), (all) => all.length === count)
      )
    )
    const faults = yield* Faults
    faults.mails = false
    // The program itself, and one that only asks, as the command line does.
    yield* acting
    const client = yield* Effect.provideService(acting, Subscription.Registry, new Map())
    const asking = yield* Effect.forkChild(
      Effect.forEach(
        yield* parking.list("mails"),
        ({ position }) =>
          Stream.runDrain(client.Act({ id: `retry-${position}`, act: { _tag: "Retry", follower: "mails", position } })),
        { discard: true }
      )
    )
    let moments = 0
    yield* until(
      Effect.andThen(
        TestClock.adjust("50 millis"),
        Effect.sync(() => (moments++, asking.pollUnsafe() !== undefined))
      )
    )
    yield* Fiber.join(asking)
    assert.deepStrictEqual(yield* parking.list("mails"), [])
    // A look a second for each would be 600.
    assert.isBelow(moments, 200)
  }).pipe(Effect.scoped, Effect.provide(Layer.fresh(Shop)), Effect.provideService(Subscription.Registry, new Map()))
)
