/** What the example writes: coloured and with a progress bar on a terminal, plain elsewhere and where NO_COLOR is set. */
import { Console, DateTime, Effect } from "effect"
import { TerminalCapabilities } from "effect/cli"
import { styleText } from "node:util"

type Style = Parameters<typeof styleText>[0]

// Colours only what a terminal will show, and nothing where NO_COLOR says so.
const style =
  (format: Style) =>
  (text: string): string =>
    styleText(format, text)

export const bold = style("bold")
export const dim = style("dim")
export const good = style("green")
export const bad = style("red")
export const odd = style("yellow")
export const name = style("cyan")

export const print = (...lines: ReadonlyArray<string>): Effect.Effect<void> =>
  Effect.forEach(lines.length === 0 ? [""] : lines, (line) => Console.log(line), { discard: true })

/** Says on stderr what is wrong. */
export const complain = (problem: string): Effect.Effect<void> =>
  Console.error(`${styleText("red", "✗", { stream: process.stderr })} ${problem}`)

export const heading = (number: number, title: string): Effect.Effect<void> =>
  print("", `${dim(String(number))}  ${bold(title)}`, "")

/** Text in columns of these widths; what is longer than its column pushes the rest. */
export const columns = (widths: ReadonlyArray<number>, texts: ReadonlyArray<string>): string =>
  texts.map((text, index) => text.padEnd(widths[index] ?? 0)).join("  ")

export const clip = (text: string, width: number): string => (text.length > width ? `${text.slice(0, width - 1)}…` : text)

export const count = (number: number, one: string, many = `${one}s`): string =>
  `${number.toLocaleString("en")} ${number === 1 ? one : many}`

export const money = (cents: number): string => `${(cents / 100).toFixed(2)} €`

export const time = (moment: DateTime.Utc): string =>
  DateTime.formatUtc(moment, {
    locale: "en-GB",
    weekday: "short",
    day: "numeric",
    month: "short",
    hour: "2-digit",
    minute: "2-digit"
  }).replace(",", "")

/** A bar that is drawn anew at each step and gone in the end; where nobody watches, a line for each quarter. */
export const progress = (
  what: string
): Effect.Effect<{
  readonly step: (done: number, of: number) => Effect.Effect<void>
  readonly clear: Effect.Effect<void>
}> =>
  Effect.map(TerminalCapabilities.TerminalCapabilities, ({ canAnimate }) => {
    const width = 40
    let quarters = 0
    const draw = (text: string) => Effect.sync(() => void process.stdout.write(`\r${text}\x1b[K`))
    return {
      step: (done, of) => {
        const share = done / of
        const text = `${done.toLocaleString("en")} of ${count(of, what)}`
        if (canAnimate) {
          const full = Math.round(width * share)
          return draw(`   ${good("█".repeat(full))}${dim("░".repeat(width - full))}  ${text}`)
        }
        if (Math.floor(4 * share) === quarters) return Effect.void
        quarters = Math.floor(4 * share)
        return print(`   ${`${quarters * 25} %`.padStart(5)}  ${text}`)
      },
      clear: canAnimate ? draw("") : print("")
    }
  })
