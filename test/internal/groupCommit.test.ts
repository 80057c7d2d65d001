import assert from "node:assert/strict"
import { describe, expect, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Scope, Tracer } from "effect"
import { makeGroupCommit } from "../../src/internal/groupCommit.ts"

describe("group commit", () => {
  it.effect("writes outside of every trace, for a batch belongs to many callers", () => {
    const spans: Array<string> = []
    const tracer = Tracer.make({
      span(options) {
        spans.push(options.name)
        return new Tracer.NativeSpan(options)
      }
    })
    return Effect.gen(function* () {
      let written = 0
      const { submit } = yield* makeGroupCommit<number, number, string>({
        capacity: 10,
        maxBatch: 10,
        take: (waiting) => waiting.length,
        closed: () => "closed",
        write: (batch) =>
          Effect.sync(() => {
            written += batch.length
            for (const { answer, request } of batch) answer(Exit.succeed(request))
          }).pipe(Effect.withSpan("statement"))
      })
      yield* Effect.yieldNow
      const call = (n: number) => Effect.withSpan(submit(Effect.succeed(n)), `call ${n}`)
      yield* call(0)
      yield* Effect.all([call(1), call(2), call(3)], { concurrency: "unbounded" })
      assert.equal(written, 4)
      assert.deepEqual(spans, ["call 0", "call 1", "call 2", "call 3"])
    }).pipe(Effect.scoped, Effect.withTracer(tracer))
  })

  it.effect("writes those who come back together in one batch, and one who comes alone at once", () =>
    Effect.gen(function* () {
      const sizes: Array<number> = []
      const { submit } = yield* makeGroupCommit<number, number, string>({
        capacity: 10,
        maxBatch: 10,
        take: (waiting) => waiting.length,
        closed: () => "closed",
        write: (batch) =>
          Effect.gen(function* () {
            sizes.push(batch.length)
            yield* Effect.yieldNow
            return () => {
              for (const { answer, request } of batch) answer(Exit.succeed(request))
            }
          })
      })
      const together = Effect.all(
        [1, 2, 3, 4].map((n) => submit(Effect.succeed(n))),
        { concurrency: "unbounded" }
      )
      const writerSleeps = Effect.repeat(Effect.yieldNow, { times: 10 })
      yield* writerSleeps
      yield* submit(Effect.succeed(0))
      yield* together
      assert.deepEqual(sizes.splice(0), [1, 1, 3])
      yield* writerSleeps
      yield* together
      yield* writerSleeps
      assert.deepEqual(yield* together, [1, 2, 3, 4])
      assert.deepEqual(sizes.splice(0), [4, 4])
      yield* submit(Effect.succeed(5))
      yield* submit(Effect.succeed(6))
      assert.deepEqual(sizes, [1, 1])
    }).pipe(Effect.scoped)
  )

  it.live("writes many together where the storage takes longer than they do, also those who were in two halves", () =>
    Effect.gen(function* () {
      const sizes: Array<number> = []
      const { submit } = yield* makeGroupCommit<number, void, never>({
        capacity: 100,
        maxBatch: 100,
        halvesFrom: 32,
        take: (waiting, most) => Math.min(waiting.length, most),
        closed: () => expect.unreachable(),
        write: (batch) =>
          Effect.as(Effect.sleep(5), () => {
            sizes.push(batch.length)
            for (const { answer } of batch) answer(Exit.void)
          })
      })
      const come = (times: number) => Effect.repeat(submit(Effect.succeed(1)), { times })
      // Half of them begin while the other half is on its way.
      const first = yield* Effect.forkChild(
        Effect.forEach(Array.from({ length: 32 }), () => come(20), { concurrency: "unbounded", discard: true })
      )
      yield* Effect.repeat(Effect.yieldNow, { times: 5 })
      yield* Effect.forEach(Array.from({ length: 32 }), () => come(20), { concurrency: "unbounded", discard: true })
      yield* Fiber.join(first)
      assert.deepEqual(
        sizes.slice(4, 14),
        Array.from({ length: 10 }, () => 64)
      )
    }).pipe(Effect.scoped)
  )

  it.live("refuses what has waited too long behind a batch that went wrong, if there is reason to, and nothing else", () =>
    Effect.gen(function* () {
      for (const down of [true, false]) {
        const written: Array<number> = []
        const { submit } = yield* makeGroupCommit<number, number, string>({
          capacity: 10,
          maxBatch: 2,
          take: (waiting, most) => Math.min(waiting.length, most),
          closed: () => "closed",
          overdue: { millis: 1, refusal: () => (down ? "overdue" : undefined) },
          write: (batch) =>
            Effect.gen(function* () {
              for (const { request } of batch) written.push(request)
              // Longer than anybody is to wait.
              const begun = performance.now()
              while (performance.now() <= begun + 2) yield* Effect.yieldNow
              for (const { answer, request } of batch) answer(down ? Exit.fail("down") : Exit.succeed(request))
            })
        })
        for (let turn = 0; turn < 5; turn++) yield* Effect.yieldNow
        const answers = yield* Effect.forEach([1, 2, 3, 4, 5], (n) => Effect.exit(submit(Effect.succeed(n))), {
          concurrency: "unbounded"
        })
        const overdue = Exit.fail("overdue")
        assert.deepEqual(
          answers,
          down ? [Exit.fail("down"), overdue, overdue, overdue, overdue] : [1, 2, 3, 4, 5].map((n) => Exit.succeed(n))
        )
        assert.deepEqual(written, down ? [1] : [1, 2, 3, 4, 5])
      }
    }).pipe(Effect.scoped)
  )

  it.effect("is not closed while a batch is being written, whoever writes it", () =>
    Effect.gen(function* () {
      for (const callers of [1, 3]) {
        const scope = yield* Scope.make()
        const [writing, written] = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
        const log: Array<string> = []
        const { submit } = yield* makeGroupCommit<number, number, string>({
          capacity: 10,
          maxBatch: 10,
          take: (waiting) => waiting.length,
          closed: () => "closed",
          write: (batch) =>
            Effect.gen(function* () {
              yield* Deferred.succeed(writing, undefined)
              yield* Deferred.await(written)
              log.push("written")
              for (const { answer, request } of batch) answer(Exit.succeed(request))
            })
        }).pipe(Scope.provide(scope))
        yield* Effect.yieldNow
        const submitted = yield* Effect.forkChild(
          Effect.forEach(
            Array.from({ length: callers }, (_, n) => n),
            (n) => Effect.exit(submit(Effect.succeed(n))),
            { concurrency: "unbounded" }
          )
        )
        yield* Deferred.await(writing)
        const closing = yield* Effect.forkChild(
          Effect.andThen(
            Scope.close(scope, Exit.void),
            Effect.sync(() => log.push("closed"))
          )
        )
        for (let turn = 0; turn < 20; turn++) yield* Effect.yieldNow
        assert.deepEqual(log, [])
        yield* Deferred.succeed(written, undefined)
        yield* Fiber.join(closing)
        assert.deepEqual(log, ["written", "closed"])
        const [first, ...others] = yield* Fiber.join(submitted)
        assert.deepEqual(first, Exit.succeed(0))
        for (const exit of others) assert.deepEqual(exit, Exit.fail("closed"))
      }
    })
  )
})
