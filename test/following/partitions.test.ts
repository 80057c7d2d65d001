import assert from "node:assert/strict"
import { describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Stream } from "effect"
import { TestClock } from "effect/testing"
import { makeTail, partitionOf, quotaOf } from "../../src/following/partitions.ts"

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

describe("a tail", () => {
  it.effect("tells of failures and defects, goes on where it was, and reads no further than it is asked to", () =>
    Effect.gen(function* () {
      const log = Array.from({ length: 6 }, (_, n) => ({ position: n + 1 }))
      const asked: Array<number> = []
      const tail = yield* makeTail((after) => {
        asked.push(after)
        if (asked.length === 2) return Stream.fail("no")
        if (asked.length === 3) return Stream.die("a bug")
        // One event a page; the first reading ends after two of them.
        const events = log.slice(after, asked.length === 1 ? 2 : undefined)
        return Stream.concat(
          Stream.rechunk(Stream.fromIterable(events), 1),
          asked.length === 1 ? Stream.fail("lost") : Stream.never
        )
      })
      const next = (after: number) =>
        Effect.map(tail.next(after) ?? Effect.succeed([]), (page) => page.map(({ position }) => position))
      assert.deepEqual([yield* next(0), yield* next(1)], [[1], [2]])
      assert.deepEqual([tail.next(0), yield* next(1)], [undefined, [2]])
      const exits: Array<unknown> = []
      for (const wait of [0, 100, 200, 400]) {
        const third = yield* Effect.forkChild(next(2))
        yield* TestClock.adjust(wait)
        exits.push(yield* Fiber.await(third))
      }
      assert.deepEqual(exits, [Exit.fail("lost"), Exit.fail("no"), Exit.die("a bug"), Exit.succeed([3])])
      assert.deepEqual(asked, [0, 2, 2, 2])
      assert.equal(tail.begin(), 2)
    })
  )
})
