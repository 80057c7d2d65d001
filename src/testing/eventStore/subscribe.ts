/** Following the log. */
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import assert from "node:assert/strict"
import type * as EventStore from "../../store/EventStore.ts"
import { range, turns } from "../suite.ts"
import { NoStream, collect, concurrently, event, every, numbered, positionsOf } from "./words.ts"

export const subscribe = [
  every("a subscriber at the start sees every position once, in order, while four writers append", function* (store) {
    const total = 4 * 40 * 2
    yield* store.append("Before-1", numbered(3))
    const half = yield* Deferred.make<void>()
    const follow = (options: EventStore.SubscribeOptions, count: number) =>
      Effect.forkChild(collect(Stream.take(store.subscribe(options), count)))
    const early = [yield* follow({}, total + 3), yield* follow({}, total + 3)]
    const later = yield* follow({ after: 50 }, total + 3 - 50)
    const writers = yield* Effect.forkChild(
      concurrently(range(1, 4), (writer) =>
        Effect.forEach(range(1, 40), (n) =>
          store
            .append(`Writer-${writer}`, numbered(1 + 2 * (n % 2), n))
            .pipe(Effect.andThen(Effect.yieldNow), Effect.andThen(n === 20 ? Deferred.succeed(half, undefined) : Effect.void))
        )
      )
    )
    yield* Deferred.await(half)
    const midway = yield* follow({ after: 0 }, total + 3)
    yield* Fiber.join(writers)
    const log = yield* collect(store.readAll())
    assert.equal(log.length, total + 3)
    for (const fiber of [...early, midway]) assert.deepEqual(yield* Fiber.join(fiber), log)
    assert.deepEqual(yield* Fiber.join(later), log.slice(50))
  }),

  every("each event wakes a subscriber that has seen all before it", function* (store) {
    const pull = yield* Stream.toPull(Stream.rechunk(store.subscribe(), 1))
    for (let n = 1; n <= 20; n++) {
      // The subscriber waits on every other event before it is appended.
      const waiting = n % 2 === 0 ? yield* Effect.forkChild(pull) : undefined
      yield* turns(n)
      yield* store.append(`Account-${n % 3}`, [event({ id: `${n}` })])
      const [next] = yield* waiting === undefined ? pull : Fiber.join(waiting)
      assert.deepEqual([next.position, next.id], [n, `${n}`])
    }
  }),

  every("from the end a subscriber sees only what comes later", function* (store) {
    yield* store.append("Account-1", numbered(100))
    const pull = yield* Stream.toPull(Stream.rechunk(store.subscribe({ after: "end" }), 1))
    const first = yield* Effect.forkChild(pull)
    // Where its end was is known from what it sees first, so events come until it has seen one.
    while (first.pollUnsafe() === undefined) {
      yield* store.append("Account-1", [event()])
      yield* Effect.yieldNow
    }
    const [seen] = yield* Fiber.join(first)
    assert.ok(seen.position > 100)
    yield* store.append("Account-1", numbered(3))
    for (let n = 1; n <= 3; n++) assert.equal((yield* pull)[0].position, seen.position + n)
  }),

  every("a position that is not reached yet is waited for", function* (store) {
    yield* store.append("Account-1", numbered(2))
    const beyond = yield* Effect.forkChild(positionsOf(Stream.take(store.subscribe({ after: 5 }), 3)))
    const atHead = yield* Effect.forkChild(positionsOf(Stream.take(store.subscribe({ after: 2 }), 3)))
    yield* turns(3)
    for (let n = 1; n <= 8; n++) yield* store.append("Account-1", [event()])
    assert.deepEqual(yield* Fiber.join(beyond), [6, 7, 8])
    assert.deepEqual(yield* Fiber.join(atHead), [3, 4, 5])
  }),

  every("a filter holds for history and for what comes live", function* (store) {
    const some = (from: number, to: number) =>
      store.append(
        "Mixed-1",
        range(from, to).map((n) =>
          event({ type: n % 50 === 0 ? "Rare" : "Common", tags: [`mod:${n % 3}`], published: n % 7 === 0 })
        )
      )
    yield* some(1, 500)
    const follow = (options: EventStore.SubscribeOptions, count: number) =>
      Effect.forkChild(positionsOf(Stream.take(store.subscribe(options), count)))
    const rare = yield* follow({ filter: { types: ["Rare"] } }, 20)
    const tagged = yield* follow({ filter: { tags: ["mod:1"], published: true }, after: 200 }, 30)
    const either = yield* follow({ filter: [{ types: ["Rare"] }, { categories: ["Other"] }], after: 400 }, 13)
    const live = yield* follow({ filter: { categories: ["Other"] } }, 1)
    for (let from = 501; from <= 1000; from += 25) {
      yield* some(from, from + 24)
      yield* turns(1)
    }
    yield* store.append("Other-1", [event()])
    assert.deepEqual(
      yield* Fiber.join(rare),
      range(1, 20).map((n) => n * 50)
    )
    assert.deepEqual(
      yield* Fiber.join(tagged),
      range(201, 1000)
        .filter((n) => n % 3 === 1 && n % 7 === 0)
        .slice(0, 30)
    )
    assert.deepEqual(yield* Fiber.join(either), [...range(9, 20).map((n) => n * 50), 1001])
    assert.deepEqual(yield* Fiber.join(live), [1001])
  }),

  every("a subscriber that does not pull hinders nobody, and misses nothing", function* (store) {
    yield* store.append("Account-1", numbered(10))
    const idle = yield* concurrently(range(1, 20), () => Stream.toPull(store.subscribe()))
    const [first] = idle
    assert.ok(first !== undefined)
    const seen = (yield* first).map(({ position }) => position)
    yield* concurrently(range(1, 50), (n) => store.append(`Account-${n % 5}`, numbered(100)))
    assert.equal(yield* store.head, 5010)
    while (seen.length < 5010) seen.push(...(yield* first).map(({ position }) => position))
    assert.deepEqual(seen, range(1, 5010))
  }),

  every("a subscriber may append to the store it follows", function* (store) {
    yield* store.append("Ping-0", [event({ type: "Ping" })])
    const seen = yield* store.subscribe().pipe(
      Stream.tap(({ position }) => store.append(`Pong-${position}`, [event({ type: "Pong" })], { expected: NoStream })),
      Stream.take(100),
      positionsOf
    )
    assert.deepEqual(seen, range(1, 100))
    assert.equal(yield* store.head, 101)
  }),

  every("a subscription never ends by itself, and ends when it is interrupted", function* (store) {
    yield* store.append("Account-1", numbered(3))
    let seen = 0
    const caughtUp = yield* Deferred.make<void>()
    const fibers = yield* Effect.forEach(range(1, 10), () =>
      Effect.forkChild(
        Stream.runForEach(store.subscribe(), () => (++seen === 30 ? Deferred.succeed(caughtUp, undefined) : Effect.void))
      )
    )
    yield* Deferred.await(caughtUp)
    yield* turns(5)
    for (const fiber of fibers) assert.equal(fiber.pollUnsafe(), undefined)
    yield* Fiber.interruptAll(fibers)
    for (const fiber of fibers) {
      const exit = yield* Fiber.await(fiber)
      assert.ok(Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause))
    }
    yield* store.append("Account-1", numbered(1))
    assert.equal(seen, 30)
  })
]
