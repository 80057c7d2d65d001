import assert from "node:assert/strict"
import { describe, it } from "@effect/vitest"
import { Effect, Exit, Layer, Schedule, Schema } from "effect"
import {
  Aggregate,
  Checkpoints,
  Event,
  EventStore,
  MessageBus,
  ProcessManager,
  Repository,
  Snapshots,
  Subscription,
  UnitOfWork
} from "eventfold"
import { Scenario } from "eventfold/testing"
import { vi } from "vitest"
import { eventually, start } from "../support/words.ts"
import { logs } from "../support/logs.ts"

const Added = Event.make("Added", { item: Schema.String, labels: Schema.Array(Schema.String) })
const apple = Added.make({ item: "apple", labels: ["red"] })

interface Items {
  readonly items: Array<{ readonly name: string }>
}

const changing = Aggregate.make("Changing", {
  events: [Added],
  initial: { items: [] } as Items,
  evolve: {
    Added: (state, { item }) => {
      state.items.push({ name: item })
      return state
    }
  }
})

const keeping = Aggregate.make("Keeping", {
  events: [Added],
  initial: { items: [] } as Items,
  evolve: { Added: ({ items }, { item }) => ({ items: [...items, { name: item }] }) },
  snapshot: {
    state: Schema.mutableKey(Schema.Struct({ items: Schema.mutable(Schema.Array(Schema.Struct({ name: Schema.String }))) })),
    every: 1
  }
})

const stores = Layer.mergeAll(UnitOfWork.layer, Checkpoints.layerMemory).pipe(Layer.provideMerge(EventStore.layerMemory))

/** What a change in place comes to. */
const refused = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.map(Effect.exit(effect), (exit) => {
    assert.ok(Exit.isFailure(exit))
    assert.match(String(exit.cause), /TypeError/)
  })

describe("in development, a change in place is refused where it is made", () => {
  it("by a fold, and the initial state stays what it is", () => {
    assert.throws(() => Aggregate.fold(changing, [apple]), TypeError)
    assert.deepEqual(changing.initial, { items: [] })
    assert.deepEqual(Aggregate.fold(keeping, [apple], { items: [{ name: "pear" }] }), {
      items: [{ name: "pear" }, { name: "apple" }]
    })
    assert.throws(() => Aggregate.fold(changing, [apple], { items: [] }), TypeError)
  })

  it.effect("by a decision, of what is read, what is staged, and what comes from a snapshot", () =>
    Effect.gen(function* () {
      const decide = UnitOfWork.transact(
        Repository.execute(keeping, "1", (state) =>
          Effect.sync(() => {
            state.items.push({ name: "more" })
            return []
          })
        )
      )
      yield* refused(decide)
      yield* Repository.append(keeping, "1", [apple])
      yield* refused(decide)
      yield* Repository.read(keeping, "1")
      yield* refused(decide)
      assert.deepEqual((yield* Repository.read(keeping, "1")).state, { items: [{ name: "apple" }] })
      const staged = UnitOfWork.transact(
        Effect.gen(function* () {
          yield* Repository.execute(keeping, "1", () => Effect.succeed([apple]))
          const { state } = yield* Repository.load(keeping, "1")
          state.items.pop()
        })
      )
      yield* refused(staged)
    }).pipe(Effect.provide(stores), Effect.provide(Snapshots.layerMemory))
  )

  it.effect("by an upcast", () => {
    const Old = Event.make(
      "Old",
      { n: Schema.Int },
      {
        version: 2,
        upcast: {
          1: (payload: { n: number }) => {
            payload.n = 2
            return payload
          }
        }
      }
    )
    const old = { stream: "A-1", version: 1, position: 1, type: "Old", schemaVersion: 1, payload: { n: 1 } }
    return Effect.map(Effect.flip(Effect.fromResult(Event.decode(Old, old))), (error) => {
      assert.match(error.message, /the upcast from schema version 1 threw/)
      assert.deepEqual(old.payload, { n: 1 })
    })
  })

  it.effect("by a listener, of the event and of its metadata", () =>
    Effect.gen(function* () {
      let changeOf: "event" | "metadata" = "event"
      const Changes = MessageBus.listen(Added, (event, { metadata }) =>
        Effect.sync(() => {
          if (changeOf === "event") (event.labels as Array<string>).push("green")
          else (metadata as { user?: string }).user = "eve"
        })
      )
      const publish = MessageBus.publish(Added, Added.make({ item: "pear", labels: [] }))
      yield* Effect.gen(function* () {
        yield* refused(publish)
        changeOf = "metadata"
        yield* refused(publish)
        assert.equal(yield* EventStore.head, 0)
      }).pipe(Effect.provide(Changes.pipe(Layer.provideMerge(MessageBus.layer))))
    }).pipe(Effect.provide(stores))
  )

  it.effect("by whoever keeps the payload of an event that is staged", () =>
    refused(
      UnitOfWork.transact(
        Effect.gen(function* () {
          const payload = { list: [1] }
          yield* UnitOfWork.stage("A-1", [{ type: "Listed", payload }])
          payload.list.push(2)
        })
      )
    ).pipe(Effect.provide(stores))
  )

  it.live("by the fold of a process manager", () =>
    Effect.gen(function* () {
      logs(/"process:Gathering" halts/)
      const process = ProcessManager.make("Gathering", {
        events: [Added],
        correlate: { Added: () => "all" },
        initial: { items: [] } as Items,
        evolve: {
          Added: (state, { item }) => {
            state.items.push({ name: item })
            return state
          }
        },
        react: { Added: () => [] }
      })
      yield* EventStore.append(
        "Cart-1",
        [1, 2].map(() => ({ type: "Added", payload: { item: "a", labels: [] } }))
      )
      yield* start(ProcessManager.layer(process, { retry: Schedule.recurs(0) }))
      yield* eventually(
        "it has halted",
        Effect.map(Subscription.status("process:Gathering"), ({ state }) => state === "halted")
      )
      assert.deepEqual(process.initial, { items: [] })
    }).pipe(
      Effect.scoped,
      Effect.provide(MessageBus.layer.pipe(Layer.provideMerge(stores))),
      Effect.provideService(Subscription.Registry, new Map())
    )
  )

  it.effect("by a decision of a scenario", () =>
    refused(
      Scenario.aggregate(keeping)
        .given([apple])
        .when((state) => {
          state.items.pop()
          return Effect.succeed([])
        })
        .then([])
    )
  )
})

describe("in production", () => {
  it("nothing is frozen", async () => {
    vi.stubEnv("NODE_ENV", "production")
    vi.resetModules()
    const { freeze } = await import("../../src/internal/freeze.ts")
    vi.unstubAllEnvs()
    const value = { list: [1] }
    freeze(value).list.push(2)
    assert.deepEqual(value, { list: [1, 2] })
  })
})

describe("what is frozen", () => {
  it("is all that is plain, however deep and in a circle; what has a class is left alone", async () => {
    vi.resetModules()
    const { freeze } = await import("../../src/internal/freeze.ts")
    const date = new Date(0)
    const circle: { self?: object; date: Date; bytes: Uint8Array; inner: { list: Array<number> } } = {
      date,
      bytes: new Uint8Array(2),
      inner: Object.freeze({ list: [1] })
    }
    circle.self = circle
    freeze(circle)
    assert.throws(() => circle.inner.list.push(2), TypeError)
    date.setTime(1)
    circle.bytes[0] = 1
    let deep: object = {}
    for (let n = 0; n < 100_000; n++) deep = { deep }
    assert.ok(Object.isFrozen(freeze(deep)))
  })
})
