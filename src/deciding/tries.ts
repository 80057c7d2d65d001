/** What runs units of work again where they have lost, and what it remembers of them. */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import { hasProperty, isTagged } from "effect/Predicate"
import { isSqlError } from "effect/sql/SqlError"
import { executionKeys } from "../definitions/services.ts"
import { isConflict as isSqlConflict } from "../sql/errors.ts"
import type { Place } from "./queues.ts"

/** By their tags: of another copy of this package in the program they are conflicts as well. */
export const isConflict = (error: unknown): boolean =>
  isTagged(error, "OptimisticLockError") ||
  isTagged(error, "AppendConditionError") ||
  (isTagged(error, "EventStoreError") && hasProperty(error, "reason") && isTagged(error.reason, "TransactionConflict")) ||
  (isSqlError(error) && isSqlConflict(error))

/** One unit of work of an effect that is run again. */
interface Try {
  /** Takes its turn before all else, where it has lost by what it had read before that. */
  readonly first: ((place: Place) => Effect.Effect<void>) | undefined
  readonly failed: (place: Place, error: unknown) => void
}

/** An effect that is run again as a whole, with the units of work in it: they are known by where they come in it. */
export interface Repeated {
  /** It is run, for the first time or again. */
  readonly start: () => void
  /** A unit of work begins. */
  readonly begin: () => Try
}

export const makeRepeated = (): Repeated => {
  let begun = 0
  let lost: { readonly nth: number; readonly stream: string } | undefined
  return {
    start: () => {
      begun = 0
    },
    begin: () => {
      const nth = begun++
      const stream = lost?.nth === nth ? lost.stream : undefined
      if (stream !== undefined) lost = undefined
      return {
        first: stream === undefined ? undefined : (place) => place.first(stream),
        failed: (place, error) => {
          const late = isConflict(error) ? place.tooLate() : undefined
          if (late === undefined) return
          // Who had no turn has one where it has lost.
          const at = late.stream ?? (hasProperty(error, "stream") ? String(error.stream) : undefined)
          if (at !== undefined) lost = { nth, stream: at }
        }
      }
    }
  }
}

/** What a unit of work is run again with, if anything does so. */
export const Tries = Context.Reference<Repeated | undefined>(executionKeys.tries, { defaultValue: () => undefined })
