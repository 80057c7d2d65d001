import assert from "node:assert/strict"
import { it } from "@effect/vitest"
import { Effect } from "effect"
import { failures, shownBy } from "./secrets.ts"

it.effect("what an effect shows is all of its failures, its log and its spans", () =>
  Effect.gen(function* () {
    const shown = yield* failures([Effect.fail(new Error("one", { cause: { hidden: "deep" } })), Effect.die("two")]).pipe(
      Effect.tapCause((cause) => Effect.annotateLogs(Effect.logDebug({ told: "four" }, cause), "annotation", "five")),
      Effect.withSpan("six", { attributes: { attribute: "seven" } }),
      shownBy
    )
    for (const word of ["one", "deep", "two", "four", "five", "six", "seven"]) assert.ok(shown.includes(word), word)
  })
)
