import { Effect } from "effect"
import { mkdir, writeFile } from "node:fs/promises"
import { join } from "node:path"
import { type Case } from "./harness.ts"
import { linePlot, sharePlot } from "./plot.ts"
import { cellsOf, type Row } from "./rows.ts"

/** What is drawn in one plot. */
type Drawn = ReadonlyArray<{ readonly row: Row; readonly chart: NonNullable<Case["chart"]> }>

const isBar = (drawn: Drawn) => drawn.every(({ chart }) => chart.x === undefined)

const plotOf = (title: string, drawn: Drawn): string => {
  if (isBar(drawn)) {
    return sharePlot(
      title,
      drawn.flatMap(({ row: { base, beside, name } }) => {
        const others = beside.length === 0 && base !== undefined ? [base] : beside
        return others.map(({ ratio }) => ({ name, share: ratio }))
      })
    )
  }
  const names = new Set(["eventfold", ...drawn.flatMap(({ row }) => row.beside.map(({ name }) => name))])
  const lines = Array.from(names, (name) => ({
    name,
    points: drawn.flatMap(({ chart, row }): Array<readonly [number, number]> => {
      const side = name === "eventfold" ? row.ours : row.beside.find((other) => other.name === name)
      return chart.x === undefined || side === undefined ? [] : [[chart.x[1], side.median]]
    })
  }))
  const ticks = Array.from(new Set(drawn.flatMap(({ chart }) => chart.x?.[1] ?? []))).sort((a, b) => a - b)
  const unit = drawn[0]?.row.unit ?? ""
  return linePlot(
    title,
    { label: drawn[0]?.chart.x?.[0] ?? "", ticks },
    unit === "ms" ? "milliseconds, less is better" : unit.replace("/s", " a second"),
    lines.filter(({ points }) => points.length > 0)
  )
}

const fileOf = (title: string) => `${title.toLowerCase().replaceAll(/[^a-z0-9]+/g, "-")}.svg`

const markdownTable = (rows: ReadonlyArray<Row>): string => {
  const [titles = [], ...lines] = cellsOf(rows)
  const line = (cells: ReadonlyArray<string>) => `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`
  return [line(titles), line(titles.map((_, column) => (column < 2 ? ":--" : "--:"))), ...lines.map(line)].join("\n")
}

const words = `Medians of rounds, in which everything takes turns on one server. *ratio* is how fast eventfold is as a share of what it is beside:
1 is as fast, above 1 it is faster; *rounds* are the least and the greatest ratio of a round. *raw* is the same work with the bare driver,
without checks, encoding and callers to wake; *emmett* and *dcb-es* are the stores of those names; a name in quotation marks is another case of
eventfold itself. The server shares the cores of this machine: figures of two machines cannot be compared, ratios can; *load* is that of the
machine at the beginning: above its cores, other work was in the way. Callers wait for one answer before they ask again.`

/** Writes a page, `README.md`, and its plots into a folder. */
export const writeReport = (
  folder: string,
  page: { readonly heading: string; readonly cases: ReadonlyArray<Case>; readonly rows: ReadonlyArray<Row> }
): Effect.Effect<void> => {
  const charts = new Map(page.cases.map(({ chart, name }) => [name, chart]))
  const drawn = page.rows.flatMap((row) => {
    const chart = charts.get(row.name)
    return chart === undefined ? [] : [{ row, chart }]
  })
  const plots = Array.from(
    Map.groupBy(drawn, ({ chart }) => chart.title),
    ([title, drawn]) => ({
      title,
      file: fileOf(title),
      text: plotOf(title, drawn)
    })
  )
  const text = [
    "# Measured",
    words,
    `${page.heading}.`,
    ...plots.map(({ file, title }) => `![${title}](${file})`),
    markdownTable(page.rows),
    ""
  ].join("\n\n")
  return Effect.promise(async () => {
    await mkdir(folder, { recursive: true })
    await writeFile(join(folder, "README.md"), text)
    for (const { file, text } of plots) await writeFile(join(folder, file), text)
  })
}
