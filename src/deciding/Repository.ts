/**
 * An aggregate in the store: load, decide, stage; and its history, decoded.
 *
 * @since 0.1.0
 */
import type * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import type * as Aggregate from "../definitions/Aggregate.ts"
import { eventsOf } from "../definitions/decided.ts"
import * as Event from "../definitions/Event.ts"
import type { Metadata, NewEvent } from "../definitions/stored.ts"
import { timesForgotten } from "../internal/forgetting.ts"
import {
  type AppendError,
  type AppendResult,
  EventStore,
  type ExpectedVersion,
  type OptimisticLockError,
  type ReadOptions
} from "../store/EventStore.ts"
import { isTombstone, removedError } from "../store/tombstone.ts"
import { evolveStaged, keepCommitted, type Loaded, type LoadError, loadStream, readStream, streamOf } from "./loading.ts"
import { QueuePlace } from "./queues.ts"
import { SeenStreams, Transaction } from "./transaction.ts"

export { type Loaded, type LoadError } from "./loading.ts"
export { type Folded, layerCache, layerCacheWith, makeStateCache, StateCache } from "./stateCache.ts"

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
 * Units of work of one process that execute on the same aggregate take turns (`UnitOfWork.layer`): each decides on what those before it are about to
 * write. `load` takes no turn.
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
  const loaded = yield* loadStream(aggregate, id, true)
  const { stream } = loaded
  const events = yield* eventsOf<Aggregate.EventOf<A>, D>(decide(loaded.state))
  if (events.length === 0) return { state: loaded.state, version: loaded.version, events }
  const staged: Array<{ readonly _tag: "Event" } & Event.Written<Event.Any>> = []
  for (const event of events) {
    const written = write(aggregate, event)
    if (Result.isFailure(written)) return yield* written.failure
    staged.push({ _tag: "Event", ...written.success })
  }
  const transaction = yield* Transaction
  const entries = yield* transaction.stage(stream, staged, loaded.version)
  let { state, version } = loaded
  for (const { value } of staged) {
    // Of a definition of the aggregate.
    state = evolveStaged(aggregate, state, value as Aggregate.EventOf<A>, { stream, version: ++version })
  }
  transaction.slot(QueuePlace)?.foresee(stream, { last: entries.at(-1), version, since: loaded.since, aggregate, state })
  yield* keepCommitted(aggregate, stream, loaded, { state, version, eventId: entries.at(-1)?.event.id ?? "" })
  return { state, version, events }
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
  Effect.map(loadStream(aggregate, id, false), ({ state, version }) => ({ state, version }))

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

/**
 * Lets a unit of work begin with a state that is known already: it then loads nothing of the aggregate, and its commit expects the version. For who
 * keeps states, as the owner of an aggregate in a cluster does. A state that is not of that version is a wrong decision; one that is not the newest is an
 * `OptimisticLockError` at the commit.
 *
 * Does nothing where the unit of work has loaded the aggregate before.
 *
 * ```ts
 * import { Effect, Layer, Schema } from "effect"
 * import { Aggregate, Event, EventStore, Repository, UnitOfWork } from "eventfold"
 *
 * const Counted = Event.make("Counted", { by: Schema.Int })
 * const Counter = Aggregate.make("Counter", {
 *   events: [Counted],
 *   initial: 0,
 *   evolve: { Counted: (total, { by }) => total + by }
 * })
 * const count = Repository.execute(Counter, "clicks", () => Counted.make({ by: 1 }))
 *
 * const program = Effect.gen(function* () {
 *   const kept = yield* UnitOfWork.transact(count)
 *   yield* UnitOfWork.transact(Effect.andThen(Repository.begin(Counter, "clicks", kept), count)) // reads nothing
 *   const stale = UnitOfWork.transact(Effect.andThen(Repository.begin(Counter, "clicks", kept), count))
 *   return (yield* Effect.flip(stale))._tag
 * })
 *
 * const Live = UnitOfWork.layer.pipe(Layer.provideMerge(EventStore.layerMemory))
 * await Effect.runPromise(Effect.provide(program, Live)) // => "OptimisticLockError"
 * ```
 *
 * @category accessors
 * @since 0.2.0
 */
export const begin = <A extends Aggregate.Any>(
  aggregate: A,
  id: Aggregate.Id<A>,
  { state, version }: Loaded<A>
): Effect.Effect<void, Aggregate.AggregateIdError, Transaction> =>
  Effect.flatMap(streamOf(aggregate, id), (stream) =>
    Transaction.useSync((transaction) => {
      const streams = transaction.slot(SeenStreams)
      if (!streams.has(stream)) streams.set(stream, { version, since: timesForgotten(), states: new Map([[aggregate, state]]) })
    })
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
      const one = write(aggregate, event)
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
        Stream.mapEffect((recorded): Effect.Effect<ReadonlyArray<EventRecord<A>>, LoadError> => {
          if (isTombstone(recorded)) return Effect.fail(removedError("read", recorded))
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

const write = <A extends Aggregate.Any>(
  aggregate: A,
  event: Aggregate.EventOf<A>
): Result.Result<Event.Written<Event.Any>, Event.EventEncodeError> => {
  const definition = aggregate.definitions.get(event._tag)
  return definition === undefined
    ? Result.fail(
        new Event.EventEncodeError({
          type: event._tag,
          cause: new Error(`the aggregate "${aggregate.name}" has no event of this type`)
        })
      )
    : Event.write(definition, event)
}
