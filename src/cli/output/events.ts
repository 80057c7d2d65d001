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

/** Events under what caused them, in the order of the log. A cause that is not among them makes a root. */
export const tree = (events: ReadonlyArray<EventRow>, width: number, paint: Paint): ReadonlyArray<string> => {
  const ids = new Set(events.map(({ id }) => id))
  const children = new Map<string, Array<EventRow>>()
  const roots: Array<EventRow> = []
  for (const event of events) {
    const { causationId } = event
    if (causationId === null || causationId === event.id || !ids.has(causationId)) roots.push(event)
    else children.set(causationId, [...(children.get(causationId) ?? []), event])
  }
  const rows: Array<{ readonly event: EventRow; readonly twig: string }> = []
  const add = (event: EventRow, own: string, below: string) => {
    rows.push({ event, twig: own })
    const under = children.get(event.id) ?? []
    for (const [index, child] of under.entries()) {
      const isLast = index === under.length - 1
      add(child, `${below}${isLast ? "└─ " : "├─ "}`, `${below}${isLast ? "   " : "│  "}`)
    }
  }
  for (const root of roots) add(root, "", "")
  const texts = rows.map(({ event, twig }) => `${twig}${printable(event.type)}`)
  const typeWidth = Math.min(36, Math.max(...texts.map((text) => text.length)))
  const places = rows.map(({ event }) => printable(`${event.stream} v${event.version}`))
  const placeWidth = Math.min(28, Math.max(...places.map((text) => text.length)))
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
