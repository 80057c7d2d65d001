/** A state, and how it differs from the one before. */
import type * as Schema from "effect/Schema"
import { printable } from "../../internal/printable.ts"
import type { Paint, Style } from "./table.ts"
import { cut, pad, widthOf } from "./text.ts"

type Fields = Readonly<Record<string, Schema.Json>>

const isObject = (value: Schema.Json | undefined): value is Fields =>
  typeof value === "object" && value !== null && !Array.isArray(value)

/** The leaves of a value by their paths; an array of objects is one. */
const leavesOf = (value: Schema.Json | undefined, path = ""): ReadonlyArray<readonly [string, Schema.Json]> => {
  if (value === undefined) return []
  if (!isObject(value) || Object.keys(value).length === 0) return [[path, value]]
  return Object.entries(value).flatMap(([name, item]) => leavesOf(item, path === "" ? name : `${path}.${name}`))
}

const textOf = (value: Schema.Json): string => printable(typeof value === "string" ? value : JSON.stringify(value))

const equal = (one: Schema.Json | undefined, other: Schema.Json | undefined): boolean =>
  JSON.stringify(one) === JSON.stringify(other)

interface Line {
  readonly mark: " " | "+" | "-" | "~"
  readonly path: string
  readonly text: string
}

const stylesOfMarks: Readonly<Record<Line["mark"], Style | undefined>> = {
  " ": undefined,
  "+": "green",
  "-": "red",
  "~": "yellow"
}

/** All leaves of the state after, with what has changed marked: `+`, `-`, and `~` with both values. */
export const difference = (
  before: Schema.Json | undefined,
  after: Schema.Json | null,
  width: number,
  paint: Paint
): ReadonlyArray<string> => {
  const was = new Map(leavesOf(before))
  const is = leavesOf(after ?? undefined)
  const lines: Array<Line> = is.map(([path, value]) => {
    const old = was.get(path)
    if (old === undefined) return { mark: before === undefined ? " " : "+", path, text: textOf(value) }
    return equal(old, value)
      ? { mark: " ", path, text: textOf(value) }
      : { mark: "~", path, text: `${textOf(old)} → ${textOf(value)}` }
  })
  const paths = new Set(is.map(([path]) => path))
  for (const [path, value] of was) if (!paths.has(path)) lines.push({ mark: "-", path, text: textOf(value) })
  const names = Math.max(0, ...lines.map(({ path }) => widthOf(printable(path))))
  return lines.map(({ mark, path, text }) =>
    paint(stylesOfMarks[mark], cut(`${mark} ${pad(printable(path), names)}  ${text}`, width)).trimEnd()
  )
}
