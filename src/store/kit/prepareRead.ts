/**
 * The options of reads, checked, with all defaults filled in: the one gate to every store, so that all are equally strict.
 */
import * as Effect from "effect/Effect"
import { EventStoreError, InvalidRead } from "../errors.ts"
import type {
  BoundaryQuery,
  Filter,
  Query,
  ReadAllOptions,
  ReadBoundaryOptions,
  ReadOptions,
  ReadPageOptions,
  StreamsOptions
} from "../model.ts"
import { countFault, filterFault, nameFault, queriesOf } from "./checks.ts"

interface PreparedRead {
  /** The lowest version. */
  readonly from: number
  /** The highest version. */
  readonly to: number
  /** Milliseconds since the epoch, `undefined` for no bound. */
  readonly until: number | undefined
  readonly backward: boolean
  readonly limit: number
}

export const prepareRead = (stream: string, options: ReadOptions = {}): Effect.Effect<PreparedRead, EventStoreError> => {
  const { direction = "forward", from = 1, limit = Number.MAX_SAFE_INTEGER, to = Number.MAX_SAFE_INTEGER, until } = options
  const problem =
    prefixed("stream", nameFault(stream)) ??
    countFault("from", from) ??
    countFault("to", to) ??
    countFault("limit", limit) ??
    directionFault(direction)
  if (problem !== undefined) return invalidRead("read", problem)
  return Effect.succeed({
    from: Math.max(1, from),
    to,
    until: until?.epochMilliseconds,
    backward: direction === "backward",
    limit
  })
}

interface PreparedReadAll {
  /** Exclusive: the lower bound of a forward read, the upper bound of a backward one (`undefined`: from the newest). */
  readonly after: number | undefined
  /** Inclusive, whatever the direction. */
  readonly upTo: number
  readonly filter: ReadonlyArray<Query>
  readonly backward: boolean
  readonly limit: number
}

export const prepareReadAll = (options: ReadAllOptions = {}): Effect.Effect<PreparedReadAll, EventStoreError> => {
  const { after, direction = "forward", limit = Number.MAX_SAFE_INTEGER, upTo = Number.MAX_SAFE_INTEGER } = options
  const filter = filterOf(options.filter)
  const problem =
    (after === undefined ? undefined : countFault("after", after)) ??
    countFault("upTo", upTo) ??
    countFault("limit", limit) ??
    directionFault(direction) ??
    prefixed("filter", filterFault(filter))
  if (problem !== undefined) return invalidRead("readAll", problem)
  return Effect.succeed({ after, upTo, filter, backward: direction === "backward", limit })
}

interface PreparedReadPage {
  readonly after: number
  readonly upTo: number
  readonly filter: ReadonlyArray<Query>
  readonly size: number
}

export const prepareReadPage = (options: ReadPageOptions = {}): Effect.Effect<PreparedReadPage, EventStoreError> => {
  const { after = 0, size = 64, upTo = Number.MAX_SAFE_INTEGER } = options
  const filter = filterOf(options.filter)
  const problem =
    countFault("after", after) ??
    countFault("upTo", upTo) ??
    countFault("size", size) ??
    (size === 0 ? "size must be at least 1" : undefined) ??
    prefixed("filter", filterFault(filter))
  return problem === undefined ? Effect.succeed({ after, upTo, filter, size }) : invalidRead("readPage", problem)
}

/**
 * A question of `readBoundary`, checked.
 *
 * @category adapters
 * @since 0.2.0
 */
export interface PreparedBoundaryQuery {
  readonly filter: ReadonlyArray<Query>
  /** Exclusive. */
  readonly after: number
  readonly newest: boolean
}

/**
 * What `readBoundary` is asked for, checked.
 *
 * @category adapters
 * @since 0.2.0
 */
export interface PreparedReadBoundary {
  readonly queries: ReadonlyArray<PreparedBoundaryQuery>
  /** Inclusive. */
  readonly upTo: number
  /** Of each answer. */
  readonly size: number
}

export const prepareReadBoundary = (
  queries: ReadonlyArray<BoundaryQuery>,
  options: ReadBoundaryOptions = {}
): Effect.Effect<PreparedReadBoundary, EventStoreError> => {
  const { size = 256, upTo = Number.MAX_SAFE_INTEGER } = options
  const prepared = queries.map(({ after = 0, filter, newest = false }) => ({ filter: queriesOf(filter), after, newest }))
  let problem = countFault("upTo", upTo) ?? countFault("size", size) ?? (size === 0 ? "size must be at least 1" : undefined)
  for (const [index, { after, filter, newest }] of prepared.entries()) {
    if (problem !== undefined) break
    problem =
      countFault(`queries[${index}].after`, after) ??
      prefixed(`queries[${index}].filter`, filterFault(filter)) ??
      (typeof newest === "boolean" ? undefined : `queries[${index}].newest must be a boolean`)
  }
  return problem === undefined ? Effect.succeed({ queries: prepared, upTo, size }) : invalidRead("readBoundary", problem)
}

interface PreparedStreams {
  readonly category: string | undefined
  readonly after: string
  readonly limit: number
}

export const prepareStreams = (options: StreamsOptions = {}): Effect.Effect<PreparedStreams, EventStoreError> => {
  const { after = "", category, limit = Number.MAX_SAFE_INTEGER } = options
  const problem =
    countFault("limit", limit) ??
    (after === "" ? undefined : prefixed("after", nameFault(after))) ??
    (category === undefined ? undefined : prefixed("category", nameFault(category)))
  return problem === undefined ? Effect.succeed({ category, after, limit }) : invalidRead("streams", problem)
}

/** The failure of an `operation` about a stream that has no possible name. */
export const refuseName = (operation: string, stream: string): Effect.Effect<never, EventStoreError> | undefined => {
  const problem = nameFault(stream)
  return problem === undefined ? undefined : invalidRead(operation, `stream ${problem}`)
}

const everything: ReadonlyArray<Query> = [{}]

const filterOf = (filter: Filter | undefined): ReadonlyArray<Query> => (filter === undefined ? everything : queriesOf(filter))

const prefixed = (field: string, problem: string | undefined) => (problem === undefined ? undefined : `${field} ${problem}`)

const directionFault = (direction: string): string | undefined =>
  direction === "forward" || direction === "backward"
    ? undefined
    : `direction must be "forward" or "backward", not ${JSON.stringify(direction)}`

const invalidRead = (operation: string, detail: string): Effect.Effect<never, EventStoreError> =>
  Effect.fail(new EventStoreError({ reason: new InvalidRead({ operation, detail }) }))
