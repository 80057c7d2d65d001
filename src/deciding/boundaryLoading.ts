/** A boundary within a unit of work: what that has seen of it, and what must not come until the commit. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type { AggregateIdError } from "../definitions/Aggregate.ts"
import type { TagError } from "../definitions/Tag.ts"
import { timesForgotten } from "../internal/forgetting.ts"
import { flatMapNow, mapNow } from "../internal/now.ts"
import { type AppendCondition, AppendConditionError, EventStore, OptimisticLockError, type Query } from "../store/EventStore.ts"
import { type AggregatePart, type Bound, bind, evolveStaged, type Fold, inOrder, isMatch, type Part } from "./boundary.ts"
import { BoundaryCache } from "./boundaryCache.ts"
import { keptAlone, keepWritten, readModels } from "./boundaryReading.ts"
import { loadStream, type LoadError as AggregateLoadError, streamOf } from "./loading.ts"
import { QueuePlace } from "./queues.ts"
import {
  expectedOf,
  onlyOn,
  SeenStreams,
  type Slot,
  type StagedEvent,
  type Transaction,
  type TransactionService
} from "./transaction.ts"
import { Trusted } from "./trust.ts"

/**
 * What reading the boundary of a decision can fail with.
 *
 * @category errors
 * @since 0.2.0
 */
export type LoadError = AggregateLoadError | TagError

/** What a unit of work has seen of the log when it first read it: later reads see the same, and what it has staged since. */
const SeenLog: Slot<{
  position: number | undefined
  /** How often all that is kept in memory had been forgotten by then. */
  readonly since: number
  readonly models: Map<Fold, Map<string, SeenModel>>
  /** What was said that must not come until the commit, and the models that say so. */
  readonly conditions: Map<AppendCondition, ReadonlyArray<{ readonly model: Bound; readonly state: unknown }>>
}> = {
  make: () => ({ position: undefined, since: timesForgotten(), models: new Map(), conditions: new Map() })
}

/** What a unit of work has seen of a model. */
interface SeenModel {
  readonly state: unknown
  /** Where it has not asked for it: that it is so. */
  readonly assumed: AppendCondition | undefined
}

/** A boundary within a unit of work. */
export interface Loaded {
  readonly parts: ReadonlyArray<Part>
  readonly models: ReadonlyArray<Bound>
  /** What the unit of work has seen of the models, before what it has staged. */
  readonly seen: ReadonlyArray<unknown>
  /** What it has staged. */
  readonly staged: ReadonlyArray<StagedEvent>
  /** What must not come until the commit, beyond the position. */
  readonly conditions: ReadonlyArray<Query>
  readonly position: number
  /** The streams that must not move until the commit. */
  readonly streams: ReadonlySet<string>
}

const noStreams: ReadonlySet<string> = new Set()

/** Loads the aggregates of a boundary, and guards their streams. That which is decided for comes first, with the turn of this unit of work. */
const loadAggregates = Effect.fnUntraced(function* (
  parts: ReadonlyArray<Part>,
  transaction: TransactionService,
  target: Effect.Effect<string, AggregateIdError> | undefined
): Effect.fn.Return<ReadonlySet<string>, LoadError, Transaction | EventStore> {
  const into = target && (yield* target)
  const own: Array<readonly [part: AggregatePart, stream: string]> = []
  for (const part of parts) {
    if (part._tag === "Aggregate") own.push([part, yield* streamOf(part.aggregate, part.id)])
  }
  const streams = new Set<string>()
  for (const [part, stream] of own.toSorted(([, one], [, other]) => Number(other === into) - Number(one === into))) {
    yield* loadStream(part.aggregate, part.id, stream === into)
    streams.add(stream)
    const seen = transaction.slot(SeenStreams).get(stream)
    if (seen !== undefined) yield* transaction.guard(stream, seen.version)
  }
  return streams
})

type Log = ReturnType<(typeof SeenLog)["make"]>

const seenOf = ({ models }: Log, { fold, key }: Bound): SeenModel | undefined => models.get(fold)?.get(key)

const see = ({ models }: Log, { fold, key }: Bound, seen: SeenModel): void => {
  const known = models.get(fold) ?? new Map<string, SeenModel>()
  models.set(fold, known.set(key, seen))
}

/** Takes what is kept of the models for true, where it may be, and gives those that are to be read. */
const assume = (
  models: ReadonlyArray<Bound>,
  log: Log,
  transaction: TransactionService,
  cache: BoundaryCache["Service"],
  store: EventStore["Service"]
): ReadonlyArray<Bound> => {
  const trust = transaction.slot(Trusted)
  if (trust.heard.length === 0) {
    trust.heard.push((written) => {
      if (log.since !== timesForgotten()) return
      for (const [condition, models] of log.conditions) {
        if (written.checked.has(condition)) keepWritten(cache, store, models, written)
      }
    })
  }
  if (!trust.isAllowed) return models
  return models.filter((model) => {
    const kept = keptAlone(cache, store, model, log.position)
    if (kept === undefined) return true
    const assumed = { filter: [model.query], after: kept.position, afterId: kept.eventId }
    trust.assumed.push(assumed)
    see(log, model, { state: kept.state, assumed })
    return false
  })
}

