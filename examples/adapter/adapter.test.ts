import assert from "node:assert/strict"
import { describe, it } from "@effect/vitest"
import { Context, Effect, Exit, Layer, Stream } from "effect"
import { KeyValueStore } from "effect/persistence"
import type { EventStore } from "eventfold"
import { EventStoreConformance } from "eventfold/testing"
import * as KeyValueEventStore from "./KeyValueEventStore.ts"

/** New, empty storage that outlives the stores over it. */
const storage = Effect.map(Layer.build(Layer.fresh(KeyValueStore.layerMemory)), Context.get(KeyValueStore.KeyValueStore))

/** A new store over the same storage, as after a restart. */
const open = (kv: KeyValueStore.KeyValueStore) => Effect.provideService(KeyValueEventStore.make, KeyValueStore.KeyValueStore, kv)

const event = (id: string): EventStore.NewEvent => ({ type: "Happened", payload: {}, id })

describe("conformance of the store over a KeyValueStore", () => {
  const cases = EventStoreConformance.cases({
    storage: Effect.map(storage, (kv) => Layer.provide(KeyValueEventStore.layer, Layer.succeed(KeyValueStore.KeyValueStore, kv))),
    abilities: { durable: true, shared: false }
  })
  for (const { name, promise, run } of cases) it.effect(`${promise}: ${name}`, () => run, 60_000)
})

describe("the store over a KeyValueStore", () => {
  it.effect("says that an outcome is unknown, and takes the repetition for what it is", () =>
    Effect.gen(function* () {
      const kv = yield* storage
      let broken = true
      // What `set` writes stands, but the first answer does not come.
      const set: KeyValueStore.KeyValueStore["set"] = (key, value) =>
        Effect.andThen(
          kv.set(key, value),
          Effect.suspend(() => {
            if (!broken) return Effect.void
            broken = false
            return Effect.fail(new KeyValueStore.KeyValueStoreError({ method: "set", key, message: "no answer" }))
          })
        )
      const store = yield* open({ ...kv, set })
      const error = yield* Effect.flip(store.append("A-1", [event("1")]))
      assert.ok(error._tag === "EventStoreError" && error.reason._tag === "OutcomeUnknown")
      const again = yield* store.append("A-1", [event("1")])
      assert.equal(again.version, 1)
      const events = yield* Stream.runCollect((yield* open(kv)).readAll())
      assert.deepEqual(
        events.map(({ id }) => id),
        ["1"]
      )
    })
  )

  it.effect("does not open over what it cannot read", () =>
    Effect.gen(function* () {
      const kv = yield* storage
      yield* kv.set("events/1", "[{}]")
      const exit = yield* Effect.exit(open(kv))
      assert.ok(Exit.isFailure(exit))
      assert.match(String(exit.cause), /StoreCorrupted during open: events\/1 does not hold events/)
    })
  )
})
