import * as Equal from "effect/Equal"
import * as Exit from "effect/Exit"
import * as Result from "effect/Result"
import { AppendConditionError, type AppendError, DuplicateEventError, OptimisticLockError } from "../errors.ts"
import type { AppendResult, ExpectedVersion, Query } from "../model.ts"
import { comparable } from "../../internal/exactJson.ts"
import { matchesPrepared } from "./filter.ts"
import type { PreparedAppend, PreparedEvent } from "./prepare.ts"

/**
 * An event that has an id, as {@link decide} asks for it: where it stands, and what a repetition of it must be.
 *
 * @category adapters
 * @since 0.2.0
 */
export interface Located {
  readonly stream: string
  readonly version: number
  readonly position: number
  readonly type: string
  /** JSON text. */
  readonly payload: string
}

/**
 * What {@link decide} must know of what stands in the store. All of it is asked under the store's write lock.
 *
 * @category adapters
 * @since 0.1.0
 */
export interface Standing {
  /** Version and position of the newest event of a stream, zeros when it does not exist. */
  readonly newest: (stream: string) => { readonly version: number; readonly position: number }
  /** The event with this id. */
  readonly locate: (id: string) => Located | undefined
  /** The position of the newest event beyond `after` that passes the filter. */
  readonly newestMatch: (filter: ReadonlyArray<Query>, after: number) => number | undefined
  /** The newest position of the store. */
  readonly head: number
}

/**
 * The verdict on one append, given what stands in the store: its results and where its events go, or why it is refused.
 *
 * `writes` is empty when nothing is to be written. This function is the one definition of what an append means; a store that
 * decides elsewhere (Postgres does, in the database) is held to it by the conformance suite.
 *
 * @category adapters
 * @since 0.1.0
 */
export const decide = (
  append: PreparedAppend,
  standing: Standing
): Result.Result<
  {
    readonly results: ReadonlyArray<AppendResult>
    readonly writes: ReadonlyArray<{
      readonly stream: string
      readonly version: number
      readonly position: number
      readonly event: PreparedEvent
    }>
  },
  OptimisticLockError | AppendConditionError | DuplicateEventError
> => {
  const repeated = decideIds(append, standing)
  if (repeated !== undefined)
    return repeated instanceof DuplicateEventError ? Result.fail(repeated) : Result.succeed({ results: repeated, writes: [] })
  const versions = new Map<string, number>()
  const writes: Array<{
    readonly stream: string
    readonly version: number
    readonly position: number
    readonly event: PreparedEvent
  }> = []
  const results: Array<AppendResult> = []
  let position = standing.head
  for (const { events, expected, stream } of append.appends) {
    const newest = standing.newest(stream)
    const current = versions.get(stream) ?? newest.version
    // Of an append that writes nothing there is nothing to be in conflict with.
    if (append.count > 0 && !meets(expected, current)) {
      return Result.fail(new OptimisticLockError({ stream, expected, actual: newest.version }))
    }
    if (events.length === 0) {
      const own = writes.findLast((write) => write.stream === stream)
      results.push({ stream, version: current, position: own?.position ?? newest.position, deduplicated: false })
      continue
    }
    let version = current
    for (const event of events) writes.push({ stream, version: ++version, position: ++position, event })
    versions.set(stream, version)
    results.push({ stream, version, position, deduplicated: false })
  }
  if (writes.length > 0) {
    let broken: AppendConditionError | undefined
    for (const condition of append.unless) {
      const position = standing.newestMatch(condition.filter, condition.after)
      if (position !== undefined && position > (broken?.position ?? 0)) broken = new AppendConditionError({ position, condition })
    }
    if (broken !== undefined) return Result.fail(broken)
  }
  return Result.succeed({ results, writes })
}

/**
 * An accepted event and its place, as {@link decide} gives it.
 *
 * @category adapters
 * @since 0.1.0
 */
export type Write = Result.Result.Success<ReturnType<typeof decide>>["writes"][number]

/**
 * Decides the appends of a batch one after the other: each sees what stands in the store and what the accepted ones before it
 * are about to write.
 *
 * @category adapters
 * @since 0.1.0
 */
export const makeBatch = (
  base: Standing
): {
  /** What is to be written, in position order. */
  readonly writes: ReadonlyArray<Write>
  /** Decides the next append: the answer to it, and what it adds to `writes`. */
  readonly decide: (append: PreparedAppend) => Exit.Exit<ReadonlyArray<AppendResult>, AppendError>
} => {
  const writes: Array<Write> = []
  const byStream = new Map<string, Write>()
  const byId = new Map<string, Located>()
  const standing: Standing = {
    newest: (stream) => byStream.get(stream) ?? base.newest(stream),
    locate: (id) => byId.get(id) ?? base.locate(id),
    newestMatch: (filter, after) =>
      writes.findLast(({ event, position, stream }) => position > after && matchesPrepared(filter, { ...event, stream }))
        ?.position ?? base.newestMatch(filter, after),
    get head() {
      return base.head + writes.length
    }
  }
  return {
    writes,
    decide: (append) => {
      const verdict = decide(append, standing)
      if (Result.isFailure(verdict)) return Exit.fail(verdict.failure)
      for (const write of verdict.success.writes) {
        writes.push(write)
        byStream.set(write.stream, write)
        const { event, position, stream, version } = write
        byId.set(event.id, { stream, version, position, type: event.type, payload: event.payload })
      }
      return Exit.succeed(verdict.success.results)
    }
  }
}

const meets = (expected: ExpectedVersion, version: number): boolean =>
  expected === "any"
    ? true
    : expected === "exists"
      ? version > 0
      : expected === "no-stream"
        ? version === 0
        : version === expected

/** The answer to an append that repeats ids: results if it repeats a whole append, an error if not, `undefined` if no id stands. */
const decideIds = (append: PreparedAppend, standing: Standing): ReadonlyArray<AppendResult> | DuplicateEventError | undefined => {
  let firstStanding: DuplicateEventError | undefined
  for (const { events, stream } of append.appends) {
    for (const { fresh, id } of events) {
      if (fresh || standing.locate(id) === undefined) continue
      firstStanding ??= new DuplicateEventError({ stream, id })
    }
  }
  if (firstStanding === undefined) return undefined
  const results: Array<AppendResult> = []
  for (const { events, stream } of append.appends) {
    let last: ReturnType<Standing["locate"]>
    for (const event of events) {
      const located = event.fresh ? undefined : standing.locate(event.id)
      if (located?.stream !== stream || (last !== undefined && located.version !== last.version + 1)) return firstStanding
      if (!isRepetition(event, located)) return firstStanding
      last = located
    }
    const { position, version } = last ?? standing.newest(stream)
    results.push({ stream, version, position, deduplicated: events.length > 0 })
  }
  return results
}

/** Whether two events are the same to who sends one again: type and payload, whatever the order of the keys. */
const isRepetition = (event: PreparedEvent, { payload, type }: Located): boolean =>
  event.type === type && (event.payload === payload || Equal.equals(comparable(event.payload), comparable(payload)))
