import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Option, Scope, Stream } from "effect"
import { EventStore } from "eventfold"
import { storeUntilClosed } from "eventfold/kit"
import { forEachPage } from "../../src/internal/paging.ts"

type Store = EventStore.EventStore["Service"]

/** A store with so many events in one stream, and the scope that it lives in. */
const opened = Effect.fnUntraced(function* (count: number, change: (store: Store) => Partial<Store> = () => ({})) {
  const inner = yield* EventStore.makeMemory
  yield* inner.append(
    "S",
    Array.from({ length: count }, (_, n) => ({ type: "E", payload: { n } }))
  )
  const scope = yield* Scope.make()
  const store = yield* Scope.provide(storeUntilClosed({ ...inner, ...change(inner) }), scope)
  return { store, close: Scope.close(scope, Exit.void) }
})

/** How a read is taken: event by event, or by its pages. */
const ways = {
  "as a stream": (events: ReturnType<Store["read"]>, take: (version: number) => Effect.Effect<void>) =>
    Stream.runForEach(events, ({ version }) => take(version)),
  "by pages": (events: ReturnType<Store["read"]>, take: (version: number) => Effect.Effect<void>) =>
    forEachPage(events, (page) => Effect.forEach(page, ({ version }) => take(version), { discard: true }))
}

const reasonOf = (exit: Exit.Exit<unknown, EventStore.EventStoreError>) =>
  Option.getOrUndefined(Exit.findErrorOption(exit))?.reason._tag

describe("a store that is closed amid reads", () => {
  for (const [how, run] of Object.entries(ways)) {
    it.effect(`has answered what it has given already (${how})`, () =>
      Effect.gen(function* () {
        for (const at of [5, 10]) {
          const { close, store } = yield* opened(10)
          const seen: Array<number> = []
          yield* run(store.read("S"), (version) => {
            seen.push(version)
            return version === at ? close : Effect.void
          })
          assert.equal(seen.length, 10)
        }
      })
    )

    it.effect(`is unavailable for what there would be more (${how})`, () =>
      Effect.gen(function* () {
        const { close, store } = yield* opened(100)
        const seen: Array<number> = []
        const exit = yield* Effect.exit(
          run(store.read("S"), (version) => {
            seen.push(version)
            return version === 5 ? close : Effect.void
          })
        )
        assert.equal(reasonOf(exit), "StoreUnavailable")
        assert.equal(seen.length, 64)
      })
    )

    it.effect(`asks the one within it when it is run, and no more once it is closed (${how})`, () =>
      Effect.gen(function* () {
        let calls = 0
        const { close, store } = yield* opened(1, (inner) => ({
          read: (stream, options) => {
            calls++
            return inner.read(stream, options)
          }
        }))
        const events = store.read("S")
        assert.equal(calls, 0)
        yield* run(events, () => Effect.void)
        yield* run(events, () => Effect.void)
        assert.equal(calls, 2)
        yield* close
        for (const events of [store.read("S"), store.readAll()]) {
          assert.equal(reasonOf(yield* Effect.exit(run(events, () => Effect.void))), "StoreUnavailable")
        }
        assert.equal(calls, 2)
      })
    )
  }

  it.effect("finds nothing any more, whether it is there or not", () =>
    Effect.gen(function* () {
      const { close, store } = yield* opened(1)
      yield* close
      assert.equal(reasonOf(yield* Effect.exit(store.find("x"))), "StoreUnavailable")
    })
  )
})
