import assert from "node:assert/strict"
import { describe, it } from "vitest"
import { type Held, Window } from "../../src/kafka/window.ts"

/** Numbers from 0 up to a bound, the same for each seed. */
const randomOf = (seed: number) => {
  let state = seed
  return (bound: number): number => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return Math.floor((state / 2 ** 32) * bound)
  }
}

const acts = ["fetch", "give", "give", "done", "done", "back", "pass"] as const

describe("the window of a partition", () => {
  it("commits the contiguous prefix alone, hands out in order, and no farther than it may", () => {
    for (let seed = 0; seed < 150; seed++) {
      const random = randomOf(seed)
      const reach = 1 + random(10)
      const window = new Window<number>(5, reach)
      const settled = new Set<number>()
      const inHand: Array<Held<number>> = []
      let newest = 4
      for (let step = 0; step < 200; step++) {
        const act = acts[random(acts.length)]
        if (act === "fetch") {
          // Offsets have gaps, and what is known comes again.
          const from = Math.max(5, window.next - random(3))
          if (from + 2 >= window.next) settled.add(from + 2)
          window.take(
            [from, from + 1, from + 3].map((offset) => ({ offset, size: 1, record: offset })),
            from + 4
          )
        } else if (act === "give" || act === "pass") {
          const shown = window.peek(0)
          if (shown === undefined) continue
          assert.equal(settled.has(shown.offset), false)
          if (act === "pass") {
            window.pass()
            settled.add(shown.offset)
          } else {
            const held = window.give(0)
            assert.ok(held !== undefined && held.offset === shown.offset)
            if (held.attempt === 1) {
              assert.ok(held.offset > newest)
              for (const { offset } of inHand) assert.ok(held.offset - offset < reach)
            }
            inHand.push(held)
          }
          newest = Math.max(newest, shown.offset)
        } else {
          const [held] = inHand.splice(random(Math.max(1, inHand.length)), 1)
          if (held === undefined) continue
          if (act === "back") window.giveBack(held)
          else {
            window.done(held)
            settled.add(held.offset)
            assert.equal(window.has(held), false)
          }
        }
        for (let offset = 5; offset < window.position; offset++) assert.ok(settled.has(offset), `${offset} is not done with`)
      }
    }
  })

  it("stands still until its time has come", () => {
    const window = new Window<string>(0, 10)
    window.take([{ offset: 0, size: 1, record: "a" }], 1)
    window.pausedUntil = 50
    assert.equal(window.peek(49), undefined)
    assert.equal(window.peek(50)?.record, "a")
  })
})
