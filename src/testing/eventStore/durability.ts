/** Promise 6: acknowledged means durable. */
import * as DateTime from "effect/DateTime"
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import assert from "node:assert/strict"
import { inspect } from "node:util"
import { EventStoreError } from "../../store/EventStore.ts"
import * as Kit from "../../store/kit/index.ts"
import { range } from "../suite.ts"
import { variety, filters, payloads } from "./samples.ts"
import {
  NoStream,
  type Store,
  collect,
  concurrently,
  conditionError,
  contents,
  duplicate,
  enrolled,
  event,
  life,
  lockError,
  named,
  numbered,
  opened,
  positionsOf,
  refusal,
  refused,
  reopened,
  sound
} from "./words.ts"

export const closing = [
  opened(
    "a store that has been closed says so, or goes on as before, whatever is asked of it: nothing hangs, dies or interrupts",
    function* (open) {
      const [store, waiting] = yield* life(open, (store) =>
        Effect.gen(function* () {
          yield* store.append("Account-1", numbered(3))
          const reading = yield* Deferred.make<void>()
          const waits = yield* Stream.runForEach(store.subscribe(), () => Deferred.succeed(reading, undefined)).pipe(
            Effect.exit,
            Effect.forkDetach({ startImmediately: true })
          )
          yield* Deferred.await(reading)
          return [store, waits] as const
        })
      )
      const asked = {
        append: store.append("Account-1", numbered(1)),
        appendAll: store.appendAll([{ stream: "Account-2", events: numbered(1) }]),
        read: Stream.runDrain(store.read("Account-1")),
        readAll: Stream.runDrain(store.readAll()),
        readPage: store.readPage(),
        subscribe: Stream.runDrain(Stream.take(store.subscribe(), 1)),
        streams: Stream.runDrain(store.streams()),
        version: store.version("Account-1"),
        exists: store.exists("Account-1"),
        head: store.head
      }
      const answers: Record<string, string> = {}
      for (const [method, ask] of Object.entries(asked)) {
        const exit = yield* Effect.exit(ask as Effect.Effect<unknown, unknown>)
        answers[method] = Exit.isSuccess(exit)
          ? "goes on"
          : Option.match(Cause.findErrorOption(exit.cause), {
              onNone: () => `no failure: ${inspect(exit.cause)}`,
              onSome: (error) => (error instanceof EventStoreError ? error.reason._tag : inspect(error))
            })
      }
      const first = answers["append"]
      assert.ok(first === "goes on" || first === "StoreUnavailable", first)
      assert.deepEqual(answers, Object.fromEntries(Object.keys(asked).map((method) => [method, first])))
      if (first === "goes on") return yield* Fiber.interrupt(waiting)
      const ended = yield* Fiber.join(waiting)
      assert.ok(Exit.isFailure(ended) && Option.isSome(Cause.findErrorOption(ended.cause)), "a subscription that waits fails")
    }
  )
]

export const durability = [
  reopened("everything is there after the store was closed and opened again", function* (open) {
    const before = yield* life(open, (store) =>
      Effect.gen(function* () {
        yield* store.appendAll(variety)
        yield* store.append(
          "Payloads-1",
          payloads.map((payload) => event({ payload, recordedAt: DateTime.makeUnsafe(-1) }))
        )
        yield* concurrently(range(1, 50), (n) => store.append(`Account-${n % 7}`, numbered(3)))
        yield* refusal(store.append("Account-1", numbered(2), { expected: NoStream }))
        return {
          ...(yield* contents(store)),
          texts: (yield* collect(store.read("Payloads-1"))).map(({ payload }) => JSON.stringify(payload))
        }
      })
    )
    for (let again = 0; again < 2; again++) {
      yield* life(open, (store) =>
        Effect.gen(function* () {
          const { texts, ...rest } = before
          assert.deepEqual(yield* contents(store), rest)
          assert.deepEqual(
            (yield* collect(store.read("Payloads-1"))).map(({ payload }) => JSON.stringify(payload)),
            texts
          )
          assert.deepEqual(yield* collect(Stream.take(store.subscribe(), rest.head)), rest.events)
          for (const [filter] of filters) {
            const wanted = rest.events.filter((event) => Kit.matches(filter, event)).map(({ position }) => position)
            assert.deepEqual(yield* positionsOf(store.readAll({ filter })), wanted, inspect(filter))
          }
        })
      )
    }
  }),

  reopened("a store opened again knows versions, ids and facts, and goes on densely", function* (open) {
    const append = (store: Store) =>
      store.appendAll(
        [
          { stream: "Account-1", events: named("a", "b"), expected: NoStream },
          { stream: "Student-1", events: [enrolled("1", { id: "c" })] }
        ],
        { unless: { filter: { tags: ["course:1"] } } }
      )
    const first = yield* life(open, append)
    for (let again = 1; again <= 3; again++) {
      yield* life(open, (store) =>
        Effect.gen(function* () {
          assert.deepEqual(
            yield* append(store),
            first.map((result) => ({ ...result, deduplicated: true }))
          )
          assert.deepEqual(yield* refused(store, store.append("Account-1", named("b", "new"))), duplicate("Account-1", "b"))
          assert.deepEqual(
            yield* refused(store, store.append("Account-1", [event()], { expected: again })),
            lockError("Account-1", again, again + 1)
          )
          const unless = { filter: { tags: ["course:1"] } }
          assert.deepEqual(
            yield* refused(store, store.appendAll([{ stream: "B-1", events: [event()] }], { unless })),
            conditionError(3, unless)
          )
          assert.deepEqual(yield* store.append("Account-1", [event()], { expected: again + 1 }), {
            stream: "Account-1",
            version: again + 2,
            position: again + 3,
            deduplicated: false
          })
          yield* sound(store)
        })
      )
    }
  }),

  reopened("what was acknowledged before the store was closed amid appends is there", function* (open) {
    const acknowledged: Array<string> = []
    for (let round = 1; round <= 3; round++) {
      const wanted = acknowledged.length + round * 10
      yield* life(open, (store) =>
        Effect.gen(function* () {
          const enough = yield* Deferred.make<void>()
          const write = (writer: number, n: number) => {
            const id = `${round}/${writer}/${n}`
            return store.append(`Account-${writer % 3}`, named(`${id}/a`, `${id}/b`)).pipe(
              Effect.tap(() => {
                acknowledged.push(`${id}/a`, `${id}/b`)
                return acknowledged.length >= wanted ? Deferred.succeed(enough, undefined) : Effect.yieldNow
              })
            )
          }
          yield* Effect.forEach(range(1, 8), (writer) =>
            Effect.forkScoped(Effect.forEach(range(1, 1000), (n) => write(writer, n)))
          )
          yield* Deferred.await(enough)
        })
      )
      const events = yield* life(open, sound)
      const ids = new Set(events.map(({ id }) => id))
      assert.deepEqual(
        acknowledged.filter((id) => !ids.has(id)),
        []
      )
      assert.equal(events.filter(({ id }) => id.endsWith("/a")).length, events.filter(({ id }) => id.endsWith("/b")).length)
    }
  })
]
