import { describe, expect, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Scope } from "effect"
import { makeGrouped, type Together } from "../../src/postgres/store/grouping.ts"
import { EventStoreError, StoreFailure, StoreUnavailable } from "../../src/store/errors.ts"

type Read = (requests: ReadonlyArray<number>) => Effect.Effect<Together<number>, EventStoreError>

const answering = (requests: ReadonlyArray<number>, millis = 0): Together<number> => ({
  millis,
  answers: requests.map((request) => () => request * 2)
})

/** Reads of which it is known what went in each statement, and how many statements were on their way at once. */
const reads = Effect.fnUntraced(function* (work: Read) {
  const statements: Array<ReadonlyArray<number>> = []
  let [running, most] = [0, 0]
  const read = yield* makeGrouped<number, number>({
    operation: "read",
    read: (requests) =>
      Effect.suspend(() => {
        statements.push(requests)
        most = Math.max(most, ++running)
        return Effect.ensuring(
          work(requests),
          Effect.sync(() => running--)
        )
      })
  })
  const eight = [1, 2, 3, 4, 5, 6, 7, 8]
  const round = Effect.map(
    Effect.forEach(eight, (n) => read(n), { concurrency: "unbounded" }),
    (answers) => {
      expect(answers).toEqual(eight.map((n) => n * 2))
      const seen = { sizes: statements.splice(0).map(({ length }) => length), most }
      most = 0
      return seen
    }
  )
  return { read, round, statements }
})

const turns = Effect.repeat(Effect.yieldNow, { times: 5 })

const quick =
  (millisOf: (requests: number) => number): Read =>
  (requests) =>
    Effect.as(turns, answering(requests, millisOf(requests.length)))

const together = { sizes: [8], most: 1 }
const alone = { sizes: [1, 1, 1, 1, 1, 1, 1, 1], most: 8 }

