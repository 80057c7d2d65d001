import { describe, expect, it } from "@effect/vitest"
import { Effect } from "effect"
import { makeGrouped } from "../../src/postgres/store/grouping.ts"

/** Reads of which it is known how many went in each statement, and how many statements were on their way at once. */
const reads = Effect.fnUntraced(function* (millisOf: (requests: number) => number) {
  const sizes: Array<number> = []
  let [running, most] = [0, 0]
  const read = yield* makeGrouped<number, number>({
    operation: "read",
    maxBatch: 100,
    read: (requests) =>
      Effect.gen(function* () {
        sizes.push(requests.length)
        most = Math.max(most, ++running)
        for (let turn = 0; turn < 3; turn++) yield* Effect.yieldNow
        running--
        return { millis: millisOf(requests.length), answers: requests.map((request) => () => request * 2) }
      })
  })
  yield* Effect.yieldNow
  const round = Effect.map(
    Effect.forEach([1, 2, 3, 4, 5, 6, 7, 8], (n) => read(n), { concurrency: "unbounded" }),
    (answers) => {
      expect(answers).toEqual([2, 4, 6, 8, 10, 12, 14, 16])
      const seen = { sizes: sizes.splice(0), most }
      most = 0
      return seen
    }
  )
  return { read, round }
})

describe("reads that are put together", () => {
  it.effect("stay together while statements are quick", () =>
    Effect.gen(function* () {
      const { round } = yield* reads(() => 20)
      yield* round
      for (let nth = 0; nth < 30; nth++) expect(yield* round).toEqual({ sizes: [8], most: 1 })
    })
  )

  it.effect("go side by side for a while where a statement for several was slow, and come together again", () =>
    Effect.gen(function* () {
      let slow = true
      const { round } = yield* reads((requests) => (slow && requests > 1 ? 21 : 0))
      yield* round
      const alone = { sizes: [1, 1, 1, 1, 1, 1, 1, 1], most: 8 }
      for (let nth = 0; nth < 16; nth++) expect(yield* round).toEqual(alone)
      slow = false
      // It is tried again, with those that come at once.
      expect(yield* round).toEqual({ sizes: [8], most: 1 })
      expect(yield* round).toEqual({ sizes: [8], most: 1 })
    })
  )

  it.effect("are not kept apart by what is slow for one alone", () =>
    Effect.gen(function* () {
      const { read, round } = yield* reads((requests) => (requests === 1 ? 1_000 : 0))
      yield* read(1)
      yield* round
      expect(yield* round).toEqual({ sizes: [8], most: 1 })
    })
  )
})
