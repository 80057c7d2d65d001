/**
 * How the state of an aggregate comes out of its stream: what is kept of it, what has come since, and what the unit of work has staged.
 */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import type * as Stream from "effect/Stream"
import * as Aggregate from "../definitions/Aggregate.ts"
import { placeOf } from "../definitions/aggregateId.ts"
import * as Event from "../definitions/Event.ts"
import { isSame } from "../definitions/listing.ts"
import type { RecordedEvent } from "../definitions/stored.ts"
import { timesForgotten } from "../internal/forgetting.ts"
import { freeze } from "../internal/freeze.ts"
import { EventStore, EventStoreError, type ReadOptions, StoreUnavailable } from "../store/EventStore.ts"
import { forEachPage } from "../internal/paging.ts"
import { Snapshots } from "../store/Snapshots.ts"
import { isRemoved, isTombstone, removedError } from "../store/tombstone.ts"
import { foldFault } from "./foldFault.ts"
import { QueuePlace } from "./queues.ts"
import { type Folded, StateCache } from "./stateCache.ts"
import { onlyOn, type Seen, SeenStreams, Transaction, type TransactionService } from "./transaction.ts"

/**
 * What reading an aggregate can fail with.
 *
 * @category errors
 * @since 0.1.0
 */
export type LoadError = EventStoreError | Aggregate.AggregateIdError | Event.EventDecodeError | Event.UnknownEventTypeError

/**
 * An aggregate as it was at some version; version 0 is the initial state of one that has no events.
 *
 * @category models
 * @since 0.1.0
 */
export interface Loaded<A extends Aggregate.Any> {
  readonly state: Aggregate.State<A>
  readonly version: number
}

/**
 * Loads an aggregate within a unit of work, and says which stream that is. Who is going to decide on it waits for the turn of this unit of
 * work, where there are turns.
 */
export const loadStream = <A extends Aggregate.Any>(
  aggregate: A,
  id: Aggregate.Id<A>,
  deciding: boolean
): Effect.Effect<LoadedStream<A>, LoadError, Transaction | EventStore> =>
  Effect.contextWith((context: Context.Context<Transaction | EventStore>) => loadIn(context, aggregate, id, deciding))

/** An aggregate, and which stream that is. */
interface LoadedStream<A extends Aggregate.Any> extends Loaded<A>, Pick<Seen, "since"> {
  readonly stream: string
}

const loadIn = Effect.fnUntraced(function* <A extends Aggregate.Any>(
  context: Context.Context<Transaction | EventStore>,
  aggregate: A,
  id: Aggregate.Id<A>,
  deciding: boolean
): Effect.fn.Return<LoadedStream<A>, LoadError, Transaction | EventStore> {
  const stream = yield* streamOf(aggregate, id)
  const transaction = Context.get(context, Transaction)
  const store = Context.get(context, EventStore)
  if (store !== transaction.store) yield* onlyOn(transaction, store)
  const streams = transaction.slot(SeenStreams)
  const place = transaction.slot(QueuePlace)
  if (deciding && place !== undefined && !streams.has(stream)) {
    const begun = yield* place.enter(store, stream, aggregate)
    if (begun !== undefined && !streams.has(stream)) streams.set(stream, begun)
  }
  let seen = streams.get(stream)
  if (seen === undefined || !seen.states.has(aggregate)) {
    if (place !== undefined) yield* place.standing(stream)
    const since = timesForgotten()
    // Read for another aggregate on the same stream: up to the version that was seen then.
    let base: Loaded<A> = yield* readStream(aggregate, stream, { to: seen?.version }, afterwards(transaction))
    seen = streams.get(stream) ?? { version: base.version, since, states: new Map() }
    // Another fiber of this unit of work was first.
    if (seen.version !== base.version) {
      base = yield* readStream(aggregate, stream, { to: seen.version }, afterwards(transaction))
    }
    seen.states.set(aggregate, base.state)
    streams.set(stream, seen)
  }
  const staged = transaction.staged(stream)
  let state = seen.states.get(aggregate) as Aggregate.State<A>
  let version = seen.version
  for (const entry of staged) {
    const { event } = entry
    version++
    // Typed already, if it was staged by a definition of this aggregate.
    const own = aggregate.definitions.get(event.type)
    if (entry._tag === "Event" && own !== undefined && isSame(own, entry.definition)) {
      state = evolveStaged(aggregate, state, entry.value as Aggregate.EventOf<A>, { stream, version })
    } else {
      const decoded = Event.readAll(aggregate.readers, { schemaVersion: 1, ...event, stream, version, position: 0 })
      if (Result.isFailure(decoded)) return yield* decoded.failure
      for (const { event } of decoded.success) state = evolveStaged(aggregate, state, event, { stream, version })
    }
  }
  return { state, version, stream, since: seen.since }
})

