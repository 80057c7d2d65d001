import { Effect } from "effect"
import { type Case, type Sample } from "./harness.ts"

/** One side of a case over all rounds. */
interface Side {
  readonly median: number
  readonly min: number
  readonly max: number
  /** Milliseconds, over the operations of all rounds. */
  readonly p50: number
  readonly p99: number
}

/** How fast ours is as a share of something else: 1 is as fast, 0.5 half as fast. */
interface Ratio {
  readonly name: string
  /** The median of the rounds' ratios, and the least and the greatest of them. */
  readonly ratio: number
  readonly lowest: number
  readonly highest: number
}

export interface Row {
  readonly name: string
  readonly unit: string
  readonly ours: Side
  /** What it was measured beside: `raw`, peers, another build. */
  readonly beside: ReadonlyArray<Side & Ratio>
  /** Ours beside ours in another case. */
  readonly base?: Ratio
  /** The median of the rounds of ours. */
  readonly bytesPerEvent?: number
}

/** One side of a case, and how it is run once. */
export interface Entrant {
  readonly case: Case
  readonly side: string
  readonly run: Effect.Effect<Sample, unknown>
}

/** The samples of each side of each case, and what failed. */
interface Measured {
  readonly samples: ReadonlyMap<Case, ReadonlyMap<string, ReadonlyArray<Sample>>>
  readonly failures: ReadonlyArray<Error>
}

/** Runs all of them in each round, every other round backwards. What fails is not run again, and has no samples. */
export const measure = Effect.fnUntraced(function* (entrants: ReadonlyArray<Entrant>, rounds: number) {
  const samples = new Map<Case, Map<string, Array<Sample>>>()
  const failures = new Map<Entrant, Error>()
  for (const one of entrants) samples.set(one.case, (samples.get(one.case) ?? new Map()).set(one.side, []))
  for (let round = 0; round < rounds; round++) {
    for (const one of round % 2 === 0 ? entrants : entrants.toReversed()) {
      const sides = samples.get(one.case)
      if (failures.has(one)) continue
      yield* one.run.pipe(
        Effect.map((sample) => sides?.get(one.side)?.push(sample)),
        Effect.catch((cause) => {
          sides?.delete(one.side)
          return Effect.sync(() =>
            failures.set(one, new Error(`${one.case.name}: ${one.side} failed in round ${round + 1}`, { cause }))
          )
        })
      )
    }
  }
  return { samples, failures: Array.from(failures.values()) } satisfies Measured
})

const quantile = (values: ReadonlyArray<number>, share: number): number => {
  const sorted = Float64Array.from(values).sort()
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN
}

const median = (values: ReadonlyArray<number>): number => {
  const sorted = Float64Array.from(values).sort()
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? (sorted[middle] as number) : ((sorted[middle - 1] as number) + (sorted[middle] as number)) / 2
}

const valuesOf = (unit: Case["unit"], samples: ReadonlyArray<Sample>): ReadonlyArray<number> =>
  samples.map(({ latencies, millis, units }) => (unit === "latency" ? quantile(latencies, 0.5) : (units / millis) * 1000))

const sideOf = (unit: Case["unit"], samples: ReadonlyArray<Sample>): Side => {
  const values = valuesOf(unit, samples)
  const latencies = samples.flatMap((sample) => sample.latencies)
  return {
    median: median(values),
    min: Math.min(...values),
    max: Math.max(...values),
    p50: quantile(latencies, 0.5),
    p99: quantile(latencies, 0.99)
  }
}

/** Round by round, for what a busy machine does to one round it does to both. */
const ratioOf = (name: string, unit: Case["unit"], ours: ReadonlyArray<Sample>, other: ReadonlyArray<Sample>): Ratio => {
  const others = valuesOf(unit, other)
  const ratios = valuesOf(unit, ours).map((value, round) => {
    const ratio = value / (others[round] as number)
    return unit === "latency" ? 1 / ratio : ratio
  })
  return { name, ratio: median(ratios), lowest: Math.min(...ratios), highest: Math.max(...ratios) }
}

/** A row for each case of which ours was measured. */
export const rowsOf = ({ samples }: Measured): ReadonlyArray<Row> => {
  const oursIn = (name: string | undefined) =>
    Array.from(samples)
      .find(([{ name: other }]) => other === name)?.[1]
      .get("ours")
  return Array.from(samples).flatMap(([{ base, name, unit }, sides]) => {
    const ours = sides.get("ours")
    if (ours === undefined) return []
    const others = Array.from(sides).filter(([side]) => side !== "ours")
    const standard = oursIn(base)
    const sizes = ours.flatMap(({ bytesPerEvent }) => bytesPerEvent ?? [])
    return {
      name,
      unit: unit === "latency" ? "ms" : `${unit}/s`,
      ours: sideOf(unit, ours),
      beside: others.map(([side, other]) => ({ ...sideOf(unit, other), ...ratioOf(side, unit, ours, other) })),
      ...(base === undefined || standard === undefined ? {} : { base: ratioOf(base, unit, ours, standard) }),
      ...(sizes.length === 0 ? {} : { bytesPerEvent: Math.round(median(sizes)) })
    }
  })
}

/** Three digits of a number, or all before the point. */
const digits = (value: number): string =>
  value >= 100 ? Math.round(value).toLocaleString("en").replaceAll(",", " ") : value.toFixed(value >= 10 ? 1 : 2)

const titles = ["case", "unit", "ours", "beside", "", "ratio", "rounds", "p50 ms", "p99 ms", "min–max"] as const

const ratioCells = ({ highest, lowest, ratio }: Ratio) => [ratio.toFixed(2), `${lowest.toFixed(2)}–${highest.toFixed(2)}`]

/** The table of all rows as cells, the titles first: a line for each thing that a case was measured beside. */
export const cellsOf = (rows: ReadonlyArray<Row>): ReadonlyArray<ReadonlyArray<string>> => [
  titles,
  ...rows.flatMap(({ base, beside, name, ours, unit }) => {
    const start = [name, unit, digits(ours.median)]
    const end = [digits(ours.p50), digits(ours.p99), `${digits(ours.min)}–${digits(ours.max)}`]
    const lines = beside.map((other) => [digits(other.median), other.name, ...ratioCells(other)])
    if (base !== undefined) lines.push(["", `"${base.name}"`, ...ratioCells(base)])
    if (lines.length === 0) lines.push(["", "", "", ""])
    return lines.map((line, index) => (index === 0 ? [...start, ...line, ...end] : ["", "", "", ...line, "", "", ""]))
  })
]

const isText = (column: number) => column < 2 || column === 4

/** The table of all rows, as lines of text. */
export const table = (rows: ReadonlyArray<Row>): string => {
  const cells = cellsOf(rows)
  const widths = titles.map((_, column) => Math.max(...cells.map((row) => (row[column] as string).length)))
  const lines = cells.map((row) =>
    row
      .map((cell, column) => (isText(column) ? cell.padEnd(widths[column] as number) : cell.padStart(widths[column] as number)))
      .join("  ")
      .trimEnd()
  )
  const sizes = rows.flatMap(({ bytesPerEvent, name }) =>
    bytesPerEvent === undefined ? [] : [`${name}: ${bytesPerEvent} bytes an event on the disk`]
  )
  return [lines[0], "─".repeat(lines[0]?.length ?? 0), ...lines.slice(1), ...(sizes.length === 0 ? [] : ["", ...sizes])].join(
    "\n"
  )
}
