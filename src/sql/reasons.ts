import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import type { Episodes } from "../internal/episodes.ts"
import { describe } from "./errors.ts"

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

/**
 * What is done in the background and may fail, for it is done again later: nobody waits for it, so the log says that it fails, once until it
 * works again. `what` says also what comes of it.
 */
export const inBackground =
  (episodes: Episodes, what: string) =>
  <A, E, R>(work: Effect.Effect<A, E, R>): Effect.Effect<void, never, R> =>
    work.pipe(
      Effect.andThen(Effect.suspend(() => (episodes.isFailing(episodes) ? episodes.recovered(episodes) : Effect.void))),
      Effect.catchCause((cause) =>
        Cause.hasInterruptsOnly(cause) ? Effect.interrupt : episodes.failed(episodes, { what, why: reasonOf(cause), cause })
      )
    )
