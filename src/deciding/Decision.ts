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
import { dual } from "effect/Function"
import { hasProperty } from "effect/Predicate"
import * as Result from "effect/Result"
import * as Aggregate from "../definitions/Aggregate.ts"
import { eventsOf } from "../definitions/decided.ts"
import * as Event from "../definitions/Event.ts"
import { definitionsOf, isSame, readersOf } from "../definitions/listing.ts"
import type { NewEvent } from "../definitions/stored.ts"
import * as Tag from "../definitions/Tag.ts"
import { freeze } from "../internal/freeze.ts"
import { AppendConditionError, type EventStore, OptimisticLockError, type Query } from "../store/EventStore.ts"
import {
  type AggregatePart,
  type Bound,
  bind,
  type Boundary,
  evolve,
  evolveStaged,
  type Fold,
  inOrder,
  isMatch,
  makeBoundary,
  type Part,
  TypeId
} from "./boundary.ts"
import { readModels } from "./boundaryReading.ts"
import { loadStream, type LoadError as AggregateLoadError, readStream, streamOf } from "./loading.ts"
import { expectedOf, SeenStreams, type Slot, type StagedEvent, Transaction, type TransactionService } from "./transaction.ts"

export { type Boundary } from "./boundary.ts"
export { BoundaryCache, type Kept, layerCache, layerCacheWith } from "./boundaryCache.ts"

/**
 * What reading the boundary of a decision can fail with.
 *
 * @category errors
 * @since 0.2.0
 */
export type LoadError = AggregateLoadError | Tag.TagError

/**
 * The state of a boundary.
 *
 * @category models
 * @since 0.2.0
 */
export type StateOf<B extends Boundary<unknown>> = B extends Boundary<infer State, Event.Any> ? State : never

/**
 * The definitions of the events that a boundary reads.
 *
 * @category models
 * @since 0.2.0
 */
export type EventOf<B extends Boundary<unknown>> = B["events"][number]

/**
 * The values that a model is called with: one for each of its tags.
 *
 * @category models
 * @since 0.2.0
 */
export type Values<Tags extends { readonly [name: string]: Tag.Any }> = keyof Tags extends never
  ? []
  : [values: { readonly [Name in keyof Tags]: Tag.Value<Tags[Name]> }]

/**
 * Facts of one kind, and what they fold to. Called with the values of its tags, it gives a {@link Boundary}.
 *
 * @category models
 * @since 0.2.0
 */
export interface Model<
  in out Tags extends { readonly [name: string]: Tag.Any },
  out Events extends ReadonlyArray<Event.Any>,
  out State
> {
  (...values: Values<Tags>): Boundary<State, Events[number]>
  readonly name: string
  readonly tags: Tags
  readonly events: Events
  /** What there is before the first event. */
  readonly initial: State
  readonly read: "all" | "last"
}

/** The tags that events of a definition may bear: any, where they are made of mere strings. */
type TagsOf<E extends Event.Any> = ReturnType<E["tags"]>[number]

/** What is wrong with a definition in a model with these tags: nothing, or a sentence that the compiler's message ends with. */
type Fault<Tags extends { readonly [name: string]: Tag.Any }, E extends Event.Any> = {
  [Name in Tags[keyof Tags]["name"]]: string extends TagsOf<E>
    ? never
    : [Extract<TagsOf<E>, `${Name}:${string}`>] extends [never]
      ? `${E["type"]} never bears the tag "${Name}", so this model would never see it`
      : never
}[Tags[keyof Tags]["name"]]

/** Beside the events of a model: each that it would never see becomes what it is not. */
type Seen<Tags extends { readonly [name: string]: Tag.Any }, Events extends ReadonlyArray<Event.Any>> = {
  readonly [Index in keyof Events]: [Fault<Tags, Events[Index]>] extends [never] ? unknown : Fault<Tags, Events[Index]>
}

/**
 * What a model is made of.
 *
 * @category models
 * @since 0.2.0
 */
export interface Options<
  Tags extends { readonly [name: string]: Tag.Any },
  Events extends ReadonlyArray<Event.Any>,
  Initial,
  S extends Aggregate.StateSchema
