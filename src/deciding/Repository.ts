/**
 * An aggregate in the store: load, decide, stage; and its history, decoded.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import type * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import * as Aggregate from "../definitions/Aggregate.ts"
import { eventsOf } from "../definitions/decided.ts"
import * as Event from "../definitions/Event.ts"
import { isSame } from "../definitions/listing.ts"
import type { Metadata, NewEvent, RecordedEvent } from "../definitions/stored.ts"
import {
  type AppendError,
  type AppendResult,
  EventStore,
  type EventStoreError,
  type ExpectedVersion,
  type OptimisticLockError,
  type ReadOptions,
  streamName
} from "../store/EventStore.ts"
import { freeze } from "../internal/freeze.ts"
import { nameFault } from "../store/kit/index.ts"
import { Snapshots } from "../store/Snapshots.ts"
import { type Folded, StateCache } from "./stateCache.ts"
import { SeenStreams, Transaction } from "./transaction.ts"

export { type Folded, layerCache, layerCacheWith, makeStateCache, StateCache } from "./stateCache.ts"

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
 * A decoded event with what the store knows of it.
 *
 * @category models
 * @since 0.1.0
 */
export interface EventRecord<A extends Aggregate.Any> {
  readonly event: Aggregate.EventOf<A>
  readonly id: string
  readonly version: number
  readonly position: number
  readonly recordedAt: DateTime.Utc
  readonly metadata: Metadata
}

/**
 * Loads an aggregate, decides, and stages the events of the decision: the whole life of a command in one call.
 *
 * The decision sees the state, including what this unit of work has staged already, and gives the events that follow from it, in any
 * of the forms of `Aggregate.Decided`: an event, several, a `Result` or an `Effect` of them. None (`[]`) writes nothing. The commit expects the version that was loaded, so a decision on stale state is an
 * `OptimisticLockError` there and never a lost update. Where the same unit of work has overtaken the decision (it staged events
 * for the aggregate while the decision was being made, concurrently or from within it) the error comes at once.
 *
 * ```ts
 * import { Effect, Layer, Schema } from "effect"
 * import { Aggregate, Event, EventStore, Repository, UnitOfWork } from "eventfold"
 *
 * class Overdrawn extends Schema.TaggedError<Overdrawn>()("Overdrawn", { missing: Schema.Int }) {}
 *
 * const Deposited = Event.make("Deposited", { amount: Schema.Int })
 * const Withdrawn = Event.make("Withdrawn", { amount: Schema.Int })
 * const Account = Aggregate.make("Account", {
 *   events: [Deposited, Withdrawn],
 *   initial: { balance: 0 },
 *   evolve: {
 *     Deposited: ({ balance }, { amount }) => ({ balance: balance + amount }),
 *     Withdrawn: ({ balance }, { amount }) => ({ balance: balance - amount })
 *   }
 * })
 *
 * const withdraw = (id: string, amount: number) =>
 *   Repository.execute(Account, id, ({ balance }) =>
 *     balance < amount ? new Overdrawn({ missing: amount - balance }) : Withdrawn.make({ amount })
 *   )
 *
 * const program = Effect.gen(function* () {
 *   yield* Repository.append(Account, "ada", [Deposited.make({ amount: 10 })])
 *   const { state, version } = yield* UnitOfWork.transact(withdraw("ada", 4))
 *   const error = yield* Effect.flip(UnitOfWork.transact(withdraw("ada", 100)))
 *   return [state.balance, version, error._tag]
 * })
 *
 * const Live = UnitOfWork.layer.pipe(Layer.provideMerge(EventStore.layerMemory))
 * await Effect.runPromise(Effect.provide(program, Live)) // => [6, 2, "Overdrawn"]
 * ```
 *
 * @category accessors
 * @since 0.1.0
 */