/** The state after one more event that waits for the commit. */
export const evolveStaged = <A extends Aggregate.Any>(
  aggregate: A,
  state: Aggregate.State<A>,
  event: Aggregate.EventOf<A>,
  at: { readonly stream: string; readonly version: number }
): Aggregate.State<A> => {
  try {
    return Aggregate.evolve(aggregate, state, event)
  } catch (cause) {
    throw foldFault(`Aggregate "${aggregate.name}"`, { ...at, type: event._tag }, cause)
  }
}

/** When a unit of work has ended, either way: what was read stands in the store, and may be kept in memory from then on. */
const afterwards =
  ({ afterCommit, afterRollback }: TransactionService) =>
  (save: Effect.Effect<void>) =>
    Effect.andThen(afterCommit(save), afterRollback(save))

/** Whether a snapshot is due between two versions. */
const isDue = ({ every }: Aggregate.SnapshotPolicy, from: number, to: number): boolean =>
  Math.floor(from / every) < Math.floor(to / every)

export const readStream = <A extends Aggregate.Any>(
  aggregate: A,
  stream: string,
  options: ReadOptions,
  /** When a new snapshot is saved. */
  schedule: (save: Effect.Effect<void>) => Effect.Effect<void>
): Effect.Effect<Loaded<A>, LoadError, EventStore> =>
  Effect.contextWith((context: Context.Context<EventStore>): Effect.Effect<Loaded<A>, LoadError> => {
    const store = Context.get(context, EventStore)
    const cache = Context.getOrUndefined(context, StateCache)
    const snapshots = aggregate.snapshot === undefined ? undefined : Context.getOrUndefined(context, Snapshots)
    return cache === undefined && snapshots === undefined
      ? Effect.map(foldAnew(aggregate, store, stream, options), ({ state, version }) => ({ state, version }))
      : readOn(aggregate, { store, cache, snapshots }, stream, options, schedule)
  })

const initialOf = <A extends Aggregate.Any>({ initial }: A): Folded<A> => ({ state: initial, version: 0, eventId: "" })

/** The state by all the events of a stream. */
const foldAnew = <A extends Aggregate.Any>(aggregate: A, store: EventStore["Service"], stream: string, options: ReadOptions) =>
  Effect.map(
    foldStream(aggregate, store.read(stream, options), initialOf(aggregate), false),
    (folded) => folded ?? initialOf(aggregate)
  )

/** The state by what is kept of a stream, and the events that have come since. */
const readOn = Effect.fnUntraced(function* <A extends Aggregate.Any>(
  aggregate: A,
  {
    cache,
    snapshots,
    store
  }: {
    readonly store: EventStore["Service"]
    readonly cache: StateCache["Service"] | undefined
    readonly snapshots: Snapshots["Service"] | undefined
  },
  stream: string,
  options: ReadOptions,
  schedule: (save: Effect.Effect<void>) => Effect.Effect<void>
): Effect.fn.Return<Loaded<A>, LoadError> {
  const since = timesForgotten()
  const policy = aggregate.snapshot
  // What was folded before does not say when its events were recorded.
  const usable = policy !== undefined && snapshots !== undefined && options.until === undefined
  const cached = options.until === undefined ? cache?.get(store, aggregate, stream) : undefined
  const kept = cached !== undefined && cached.version <= (options.to ?? Infinity) ? cached : undefined
  /** Goes on from what was folded before. The event that it ends with is read as well: it tells whether it was made from this stream. */
  const continued = (base: Folded<A>, isSnapshot: boolean) =>
    foldStream(aggregate, store.read(stream, { ...options, from: base.version }), base, isSnapshot)
  /** The same with a snapshot; nothing where more than it holds has been removed. */
  const begunWith = (base: Folded<A>) => Effect.catchIf(continued(base, true), isRemoved, () => Effect.undefined)
  let from = kept?.version ?? 0
  let folded = kept && (yield* continued(kept, false))
  const lost = kept !== undefined && folded === undefined
  const found = folded === undefined && usable ? yield* loadSnapshot<A>(snapshots, policy, stream, options.to) : undefined
  /** Whether the snapshot is good for nothing. */
  let replace = found?.isOld === true
  if (folded === undefined) {
    const base = replace ? undefined : found?.folded
    folded = base && (yield* begunWith(base))
    replace ||= base !== undefined && folded === undefined
    if (base !== undefined) yield* Metric.update(replace ? stale : hits, 1)
    from = folded === undefined ? 0 : (base?.version ?? 0)
  }
  if (folded === undefined) {
    folded = yield* Effect.catchIf(
      foldAnew(aggregate, store, stream, options),
      isRemoved,
      Effect.fnUntraced(function* (error) {
        // Of what is gone a snapshot alone is left: without what has been forgotten in it, or made by other folds.
        const own = found?.folded && (yield* begunWith(found.folded))
        if (own !== undefined) return own
        const isTried = found?.folded !== undefined
        const left = usable ? yield* loadOther(snapshots, aggregate, stream, options.to, isTried) : undefined
        return (left && (yield* begunWith(left))) ?? (yield* Effect.fail(error))
      })
    )
  }
  const { state, version } = folded
  if (usable && isDue(policy, from, version)) {
    const save = saveSnapshot(snapshots, policy, stream, folded, replace)
    // It is saved when a unit of work has ended: what has been forgotten by then is not to come back.
    yield* schedule(Effect.suspend(() => (since === timesForgotten() ? save : Effect.void)))
  }
  const isKept = options.until === undefined && since === timesForgotten()
  if (version > 0 && isKept && (lost || replace || version >= (cached?.version ?? 0))) {
    cache?.set(store, aggregate, stream, folded)
  }
  return { state, version }
})