> {
  /** The tags that an event must bear, all of them. With none (`{}`) the events are read wherever they stand in the whole log. */
  readonly tags: Tags
  /** The definitions of the events that are read. One that never bears the tags does not compile. */
  readonly events: Events & Seen<Tags, NoInfer<Events>>
  /**
   * The Schema of the state: its literals and unions hold for `initial` and for what each fold returns. Default: none, the state is
   * what `initial` is.
   */
  readonly state?: S
  /** What there is before the first event. */
  readonly initial: Initial & Aggregate.TypeOf<S>
  /** One fold per event type: one that is missing, or one for an event that is not listed, does not compile. */
  readonly evolve: Aggregate.Folds<Events, NoInfer<Aggregate.StateOf<S, Initial>>>
  /**
   * `"last"` reads the newest event alone, and folds it onto `initial`: for a counter, or whether there is any at all. It costs the same
   * however many there are. Default: `"all"`.
   */
  readonly read?: "all" | "last" | undefined
}

/**
 * Defines a model: which events it reads, by types and tags, and what they fold to. Nothing of it is stored.
 *
 * Events that were renamed or split (`aliases`, `from`) are read under their old types as well, and are checked under them. Folds are pure, as those of aggregates
 * are. An event that bears a tag bears it from when it was written: a model with a tag that was added later does not see what is older.
 *
 * ```ts
 * import { Schema } from "effect"
 * import { Decision, Event, Tag } from "eventfold"
 *
 * const course = Tag.make("course")
 * const student = Tag.make("student")
 * const Defined = Event.make("CourseDefined", { course: Schema.String, seats: Schema.Int }, { tags: (event) => [course(event.course)] })
 * const Subscribed = Event.make("Subscribed", { course: Schema.String, student: Schema.String }, {
 *   tags: (event) => [course(event.course), student(event.student)]
 * })
 *
 * const Free = Decision.make("Free", {
 *   tags: { course },
 *   events: [Defined, Subscribed],
 *   initial: 0,
 *   evolve: { CourseDefined: (free, { seats }) => free + seats, Subscribed: (free) => free - 1 }
 * })
 *
 * Decision.fold(Free({ course: "c-1" }), [
 *   Defined.make({ course: "c-1", seats: 3 }),
 *   Subscribed.make({ course: "c-1", student: "ada" }),
 *   Subscribed.make({ course: "c-2", student: "ada" }) // of another course
 * ]) // => 2
 * ```
 *
 * @category constructors
 * @since 0.2.0
 */
export const make = <
  const Events extends ReadonlyArray<Event.Any>,
  Initial,
  const S extends Aggregate.StateSchema,
  const Tags extends { readonly [name: string]: Tag.Any } = {}
>(
  name: string,
  options: Options<Tags, Events, Initial, S>
): Model<Tags, Events, Aggregate.StateOf<S, Initial>> => {
  type State = Aggregate.StateOf<S, Initial>
  const { read = "all", tags } = options
  const events: Events = options.events
  if (name === "") throw new RangeError("Decision: the name of a model must not be empty")
  const types = new Set<string>()
  for (const { type } of events) {
    if (types.has(type)) throw new RangeError(`Decision "${name}": the event type "${type}" is listed twice`)
    types.add(type)
  }
  Aggregate.checkInitial(`Decision "${name}"`, options.state, options.initial)
  const own = [...definitionsOf(events).values()]
  const fold: Fold = {
    name,
    read,
    initial: freeze(options.initial),
    // By the types of `Events`.
    evolve: options.evolve as unknown as Fold["evolve"],
    events: own,
    types: Event.storedTypes(...own),
    readers: readersOf(`Decision "${name}"`, events)
  }
  const bound = (values: { readonly [name: string]: unknown } = {}): Boundary<State, Events[number]> => {
    const made = Result.all(Object.entries(tags).map(([key, tag]) => tag.encode(values[key])))
    const part: Part = {
      _tag: "Model",
      fold,
      tags: Result.mapError(made, ({ problem, tag }) => new Tag.TagError({ tag, model: name, problem })),
      ignored: []
    }
    return makeBoundary([part], fold.events, ([state]) => state as State)
  }
  Object.defineProperty(bound, "name", { value: name })
  return Object.assign(bound, { tags, events, initial: fold.initial, read }) as unknown as Model<Tags, Events, State>
}