export const execute = Effect.fnUntraced(function* <
  A extends Aggregate.Any,
  const D extends Aggregate.AnyDecided<Aggregate.EventOf<A>>
>(
  aggregate: A,
  id: Aggregate.Id<A>,
  decide: (state: Aggregate.State<A>) => D
): Effect.fn.Return<
  Loaded<A> & { readonly events: ReadonlyArray<Aggregate.EventOf<A>> },
  Aggregate.DecidedError<D> | LoadError | Event.EventEncodeError | OptimisticLockError,
  Aggregate.DecidedServices<D> | Transaction | EventStore
> {
  const { state, stream, version } = yield* loadStream(aggregate, id)
  const events = yield* eventsOf<Aggregate.EventOf<A>, D>(decide(state))
  if (events.length === 0) return { state, version, events }
  const staged: Array<{
    readonly _tag: "Event"
    readonly definition: Event.Any
    readonly event: NewEvent
    readonly value: unknown
  }> = []
  for (const event of events) {
    const encoded = encode(aggregate, event)
    if (Result.isFailure(encoded)) return yield* encoded.failure
    staged.push({ _tag: "Event", ...encoded.success, value: event })
  }
  const transaction = yield* Transaction
  yield* transaction.stage(stream, staged, version)
  return { state: Aggregate.fold(aggregate, events, state), version: version + events.length, events }
})

/**
 * Loads an aggregate within a unit of work, and registers the version it saw: events staged for it later expect that version.
 *
 * Loaded twice in one unit of work, the aggregate is what it was the first time plus what has been staged since.
 *
 * @category accessors
 * @since 0.1.0
 */
export const load = <A extends Aggregate.Any>(
  aggregate: A,
  id: Aggregate.Id<A>
): Effect.Effect<Loaded<A>, LoadError, Transaction | EventStore> =>
  Effect.map(loadStream(aggregate, id), ({ state, version }) => ({ state, version }))

const loadStream = Effect.fnUntraced(function* <A extends Aggregate.Any>(
  aggregate: A,
  id: Aggregate.Id<A>
): Effect.fn.Return<Loaded<A> & { readonly stream: string }, LoadError, Transaction | EventStore> {
  const stream = yield* streamOf(aggregate, id)
  const transaction = yield* Transaction
  const streams = transaction.slot(SeenStreams)
  let seen = streams.get(stream)
  if (seen === undefined || !seen.states.has(aggregate)) {
    // Read for another aggregate on the same stream: up to the version that was seen then.
    let base: Loaded<A> = yield* readStream(aggregate, stream, { to: seen?.version }, transaction.afterCommit)
    seen = streams.get(stream) ?? { version: base.version, states: new Map() }
    // Another fiber of this unit of work was first.
    if (seen.version !== base.version) {
      base = yield* readStream(aggregate, stream, { to: seen.version }, transaction.afterCommit)
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
      state = Aggregate.evolve(aggregate, state, entry.value as Aggregate.EventOf<A>)
    } else {
      const decoded = Event.readAll(aggregate.readers, { schemaVersion: 1, ...event, stream, version, position: 0 })
      if (Result.isFailure(decoded)) return yield* decoded.failure
      for (const { event } of decoded.success) state = Aggregate.evolve(aggregate, state, event)
    }
  }
  return { state, version, stream }
})

/**
 * The state of an aggregate: now, at a version, or as it was at an instant. Requires the store alone.
 *
 * ```ts
 * import { Effect, Schema } from "effect"
 * import { Aggregate, Event, EventStore, Repository } from "eventfold"
 *
 * const Renamed = Event.make("Renamed", { name: Schema.String })
 * const Book = Aggregate.make("Book", {
 *   events: [Renamed],
 *   initial: { name: "" },
 *   evolve: { Renamed: (_, { name }) => ({ name }) }
 * })
 *
 * const program = Effect.gen(function* () {
 *   yield* Repository.append(Book, "1", [Renamed.make({ name: "Draft" }), Renamed.make({ name: "Final" })])
 *   return [yield* Repository.read(Book, "1"), yield* Repository.read(Book, "1", { version: 1 })]
 * })
 *
 * await Effect.runPromise(Effect.provide(program, EventStore.layerMemory))
 * // => [{ state: { name: "Final" }, version: 2 }, { state: { name: "Draft" }, version: 1 }]
 * ```
 *
 * @category accessors
 * @since 0.1.0
 */
