/** What was looked at: good, to be thought of, or to be mended, with what to do. */
import * as Effect from "effect/Effect"
import { describe } from "../../sql/errors.ts"
import type { Diagnosis } from "../contract/views.ts"

export const ok = (check: string, message: string): Diagnosis => ({ check, level: "ok", message, remedy: null })
export const warning = (check: string, message: string, remedy: string): Diagnosis => ({
  check,
  level: "warning",
  message,
  remedy
})
export const problem = (check: string, message: string, remedy: string): Diagnosis => ({
  check,
  level: "problem",
  message,
  remedy
})

/** How long one thing is looked at: what does not answer does not hold up the others. */
const patience = "5 seconds"

/** Looks at one thing by itself: where it cannot be looked at, that is what is said of it, and the others go on. */
export const section = <E, R>(
  check: string,
  look: Effect.Effect<ReadonlyArray<Diagnosis>, E, R>
): Effect.Effect<ReadonlyArray<Diagnosis>, never, R> =>
  look.pipe(
    Effect.timeoutOrElse({ duration: patience, orElse: () => Effect.fail(new Error(`no answer within ${patience}`)) }),
    Effect.catch((error) =>
      Effect.succeed([
        warning(
          check,
          `it could not be looked at: ${describe(error)}`,
          "give whoever looks the right to read it, or see that it answers, and ask again"
        )
      ])
    )
  )

/** Several of them, at once; what is said stands in their order. */
export const sections = <R>(
  all: ReadonlyArray<Effect.Effect<ReadonlyArray<Diagnosis>, never, R>>
): Effect.Effect<ReadonlyArray<Diagnosis>, never, R> => Effect.map(Effect.all(all, { concurrency: 4 }), (found) => found.flat())
