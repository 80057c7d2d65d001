/** Events as lines, and as rows of tables. */
import type { EventRow, Payload } from "../../operate/Operations.ts"
import { printable } from "../../internal/printable.ts"
import type { Column, Paint } from "./table.ts"
import { count, cut, gist, pad, size } from "./text.ts"
import { stamp } from "./time.ts"

/** What of a payload may be seen, on one line. */
export const payloadLine = (payload: Payload): string => {
  switch (payload._tag) {
    case "Shown":
      return gist(payload.value)
    case "Cut":
      return `${printable(payload.text)}… (${size(payload.bytes)})`
    case "Hidden":
      return `(hidden, ${size(payload.bytes)})`
  }
}

const saying = ({ payload, problem }: EventRow): string => (problem === null ? payloadLine(payload) : `! ${problem}`)

/** The events of one stream. */
export const eventColumns: ReadonlyArray<Column<EventRow>> = [
  { head: "VERSION", align: "right", cell: ({ version }) => count(version) },
  { head: "POSITION", align: "right", cell: ({ position }) => count(position), style: () => "dim" },
  { head: "TIME", cell: ({ recordedAt }) => stamp(recordedAt), style: () => "dim" },
  { head: "TYPE", cell: ({ published, type }) => `${type}${published ? " ↗" : ""}`, least: 10, style: () => "bold" },
  { head: "BY", cell: ({ by }) => by ?? "-", least: 4 },
  { head: "PAYLOAD", cell: saying, least: 8, style: ({ problem }) => (problem === null ? undefined : "red") }
]

/** One event on a line, with columns of its own: for events that come one after another. */
export const eventLine = (event: EventRow, width: number, paint: Paint): string => {
  const isNarrow = width < 120
  const [typeWidth, placeWidth] = isNarrow ? [16, 18] : [24, 30]
  const place = pad(cut(printable(`${event.stream} v${event.version}`), placeWidth), placeWidth)
  const type = pad(cut(printable(event.type), typeWidth), typeWidth)
  const head = `${stamp(event.recordedAt).slice(isNarrow ? 5 : 0)} ${pad(`#${event.position}`, 8, "right")}  `
  const rest = Math.max(0, width - head.length - typeWidth - placeWidth - 4)
  return `${paint("dim", head)}${paint("bold", type)}  ${paint("cyan", place)}  ${cut(saying(event), rest)}`.trimEnd()
}

/** So long are the lines that lead to an event at most: deeper ones look alike. */
const longestTwig = 60

/** Events under what caused them, in the order of the log. A cause that is not among them, or comes later, makes a root. */
export const tree = (events: ReadonlyArray<EventRow>, width: number, paint: Paint): ReadonlyArray<string> => {
  const known = new Set<string>()
  const children = new Map<string | null, Array<EventRow>>()
  for (const event of events.toSorted((one, other) => one.position - other.position)) {
    const cause = event.causationId !== null && known.has(event.causationId) ? event.causationId : null
    known.add(event.id)
    const siblings = children.get(cause)
    if (siblings === undefined) children.set(cause, [event])
    else siblings.push(event)
  }
  const rows: Array<{ readonly event: EventRow; readonly twig: string }> = []
  const waiting = (children.get(null) ?? []).toReversed().map((event) => ({ event, twig: "", below: "" }))
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    const { below, event, twig } = next
    rows.push({ event, twig })
    const under = (children.get(event.id) ?? []).toReversed()
    const isFull = below.length > longestTwig
    for (const [index, child] of under.entries()) {
      const isLast = index === 0
      waiting.push({
        event: child,
        twig: `${below}${isLast ? "└─ " : "├─ "}`,
        below: isFull ? below : `${below}${isLast ? "   " : "│  "}`
      })
    }
  }
  const longest = (texts: ReadonlyArray<string>) => texts.reduce((most, { length }) => Math.max(most, length), 0)
  const texts = rows.map(({ event, twig }) => `${twig}${printable(event.type)}`)
  const typeWidth = Math.min(36, longest(texts))
  const places = rows.map(({ event }) => printable(`${event.stream} v${event.version}`))
  const placeWidth = Math.min(28, longest(places))
  return rows.map(({ event, twig }, index) => {
    const time = twig === "" ? stamp(event.recordedAt).slice(5) : " ".repeat(14)
    const type = pad(cut(texts[index] ?? "", typeWidth), typeWidth)
    const place = pad(cut(places[index] ?? "", placeWidth), placeWidth)
    const by = twig === "" && event.by !== null ? `by ${printable(event.by)} · ` : ""
    const rest = cut(`${by}${saying(event)}`, Math.max(0, width - 14 - typeWidth - placeWidth - 6))
    const style = event.type.startsWith("$") ? "dim" : "bold"
    return `${paint("dim", time)}  ${paint(style, type)}  ${paint("cyan", place)}  ${rest}`.trimEnd()
  })
}
