/** Times as a person reads them: UTC, to the second. */
import * as DateTime from "effect/DateTime"

/** `2025-09-01 09:15:07` */
export const stamp = (time: DateTime.Utc): string => DateTime.formatIso(time).slice(0, 19).replace("T", " ")

const steps = [
  [60, 1, "s"],
  [3600, 60, "m"],
  [86_400, 3600, "h"],
  [Infinity, 86_400, "d"]
] as const

/** `52s`, `3m`, `4h`, `12d` */
export const span = (seconds: number): string => {
  const [, unit, letter] = steps.find(([below]) => seconds < below) ?? steps[3]
  return `${Math.round(seconds / unit)}${letter}`
}

/** `3m ago`, or `in 3m` */
export const since = (time: DateTime.Utc, now: DateTime.Utc): string => {
  const seconds = (now.epochMilliseconds - time.epochMilliseconds) / 1000
  return seconds >= 0 ? `${span(seconds)} ago` : `in ${span(-seconds)}`
}
