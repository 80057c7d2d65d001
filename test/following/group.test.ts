import assert from "node:assert/strict"
import { describe, it } from "@effect/vitest"
import { shareOut } from "../../src/following/group.ts"

/** Four partitions, held by whoever the letters name (`-` for nobody), as `a` sees them. */
const shared = (
  holders: string,
  more: { readonly waiting?: string; readonly runs?: ReadonlyArray<number>; readonly lost?: ReadonlyArray<number> } = {}
) => {
  const { lost = [], runs = Array.from(holders).flatMap((holder, index) => (holder === "a" ? [index] : [])), waiting } = more
  return shareOut({
    owner: "a",
    holders: Array.from(holders, (holder) => (holder === "-" ? undefined : holder)),
    expired: Array.from(holders, () => false),
    waiting,
    runs: (index) => runs.includes(index) || lost.includes(index),
    standsBy: (index) => lost.includes(index)
  })
}

describe("a process takes its share of the partitions", () => {
  it("all of them when nobody else is there", () => {
    assert.deepEqual(shared("----"), { ends: [], begins: [0, 1, 2, 3], seat: undefined })
    assert.deepEqual(shared("aaaa"), { ends: [], begins: [], seat: "leave" })
  })

  it("and gives back what is beyond it when somebody waits", () => {
    assert.deepEqual(shared("aaaa", { waiting: "b" }), { ends: [2, 3], begins: [], seat: "leave" })
    assert.deepEqual(shared("aaab", { waiting: "c" }), { ends: [2], begins: [], seat: "leave" })
  })

  it("or waits in the seat until others have given some back", () => {
    assert.deepEqual(shared("bbbb"), { ends: [], begins: [], seat: "take" })
    assert.deepEqual(shared("bbbb", { waiting: "a" }), { ends: [], begins: [], seat: "take" })
    assert.deepEqual(shared("bb--", { waiting: "a" }), { ends: [], begins: [2, 3], seat: undefined })
  })

  it("and takes what others have left, not more than its share", () => {
    assert.deepEqual(shared("a-b-"), { ends: [], begins: [1], seat: "leave" })
    assert.deepEqual(shared("a---"), { ends: [], begins: [1, 2, 3], seat: "leave" })
    assert.deepEqual(shared("bcde"), { ends: [], begins: [], seat: undefined })
  })

  it("and lets go what somebody else was faster to take", () => {
    assert.deepEqual(shared("abbb", { lost: [1] }), { ends: [1], begins: [], seat: "leave" })
  })
})