/**
 * One boundary of several, in the shape of `Effect.all`: a record, or a list. All of them are read at one position of the log.
 *
 * @category combinators
 * @since 0.2.0
 */
export const all = <const B extends { readonly [name: string]: Boundary<unknown> } | ReadonlyArray<Boundary<unknown>>>(
  boundaries: B
): Boundary<
  { readonly [Name in keyof B]: B[Name] extends Boundary<infer State> ? State : never },
  EventOf<Extract<B[keyof B & (B extends ReadonlyArray<unknown> ? number : unknown)], Boundary<unknown>>>
> => {
  const list: ReadonlyArray<Boundary<unknown>> = Object.values(boundaries)
  const combine = (states: ReadonlyArray<unknown>) => {
    let next = 0
    const combined = list.map(({ combine, parts }) => combine(states.slice(next, (next += parts.length))))
    return Array.isArray(boundaries)
      ? combined
      : Object.fromEntries(Object.keys(boundaries).map((name, index) => [name, combined[index]]))
  }
  return makeBoundary(
    list.flatMap(({ parts }) => parts),
    list.flatMap(({ events }) => events),
    combine
    // By the types of `B`.
  ) as never
}

/**
 * The same boundary with another state.
 *
 * @category combinators
 * @since 0.2.0
 */
export const map: {
  <State, Other>(f: (state: State) => Other): <E extends Event.Any>(self: Boundary<State, E>) => Boundary<Other, E>
  <State, E extends Event.Any, Other>(self: Boundary<State, E>, f: (state: State) => Other): Boundary<Other, E>
} = dual(2, <State, E extends Event.Any, Other>(self: Boundary<State, E>, f: (state: State) => Other): Boundary<Other, E> =>
  makeBoundary(self.parts, self.events, (states) => f(self.combine(states)))
)

/** Beside a boundary: what it does not read cannot be ignored, and the compiler's message ends with the sentence. */
type Reads<E extends Event.Any, Ignored extends Event.Any> = [Ignored["type"]] extends [E["type"]]
  ? unknown
  : `${Exclude<Ignored["type"], E["type"]>} is not read here, so it cannot be ignored`

/**
 * Events that are read, but may come meanwhile without spoiling the decision: deposits, where one decides on a withdrawal.
 *
 * It is a promise about the domain, and wrong as soon as the decision depends on there being no such event. What a model reads and what is not ignored is checked, so an
 * event that is added to the model later is checked until somebody says otherwise. The stream of an aggregate is guarded as a whole: of what it
 * alone reads nothing can be ignored, which throws a `RangeError`.
 *
 * @category combinators
 * @since 0.2.0
 */
export const ignoring: {
  <const Ignored extends ReadonlyArray<Event.Any>>(
    ...events: Ignored
  ): <State, E extends Event.Any>(self: Boundary<State, E> & Reads<E, Ignored[number]>) => Boundary<State, E>
  <State, E extends Event.Any>(self: Boundary<State, E>, ...events: ReadonlyArray<NoInfer<E>>): Boundary<State, E>
} = dual(
  ([first]) => hasProperty(first, TypeId),
  <State, E extends Event.Any>(self: Boundary<State, E>, ...events: ReadonlyArray<Event.Any>): Boundary<State, E> => {
    const reads = (part: Part, event: Event.Any) => part._tag === "Model" && part.fold.events.some((own) => isSame(own, event))
    for (const event of events) {
      if (!self.parts.some((part) => reads(part, event))) {
        throw new RangeError(`Decision.ignoring: no model of the boundary reads "${event.type}"`)
      }
    }
    const parts = self.parts.map((part): Part =>
      part._tag === "Model" ? { ...part, ignored: [...part.ignored, ...events] } : part
    )
    return makeBoundary(parts, self.events, self.combine)
  }
)

