import assert from "node:assert/strict"
import { describe, it } from "@effect/vitest"
import { groupByLanes } from "../../src/following/lanes.ts"

describe("lanes", () => {
  const grouped = (all: ReadonlyArray<string>) => groupByLanes(all, (one) => Array.from(one)).map((group) => group.join(" "))

  it("what has a lane in common, directly or through others, is one group, in order", () => {
    assert.deepEqual(grouped([]), [])
    assert.deepEqual(grouped(["a", "b", "a", "c", "b"]), ["a a", "b b", "c"])
    assert.deepEqual(grouped(["ab", "cd", "bc", "e", "d"]), ["ab cd bc d", "e"])
    assert.deepEqual(grouped(["aaa", "ba", "ab"]), ["aaa ba ab"])
  })

  it("of any things every two with a common lane are in one group, and groups have none in common", () => {
    let seed = 1
    const next = (below: number) => (seed = (seed * 48_271) % 2_147_483_647) % below
    for (let round = 0; round < 200; round++) {
      const all = Array.from({ length: 1 + next(30) }, (_, index) => ({
        index,
        lanes: Array.from({ length: 1 + next(3) }, () => String(next(5 + next(60))))
      }))
      const groups = groupByLanes(all, ({ lanes }) => lanes)
      assert.deepEqual(
        groups.flat().toSorted((a, b) => a.index - b.index),
        all
      )
      const owner = new Map<string, number>()
      groups.forEach((group, nth) => {
        assert.deepEqual(
          group,
          group.toSorted((a, b) => a.index - b.index)
        )
        for (const { lanes } of group) {
          for (const lane of lanes) assert.equal(owner.get(lane) ?? owner.set(lane, nth).get(lane), nth)
        }
      })
      // No two that need not be: each group hangs together.
      for (const group of groups) {
        const reached = new Set(group[0]?.lanes)
        for (let grown = true; grown;) {
          const before = reached.size
          for (const { lanes } of group) if (lanes.some((lane) => reached.has(lane))) lanes.forEach((lane) => reached.add(lane))
          grown = reached.size > before
        }
        assert.ok(group.every(({ lanes }) => lanes.every((lane) => reached.has(lane))))
      }
    }
  })
})
