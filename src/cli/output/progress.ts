/** How far a long work is: `Sales@2  ████░░░░  67 %  3.4 M of 5.0 M  31,200/s  52s`. */
import type { Paint } from "./table.ts"
import { count, pad, short } from "./text.ts"
import { span } from "./time.ts"

export interface Place {
  readonly name: string
  readonly position: number
  readonly target: number
  /** How many positions a second, and how many milliseconds it has taken. */
  readonly rate: number
}

/** The line of a place, without an end of line. */
export const bar = ({ name, position, rate, target }: Place, width: number, paint: Paint): string => {
  const share = target === 0 ? 1 : Math.min(1, position / target)
  const rest = rate > 0 ? `  ${count(Math.round(rate))}/s  ${span((target - position) / rate)}` : ""
  const texts = `${pad(`${Math.floor(share * 100)} %`, 5, "right")}  ${short(position)} of ${short(target)}${rest}`
  const cells = Math.max(10, Math.min(30, width - name.length - texts.length - 5))
  const full = Math.round(cells * share)
  return `${name}  ${paint("green", "█".repeat(full))}${paint("dim", "░".repeat(cells - full))}  ${texts}`
}
