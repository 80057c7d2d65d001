import type * as Cause from "effect/Cause"
import * as Context from "effect/Context"

/**
 * What is done with the cause of a failure before anything is kept or told of it: whoever knows which data are not to be read there takes
 * them out. `about` is what was being handled. Default: nothing.
 */
export const Masking = Context.Reference<(cause: Cause.Cause<unknown>, about: unknown) => Cause.Cause<unknown>>(
  "eventfold/internal/Masking",
  { defaultValue: () => (cause) => cause }
)
