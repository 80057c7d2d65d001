import assert from "node:assert/strict"
import { it } from "@effect/vitest"
import { Effect, Option } from "effect"
import { describe } from "vitest"
import { isExpected } from "../../test/support/brokers.ts"
import { disagreement, program } from "./program.ts"
import { names } from "./transports.ts"

for (const transport of names) {
  describe.runIf(transport === "postgres" || isExpected(transport))(`over ${transport}:`, () => {
    it.live(
      "two services agree, though one of them is killed on the way",
      () =>
        Effect.gen(function* () {
          const outcome = yield* program({ transport, orders: 120, say: () => Effect.void })
          assert.deepEqual(disagreement(outcome), Option.none())
          assert.ok(outcome.before >= 30)
        }),
      120_000
    )
  })
}
