import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit } from "effect"
import { flatMapNow, mapNow } from "../../src/internal/now.ts"

describe("what is there already", () => {
  it("goes on in the same step", () => {
    assert.deepEqual(
      flatMapNow(Effect.succeed(1), (value) => Exit.succeed(value + 1)),
      Exit.succeed(2)
    )
    assert.deepEqual(
      mapNow(Effect.succeed(1), (value) => value + 1),
      Exit.succeed(2)
    )
    const failed = Effect.fail("no")
    assert.equal(
      flatMapNow(failed, () => assert.fail("not there")),
      failed
    )
  })

  it.effect("and what is not is waited for", () =>
    Effect.gen(function* () {
      const later = Effect.as(Effect.yieldNow, 1)
      assert.equal(yield* mapNow(later, (value) => value + 1), 2)
      assert.equal(yield* flatMapNow(later, (value) => Effect.succeed(value + 2)), 3)
      assert.equal(yield* Effect.flip(flatMapNow(Effect.andThen(later, Effect.fail("no")), () => Effect.void)), "no")
    })
  )
})
