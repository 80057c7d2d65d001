import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import { describe } from "../sql/errors.ts"

/** Why something failed, in a line of the log: the first thing that says anything, from the outermost error on. */
export const reasonOf = (cause: Cause.Cause<unknown>): string => {
  const outermost = Cause.squash(cause)
  let found = outermost
  for (let depth = 0; depth < 8; depth++) {
    const text = describe(found).replace(/\s+/g, " ").trim()
    if (text !== "") return text
    if (!Predicate.hasProperty(found, "cause")) break
    found = found.cause
  }
  return outermost instanceof Error ? outermost.name : "no reason was given"
}

/** Says that something has failed: a line that says why, and all that is known of the cause at the level of debugging. */
export const tellFailure = (log: typeof Effect.logError, what: string, cause: Cause.Cause<unknown>): Effect.Effect<void> =>
  Effect.andThen(log(`${what} (${reasonOf(cause)})`), Effect.logDebug(what, cause))
