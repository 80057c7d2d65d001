/**
 * Numbers that options give. `Number(process.env.BATCH)` is no number where nothing is set: with that, nothing would ever be counted up to.
 */

/** A value of an option, as it is named when it is refused. */
export const shown = (value: unknown): string => (typeof value === "string" ? JSON.stringify(value) : String(value))

/** The number, and a `RangeError` where it is not whole, or less than `least`. */
export const wholeFrom = (least: number, what: string, value: number): number => {
  if (Number.isSafeInteger(value) && value >= least) return value
  throw new RangeError(`${what} must be a whole number from ${least}, not ${shown(value)}`)
}

/** As {@link wholeFrom}, for what may also be without an end. */
export const wholeOrEndless = (least: number, what: string, value: number): number =>
  value === Number.POSITIVE_INFINITY ? value : wholeFrom(least, what, value)
