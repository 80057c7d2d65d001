/**
 * Decisions on facts from anywhere in the log: what is read, in whatever streams it stands, is what must not change until the commit.
 *
 * An aggregate guards one stream. A rule that concerns facts of several things (a course has seats, a student takes so many courses, and one
 * event takes up both) needs no stream that holds them all: a **model** says which events it reads, by their types and tags, and folds
 * them; models are put together to the **boundary** of a decision; and {@link execute} commits the decision's events only if nothing
 * that the boundary would have read has come meanwhile.
 *
 * Start with an aggregate; take a decision where a rule concerns facts of more than one.
 *
 * @since 0.2.0
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type * as Aggregate from "../definitions/Aggregate.ts"
import { eventsOf } from "../definitions/decided.ts"
import type * as Event from "../definitions/Event.ts"
import { flatMapNow, mapNow } from "../internal/now.ts"
import type { AppendConditionError, EventStore, OptimisticLockError } from "../store/EventStore.ts"
import { type AggregatePart, bind, type Boundary, inOrder } from "./boundary.ts"
import { type Loaded, type LoadError, loadParts, overtaken, spoils, statesOf } from "./boundaryLoading.ts"
import { readModels } from "./boundaryReading.ts"
import { readStream, streamOf } from "./loading.ts"
import { type Admitted, makeEncode, streamOfTarget, type Target, type Writes } from "./targets.ts"
import { expectedOf, type StagedEvent, Transaction, type TransactionService } from "./transaction.ts"

export { type Boundary } from "./boundary.ts"
export { BoundaryCache, type Kept, layerCache, layerCacheWith } from "./boundaryCache.ts"
export { type LoadError } from "./boundaryLoading.ts"
export { aggregate, all, type EventOf, fold, ignoring, map, type StateOf } from "./combining.ts"
export { make, type Model, type Options, type Values } from "./models.ts"
export { type Admitted, into, type IntoAggregate, type IntoStream, type Target, type Writes } from "./targets.ts"

/**
 * Reads a boundary within a unit of work, and binds the commit to it: what the boundary would have read must not have come by then.
 *
 * All that one unit of work reads of the log is as of one position, that of its first read, and what it has staged since is part of it.
 *
 * @category accessors
 * @since 0.2.0
 */
export const load = <State, E extends Event.Any>(
  boundary: Boundary<State, E>
): Effect.Effect<State, LoadError, Transaction | EventStore> =>
  Transaction.use((transaction) =>
    loadParts(boundary.parts, transaction).pipe(
      Effect.flatMap((loaded) => statesOf(loaded, transaction)),
      Effect.map(boundary.combine)
    )
  )

/**
 * Reads a boundary, decides, and stages the events of the decision in a stream: the whole life of a command in one call.
 *
 * The decision gives its events in any of the forms of `Aggregate.Decided`: an event, several, a `Result` or an `Effect` of them; none
 * (`[]`) writes nothing. They are events that the boundary reads; others are named by {@link into}. What comes back is the state with
 * the new events folded, and these.
 *
 * **Guarantees.** The commit finds that nothing which the boundary would have read has come since it was read, or fails with an
 * `AppendConditionError` (an `OptimisticLockError` for an aggregate) and writes nothing: `UnitOfWork.retryConflicts` decides anew. Where the same unit
 * of work has overtaken the decision (it staged such an event while the decision was being made) the error comes at once. **Where a
 * unit of work stages no event, nothing is checked**: who writes rows by a decision stages an event as well.
 *
 * The stream is for those who follow the log, which is in order by stream; it is appended to whatever its version, unless `Repository` has loaded it in this unit of work.
 *
 * ```ts
 * import { Effect, Layer, Schema } from "effect"
 * import { Decision, Event, EventStore, Tag, UnitOfWork } from "eventfold"
 *
 * class Taken extends Schema.TaggedError<Taken>()("Taken", { name: Schema.String }) {}
 *
 * const username = Tag.make("username")
 * const Registered = Event.make("Registered", { name: Schema.String }, { tags: ({ name }) => [username(name)] })
 * const Claimed = Decision.make("Claimed", {
 *   tags: { username },
 *   events: [Registered],
 *   initial: false,
 *   evolve: { Registered: () => true }
 * })
 *
 * const register = (account: string, name: string) =>
 *   Decision.execute(Claimed({ username: name }), `Account-${account}`, (claimed) =>
 *     claimed ? new Taken({ name }) : Registered.make({ name })
 *   ).pipe(UnitOfWork.transact, UnitOfWork.retryConflicts({ times: 3 }))
 *
 * const program = Effect.gen(function* () {
 *   yield* register("1", "ada")
 *   return (yield* Effect.flip(register("2", "ada")))._tag
 * })
 *
 * const Live = UnitOfWork.layer.pipe(Layer.provideMerge(EventStore.layerMemory))
 * await Effect.runPromise(Effect.provide(program, Live)) // => "Taken"
 * ```
 *
 * @category accessors
 * @since 0.2.0
 */