export const read = <A extends Aggregate.Any>(
  aggregate: A,
  id: Aggregate.Id<A>,
  options?: {
    /** The highest version to fold. Default: the newest. */
    readonly version?: number | undefined
    /** The instant: see `EventStore.ReadOptions.until`. Default: now. */
    readonly at?: DateTime.Utc | undefined
  }
): Effect.Effect<Loaded<A>, LoadError, EventStore> =>
  Effect.flatMap(streamOf(aggregate, id), (stream) =>
    readStream(aggregate, stream, { to: options?.version, until: options?.at }, (save) => save)
  )

const readStream = Effect.fnUntraced(function* <A extends Aggregate.Any>(
  aggregate: A,
  stream: string,
  options: ReadOptions,
  /** When a new snapshot is saved. */
  schedule: (save: Effect.Effect<void>) => Effect.Effect<void>
): Effect.fn.Return<Loaded<A>, LoadError, EventStore> {
  const store = yield* EventStore
  const cache = Option.getOrUndefined(yield* Effect.serviceOption(StateCache))
  const policy = aggregate.snapshot
  const snapshots = policy === undefined ? Option.none() : yield* Effect.serviceOption(Snapshots)
  const initial: Folded<A> = { state: aggregate.initial, version: 0, eventId: "" }
  // What was folded before does not say when its events were recorded.
  const usable = policy !== undefined && Option.isSome(snapshots) && options.until === undefined
  const cached = options.until === undefined ? cache?.get(store, aggregate, stream) : undefined
  const kept = cached !== undefined && cached.version <= (options.to ?? Infinity) ? cached : undefined
  const loaded = kept ?? (usable ? yield* loadSnapshot<A>(snapshots.value, policy, stream, options.to) : undefined)
  const base = loaded === "undecodable" ? undefined : loaded
  let folded: Folded<A> | undefined
  /** Whether what was kept is good for nothing. */
  let replace = loaded === "undecodable"
  if (base !== undefined) {
    // The event that it ends with is read as well: it tells whether it was made from this stream.
    folded = yield* foldStream(aggregate, store.read(stream, { ...options, from: base.version }), base)
    replace = folded === undefined
    if (kept === undefined) yield* Metric.update(replace ? stale : hits, 1)
  }
  folded ??= (yield* foldStream(aggregate, store.read(stream, options), initial)) ?? initial
  const { state, version } = folded
  const from = replace || base === undefined ? 0 : base.version
  if (usable && Math.floor(from / policy.every) < Math.floor(version / policy.every)) {
    yield* schedule(saveSnapshot(snapshots.value, policy, stream, folded, replace))
  }
  if (version > 0 && options.until === undefined && (replace || version >= (cached?.version ?? 0))) {
    cache?.set(store, aggregate, stream, folded)
  }
  return { state, version }
})