/**
 * Keeps what an aggregate has become once that has been committed: in memory, where states are kept, and as a snapshot, where one is due since the
 * version that it was decided on. Who begins with what is in memory passes no version by reading. Nothing is kept where something has been forgotten since it
 * was read.
 */
export const keepCommitted = <A extends Aggregate.Any>(
  aggregate: A,
  stream: string,
  { since, version: from }: Pick<Seen, "since" | "version">,
  folded: Folded<A>
): Effect.Effect<void, never, Transaction | EventStore> =>
  Effect.withFiber((fiber) => {
    const cache = Context.getOrUndefined(fiber.context, StateCache)
    const snapshots = Context.getOrUndefined(fiber.context, Snapshots)
    const policy = aggregate.snapshot
    const due = policy !== undefined && snapshots !== undefined && isDue(policy, from, folded.version)
    if (cache === undefined && !due) return Effect.void
    const store = Context.get(fiber.context as Context.Context<EventStore>, EventStore)
    const keep = Effect.suspend(() => {
      if (since !== timesForgotten()) return Effect.void
      const kept = cache?.get(store, aggregate, stream)
      if (kept === undefined || kept.version < folded.version) cache?.set(store, aggregate, stream, folded)
      return due ? saveSnapshot(snapshots, policy, stream, folded, false) : Effect.void
    })
    return Transaction.use(({ afterCommit }) => afterCommit(keep))
  })

/**
 * Folds the events of a stream, the first of which is the last of `from`; `undefined` if it is another one, or has been removed: a snapshot alone may stand
 * for what is gone.
 */
const foldStream = <A extends Aggregate.Any>(
  aggregate: A,
  events: Stream.Stream<RecordedEvent, EventStoreError>,
  from: Folded<A>,
  isSnapshot: boolean
): Effect.Effect<Folded<A> | undefined, LoadError> =>
  Effect.suspend(() => {
    let { eventId, state, version } = from
    let found = version === 0
    let at: RecordedEvent | undefined
    const foldPage = (page: ReadonlyArray<RecordedEvent>): Effect.Effect<void, LoadError> => {
      for (const recorded of page) {
        at = recorded
        if (!found) {
          found = recorded.version === version && recorded.id === eventId && (isSnapshot || !isTombstone(recorded))
          if (found) continue
          return Effect.void
        }
        if (isTombstone(recorded) && !aggregate.readers.has(recorded.type)) return Effect.fail(removedError("read", recorded))
        const decoded = Event.readAll(aggregate.readers, recorded)
        if (Result.isFailure(decoded)) return Effect.fail(decoded.failure)
        for (const { event } of decoded.success) state = Aggregate.evolve(aggregate, state, event)
        version = recorded.version
        eventId = recorded.id
      }
      return Effect.void
    }
    const folding = forEachPage(events, (page) => {
      try {
        return foldPage(page)
      } catch (cause) {
        throw foldFault(`Aggregate "${aggregate.name}"`, at, cause)
      }
    })
    return Effect.map(folding, () => (found ? { state, version, eventId } : undefined))
  })