export const execute = <
  State,
  E extends Event.Any,
  const T extends Target,
  const D extends Aggregate.AnyDecided<{ readonly _tag: string }>
>(
  boundary: Boundary<State, E>,
  target: T,
  decide: (state: State) => D & Writes<D, Admitted<E, T>, T>
): Effect.Effect<
  { readonly state: State; readonly events: ReadonlyArray<Admitted<E, T>> },
  Aggregate.DecidedError<D> | LoadError | Event.EventEncodeError | OptimisticLockError | AppendConditionError,
  Aggregate.DecidedServices<D> | Transaction | EventStore
> =>
  Transaction.use((transaction) =>
    Effect.flatMap(loadParts(boundary.parts, transaction, streamOfTarget(target)), (loaded) => {
      const stateNow = () => mapNow(statesOf(loaded, transaction), boundary.combine)
      return flatMapNow(stateNow(), (state) =>
        flatMapNow(eventsOf<{ readonly _tag: string }, D>(decide(state)), (decided) => {
          // `Writes` says that they are.
          const events = decided as ReadonlyArray<Admitted<E, T>>
          if (events.length === 0) return Effect.succeed({ state, events })
          return Effect.flatMap(stageDecided(boundary, target, loaded, transaction, events), () =>
            mapNow(stateNow(), (state) => ({ state, events }))
          )
        })
      )
    })
  )

/** Stages the events of a decision in the stream of its target. */
const stageDecided = (
  boundary: Boundary<unknown>,
  target: Target,
  loaded: Loaded,
  transaction: TransactionService,
  events: ReadonlyArray<{ readonly _tag: string }>
): Effect.Effect<void, Event.EventEncodeError | LoadError | OptimisticLockError | AppendConditionError> => {
  const encoded = Result.all(events.map(makeEncode(boundary, target)))
  if (Result.isFailure(encoded)) return Effect.fail(encoded.failure)
  return flatMapNow(streamOfTarget(target), (stream) =>
    Effect.flatMap(
      transaction.stage(stream, encoded.success, expectedOf(transaction, stream), () => overtaken(loaded, transaction)),
      (staged) => (staged.some((entry) => spoils(loaded, entry)) ? Effect.void : unguarded(stream, staged))
    )
  )
}

const unguarded = (stream: string, staged: ReadonlyArray<StagedEvent>): Effect.Effect<void> =>
  Effect.logDebug(
    `eventfold: a decision has staged ${staged.map(({ event }) => event.type).join(", ")} in "${stream}", none of which it reads itself: a second one like it would not be refused`
  )

/**
 * Reads a boundary outside of a unit of work: its state, and the position of the log that it is of. An aggregate in it is read by itself, as
 * it is now.
 *
 * It binds nothing, and does not see what a unit of work has staged: what is decided there is read by {@link load} or {@link execute}.
 *
 * @category accessors
 * @since 0.2.0
 */
export const read = Effect.fnUntraced(function* <State, E extends Event.Any>(
  boundary: Boundary<State, E>
): Effect.fn.Return<{ readonly state: State; readonly position: number }, LoadError, EventStore> {
  const { combine, parts } = boundary
  const models = yield* Effect.fromResult(bind(parts))
  const { position, states } = yield* readModels(models, undefined)
  const all = yield* inOrder(parts, states, ({ aggregate, id }: AggregatePart) =>
    Effect.flatMap(streamOf(aggregate, id), (stream) =>
      Effect.map(
        readStream(aggregate, stream, {}, (save) => save),
        ({ state }): unknown => state
      )
    )
  )
  return { state: combine(all), position }
})