/** Folds the events of a stream, the first of which is the last of `from`; `undefined` if it is another one. */
const foldStream = <A extends Aggregate.Any>(
  aggregate: A,
  events: Stream.Stream<RecordedEvent, EventStoreError>,
  from: Folded<A>
): Effect.Effect<Folded<A> | undefined, LoadError> =>
  Effect.suspend(() => {
    let { eventId, state, version } = from
    let found = version === 0
    const folding = Stream.runForEachArray(events, (page) => {
      for (const recorded of page) {
        if (!found) {
          found = recorded.version === version && recorded.id === eventId
          if (found) continue
          return Effect.void
        }
        const decoded = Event.readAll(aggregate.readers, recorded)
        if (Result.isFailure(decoded)) return Effect.fail(decoded.failure)
        for (const { event } of decoded.success) state = Aggregate.evolve(aggregate, state, event)
        version = recorded.version
        eventId = recorded.id
      }
      return Effect.void
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

/** A snapshot of the stream that is not beyond `to`. Whatever goes wrong, there is none. */
const loadSnapshot = <A extends Aggregate.Any>(
  snapshots: Snapshots["Service"],
  policy: Aggregate.SnapshotPolicy,
  stream: string,
  to: number | undefined
): Effect.Effect<Folded<A> | "undecodable" | undefined> =>
  snapshots.load(stream, policy.fingerprint).pipe(
    Effect.flatMap((found): Effect.Effect<Folded<A> | "undecodable" | undefined> => {
      if (Option.isNone(found) || found.value.version > (to ?? Infinity)) return Effect.as(Metric.update(misses, 1), undefined)
      const { eventId, state, version } = found.value
      const decoded = policy.decode(state)
      return Result.isSuccess(decoded)
        ? Effect.succeed({ state: freeze(decoded.success), version, eventId })
        : Effect.as(failed("load", Cause.fail(decoded.failure)), "undecodable" as const)
    }),
    Effect.catchCause((cause) => Effect.as(failed("load", cause), undefined))
  )

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

/**
 * Appends typed events without a unit of work.
 *
 * @category accessors
 * @since 0.1.0
 */
export const append = <A extends Aggregate.Any>(
  aggregate: A,
  id: Aggregate.Id<A>,
  events: ReadonlyArray<Aggregate.EventOf<A>>,
  options?: {
    /** The version that the stream must have. Default: any. */
    readonly expected?: ExpectedVersion | undefined
    /** Stored with each of the events. Default: none. */
    readonly metadata?: Metadata | undefined
  }
): Effect.Effect<AppendResult, AppendError | Aggregate.AggregateIdError | Event.EventEncodeError, EventStore> =>
  EventStore.use((store): Effect.Effect<AppendResult, AppendError | Aggregate.AggregateIdError | Event.EventEncodeError> => {
    const encoded: Array<NewEvent> = []
    for (const event of events) {
      const one = encode(aggregate, event)
      if (Result.isFailure(one)) return Effect.fail(one.failure)
      const { event: written } = one.success
      encoded.push(options?.metadata === undefined ? written : { ...written, metadata: options.metadata })
    }
    return Effect.flatMap(streamOf(aggregate, id), (stream) => store.append(stream, encoded, options))
  })

/**
 * The history of an aggregate: its events, decoded, with what the store knows of each. Events that one stored event was split into share
 * its id, version and position; what is retired is not there.
 *
 * @category accessors
 * @since 0.1.0
 */
export const events = <A extends Aggregate.Any>(
  aggregate: A,
  id: Aggregate.Id<A>,
  options?: ReadOptions
): Stream.Stream<EventRecord<A>, LoadError, EventStore> =>
  Stream.unwrap(
    Effect.gen(function* () {
      const stream = yield* streamOf(aggregate, id)
      const store = yield* EventStore
      return store.read(stream, options).pipe(
        Stream.mapEffect((recorded) => {
          const { id, metadata, position, recordedAt, version } = recorded
          return Effect.fromResult(
            Result.map(Event.readAll(aggregate.readers, recorded), (all) =>
              all.map(({ event }): EventRecord<A> => ({ event, id, version, position, recordedAt, metadata }))
            )
          )
        }),
        Stream.flatMap(Stream.fromIterable)
      )
    })
  )

const encode = <A extends Aggregate.Any>(
  aggregate: A,
  event: Aggregate.EventOf<A>
): Result.Result<{ readonly definition: Event.Any; readonly event: NewEvent }, Event.EventEncodeError> => {
  const definition = aggregate.definitions.get(event._tag)
  return definition === undefined
    ? Result.fail(
        new Event.EventEncodeError({
          type: event._tag,
          cause: new Error(`the aggregate "${aggregate.name}" has no event of this type`)
        })
      )
    : Result.map(Event.encode(definition, event), (event) => ({ definition, event }))
}

/** The name of the stream of an aggregate, if the id is one. */
const streamOf = <A extends Aggregate.Any>(
  aggregate: A,
  id: Aggregate.Id<A>
): Effect.Effect<string, Aggregate.AggregateIdError> => {
  const refuse = (problem: string) => Effect.fail(new Aggregate.AggregateIdError({ aggregate: aggregate.name, problem }))
  const encoded = aggregate.encodeId(id)
  if (Result.isFailure(encoded)) return refuse(`${JSON.stringify(id)} does not fit its schema: ${encoded.failure.message}`)
  const stream = streamName(aggregate.name, encoded.success)
  const fault = nameFault(stream)
  return fault === undefined ? Effect.succeed(stream) : refuse(`the name of its stream ${fault}`)
}
