/** Tables that fit the terminal. */
import { printable } from "../../internal/printable.ts"
import { cut, pad, widthOf, wrap } from "./text.ts"

const styles = { bold: 1, dim: 2, red: 31, green: 32, yellow: 33, cyan: 36 } as const
export type Style = keyof typeof styles

/** Says whether text gets colours, and gives it some. */
export type Paint = (style: Style | undefined, text: string) => string

export const paints = (isColoured: boolean): Paint =>
  isColoured ? (style, text) => (style === undefined ? text : `\u001b[${styles[style]}m${text}\u001b[0m`) : (_, text) => text

export interface Column<Row> {
  readonly head: string
  readonly cell: (row: Row) => string
  readonly align?: "left" | "right"
  readonly style?: (row: Row) => Style | undefined
  /** The fewest cells that it may shrink to where the terminal is narrow. Default: it does not shrink. */
  readonly least?: number
}

const gap = "  "

/** The widths at which the columns fit: what can shrink does, the widest first. */
const fit = (wanted: ReadonlyArray<number>, least: ReadonlyArray<number>, width: number): ReadonlyArray<number> => {
  const widths = [...wanted]
  let excess = widths.reduce((sum, each) => sum + each, 0) + gap.length * (widths.length - 1) - width
  while (excess > 0) {
    const free = widths.map((each, index) => Math.max(0, each - (least[index] ?? each)))
    const most = Math.max(...free)
    if (most === 0) break
    const widest = free.indexOf(most)
    widths[widest] = (widths[widest] ?? 0) - 1
    excess -= 1
  }
  return widths
}

/** The lines of a table: heads, and a line for each row, followed by what `below` says of it. */
export const table = <Row>(
  columns: ReadonlyArray<Column<Row>>,
  rows: ReadonlyArray<Row>,
  options: { readonly width: number; readonly paint: Paint; readonly below?: (row: Row) => ReadonlyArray<string> }
): ReadonlyArray<string> => {
  if (rows.length === 0) return []
  const cells = rows.map((row) => columns.map(({ cell }) => printable(cell(row))))
  const wanted = columns.map(({ head }, index) => Math.max(widthOf(head), ...cells.map((row) => widthOf(row[index] ?? ""))))
  const least = columns.map(({ head, least }, index) =>
    least === undefined ? (wanted[index] ?? 0) : Math.max(widthOf(head), least)
  )
  const widths = fit(wanted, least, options.width)
  const line = (texts: ReadonlyArray<string>, styleOf: (index: number) => Style | undefined) =>
    columns
      .map(({ align }, index) => {
        const width = widths[index] ?? 0
        const text = cut(texts[index] ?? "", width)
        const padded = index === columns.length - 1 && align !== "right" ? text : pad(text, width, align)
        return options.paint(styleOf(index), padded)
      })
      .join(gap)
      .trimEnd()
  return [
    line(
      columns.map(({ head }) => head),
      () => "dim"
    ),
    ...rows.flatMap((row, index) => [
      line(cells[index] ?? [], (column) => columns[column]?.style?.(row)),
      ...(options.below?.(row) ?? []).flatMap((text) =>
        wrap(printable(text), options.width - 2).map((part) => options.paint("red", `  ${part}`))
      )
    ])
  ]
}