/**
 * An aggregate as part of a boundary: its state, as `Repository.load` gives it. At the commit its stream must be at the version that was
 * seen, whether it is written to or not.
 *
 * It is read by itself, and not as of the position at which the models are: what it says may be newer than what they say. The commit
 * finds both as they were read, or fails.
 *
 * @category constructors
 * @since 0.2.0
 */
export const aggregate = <A extends Aggregate.Any>(
  aggregate: A,
  id: Aggregate.Id<A>
): Boundary<Aggregate.State<A>, A["events"][number]> =>
  makeBoundary([{ _tag: "Aggregate", aggregate, id }], [...aggregate.definitions.values()], ([state]) => state)

const IntoTypeId = "~eventfold/Decision/Into"

/**
 * A stream that a decision's events go to, and events that it may have beside those of the boundary: see {@link into}.
 *
 * @category models
 * @since 0.2.0
 */
export interface IntoStream<out E extends Event.Any> {
  readonly [IntoTypeId]: "stream"
  readonly stream: string
  readonly events: ReadonlyArray<E>
}

/**
 * The stream of an aggregate, which has events of the aggregate alone: see {@link into}.
 *
 * @category models
 * @since 0.2.0
 */
export interface IntoAggregate<out A extends Aggregate.Any> {
  readonly [IntoTypeId]: "aggregate"
  readonly aggregate: A
  readonly id: string
}

/**
 * Where the events of a decision go: the name of a stream, or what {@link into} says.
 *
 * @category models
 * @since 0.2.0
 */
export type Target = string | IntoStream<Event.Any> | IntoAggregate<Aggregate.Any>

/**
 * The events that a decision on a boundary may come to, where they go to a target.
 *
 * @category models
 * @since 0.2.0
 */
export type Admitted<E extends Event.Any, T extends Target> =
  T extends IntoAggregate<infer A> ? Aggregate.EventOf<A> : T extends IntoStream<infer More> ? (E | More)["Type"] : E["Type"]

/**
 * Where the events of a decision go, where that is more than the name of a stream.
 *
 * - `into(stream, ...events)`: the decision may come to these events, beside those that it reads. Who writes what he does not read does not
 *   exclude a second decision like his own, so it takes a word.
 * - `into(Account, id)`: the stream of an aggregate. Its events alone are admitted: any other would make the stream unreadable for
 *   `Repository`.
 *
 * @category constructors
 * @since 0.2.0
 */
export const into: {
  <A extends Aggregate.Any>(aggregate: A, id: Aggregate.Id<A>): IntoAggregate<A>
  <const More extends ReadonlyArray<Event.Any>>(stream: string, ...events: More): IntoStream<More[number]>
} = ((first: string | Aggregate.Any, ...rest: ReadonlyArray<unknown>): Target =>
  typeof first === "string"
    ? { [IntoTypeId]: "stream", stream: first, events: rest as ReadonlyArray<Event.Any> }
    : // The overloads say so.
      { [IntoTypeId]: "aggregate", aggregate: first, id: rest[0] as string }) as never

/** The events that a decision comes to. */
type Written<D> =
  D extends Effect.Effect<infer A, infer _E, infer _R> ? Many<A> : D extends Result.Result<infer A, infer _E> ? Many<A> : Many<D>
type Many<A> = A extends ReadonlyArray<infer One> ? One : A

/**
 * Stands beside what a decision gives: where that is an event which is not admitted, the compiler's message ends with the sentence.
 *
 * @category models
 * @since 0.2.0
 */
export type Writes<D, Event extends { readonly _tag: string }, T extends Target = string> = [D] extends [
  Aggregate.AnyDecided<Event>
]
  ? unknown
  : Written<D> extends infer One extends { readonly _tag: string }
    ? [One["_tag"]] extends [Event["_tag"]]
      ? Aggregate.AnyDecided<Event>
      : string extends One["_tag"]
        ? "a decision comes to an event, to several or none ([]), or to a Result or an Effect of these"
        : `"${Exclude<One["_tag"], Event["_tag"]>}" is no event of ${T extends IntoAggregate<Aggregate.Any> ? "the aggregate that this decision writes into" : "this decision: let it read that, or name it by Decision.into(stream, …)"}`
    : Aggregate.AnyDecided<Event>

