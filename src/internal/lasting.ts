/**
 * Times for which something is kept. `Duration` makes no time of what is no number, and there are times before now: by either all would be deleted at once
 * that was to be kept.
 */
import * as Duration from "effect/Duration"
import * as Option from "effect/Option"

const hasNoNumber = (input: unknown): boolean =>
  typeof input === "number"
    ? Number.isNaN(input)
    : typeof input === "object" && input !== null && !Duration.isDuration(input) && Object.values(input).some(Number.isNaN)

/** The duration, if it is one that something can be kept for. */
export const lastingOption = (input: Duration.Input): Option.Option<Duration.Duration> =>
  hasNoNumber(input)
    ? Option.none()
    : Option.filter(Duration.fromInput(input), (duration) => Duration.isGreaterThanOrEqualTo(duration, Duration.zero))

/** The duration, and a `RangeError` where nothing can be kept for that. */
export const lasting = (what: string, input: Duration.Input): Duration.Duration =>
  Option.getOrThrowWith(
    lastingOption(input),
    () =>
      new RangeError(
        `${what} must be a duration from 0, not ${typeof input === "string" ? JSON.stringify(input) : String(input)}`
      )
  )
