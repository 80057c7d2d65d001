import assert from "node:assert/strict"
import { describe, it } from "@effect/vitest"
import { Cause, Effect, Logger, References } from "effect"
import { TestClock } from "effect/testing"
import { makeEpisodes } from "../../src/internal/episodes.ts"

/** Runs it, and gives the lines that it has logged. */
const linesOf = (work: Effect.Effect<void>) => {
  const lines: Array<string> = []
  const logger = Logger.make<unknown, void>(({ cause, logLevel, message }) => {
    lines.push(`${logLevel} ${String(message)}${cause.reasons.length === 0 ? "" : " with its cause"}`)
  })
  return work.pipe(Effect.provide(Logger.layer([logger])), Effect.as(lines))
}

const failure = { what: "it failed", why: "gone", cause: Cause.fail("gone") }

describe("what fails again and again", () => {
  it.effect("is said at once, then at widening intervals, and when it is over", () =>
    Effect.gen(function* () {
      const lines = yield* linesOf(
        Effect.gen(function* () {
          const { failed, recovered } = makeEpisodes("it")
          const me = {}
          for (let second = 0; second <= 10 * 60; second += 10) {
            yield* failed(me, failure)
            yield* TestClock.adjust("10 seconds")
          }
          yield* recovered(me)
          yield* recovered(me)
          for (let flap = 0; flap < 20; flap++) {
            yield* TestClock.adjust("1 second")
            yield* failed(me, failure)
            yield* recovered(me)
          }
          yield* TestClock.adjust("1 hour")
          yield* failed(me, failure)
        })
      )
      assert.deepEqual(lines, [
        "Warn it failed (gone)",
        "Warn it failed, 7 times in 1m (gone)",
        "Warn it failed, 19 times in 3m (gone)",
        "Warn it failed, 43 times in 7m (gone)",
        "Info eventfold: it goes on, after 61 failures and 10m 10s",
        "Warn it failed (gone)"
      ])
    })
  )

  it.effect("of several at once, is said for all of them, and over when it is for the last one; what ends is no matter", () =>
    Effect.gen(function* () {
      const lines = yield* linesOf(
        Effect.gen(function* () {
          const { failed, forget, recovered } = makeEpisodes("it")
          const [one, two, three] = [{}, {}, {}]
          for (const who of [one, two, three]) yield* failed(who, failure)
          yield* recovered(one)
          yield* forget(two)
          yield* recovered(two)
          yield* recovered(three)
        })
      )
      assert.deepEqual(lines, ["Warn it failed (gone)", "Info eventfold: it goes on, after 3 failures and 0"])
    })
  )

  it.effect("is said anew when somebody has to act, and has its cause where bugs are looked for", () =>
    Effect.gen(function* () {
      const lines = yield* linesOf(
        Effect.gen(function* () {
          const { failed } = makeEpisodes("it")
          yield* failed(linesOf, failure)
          yield* failed(linesOf, { ...failure, what: "it is refused", severe: true })
          yield* failed(linesOf, { ...failure, what: "it is refused", severe: true })
        }).pipe(Effect.provideService(References.MinimumLogLevel, "Debug"))
      )
      assert.deepEqual(lines, [
        "Warn it failed (gone)",
        "Debug it failed with its cause",
        "Error it is refused (gone)",
        "Debug it is refused with its cause",
        "Debug it is refused with its cause"
      ])
    })
  )
})
