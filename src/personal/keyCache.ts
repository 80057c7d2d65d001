/** Keys that a process has, each for a bounded time. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import { gone, type Standing } from "./subjectKeys.ts"

interface Entry {
  readonly standing: Standing
  /** As it is wrapped: where it still is so, it need not be unwrapped again. */
  readonly wrapped: string | undefined
  /** Milliseconds, of a clock that is not set. */
  readonly until: number
}

/** A time that goes on, whatever is done to the clock on the wall. */
export const now: Effect.Effect<number> = Effect.map(Clock.currentTimeNanos, (nanos) => Number(nanos / 1000n) / 1000)

/** Keys by one kind of name. An entry is good until `bound` after the moment before it was asked for. */
export const makeKeyCache = (bound: number, capacity: number) => {
  // In the order in which they were asked for, so the oldest come first.
  const entries = new Map<string, Entry>()
  /** What is gone stays so, also where a read that is under way still has it. */
  const lost = new Set<string>()

  const drop = (now: number): void => {
    for (const [name, { until }] of entries) {
      // What ran out a moment ago may be asked for again, and is then not unwrapped once more.
      if (until + bound > now && entries.size <= capacity) return
      entries.delete(name)
    }
  }
  return {
    get: (name: string, now: number): Standing | undefined => {
      if (lost.size > 0 && lost.has(name)) return gone
      const entry = entries.get(name)
      return entry !== undefined && entry.until > now ? entry.standing : undefined
    },
    /** The key as it was, where it is wrapped as it was. */
    unwrapped: (name: string, wrapped: string): Standing | undefined => {
      const entry = entries.get(name)
      return entry?.wrapped === wrapped ? entry.standing : undefined
    },
    set: (name: string, standing: Standing, wrapped: string | undefined, asked: number): void => {
      entries.delete(name)
      entries.set(name, { standing, wrapped, until: asked + bound })
      drop(asked)
    },
    forget: (name: string): void => {
      if (lost.size >= capacity) lost.clear()
      lost.add(name)
      entries.delete(name)
    },
    delete: (name: string): void => void entries.delete(name)
  }
}
