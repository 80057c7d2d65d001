import assert from "node:assert/strict"
import { describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { disagreement, program } from "./program.ts"

describe("a shop in three processes", () => {
  it.live(
    "counts every order once, though one process is killed and one is stopped on the way",
    () =>
      Effect.gen(function* () {
        const outcome = yield* program({ rounds: 40, say: () => Effect.void })
        assert.equal(disagreement(outcome), undefined)
        assert.equal(outcome.commands, 640)
        // Nobody waits longer than it takes to miss a process, here three seconds, and some more on a busy machine.
        assert.ok(outcome.longest < 20_000, `${outcome.longest} ms`)
      }).pipe(Effect.scoped),
    120_000
  )
})
