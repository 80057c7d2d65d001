import { describe, expect, it } from "vitest"
import { makeHalving } from "../../src/internal/halving.ts"

/** What goes at each step where `callers` come again and again, and each step takes `fixed` milliseconds and `each` for each that goes. */
const sizes = (callers: number, fixed: number, each = 0.02) => {
  const halving = makeHalving({ from: 32, each: 0.02 })
  return Array.from({ length: 6 }, () => {
    const size = halving.share(callers)
    halving.took({ size, callers, millis: fixed + size * each })
    return size
  })
}

describe("many who go to the storage", () => {
  it("go in halves once it is known that the way is short", () => {
    expect(sizes(64, 0.3)).toEqual([64, 32, 32, 32, 32, 32])
    expect(sizes(257, 1)).toEqual([257, 129, 129, 129, 129, 129])
  })

  it("go together where the way is long for so many, and do not waver", () => {
    expect(sizes(64, 1.3)).toEqual([64, 64, 64, 64, 64, 64])
    expect(sizes(256, 1.3)).toEqual([256, 128, 128, 128, 128, 128])
    expect(sizes(256, 6)).toEqual([256, 256, 256, 256, 256, 256])
  })

  it("go together again once it is long, those of the other half too", () => {
    const halving = makeHalving({ from: 32, each: 0.02 })
    expect(halving.isTogether(64)).toBe(true)
    halving.took({ size: 64, callers: 64, millis: 1.5 })
    expect([halving.share(64), halving.isTogether(64)]).toEqual([32, false])
    halving.took({ size: 32, callers: 64, millis: 10 })
    expect([halving.share(64), halving.isTogether(64)]).toEqual([64, true])
  })

  it("go as they come where they are few", () => {
    expect(sizes(31, 0)).toEqual([31, 31, 31, 31, 31, 31])
    expect(makeHalving({ from: 32, each: 0.02 }).isTogether(31)).toBe(false)
  })
})
