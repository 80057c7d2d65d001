/** Flags of several verbs. */
import * as Flag from "effect/cli/Flag"
import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { parseDuration, readFlag, wholeFlag } from "../globals.ts"

export const limit = (usual: number) =>
  wholeFlag("limit").pipe(
    Flag.filter(
      (number) => number > 0,
      () => "a whole number from 1"
    ),
    Flag.withDescription(`The most rows (default: ${usual})`),
    Flag.withDefault(usual)
  )

export const after = Flag.String("after").pipe(Flag.withDescription("Where an answer before this one ended"), Flag.optional)

const isoTime = /^(\d{4}-\d\d-\d\d)(T\d\d:\d\d(?::\d\d(?:\.\d+)?)?)?([zZ]|[+-]\d\d:?\d\d)?$/

/** Whether there is such a day: the parser of the language goes on into the next month. */
const isDay = (day: string): boolean => DateTime.make(day).pipe(Option.exists((found) => DateTime.formatIsoDate(found) === day))

/** `2025-09-01`, `2025-09-01T09:15:07Z`, or a time ago: `1h` */
const readTime = (text: string, now: number): Option.Option<DateTime.Utc> =>
  Option.match(parseDuration(text), {
    onSome: (ago) => Option.some(DateTime.makeUnsafe(now - Duration.toMillis(ago))),
    onNone: () => {
      const [, day, time = "", zone = time === "" ? "" : "Z"] = isoTime.exec(text) ?? []
      return day === undefined || !isDay(day) ? Option.none() : Option.map(DateTime.make(`${day}${time}${zone}`), DateTime.toUtc)
    }
  })

/** A flag for a point in time. */
export const timeFlag = (name: string, about: string) =>
  Flag.mapEffect(
    readFlag(name, (text) => Option.as(readTime(text, 0), text), "a time as 2025-09-01T09:15:07Z, or how long ago as 1h").pipe(
      Flag.withDescription(about),
      Flag.optional
    ),
    (given) => Effect.map(Clock.currentTimeMillis, (now) => Option.flatMap(given, (text) => readTime(text, now)))
  )
