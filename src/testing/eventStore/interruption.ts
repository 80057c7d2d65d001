/** Promise 9: interruption at any point leaks nothing. */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Random from "effect/Random"
import * as Stream from "effect/Stream"
import assert from "node:assert/strict"
import { inspect } from "node:util"
import { range, turns } from "../suite.ts"
import { collect, concurrently, event, every, named, numbered, positionsOf } from "./words.ts"

export const interruption = [
  every("an interrupted append is written whole or not at all, and may be repeated", function* (store) {
    for (let round = 0; round < 8; round++) {
      const appends = range(0, 23).map((n) => {
        const id = `${round}/${n}`
        return store.appendAll([
          { stream: `Shared-${n % 3}`, events: named(`${id}/a`, `${id}/b`) },
          { stream: `Round-${round}`, events: named(`${id}/c`) }
        ])
      })
      const fibers = yield* Effect.forEach(appends, (append) => Effect.forkChild(append))
      yield* turns(round * round)
      const interrupted = new Set((yield* Random.shuffle(fibers).pipe(Random.withSeed(round))).slice(12))
      yield* Fiber.interruptAll(interrupted)
      const exits = yield* Fiber.awaitAll(fibers)
      const standing = new Set((yield* collect(store.readAll())).map(({ id }) => id))
      for (const [n, exit] of exits.entries()) {
        const there = ["a", "b", "c"].filter((part) => standing.has(`${round}/${n}/${part}`)).length
        if (Exit.isSuccess(exit)) assert.equal(there, 3, "what succeeded is there")
        else {
          assert.ok(Cause.hasInterruptsOnly(exit.cause), inspect(exit.cause))
          assert.ok(interrupted.has(fibers[n] as (typeof fibers)[number]), "only what was interrupted did not succeed")
          assert.ok(there === 0 || there === 3, "all or nothing")
        }
      }
      const again = yield* concurrently(appends, (append) => append)
      for (const [n, exit] of exits.entries())
        if (Exit.isSuccess(exit)) assert.ok(again[n]?.every(({ deduplicated }) => deduplicated))
      assert.equal(yield* store.head, (round + 1) * 24 * 3, "each is there once")
    }
  }),

  every("interrupted reads and subscriptions leave a store that works", function* (store) {
    yield* store.append("Account-1", numbered(2000))
    for (let round = 0; round < 5; round++) {
      const fibers = yield* Effect.forEach(range(1, 15), (n) =>
        Effect.forkChild(
          n % 3 === 0
            ? Stream.runDrain(store.subscribe({ after: n % 2 === 0 ? "end" : 0 }))
            : n % 3 === 1
              ? Stream.runDrain(store.readAll({ filter: { types: ["Numbered"] } }))
              : Stream.runDrain(store.read("Account-1", { direction: "backward" }))
        )
      )
      yield* turns(round * 5)
      const probes = yield* Effect.forEach(range(1, 5), () =>
        Effect.forkChild(Effect.all([store.head, store.version("Account-1")]))
      )
      yield* turns(round % 2)
      yield* Fiber.interruptAll([...fibers, ...probes])
      for (const exit of yield* Fiber.awaitAll<Fiber.Fiber<unknown, unknown>>([...fibers, ...probes])) {
        assert.ok(Exit.isSuccess(exit) || Cause.hasInterruptsOnly(exit.cause), "interrupted, or done before")
      }
      yield* concurrently(range(1, 20), () => store.append("Account-1", [event()]))
      assert.equal(yield* store.version("Account-1"), 2000 + (round + 1) * 20)
    }
    assert.deepEqual(yield* positionsOf(Stream.take(store.subscribe({ after: 1990 }), 110)), range(1991, 2100))
  }),

  every("a writer interrupted between any two appends leaves the other writers to go on", function* (store) {
    const acknowledged: Array<string> = []
    const writer = (name: string) =>
      Effect.forEach(range(1, 30), (n) =>
        store
          .append("Shared-1", named(`${name}/${n}`))
          .pipe(Effect.andThen(Effect.sync(() => acknowledged.push(`${name}/${n}`))), Effect.andThen(Effect.yieldNow))
      )
    const fibers = yield* Effect.forEach(range(1, 8), (n) => Effect.forkChild(writer(`${n}`)))
    for (const [index, fiber] of fibers.entries()) {
      if (index % 2 === 1) continue
      yield* turns(index)
      yield* Fiber.interrupt(fiber)
    }
    yield* Fiber.awaitAll(fibers)
    const ids = (yield* collect(store.read("Shared-1"))).map(({ id }) => id)
    assert.deepEqual(
      acknowledged.filter((id) => !ids.includes(id)),
      [],
      "what was acknowledged is there"
    )
    for (const n of [2, 4, 6, 8]) {
      const own = ids.filter((id) => id.startsWith(`${n}/`))
      assert.deepEqual(
        own,
        range(1, 30).map((step) => `${n}/${step}`),
        "in the order in which its writer appended"
      )
    }
  })
]
