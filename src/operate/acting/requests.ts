/**
 * Acts that have been asked for, until they are done: where all processes that may do them can see them.
 *
 * A request is taken by one process, for a time that it has to renew; what a process has taken that died is taken anew. Who takes it is told
 * by a number, its turn, so that a process which was stopped and goes on can finish nothing.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type { Act } from "../contract/acts.ts"

/** What is asked for. */
interface Request {
  readonly id: string
  /** What it is about: of two requests about one thing one is under way at a time. */
  readonly target: string
  readonly act: Act
  readonly by: string
  readonly reason: string | undefined
}

/** A request as it stands. Times are milliseconds since the epoch. */
export interface Standing extends Request {
  readonly askedAt: number
  /** Whether the time to be taken has run out; by the clock of the requests. */
  readonly isLate: boolean
  /** Whether half of that time has. */
  readonly isHalfLate: boolean
  readonly owner: string | undefined
  /** Whether whoever has taken it has not renewed it in time, nor anybody else taken it who looks for such. */
  readonly isSilent: boolean
  /** Whether whoever has taken it has not been heard of for a minute, and nobody else has taken it since. */
  readonly isAbandoned: boolean
  readonly progress: { readonly position: number; readonly target: number } | undefined
  readonly end: { readonly state: "done" | "refused" | "nobody"; readonly outcome: string } | undefined
}

/** The right to finish a request. */
export interface Turn {
  readonly id: string
  readonly owner: string
  readonly turn: number
}

/** Where requests stand. */
export interface Requests<E> {
  /** Puts a request, to be taken within so many milliseconds; one that is known under its id stays as it is. */
  readonly put: (request: Request, within: number) => Effect.Effect<void, E>
  readonly get: (id: string) => Effect.Effect<Standing | undefined, E>
  /** What is not done, and what has paused or resumed a follower within the last minute; the oldest first, at most 100. */
  readonly current: Effect.Effect<ReadonlyArray<Standing>, E>
  /** Takes a request that nobody has, or whose taker has not renewed it, unless another about the same is under way. */
  readonly take: (id: string, owner: string) => Effect.Effect<Turn | undefined, E>
  /** Renews it. Whether it is still this one's turn. */
  readonly renew: (turn: Turn, progress: Standing["progress"]) => Effect.Effect<boolean, E>
  /** Ends it. Whether it was this one's turn: else nothing was written, and what was done with it must not stand. */
  readonly finish: (turn: Turn, end: NonNullable<Standing["end"]>) => Effect.Effect<boolean, E>
  /** Gives it back: whoever can do it may take it at once. */
  readonly release: (turn: Turn) => Effect.Effect<void, E>
  /** Ends one that nobody has taken in time, or that was abandoned. Whether it did. */
  readonly giveUp: (id: string, end: NonNullable<Standing["end"]>) => Effect.Effect<boolean, E>
  /** How often others may have changed something, in milliseconds; `undefined` where there are no others. */
  readonly looked: number | undefined
}

/** For how long a request is taken, unless it is renewed, in milliseconds. */
export const leaseTime = 5000

/** How often requests are looked for where others may put them, in milliseconds. */
export const lookedFor = 1000

/** So long after its lease whoever has taken a request counts as silent: others have looked for it by then. */
export const silentAfter = 2 * lookedFor

/** For how long what has been done is known by its id, beside the record; and how long one that nobody goes on with is waited for. */
export const keptFor = 60_000

interface Row extends Request {
  readonly askedAt: number
  readonly within: number
  owner: string | undefined
  turn: number
  until: number
  progress: Standing["progress"]
  end: Standing["end"]
  endedAt: number
}

const standingOf = (row: Row, now: number): Standing => ({
  id: row.id,
  target: row.target,
  act: row.act,
  by: row.by,
  reason: row.reason,
  askedAt: row.askedAt,
  isLate: now > row.askedAt + row.within,
  isHalfLate: now > row.askedAt + row.within / 2,
  owner: row.owner,
  isSilent: row.owner !== undefined && row.until <= now - silentAfter,
  isAbandoned: row.owner !== undefined && row.until <= now - keptFor,
  progress: row.progress,
  end: row.end
})

/** Requests in memory, where one process does everything. */
export const makeInMemory = (): Requests<never> => {
  const rows = new Map<string, Row>()
  const at = <A>(answer: (now: number) => A) => Effect.map(Clock.currentTimeMillis, answer)
  const held = ({ id, owner, turn }: Turn): Row | undefined => {
    const row = rows.get(id)
    return row?.owner === owner && row.turn === turn && row.end === undefined ? row : undefined
  }
  return {
    put: (request, within) =>
      at((now) => {
        for (const [id, { end, endedAt }] of rows) if (end !== undefined && now - endedAt > keptFor) rows.delete(id)
        if (rows.has(request.id)) return
        const free = { owner: undefined, turn: 0, until: 0, progress: undefined, end: undefined, endedAt: 0 }
        rows.set(request.id, { ...request, ...free, askedAt: now, within })
      }),
    get: (id) =>
      at((now) => {
        const row = rows.get(id)
        return row && standingOf(row, now)
      }),
    current: at((now) =>
      Array.from(rows.values())
        .filter(({ end }) => end === undefined)
        .map((row) => standingOf(row, now))
    ),
    take: (id, owner) =>
      at((now) => {
        const row = rows.get(id)
        const isFree = row !== undefined && row.end === undefined && (row.owner === undefined || row.until <= now)
        const others = Array.from(rows.values()).some(
          (other) => other.id !== id && other.target === row?.target && other.owner !== undefined && other.end === undefined
        )
        if (!isFree || others || (row.owner === undefined && now > row.askedAt + row.within)) return undefined
        row.owner = owner
        row.turn++
        row.until = Infinity
        return { id, owner, turn: row.turn }
      }),
    renew: (turn, progress) =>
      at(() => {
        const row = held(turn)
        if (row !== undefined) row.progress = progress ?? row.progress
        return row !== undefined
      }),
    finish: (turn, end) =>
      at((now) => {
        const row = held(turn)
        if (row === undefined) return false
        row.end = end
        row.endedAt = now
        return true
      }),
    release: (turn) =>
      at((now) => {
        const row = held(turn)
        if (row !== undefined) row.until = now
      }),
    giveUp: (id, end) =>
      at((now) => {
        const row = rows.get(id)
        if (row === undefined || row.end !== undefined) return false
        if (row.owner !== undefined && row.until > now - keptFor) return false
        row.end = end
        row.endedAt = now
        return true
      }),
    looked: undefined
  }
}
