import assert from "node:assert/strict"
import { describe, it } from "@effect/vitest"
import { partitionOf, quotaOf } from "../../src/internal/partitions.ts"

describe("partitions", () => {
  it("of streams never change: checkpoints depend on them", () => {
    // The published values of FNV-1a for "", "a" and "foobar", and the value for a name beyond ASCII.
    for (const [stream, hash] of [
      ["", 0x811c9dc5],
      ["a", 0xe40c292c],
      ["foobar", 0xbf9cf968]
    ] as const) {
      assert.equal(partitionOf(stream, 2 ** 32), hash)
      assert.equal(partitionOf(stream, 7), hash % 7)
    }
    assert.equal(partitionOf("Straße-1", 1000), 241)
  })

  it("get about as many streams each", () => {
    for (const count of [2, 3, 8, 16]) {
      const sizes = Array.from({ length: count }, () => 0)
      for (let n = 0; n < 16_000; n++) {
        const at = partitionOf(`Account-${n}`, count)
        sizes[at] = (sizes[at] ?? 0) + 1
      }
      for (const size of sizes) assert.ok(Math.abs(size / (16_000 / count) - 1) < 0.15, `${sizes}`)
    }
  })

  it("are shared out evenly, and all of them, whoever counts", () => {
    for (let members = 1; members <= 9; members++) {
      const all = new Set(Array.from({ length: members }, (_, n) => `m${n}`))
      const quotas = Array.from(all, (member) => quotaOf(member, all, 9))
      assert.equal(
        quotas.reduce((sum, quota) => sum + quota, 0),
        9
      )
      assert.ok(Math.max(...quotas) - Math.min(...quotas) <= 1)
    }
    assert.equal(quotaOf("stranger", new Set(["m"]), 9), 0)
  })
})