/** Reads the models that the unit of work has not read yet, as of the position that it has seen. */
const readUnseen = (
  models: ReadonlyArray<Bound>,
  log: Log,
  transaction: TransactionService
): Effect.Effect<void, LoadError, EventStore> =>
  Effect.contextWith((context: Context.Context<EventStore>) => {
    if (models.every((model) => seenOf(log, model) !== undefined)) return Effect.void
    const cache = Context.getOrUndefined(context, BoundaryCache)
    const store = Context.get(context, EventStore)
    // What it stands on would spoil what is read before that is in the log.
    const standing = flatMapNow(onlyOn(transaction, store), () => transaction.slot(QueuePlace)?.standing() ?? Effect.void)
    return flatMapNow(standing, () => {
      const missing = models.filter((model) => seenOf(log, model) === undefined)
      const unseen = cache?.optimistic === true ? assume(missing, log, transaction, cache, store) : missing
      if (unseen.length === 0) return Effect.void
      const read = (upTo: number | undefined): Effect.Effect<void, LoadError, EventStore> =>
        Effect.flatMap(readModels(unseen, upTo), ({ position, states }) => {
          // Another fiber of this unit of work was first.
          if (log.position !== undefined && log.position !== position) return read(log.position)
          log.position = position
          if (cache?.optimistic === true) transaction.slot(Trusted).position = position
          for (const [index, model] of unseen.entries()) see(log, model, { state: states[index], assumed: undefined })
          return Effect.void
        })
      return read(log.position)
    })
  })

/** What must not come until the commit: beyond the position of what was read, and beyond what was taken for true. */
const bindTo = (
  models: ReadonlyArray<Bound>,
  log: Log,
  transaction: TransactionService,
  given: ReadonlyArray<StagedEvent>
): Effect.Effect<void> => {
  const { position = 0 } = log
  const read: Array<{ readonly model: Bound; readonly state: unknown }> = []
  const conditions: Array<AppendCondition> = []
  for (const model of models) {
    const { assumed, state } = seenOf(log, model) as SeenModel
    if (assumed === undefined) read.push({ model, state })
    else {
      conditions.push(assumed)
      log.conditions.set(assumed, [{ model, state }])
    }
  }
  const filter = read.flatMap(({ model }) => model.condition ?? [])
  if (filter.length > 0 || (conditions.length === 0 && given.length > 0)) {
    const condition = { filter, after: position }
    conditions.push(condition)
    log.conditions.set(condition, read)
  }
  const [only] = conditions
  if (conditions.length === 1 && only !== undefined) return transaction.unless(only, given)
  return Effect.forEach(conditions, (condition) => transaction.unless(condition, given), { discard: true })
}

/**
 * Reads what the unit of work has not read yet, and binds its commit to all of it. Where an aggregate is part of it for whose stream is decided, that waits
 * for the turn of this unit of work.
 */
export const loadParts = (
  parts: ReadonlyArray<Part>,
  transaction: TransactionService,
  target?: Effect.Effect<string, AggregateIdError>
): Effect.Effect<Loaded, LoadError, Transaction | EventStore> => {
  const bound = bind(parts)
  if (Result.isFailure(bound)) return Effect.fail(bound.failure)
  const models = bound.success
  const load = (streams: ReadonlySet<string>) => {
    const log = transaction.slot(SeenLog)
    return flatMapNow(readUnseen(models, log, transaction), () => {
      const { position = 0 } = log
      const conditions = models.flatMap(({ condition }) => condition ?? [])
      const seen = models.map((model) => seenOf(log, model)?.state)
      const staged = [...transaction.staged()]
      const given = staged.filter((entry) => streams.has(entry.stream) || models.some(({ query }) => isMatch(query, entry)))
      const loaded: Loaded = { parts, models, seen, staged, conditions, position, streams }
      return mapNow(bindTo(models, log, transaction, given), () => loaded)
    })
  }
  return models.length === parts.length ? load(noStreams) : Effect.flatMap(loadAggregates(parts, transaction, target), load)
}

/** The states of all parts, with what the unit of work has staged. */
export const statesOf = (
  { models, parts, seen }: Loaded,
  transaction: TransactionService
): Effect.Effect<ReadonlyArray<unknown>, LoadError, Transaction | EventStore> => {
  const staged = transaction.staged()
  const states: Array<unknown> = []
  for (const [index, model] of models.entries()) {
    const state = evolveStaged(model, seen[index], staged)
    if (Result.isFailure(state)) return Effect.fail(state.failure)
    states.push(state.success)
  }
  return inOrder(parts, states, ({ aggregate, id }: AggregatePart) =>
    Effect.map(loadStream(aggregate, id, false), ({ state }): unknown => state)
  )
}

/** Whether what waits for the commit would spoil a decision that has not seen it. */
export const spoils = ({ conditions, streams }: Loaded, entry: StagedEvent): boolean =>
  (!entry.transient && streams.has(entry.stream)) || conditions.some((query) => isMatch(query, entry))

/** The failure of a decision whose own unit of work has staged meanwhile what the decision has not seen. */
export const overtaken = (
  { conditions, position, staged, streams }: Loaded,
  transaction: TransactionService
): AppendConditionError | OptimisticLockError | undefined => {
  const known = new Set(staged)
  const since = transaction.staged().filter((entry) => !entry.transient && !known.has(entry))
  if (since.some((entry) => conditions.some((query) => isMatch(query, entry)))) {
    return new AppendConditionError({ position: 0, condition: { filter: conditions, after: position } })
  }
  for (const stream of streams) {
    const more = since.filter((entry) => entry.stream === stream).length
    const actual = expectedOf(transaction, stream)
    if (more > 0 && typeof actual === "number") return new OptimisticLockError({ stream, expected: actual - more, actual })
  }
  return undefined
}
