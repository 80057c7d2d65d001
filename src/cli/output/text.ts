/** Text in cells of a terminal. */
import { displayWidth } from "effect/cli/CliOutput"
import { printable } from "../../internal/printable.ts"

const plain = /^[\u0020-\u007e]*$/

/** How many cells a text takes. */
export const widthOf = (text: string): number => (plain.test(text) ? text.length : displayWidth(text))

const graphemes = new Intl.Segmenter(undefined, { granularity: "grapheme" })

/** The text, at most so many cells wide: what was cut off is told by `…`. */
export const cut = (text: string, width: number): string => {
  if (widthOf(text) <= width) return text
  if (width < 1) return ""
  let kept = ""
  let cells = 0
  for (const { segment } of graphemes.segment(text)) {
    cells += widthOf(segment)
    if (cells > width - 1) break
    kept += segment
  }
  return `${kept}…`
}

/** The text, filled up with blanks to so many cells. */
export const pad = (text: string, width: number, align: "left" | "right" = "left"): string => {
  const blanks = " ".repeat(Math.max(0, width - widthOf(text)))
  return align === "left" ? text + blanks : blanks + text
}

/** The text on lines of at most so many cells, broken between words where that can be. */
export const wrap = (text: string, width: number): ReadonlyArray<string> => {
  const lines: Array<string> = []
  let line = ""
  for (const word of text.split(" ")) {
    if (line !== "" && widthOf(line) + 1 + widthOf(word) > width) {
      lines.push(cut(line, width))
      line = ""
    }
    line = line === "" ? word : `${line} ${word}`
  }
  return [...lines, cut(line, width)]
}

/** A whole number, with its thousands apart. */
export const count = (number: number): string => number.toLocaleString("en")

/** A large number in few characters: `3.4 M`. */
export const short = (number: number): string =>
  number < 10_000
    ? count(number)
    : number < 1_000_000
      ? `${(number / 1000).toFixed(1)} k`
      : `${(number / 1_000_000).toFixed(1)} M`

export const plural = (number: number, one: string, many = `${one}s`): string => `${count(number)} ${number === 1 ? one : many}`

/** Bytes in few characters: `3.4 MB`. */
export const size = (bytes: number): string => {
  const units = ["B", "kB", "MB", "GB", "TB"]
  const power = bytes < 1000 ? 0 : Math.min(units.length - 1, Math.floor(Math.log10(bytes) / 3))
  return `${power === 0 ? bytes : (bytes / 1000 ** power).toFixed(1)} ${units[power]}`
}

const leaves = (value: unknown): string =>
  typeof value === "string"
    ? value
    : Array.isArray(value)
      ? value.some((item) => typeof item === "object")
        ? `[${value.length}]`
        : `[${value.map(leaves).join(", ")}]`
      : typeof value === "object" && value !== null
        ? `{${fields(value)}}`
        : String(value)

const fields = (value: object): string =>
  Object.entries(value)
    .map(([name, item]) => `${name} ${leaves(item)}`)
    .join(" · ")

/** A value of JSON on one line: the leaves with their names. */
export const gist = (value: unknown): string =>
  printable(typeof value === "object" && value !== null && !Array.isArray(value) ? fields(value) : leaves(value))
