import * as Equal from "effect/Equal"
import * as Exit from "effect/Exit"
import * as Result from "effect/Result"
import { AppendConditionError, type AppendError, DuplicateEventError, OptimisticLockError } from "../errors.ts"
import type { AppendResult, ExpectedVersion, Query } from "../model.ts"
import { comparable } from "../../internal/exactJson.ts"
import { matchesPrepared } from "./filter.ts"
import { addRow, makeLookup, newestAmong } from "./newest.ts"
import type { PreparedAppend, PreparedCondition, PreparedEvent } from "./prepare.ts"

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
  /**
   * The position of the newest event beyond `after` that passes the filter. It is asked of the append's conditions alone, each with the very
   * `filter` that stands in it, so a store may have looked for all of them at once.
   */
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
  const writes: Array<{
    readonly stream: string
    readonly version: number
    readonly position: number
    readonly event: PreparedEvent
  }> = []
  const results: Array<AppendResult> = []
  /** Where the streams are behind the parts that have been decided. */
  const own = new Map<string, { readonly version: number; readonly position: number }>()
  let head = standing.head
  for (const { events, expected, stream } of append.appends) {
    let { position, version } = own.get(stream) ?? standing.newest(stream)
    // Of an append that writes nothing there is nothing to be in conflict with.
    if (append.count > 0 && !meets(expected, version)) {
      return Result.fail(new OptimisticLockError({ stream, expected, actual: standing.newest(stream).version }))
    }
    if (events.length > 0) {
      for (const event of events) writes.push({ stream, version: ++version, position: ++head, event })
      position = head
      own.set(stream, { version, position })
    }
    results.push({ stream, version, position, deduplicated: false })
  }
  const broken = writes.length > 0 ? brokenCondition(append, standing) : undefined
  return broken === undefined ? Result.succeed({ results, writes }) : Result.fail(broken)
}

/** The condition that the newest of all matches breaks: the first of those that it breaks. */
const brokenCondition = ({ unless }: PreparedAppend, { locate, newestMatch }: Standing): AppendConditionError | undefined => {
  let newest = 0
  let broken: PreparedCondition | undefined
  for (const condition of unless) {
    const { after, afterId, filter } = condition
    const isOther = afterId !== undefined && locate(afterId)?.position !== after
    const match = newestMatch(filter, after) ?? (isOther ? after : 0)
    if (match > newest) {
      newest = match
      broken = condition
    }
  }
  return broken === undefined ? undefined : new AppendConditionError({ position: newest, condition: broken })
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
  const matchable = makeMatchable(writes)
  const standing: Standing = {
    newest: (stream) => byStream.get(stream) ?? base.newest(stream),
    locate: (id) => byId.get(id) ?? base.locate(id),
    // What the batch writes is newer than all that stands.
    newestMatch: (filter, after) => newestAmong(matchable(), matchesPrepared, filter, after) ?? base.newestMatch(filter, after),
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

/** The writes of a batch, to be looked up by their tags: brought up to date when somebody asks, so a batch without conditions is not. */
const makeMatchable = (writes: ReadonlyArray<Write>) => {
  type Row = Parameters<typeof matchesPrepared>[1] & { readonly position: number }
  const lookup = makeLookup<Row>()
  return () => {
    for (let index = lookup.rows.length; index < writes.length; index++) {
      // Below the length.
      const { event, position, stream } = writes[index] as Write
      const { metadata, published, tags, type } = event
      addRow(lookup, { position, stream, type, tags, published, metadata })
    }
    return lookup
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
