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
  /** How many bytes an event takes on the disk, where that is measured. */
  readonly bytesPerEvent?: number
}

/** One side of a case: warms up, measures, and says what it measured. */
export type Run = (lab: Lab) => Effect.Effect<Sample, unknown, Scope.Scope>

export interface Case {
  readonly name: string
  readonly place: Place
  /** `latency` cases report the median latency in milliseconds and not `unit` per second. */
  readonly unit: "appends" | "events" | "commands" | "decisions" | "latency"
  readonly ours: Run
  readonly raw?: Run
  /** The same work by other stores, which are in `peers/`, by their names. */
  readonly peers?: Readonly<Record<string, Run>>
  /** Cases of one group are run by turns, so that they can be compared: with `base`, the name of one of them, each is. */
  readonly group?: string
  readonly base?: string
  /** The plot in which the page of `--report` shows it. */
  readonly chart?: {
    readonly title: string
    /** What the horizontal axis says, and where this case is on it; without it the case is a bar, as long as its ratio. */
    readonly x?: readonly [label: string, value: number]
  }
}

/** The sides of a case that a run has, by their names. */
export const sidesOf = ({ ours, peers = {}, raw }: Case, withPeers: boolean): Readonly<Record<string, Run>> => ({
  ours,
  ...(raw === undefined ? {} : { raw }),
  ...(withPeers ? peers : {})
})

/**
 * Carries out `operation` `times` times for each of `callers` at once, each of which waits for one to end before the next: what
 * is slow keeps them from asking. So latencies are what one of so many callers waits for, and not what somebody would who
 * comes at a time of his own: see `atRate`.
 */
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

/** How long {@link during} measures. */
export interface Span {
  readonly warmUp: number
  readonly millis: number
}

/**
 * The same for sides that differ by orders of magnitude: callers go on through the warm-up and the measurement, so that nobody begins or
 * ends within it, and what ends in it is counted. It goes on until there are as many as callers.
 */
export const during = <E, R>(
  callers: number,
  { millis, warmUp }: Span,
  operation: (caller: number, nth: number) => Effect.Effect<unknown, E, R>
): Effect.Effect<Pick<Sample, "units" | "millis" | "latencies">, E, R> =>
  Effect.suspend(() => {
    const latencies: Array<number> = []
    const warm = performance.now() + warmUp
    let start: number | undefined
    let end: number | undefined
    const call = (caller: number) =>
      Effect.suspend(() => {
        let nth = 0
        let before = performance.now()
        return Effect.whileLoop({
          while: () => end === undefined,
          body: () => operation(caller, nth++),
          step: () => {
            const now = performance.now()
            if (start === undefined) {
              if (now >= warm) start = now
            } else if (end === undefined) {
              latencies.push(now - before)
              if (now >= start + millis && latencies.length >= callers) end = now
            }
            before = now
          }
        })
      })
    return Effect.map(
      Effect.forEach(
        Array.from({ length: callers }, (_, caller) => caller),
        call,
        { concurrency: "unbounded", discard: true }
      ),
      () => ({ units: latencies.length, millis: (end as number) - (start as number), latencies })
    )
  })

/**
 * Carries out `operation` at a steady rate, whoever waits for what came before. Latencies count from when each was due, so
 * that a pause is told by all whom it kept waiting.
 */
export const atRate = <E, R>(
  perSecond: number,
  times: number,
  operation: (nth: number) => Effect.Effect<unknown, E, R>
): Effect.Effect<Pick<Sample, "millis" | "latencies">, E, R> =>
  Effect.suspend(() => {
    const latencies: Array<number> = []
    const start = performance.now()
    return Effect.map(
      Effect.forEach(
        Array.from({ length: times }, (_, nth) => nth),
        (nth) => {
          const due = start + (nth * 1000) / perSecond
          return Effect.sleep(Math.max(0, due - performance.now())).pipe(
            Effect.andThen(operation(nth)),
            Effect.andThen(Effect.sync(() => latencies.push(performance.now() - due)))
          )
        },
        { concurrency: "unbounded", discard: true }
      ),
      () => ({ millis: performance.now() - start, latencies })
    )
  })

/** Collects what earlier work left behind, so that it is not collected within a measurement. */
export const collectGarbage = Effect.sync(() => globalThis.gc?.())
