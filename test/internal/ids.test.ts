import assert from "node:assert/strict"
import { describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { TestClock } from "effect/testing"
import { makeId, makeIds } from "../../src/internal/ids.ts"

const form = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/

/** Milliseconds since the epoch, as an id has them. */
const timeOf = (id: string) => parseInt(id.slice(0, 8) + id.slice(9, 13), 16)

/** A time beyond that of all ids so far. */
const soon = Effect.map(makeId, (id) => timeOf(id) + 1000)

describe("the ids that the process makes", () => {
  it.effect("are UUIDs of version 7 that ascend, many of them in one millisecond", () =>
    Effect.gen(function* () {
      const later = yield* soon
      yield* TestClock.setTime(later)
      const ids = [yield* makeId, ...(yield* Effect.withFiber((fiber) => makeIds(fiber, 20_000))).map(({ value }) => value)]
      for (const id of ids) assert.match(id, form)
      assert.deepEqual(ids, ids.toSorted())
      assert.equal(new Set(ids).size, ids.length)
      assert.deepEqual(new Set(ids.map(timeOf)), new Set([later]))
    })
  )

  it.effect("have the time of the clock, and ascend where it goes back", () =>
    Effect.gen(function* () {
      const later = yield* soon
      yield* TestClock.setTime(later + 10)
      const first = yield* makeId
      yield* TestClock.setTime(later + 5)
      const second = yield* makeId
      yield* TestClock.setTime(later + 20)
      const third = yield* makeId
      assert.deepEqual([first, second, third].map(timeOf), [later + 10, later + 10, later + 20])
      assert.ok(first < second && second < third)
    })
  )
})