/** What a unit of work has seen of the log when it first read it: later reads see the same, and what it has staged since. */
const SeenLog: Slot<{ position: number | undefined; readonly states: Map<Fold, Map<string, unknown>> }> = {
  make: () => ({ position: undefined, states: new Map() })
}

/** A boundary within a unit of work. */
interface Loaded {
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

/** Loads the aggregates of a boundary, and guards their streams. */
const loadAggregates = Effect.fnUntraced(function* (
  parts: ReadonlyArray<Part>,
  transaction: TransactionService
): Effect.fn.Return<ReadonlySet<string>, LoadError, Transaction | EventStore> {
  const streams = new Set<string>()
  for (const part of parts) {
    if (part._tag === "Model") continue
    const { stream } = yield* loadStream(part.aggregate, part.id, false)
    streams.add(stream)
    const seen = transaction.slot(SeenStreams).get(stream)
    if (seen !== undefined) yield* transaction.guard(stream, seen.version)
  }
  return streams
})

type Log = ReturnType<(typeof SeenLog)["make"]>

/** Reads the models that the unit of work has not read yet, as of the position that it has seen. */
const readUnseen = (models: ReadonlyArray<Bound>, log: Log): Effect.Effect<void, LoadError, EventStore> => {
  const unseen = models.filter(({ fold, key }) => log.states.get(fold)?.has(key) !== true)
  if (unseen.length === 0) return Effect.void
  const read = (upTo: number | undefined): Effect.Effect<void, LoadError, EventStore> =>
    Effect.flatMap(readModels(unseen, upTo), ({ position, states }) => {
      // Another fiber of this unit of work was first.
      if (log.position !== undefined && log.position !== position) return read(log.position)
      log.position = position
      for (const [index, { fold, key }] of unseen.entries()) {
        const known = log.states.get(fold) ?? new Map<string, unknown>()
        log.states.set(fold, known.set(key, states[index]))
      }
      return Effect.void
    })
  return read(log.position)
}

/** Reads what the unit of work has not read yet, and binds its commit to all of it. */
const loadParts = (
  parts: ReadonlyArray<Part>,
  transaction: TransactionService
): Effect.Effect<Loaded, LoadError, Transaction | EventStore> => {
  const bound = bind(parts)
  if (Result.isFailure(bound)) return Effect.fail(bound.failure)
  const models = bound.success
  const load = (streams: ReadonlySet<string>) => {
    const log = transaction.slot(SeenLog)
    return Effect.flatMap(readUnseen(models, log), () => {
      const { position = 0 } = log
      const conditions = models.flatMap(({ condition }) => condition ?? [])
      const seen = models.map(({ fold, key }) => log.states.get(fold)?.get(key))
      const staged = [...transaction.staged()]
      const given = staged.filter((entry) => streams.has(entry.stream) || models.some(({ query }) => isMatch(query, entry)))
      const loaded: Loaded = { parts, models, seen, staged, conditions, position, streams }
      return conditions.length + given.length === 0
        ? Effect.succeed(loaded)
        : Effect.as(transaction.unless({ filter: conditions, after: position }, given), loaded)
    })
  }
  return models.length === parts.length ? load(noStreams) : Effect.flatMap(loadAggregates(parts, transaction), load)
}

/** The states of all parts, with what the unit of work has staged. */
const statesOf = (
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
const spoils = ({ conditions, streams }: Loaded, entry: StagedEvent): boolean =>
  (!entry.transient && streams.has(entry.stream)) || conditions.some((query) => isMatch(query, entry))

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
    Effect.flatMap(loadParts(boundary.parts, transaction), (loaded) => {
      const stateNow = () => Effect.map(statesOf(loaded, transaction), boundary.combine)
      return Effect.flatMap(stateNow(), (state) =>
        Effect.flatMap(eventsOf<{ readonly _tag: string }, D>(decide(state)), (decided) => {
          // `Writes` says that they are.
          const events = decided as ReadonlyArray<Admitted<E, T>>
          if (events.length === 0) return Effect.succeed({ state, events })
          return Effect.flatMap(stageDecided(boundary, target, loaded, transaction, events), () =>
            Effect.map(stateNow(), (state) => ({ state, events }))
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
  return Effect.flatMap(streamOfTarget(target), (stream) =>
    Effect.flatMap(
      transaction.stage(stream, encoded.success, expectedOf(transaction, stream), () => overtaken(loaded, transaction)),
      (staged) => (staged.some((entry) => spoils(loaded, entry)) ? Effect.void : unguarded(stream, staged))
    )
  )
}

/** What the events of a decision are encoded by. */
const makeEncode = (boundary: Boundary<unknown>, target: Target) => {
  const [definitions, owner] =
    typeof target === "string"
      ? [boundary.events, "the boundary of the decision"]
      : target[IntoTypeId] === "aggregate"
        ? [[...target.aggregate.definitions.values()], `the aggregate "${target.aggregate.name}"`]
        : [[...boundary.events, ...target.events], "the boundary of the decision, or what it writes,"]
  return (event: {
    readonly _tag: string
  }): Result.Result<
    { readonly _tag: "Event"; readonly definition: Event.Any; readonly event: NewEvent; readonly value: unknown },
    Event.EventEncodeError
  > => {
    const [definition, ...others] = definitions.filter(({ type }) => type === event._tag)
    const refuse = (problem: string) =>
      Result.fail(new Event.EventEncodeError({ type: event._tag, cause: new Error(`${owner} ${problem}`) }))
    if (definition === undefined) return refuse("has no event of this type")
    if (others.some((other) => !isSame(other, definition))) return refuse("has several definitions of this type")
    return Result.map(Event.encode(definition, event), (encoded) => ({
      _tag: "Event",
      definition,
      event: encoded,
      value: event
    }))
  }
}

const streamOfTarget = (target: Target): Effect.Effect<string, Aggregate.AggregateIdError> =>
  typeof target === "string"
    ? Effect.succeed(target)
    : target[IntoTypeId] === "aggregate"
      ? streamOf(target.aggregate, target.id)
      : Effect.succeed(target.stream)

/** The failure of a decision whose own unit of work has staged meanwhile what the decision has not seen. */
const overtaken = (
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

/**
 * Folds events into the state of a boundary: pure and synchronous, for tests. In a pipe the boundary comes first:
 * `Free({ course }).pipe(Decision.fold(events))`.
 *
 * Each model folds those of the events that bear its tags, and an aggregate those that it lists: which stream they would stand in is not
 * said here. Throws a `TypeError` on an event that the boundary does not read, and a `TagError` where no tag can be made of a value.
 *
 * @category folding
 * @since 0.2.0
 */
export const fold: {
  <Read>(
    events: Iterable<Read>
  ): <State, E extends Event.Any>(
    self: Boundary<State, E> & ([Read] extends [E["Type"]] ? unknown : "events that the boundary reads")
  ) => State
  <State, E extends Event.Any>(self: Boundary<State, E>, events: Iterable<E["Type"]>): State
} = dual(
  ([first]) => hasProperty(first, TypeId),
  <State, E extends Event.Any>(self: Boundary<State, E>, events: Iterable<E["Type"]>): State => {
    const list = [...events]
    for (const { _tag } of list) {
      if (!self.events.some(({ type }) => type === _tag)) throw new TypeError(`Decision: the boundary reads no event "${_tag}"`)
    }
    const models = Result.getOrThrow(bind(self.parts)).map(({ fold, tags }) => {
      const own = (event: E["Type"]) => {
        const made = fold.events.find(({ type }) => type === event._tag)?.tags(event)
        return made !== undefined && tags.every((tag) => made.includes(tag))
      }
      return list.filter(own).reduce<unknown>((state, event) => evolve(fold, state, [event]), fold.initial)
    })
    const ofAggregate = ({ aggregate }: AggregatePart) =>
      Aggregate.fold(
        aggregate,
        list.filter(({ _tag }) => aggregate.definitions.has(_tag))
      )
    return self.combine(Effect.runSync(inOrder(self.parts, models, (part) => Effect.sync(() => ofAggregate(part)))))
  }
)
