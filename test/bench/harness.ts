import { Effect, type Scope } from "effect"
import { type Lab, type Place } from "./lab.ts"

/** What one run of one side of a case measured. */
export interface Sample {
  /** How many of the case's units were done in `millis`. */
  readonly units: number
  readonly millis: number
  /** Milliseconds of each operation, as its caller saw it. */
  readonly latencies: ReadonlyArray<number>
  /** How many events must stand in the store when the run has ended, those of the warm-up included. */
  readonly events: number
}

/** One side of a case: warms up, measures, and says what it measured. */
export type Run = (lab: Lab) => Effect.Effect<Sample, unknown, Scope.Scope>

export interface Case {
  readonly name: string
  readonly place: Place
  /** `latency` cases report the median latency in milliseconds and not `unit` per second. */
  readonly unit: "appends" | "events" | "commands" | "latency"
  readonly ours: Run
  readonly raw: Run
}

/** One side of a case over all rounds. */
interface Side {
  readonly median: number
  readonly min: number
  readonly max: number
  /** Milliseconds, over the operations of all rounds. */
  readonly p50: number
  readonly p99: number
}

export interface Row {
  readonly name: string
  readonly unit: string
  readonly ours: Side
  readonly raw: Side
  /** How fast ours is, as a share of raw: 1 is as fast, 0.5 half as fast. */
  readonly ratio: number
  /** How many bytes an event takes on the disk, where that was measured: the median of the rounds of ours. */
  readonly bytesPerEvent: number | undefined
}

/** Carries out `operation` `times` times for each of `callers` at once, each of which waits for one to end before the next. */
export const concurrently = <A, E, R>(
  callers: number,
  times: number,
  operation: (caller: number, nth: number) => Effect.Effect<A, E, R>
): Effect.Effect<Pick<Sample, "millis" | "latencies">, E, R> =>
  Effect.suspend(() => {
    const latencies: Array<number> = []
    const call = (caller: number) =>
      Effect.suspend(() => {
        let nth = 0
        let before = performance.now()
        return Effect.whileLoop({
          while: () => nth < times,
          body: () => operation(caller, nth),
          step: () => {
            const now = performance.now()
            latencies.push(now - before)
            before = now
            nth++
          }
        })
      })
    const start = performance.now()
    return Effect.map(
      Effect.forEach(
        Array.from({ length: callers }, (_, caller) => caller),
        call,
        { concurrency: "unbounded", discard: true }
      ),
      () => ({ millis: performance.now() - start, latencies })
    )
  })

/** Collects what earlier work left behind, so that it is not collected within a measurement. */
export const collectGarbage = Effect.sync(() => globalThis.gc?.())

const quantile = (values: ReadonlyArray<number>, share: number): number => {
  const sorted = Float64Array.from(values).sort()
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN
}

const median = (values: ReadonlyArray<number>): number => {
  const sorted = Float64Array.from(values).sort()
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? (sorted[middle] as number) : ((sorted[middle - 1] as number) + (sorted[middle] as number)) / 2
}

const side = (unit: Case["unit"], samples: ReadonlyArray<Sample>): Side => {
  const values = samples.map(({ latencies, millis, units }) =>
    unit === "latency" ? quantile(latencies, 0.5) : (units / millis) * 1000
  )
  const latencies = samples.flatMap((sample) => sample.latencies)
  return {
    median: median(values),
    min: Math.min(...values),
    max: Math.max(...values),
    p50: quantile(latencies, 0.5),
    p99: quantile(latencies, 0.99)
  }
}

/** Runs a case: ours and raw in turns, each time on fresh tables, which are checked afterwards. */
export const runCase = (
  one: Case,
  rounds: number,
  makeLab: Effect.Effect<Lab, unknown, Scope.Scope>
): Effect.Effect<Row, unknown> =>
  Effect.gen(function* () {
    const samples = { ours: [] as Array<Sample>, raw: [] as Array<Sample> }
    const sizes: Array<number> = []
    for (let round = 0; round < rounds; round++) {
      for (const who of round % 2 === 0 ? (["ours", "raw"] as const) : (["raw", "ours"] as const)) {
        const sample = yield* Effect.scoped(
          Effect.gen(function* () {
            const lab = yield* makeLab
            const sample = yield* Effect.scoped(one[who](lab))
            if (lab.bytes !== undefined && who === "ours") sizes.push((yield* lab.bytes) / sample.events)
            yield* lab.check(sample.events, who)
            return sample
          })
        ).pipe(Effect.mapError((cause) => new Error(`${one.name}: ${who} failed in round ${round + 1}`, { cause })))
        samples[who].push(sample)
      }
    }
    const ours = side(one.unit, samples.ours)
    const raw = side(one.unit, samples.raw)
    return {
      name: one.name,
      unit: one.unit === "latency" ? "ms" : `${one.unit}/s`,
      ours,
      raw,
      ratio: one.unit === "latency" ? raw.median / ours.median : ours.median / raw.median,
      bytesPerEvent: sizes.length === 0 ? undefined : Math.round(median(sizes))
    }
  })

const titles = ["case", "unit", "ours", "raw", "ratio", "p50 ms", "p99 ms", "min–max"] as const

/** The table of all rows, as lines of text. */
export const table = (rows: ReadonlyArray<Row>): string => {
  const digits = (value: number) =>
    value >= 100 ? Math.round(value).toLocaleString("en").replaceAll(",", " ") : value.toFixed(value >= 10 ? 1 : 2)
  const cells = [
    [...titles],
    ...rows.map(({ name, ours, ratio, raw, unit }) => [
      name,
      unit,
      digits(ours.median),
      digits(raw.median),
      ratio.toFixed(2),
      digits(ours.p50),
      digits(ours.p99),
      `${digits(ours.min)}–${digits(ours.max)}`
    ])
  ]
  const widths = titles.map((_, column) => Math.max(...cells.map((row) => (row[column] as string).length)))
  const lines = cells.map((row) =>
    row
      .map((cell, column) => (column < 2 ? cell.padEnd(widths[column] as number) : cell.padStart(widths[column] as number)))
      .join("  ")
  )
  const sizes = rows.flatMap(({ bytesPerEvent, name }) =>
    bytesPerEvent === undefined ? [] : [`${name}: ${bytesPerEvent} bytes an event on the disk`]
  )
  return [lines[0], "─".repeat(lines[0]?.length ?? 0), ...lines.slice(1), ...(sizes.length === 0 ? [] : ["", ...sizes])].join(
    "\n"
  )
}
