/**
 * Times for which something is kept, held or waited for. `Duration` makes no time of what is no number, and there are times before now: by
 * either all would be deleted at once that was to be kept.
 */
import * as Duration from "effect/Duration"
import * as Option from "effect/Option"
import { shown } from "./counting.ts"

const hasNoNumber = (input: unknown): boolean =>
  typeof input === "number"
    ? Number.isNaN(input)
    : typeof input === "object" && input !== null && !Duration.isDuration(input) && Object.values(input).some(Number.isNaN)

/** The duration, also one that leads back, unless it is made of what is no number. */
export const durationOption = (input: Duration.Input): Option.Option<Duration.Duration> =>
  hasNoNumber(input) ? Option.none() : Duration.fromInput(input)

/** The duration, if it is one that something can be kept for. */
export const lastingOption = (input: Duration.Input): Option.Option<Duration.Duration> =>
  Option.filter(durationOption(input), (duration) => Duration.isGreaterThanOrEqualTo(duration, Duration.zero))

const refusing = (what: string, range: string, input: Duration.Input) => () =>
  new RangeError(`${what} must be a duration ${range}, not ${shown(input)}`)

/** The duration, and a `RangeError` where nothing can be kept for that. */
export const lasting = (what: string, input: Duration.Input): Duration.Duration =>
  Option.getOrThrowWith(lastingOption(input), refusing(what, "from 0", input))

/** As {@link lasting}, for what has to take some time, as what is between two looks: without it nothing else would be done. */
export const pausing = (what: string, input: Duration.Input): Duration.Duration =>
  Option.getOrThrowWith(Option.filter(lastingOption(input), Duration.isPositive), refusing(what, "longer than nothing", input))

/** As {@link pausing}, for what has to end as well: a lease. */
export const passing = (what: string, input: Duration.Input): Duration.Duration =>
  Option.getOrThrowWith(
    Option.filter(lastingOption(input), (duration) => Duration.isFinite(duration) && Duration.isPositive(duration)),
    refusing(what, "longer than nothing, and finite", input)
  )