const snapshotOutcomes = Metric.counter("eventfold_snapshots", {
  description: "Snapshots, by what came of them: hit, miss, stale (of another stream), failed, saved",
  incremental: true
})
const outcome = (outcome: string) => Metric.withAttributes(snapshotOutcomes, { outcome })
const hits = outcome("hit")
const misses = outcome("miss")
const stale = outcome("stale")
const failures = outcome("failed")
const saved = outcome("saved")

/** What a snapshot was decoded to. */
interface FromSnapshot<A extends Aggregate.Any> {
  /** Nothing where it could not be. */
  readonly folded: Folded<A> | undefined
  /** Whether the stream says something else now: it is folded anew, as far as it is there. */
  readonly isOld: boolean
}

/** A snapshot of the stream that is not beyond `to`. Whatever goes wrong, there is none. */
const loadSnapshot = <A extends Aggregate.Any>(
  snapshots: Snapshots["Service"],
  policy: Aggregate.SnapshotPolicy,
  stream: string,
  to: number | undefined
): Effect.Effect<FromSnapshot<A> | undefined> =>
  snapshots.load(stream, policy.fingerprint).pipe(
    Effect.flatMap((found): Effect.Effect<FromSnapshot<A> | undefined> => {
      if (Option.isNone(found) || found.value.version > (to ?? Infinity)) return Effect.as(Metric.update(misses, 1), undefined)
      const { eventId, forgotten = false, state, version } = found.value
      const decoded = policy.decode(state)
      if (Result.isFailure(decoded)) {
        return Effect.as(failed("load", Cause.fail(decoded.failure)), { folded: undefined, isOld: true })
      }
      const loaded = { folded: { state: freeze(decoded.success), version, eventId }, isOld: forgotten }
      return forgotten ? Effect.as(Metric.update(misses, 1), loaded) : Effect.succeed(loaded)
    }),
    Effect.catchCause((cause) => Effect.as(failed("load", cause), undefined))
  )

/**
 * The newest snapshot that other folds have made, or those of other events, if the state is one that the aggregate has: only where the history that it
 * could be folded from has been removed. Where the snapshots cannot be had just then, it is not said that there is nothing.
 */
const loadOther = Effect.fnUntraced(function* <A extends Aggregate.Any>(
  snapshots: Snapshots["Service"],
  { name, snapshot: policy }: A,
  stream: string,
  to: number | undefined,
  /** Whether its own snapshot is none to begin with. */
  isTried: boolean
) {
  if (policy === undefined) return undefined
  const kept = yield* Effect.mapError(snapshots.list({ stream }), (cause) => {
    const detail = `the history of "${stream}" has been removed, and the snapshots that stand for it cannot be had: ${cause.message}`
    return new EventStoreError({ reason: new StoreUnavailable({ operation: "read", detail, cause }) })
  })
  const inOrder = kept.toSorted(
    (one, other) => other.version - one.version || other.savedAt.epochMilliseconds - one.savedAt.epochMilliseconds
  )
  for (const { fingerprint, version } of inOrder) {
    if (isTried && fingerprint === policy.fingerprint) continue
    const found = yield* loadSnapshot<A>(snapshots, { ...policy, fingerprint }, stream, to)
    if (found?.folded === undefined) continue
    yield* Effect.logWarning(
      `eventfold: the history of "${stream}" has been removed, and aggregate "${name}" has been changed since its snapshot at version ${version}: it goes on from that`
    )
    return found.folded
  }
  return undefined
})

const saveSnapshot = <A extends Aggregate.Any>(
  snapshots: Snapshots["Service"],
  { encode, fingerprint }: Aggregate.SnapshotPolicy,
  stream: string,
  { eventId, state, version }: Folded<A>,
  replace: boolean
): Effect.Effect<void> =>
  Effect.fromResult(encode(state)).pipe(
    Effect.flatMap((state) => snapshots.save({ stream, fingerprint, version, eventId, state }, { replace })),
    Effect.andThen(Metric.update(saved, 1)),
    Effect.catchCause((cause) => failed("save", cause))
  )

const failed = (operation: string, cause: Cause.Cause<unknown>): Effect.Effect<void> =>
  Effect.andThen(
    Metric.update(failures, 1),
    Effect.logDebug(`eventfold: a snapshot failed to ${operation}; the stream is replayed instead`, cause)
  )

/** The name of the stream of an aggregate, if the id is one. */
export const streamOf = <A extends Aggregate.Any>(
  aggregate: A,
  id: Aggregate.Id<A>
): Effect.Effect<string, Aggregate.AggregateIdError> =>
  Effect.fromResult(Result.map(placeOf(aggregate, id), ({ stream }) => stream))
