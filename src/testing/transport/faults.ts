/** Connections are cut and brokers end: nothing is lost, and order holds. */
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import assert from "node:assert/strict"
import { realSleep } from "../../internal/realTime.ts"
import { type SubscribeOptions, TransportError } from "../../transport/Transport.ts"
import { range } from "../suite.ts"
import { type Kit, facts, messages, opened, take } from "./words.ts"

/** Until the broker answers again. Nothing else than its absence may be said meanwhile. */
const patiently = <A, E>(effect: Effect.Effect<A, TransportError | E>): Effect.Effect<A, TransportError | E> =>
  Effect.tapError(effect, (error) =>
    Effect.sync(() => {
      assert.ok(error instanceof TransportError, String(error))
      assert.equal(error.isRetryable, true, error.message)
    })
  ).pipe(
    Effect.tapError(() => realSleep("20 millis")),
    Effect.retry({ times: 1500 })
  )

/** Acknowledges whatever comes and writes it down, and subscribes again whenever that fails. */
const follow = ({ deliveries }: Kit, options: SubscribeOptions, received: Array<readonly [number, number]>) =>
  deliveries(options).pipe(
    Stream.runForEach((delivery) => {
      received.push(facts(delivery))
      return delivery.ack
    }),
    // A stream that ends is a connection that was lost, too.
    Effect.andThen(realSleep("20 millis")),
    Effect.forever,
    patiently
  )

const distinct = (received: ReadonlyArray<readonly [number, number]>): ReadonlyArray<number> =>
  Array.from(new Set(received.map(([n]) => n)))

/** Asserts that all `count` messages came, each for the first time in its order; overtaken is only what was delivered before. */
const assertInOrder = ({ overtakes }: Kit, received: ReadonlyArray<readonly [number, number]>, count: number): void => {
  const seen = new Set<number>()
  let newest = 0
  for (const [n, attempt] of received) {
    if (!seen.has(n) && (attempt === 1 || !overtakes)) {
      assert.ok(n > newest, `${n} came after ${newest}`)
      newest = n
    }
    seen.add(n)
  }
  assert.equal(seen.size, count)
}

export const faults = [
  opened(
    "what a member has in hand when its connection is cut, and who leaves then, is delivered again and counted",
    function* (open, { interrupt }) {
      const { join, publish } = yield* open
      const member = yield* join({ group: "g", concurrency: 3 })
      yield* publish(...messages(1, 3))
      yield* take(member, 3)
      yield* interrupt
      yield* member.leave
      const kit = yield* open
      const received: Array<readonly [number, number]> = []
      const following = yield* Effect.forkScoped(follow(kit, { group: "g" }, received))
      while (distinct(received).length < 3) yield* Effect.raceFirst(Fiber.join(following), realSleep("10 millis"))
      assert.ok(
        received.every(([, attempt]) => attempt >= (kit.counts ? 2 : 1)),
        JSON.stringify(received)
      )
    },
    "interrupt"
  ),

  opened(
    "a publisher whose connection is cut is told, or has succeeded; tried again until then, every message arrives, in order",
    function* (open, { interrupt }) {
      const kit = yield* open
      const received: Array<readonly [number, number]> = []
      yield* (yield* kit.join({ group: "g" })).leave
      const following = yield* Effect.forkScoped(follow(kit, { group: "g" }, received))
      let confirmed = 0
      const publishing = yield* Effect.forEach(range(0, 99), (batch) =>
        Effect.andThen(
          patiently(kit.publish(...messages(batch * 10 + 1, batch * 10 + 10))),
          Effect.sync(() => void (confirmed = batch + 1))
        )
      ).pipe(Effect.forkScoped)
      for (const batches of [20, 40, 60, 80]) {
        while (confirmed < batches) yield* Effect.raceFirst(Fiber.await(publishing), realSleep("1 millis"))
        yield* interrupt
      }
      yield* Fiber.join(publishing)
      while (distinct(received).length < 1000) yield* Effect.raceFirst(Fiber.join(following), realSleep("10 millis"))
      assertInOrder(kit, received, 1000)
    },
    "interrupt"
  ),

  opened(
    "the broker ends and starts again amid ten thousand messages: every one arrives in every group, in order",
    function* (open, { restart }) {
      const kit = yield* open
      const groups = { one: new Array<readonly [number, number]>(), many: new Array<readonly [number, number]>() }
      for (const group of ["one", "many"]) yield* (yield* kit.join({ group })).leave
      const one = yield* Effect.forkScoped(follow(kit, { group: "one" }, groups.one))
      const many = yield* Effect.forkScoped(follow(kit, { group: "many", concurrency: 100 }, groups.many))
      const publishing = yield* Effect.forEach(range(0, 99), (batch) =>
        patiently(kit.publish(...messages(batch * 100 + 1, batch * 100 + 100)))
      ).pipe(Effect.forkScoped)
      while (distinct(groups.many).length < 3000) yield* Effect.raceFirst(Fiber.join(many), realSleep("10 millis"))
      yield* restart
      yield* Fiber.join(publishing)
      for (const [received, following] of [
        [groups.one, one],
        [groups.many, many]
      ] as const) {
        while (received.length < 10_000 || distinct(received).length < 10_000) {
          yield* Effect.raceFirst(Fiber.join(following), realSleep("20 millis"))
        }
      }
      assertInOrder(kit, groups.one, 10_000)
      assert.deepEqual(
        distinct(groups.many).toSorted((a, b) => a - b),
        range(1, 10_000)
      )
    },
    "restart"
  )
]
