/** When a deadline that a process manager sets is due. */
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Option from "effect/Option"
import { shown } from "./counting.ts"
import { durationOption } from "./lasting.ts"

/** The most milliseconds before and after 1970 that are a time. */
const lastTime = 8_640_000_000_000_000

/** In milliseconds since 1970, for what is set at the time `since`. Throws a `RangeError` where it is due at no time. */
export const dueAt = (process: string, deadline: string, due: Duration.Input | DateTime.Utc, since: number): number => {
  const millis = DateTime.isDateTime(due)
    ? DateTime.toEpochMillis(due)
    : since + Option.match(durationOption(due), { onNone: () => Number.NaN, onSome: Duration.toMillis })
  if (Math.abs(millis) <= lastTime) return millis
  throw new RangeError(
    `ProcessManager "${process}": the deadline "${deadline}" cannot be due in ${shown(due)}, which leads to no time. Give a finite duration, or a time before the year 275760; set no deadline where it never comes`
  )
}