describe("reads that are put together", () => {
  it.effect("stay together while statements are quick", () =>
    Effect.gen(function* () {
      const { round } = yield* reads(quick(() => 20))
      yield* round
      for (let nth = 0; nth < 30; nth++) expect(yield* round).toEqual(together)
    })
  )

  it.effect("go side by side for a while where a statement for several was slow, and come together again", () =>
    Effect.gen(function* () {
      let slow = true
      const { round } = yield* reads(quick((requests) => (slow && requests > 1 ? 21 : 0)))
      yield* round
      for (let nth = 0; nth < 16; nth++) expect(yield* round).toEqual(alone)
      slow = false
      // It is tried again, with those that come at once.
      expect(yield* round).toEqual(together)
      expect(yield* round).toEqual(together)
    })
  )

  it.effect("are not kept apart by what is slow for one alone", () =>
    Effect.gen(function* () {
      const { read, round } = yield* reads(quick((requests) => (requests === 1 ? 1_000 : 0)))
      yield* read(1)
      yield* round
      expect(yield* round).toEqual(together)
    })
  )

  it.effect("are asked for by two side by side, each in a statement and a fiber of its own", () =>
    Effect.gen(function* () {
      const fibers = new Set<number>()
      const { read, statements } = yield* reads((requests) =>
        Effect.andThen(
          Effect.withFiber((fiber) => Effect.sync(() => fibers.add(fiber.id))),
          quick(() => 0)(requests)
        )
      )
      const own = yield* Effect.forEach(
        [1, 2],
        (n) =>
          Effect.andThen(
            read(n),
            Effect.withFiber((fiber) => Effect.succeed(fiber.id))
          ),
        { concurrency: "unbounded" }
      )
      expect(statements).toEqual([[1], [2]])
      expect(fibers).toEqual(new Set(own))
    })
  )

  it.live("do not wait for a statement that hangs", () =>
    Effect.gen(function* () {
      const { read, round } = yield* reads((requests) => (requests.includes(0) ? Effect.never : quick(() => 0)(requests)))
      yield* round
      // One hangs by itself, and then one in a statement with others.
      yield* Effect.forkScoped(read(0), { startImmediately: true })
      yield* turns
      yield* round
      const hanging = yield* Effect.forkScoped(
        Effect.forEach([0, 1, 2], (n) => read(n), { concurrency: "unbounded" }),
        { startImmediately: true }
      )
      yield* turns
      yield* round
      expect((yield* round).sizes).toEqual([8])
      expect(hanging.pollUnsafe()).toBeUndefined()
    })
  )

  it.effect("of which one fails are tried each by itself, side by side, and answered as they end", () =>
    Effect.gen(function* () {
      const slow = yield* Deferred.make<void>()
      const failure = new EventStoreError({ reason: new StoreFailure({ operation: "read", detail: "poisoned" }) })
      const { read, round, statements } = yield* reads((requests) => {
        if (requests.includes(13)) return Effect.andThen(turns, Effect.fail(failure))
        if (requests.includes(14)) return Effect.as(Deferred.await(slow), answering(requests))
        return quick(() => 0)(requests)
      })
      yield* round
      const fibers = yield* Effect.forEach([14, 13, 1, 2], (n) => Effect.forkScoped(read(n), { startImmediately: true }))
      const [late, bad, first, second] = fibers
      expect(yield* Fiber.await(bad ?? expect.unreachable())).toEqual(Exit.fail(failure))
      expect(yield* Fiber.join(first ?? expect.unreachable())).toBe(2)
      expect(yield* Fiber.join(second ?? expect.unreachable())).toBe(4)
      expect(late?.pollUnsafe()).toBeUndefined()
      expect(statements.splice(0)).toEqual([[14, 13, 1, 2], [14], [13], [1], [2]])
      yield* Deferred.succeed(slow, undefined)
      expect(yield* Fiber.join(late ?? expect.unreachable())).toBe(28)
      // The next have a statement each: whatever failed may come again.
      expect(yield* round).toEqual({ ...alone, most: expect.any(Number) })
    })
  )

  it.effect("fail all where the store cannot be had, and are not tried again", () =>
    Effect.gen(function* () {
      const failure = new EventStoreError({ reason: new StoreUnavailable({ operation: "read", detail: "gone" }) })
      let down = false
      const { read, round, statements } = yield* reads((requests) =>
        Effect.andThen(
          turns,
          Effect.suspend(() => (down ? Effect.fail(failure) : Effect.succeed(answering(requests))))
        )
      )
      yield* round
      down = true
      const exits = yield* Effect.forEach([1, 2, 3], (n) => Effect.exit(read(n)), { concurrency: "unbounded" })
      expect(exits).toEqual([Exit.fail(failure), Exit.fail(failure), Exit.fail(failure)])
      expect(statements.splice(0)).toEqual([[1, 2, 3]])
      down = false
      expect(yield* round).toEqual({ ...together, most: expect.any(Number) })
    })
  )

  it.effect("that cannot even be put together are a defect of those who ask, and the next go on", () =>
    Effect.gen(function* () {
      const { read, round, statements } = yield* reads((requests) => {
        if (requests.includes(40)) throw new Error("no such request")
        return quick(() => 0)(requests)
      })
      yield* round
      const exits = yield* Effect.forEach([40, 41], (n) => Effect.exit(read(n)), { concurrency: "unbounded" })
      expect(exits).toEqual([Exit.die(new Error("no such request")), Exit.die(new Error("no such request"))])
      expect(statements.splice(0)).toEqual([[40, 41]])
      expect((yield* round).sizes).toEqual([8])
    })
  )

  it.effect("end with the last of those who wait for them", () =>
    Effect.gen(function* () {
      const ended: Array<ReadonlyArray<number>> = []
      const { read, round } = yield* reads((requests) =>
        requests.includes(20)
          ? Effect.onInterrupt(Effect.never, () => Effect.sync(() => ended.push(requests)))
          : quick(() => 0)(requests)
      )
      yield* round
      const fibers = yield* Effect.forEach([20, 21, 22], (n) => Effect.forkScoped(read(n), { startImmediately: true }))
      yield* turns
      for (const fiber of fibers) {
        expect(ended).toEqual([])
        yield* Fiber.interrupt(fiber)
      }
      yield* turns
      expect(ended).toEqual([[20, 21, 22]])
    })
  )

  it.effect("are refused when the store closes, those on their way as well", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const { read, round } = yield* Scope.provide(
        reads((requests) => (requests.includes(30) ? Effect.never : quick(() => 0)(requests))),
        scope
      )
      yield* round
      const fibers = yield* Effect.forEach([30, 31], (n) => Effect.forkChild(Effect.flip(read(n)), { startImmediately: true }))
      yield* turns
      const waiting = yield* Effect.forkChild(Effect.flip(read(32)), { startImmediately: true })
      yield* Scope.close(scope, Exit.void)
      for (const fiber of [...fibers, waiting]) expect((yield* Fiber.join(fiber)).reason._tag).toBe("StoreUnavailable")
      expect((yield* Effect.flip(read(33))).reason._tag).toBe("StoreUnavailable")
    })
  )
})
