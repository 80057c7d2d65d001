/** What every verb understands. */
import * as Effect from "effect/Effect"
import * as Duration from "effect/Duration"
import * as Flag from "effect/cli/Flag"
import * as GlobalFlag from "effect/cli/GlobalFlag"
import * as Option from "effect/Option"
import { unreachable } from "./failure.ts"

const units: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 }

/** `300ms`, `10s`, `5m`, `1h`, `30d` */
export const parseDuration = (text: string): Option.Option<Duration.Duration> => {
  const [, number = "", unit = ""] = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)$/.exec(text.trim()) ?? []
  return number === "" ? Option.none() : Option.some(Duration.millis(Number(number) * (units[unit] ?? 1)))
}

/** A flag whose text is read by `read`: where it cannot be read, it is told what would be right. */
export const readFlag = <A>(name: string, read: (text: string) => Option.Option<A>, wanted: string): Flag.Flag<A> =>
  Flag.String(name).pipe(Flag.filterMap(read, () => wanted))

export const whole = (text: string): Option.Option<number> =>
  /^\d+$/.test(text) && Number.isSafeInteger(Number(text)) ? Option.some(Number(text)) : Option.none()

/** A flag for a whole number. */
export const wholeFlag = (name: string): Flag.Flag<number> => readFlag(name, whole, "a whole number")

const durationFlag = (name: string): Flag.Flag<Duration.Duration> =>
  readFlag(name, parseDuration, "a time as 500ms, 10s, 5m, 1h or 30d")

export const Json = GlobalFlag.Setting("json")({
  flag: Flag.Boolean("json").pipe(
    Flag.withDescription("One JSON document a line on stdout, errors as JSON on stderr"),
    Flag.withDefault(false)
  )
})

export const NoColor = GlobalFlag.Setting("no-color")({
  flag: Flag.Boolean("no-color").pipe(Flag.withDescription("No colours, as NO_COLOR=1 does"), Flag.withDefault(false))
})

export const Timeout = GlobalFlag.Setting("timeout")({
  flag: durationFlag("timeout").pipe(
    Flag.withMetavar("<duration>"),
    Flag.withDescription("The longest wait for an answer, and for somebody to take an act (default: 10s)"),
    Flag.withDefault(Duration.seconds(10))
  )
})

export const Yes = GlobalFlag.Setting("yes")({
  flag: Flag.Boolean("yes").pipe(Flag.withAlias("y"), Flag.withDescription("Do it without asking"), Flag.withDefault(false))
})

export const all = [Json, NoColor, Timeout, Yes] as const

/** The same wait for everything: what has not answered by then is an error, and not patience. */
export const inTime = <A, E, R>(what: string, effect: Effect.Effect<A, E, R>) =>
  Effect.flatMap(Timeout, (timeout) =>
    Effect.timeoutOrElse(effect, {
      duration: timeout,
      orElse: () => Effect.fail(unreachable(`No answer from ${what} within ${Duration.format(timeout)}: see --timeout.`))
    })
  )
