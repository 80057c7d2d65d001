/** Plots as SVG, of which the colours follow the reader's. */

interface Line {
  readonly name: string
  readonly points: ReadonlyArray<readonly [x: number, y: number]>
}

interface Axis {
  readonly label: string
  /** What is written at it. */
  readonly ticks: ReadonlyArray<number>
}

const width = 640
const left = 64
const right = 110

const style = `<style>
  text { font: 12px system-ui, sans-serif; fill: #1f2328 }
  .title { font-size: 14px; font-weight: 600 }
  .quiet { fill: #59636e }
  .grid { stroke: #d1d9e0 }
  .ground { fill: #ffffff }
  .c0 { stroke: #0969da; fill: #0969da } .c1 { stroke: #bc4c00; fill: #bc4c00 }
  .c2 { stroke: #1a7f37; fill: #1a7f37 } .c3 { stroke: #8250df; fill: #8250df }
  polyline { stroke-width: 2.5 } text.c0, text.c1, text.c2, text.c3 { stroke: none; font-weight: 600 }
  @media (prefers-color-scheme: dark) {
    text { fill: #f0f6fc } .quiet { fill: #9198a1 } .grid { stroke: #3d444d } .ground { fill: #0d1117 }
    .c0 { stroke: #4493f8; fill: #4493f8 } .c1 { stroke: #f0883e; fill: #f0883e }
    .c2 { stroke: #3fb950; fill: #3fb950 } .c3 { stroke: #ab7df8; fill: #ab7df8 }
  }
</style>`

const escape = (text: string) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll('"', "&quot;")

const svg = (title: string, height: number, body: ReadonlyArray<string>) =>
  [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" role="img" aria-label="${escape(title)}">`,
    style,
    `<rect class="ground" width="${width}" height="${height}" rx="6"/>`,
    `<text class="title" x="16" y="24">${escape(title)}</text>`,
    ...body,
    "</svg>",
    ""
  ].join("\n")

const short = (value: number) =>
  value >= 1_000_000 ? `${value / 1_000_000} M` : value >= 1000 ? `${value / 1000} k` : `${Number(value.toPrecision(3))}`

/** The powers of ten between which all values are. */
const decades = (values: ReadonlyArray<number>): ReadonlyArray<number> => {
  const from = Math.floor(Math.log10(Math.min(...values)))
  const to = Math.max(from + 1, Math.ceil(Math.log10(Math.max(...values))))
  return Array.from({ length: to - from + 1 }, (_, index) => 10 ** (from + index))
}

/** Where a value is between the ends of an axis, by its logarithm. */
const place = (value: number, ticks: ReadonlyArray<number>) => {
  const [first, last] = [Math.log(ticks[0] as number), Math.log(ticks.at(-1) as number)]
  return first === last ? 0.5 : (Math.log(value) - first) / (last - first)
}

/** Lines over two logarithmic axes, each named at its end. */
export const linePlot = (title: string, x: Axis, yLabel: string, lines: ReadonlyArray<Line>): string => {
  const height = 320
  const [top, bottom] = [56, 52]
  const yTicks = decades(lines.flatMap(({ points }) => points.map(([, y]) => y)))
  const at = (value: number) => left + place(value, x.ticks) * (width - left - right)
  const up = (value: number) => height - bottom - place(value, yTicks) * (height - top - bottom)
  // Names that would cover one another move apart.
  const names = lines
    .map(({ name, points }, index) => ({ name, index, y: up(points.at(-1)?.[1] as number) }))
    .sort((a, b) => a.y - b.y)
  names.forEach((one, nth) => (one.y = Math.max(one.y, (names[nth - 1]?.y ?? 0) + 15)))
  return svg(title, height, [
    `<text class="quiet" x="16" y="44">${escape(yLabel)}</text>`,
    ...yTicks.map(
      (tick) =>
        `<line class="grid" x1="${left}" x2="${width - right}" y1="${up(tick)}" y2="${up(tick)}"/><text class="quiet" x="${left - 8}" y="${up(tick) + 4}" text-anchor="end">${short(tick)}</text>`
    ),
    ...x.ticks.map(
      (tick) => `<text class="quiet" x="${at(tick)}" y="${height - bottom + 20}" text-anchor="middle">${short(tick)}</text>`
    ),
    `<text class="quiet" x="${(left + width - right) / 2}" y="${height - 12}" text-anchor="middle">${escape(x.label)}</text>`,
    ...lines.flatMap(({ points }, index) => [
      `<polyline class="c${index}" style="fill:none" points="${points.map(([x, y]) => `${at(x).toFixed(1)},${up(y).toFixed(1)}`).join(" ")}"/>`,
      ...points.map(([x, y]) => `<circle class="c${index}" r="3.5" cx="${at(x).toFixed(1)}" cy="${up(y).toFixed(1)}"/>`)
    ]),
    ...names.map(({ index, name, y }) => `<text class="c${index}" x="${width - right + 10}" y="${y + 4}">${escape(name)}</text>`)
  ])
}

/** Shares of one, each of which is a bar with its name and its value. */
export const sharePlot = (title: string, bars: ReadonlyArray<{ readonly name: string; readonly share: number }>): string => {
  const [top, step, start] = [60, 24, 370]
  const height = top + bars.length * step + 12
  const most = Math.max(1, ...bars.map(({ share }) => share))
  const length = (share: number) => (share / most) * (width - start - 60)
  return svg(title, height, [
    `<text class="quiet" x="16" y="44">how fast eventfold is as a share of it: at the line it is as fast</text>`,
    ...bars.flatMap(({ name, share }, index) => {
      const y = top + index * step
      return [
        `<text x="${start - 8}" y="${y + 13}" text-anchor="end">${escape(name)}</text>`,
        `<rect class="c0" x="${start}" y="${y + 2}" width="${length(share).toFixed(1)}" height="14" rx="2"/>`,
        `<text class="quiet" x="${(start + length(share) + 6).toFixed(1)}" y="${y + 13}">${share.toFixed(2)}</text>`
      ]
    }),
    `<line class="grid" x1="${start + length(1)}" x2="${start + length(1)}" y1="${top - 4}" y2="${height - 8}"/>`
  ])
}
