/**
 * Aggregates: a name, an initial state and one pure fold per event. No service, no IO.
 *
 * @since 0.1.0
 */
import { dual } from "effect/Function"
import { hasProperty } from "effect/Predicate"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type * as Event from "./Event.ts"
import { freeze } from "../internal/freeze.ts"
import { annotatable, type Definition } from "./annotations.ts"
import { jsonCodec } from "./jsonCodec.ts"
import { fingerprintOf, type Maker } from "./fingerprint.ts"
import { definitionsOf, list, readersOfAggregate } from "./listing.ts"

export { type AnyDecided, type Decided, type DecidedError, type DecidedServices } from "./decided.ts"

const TypeId = "~eventfold/Aggregate"

/**
 * An aggregate definition.
 *
 * @category models
 * @since 0.1.0
 */
export interface Aggregate<Name extends string, Id extends IdSchema, Events extends ReadonlyArray<Event.Any>, State> extends Any {
  readonly name: Name
  readonly id: Id
  readonly events: Events
  readonly state: Schema.ConstraintCodec<State, unknown, never, never> | undefined
  readonly initial: State
  readonly evolve: Evolve<Events, State>
  readonly definitions: ReadonlyMap<string, Events[number]>
}

/**
 * What all aggregates have in common.
 *
 * @category models
 * @since 0.1.0
 */
export interface Any extends Definition {
  readonly [TypeId]: typeof TypeId
  /** The category of the aggregate's streams. Part of the storage format. */
  readonly name: string
  readonly id: IdSchema
  readonly events: ReadonlyArray<Event.Any>
  /** The Schema of the state, where the aggregate says it. */
  readonly state: StateSchema | undefined
  /** The state of an aggregate that has no events. */
  readonly initial: unknown
  /** One pure fold per event type. */
  readonly evolve: object
  /** The definitions of `events`, by type; without those that are retired. */
  readonly definitions: ReadonlyMap<string, Event.Any>
  /** When and how its state is kept as a snapshot; `undefined` for never. */
  readonly snapshot: SnapshotPolicy | undefined
  /** @internal */
  readonly readers: Event.Readers
  /** @internal */
  readonly encodeId: (id: unknown) => Result.Result<string, Schema.SchemaError>
}

/**
 * When and how the state of an aggregate is kept as a snapshot.
 *
 * @category models
 * @since 0.1.0
 */
export interface SnapshotPolicy {
  /** A snapshot is taken when the version passes a multiple of this. */
  readonly every: number
  /**
   * Tells states apart that are not made alike: made from the name of the aggregate, its events (type, version, shape, upcasts), the
   * source of its folds, its initial state, the state's schema and the policy's version.
   */
  readonly fingerprint: string
  /** @internal */
  readonly encode: (state: unknown) => Result.Result<Schema.Json, Schema.SchemaError>
  /** @internal */
  readonly decode: (state: unknown) => Result.Result<unknown, Schema.SchemaError>
}

/**
 * The schema of an id: it decodes from a string, without services.
 *
 * @category models
 * @since 0.1.0
 */
export type IdSchema = Schema.ConstraintCodec<string, string, never, never>

/**
 * The Schema of a state: it decodes and encodes without services.
 *
 * @category models
 * @since 0.2.0
 */
export type StateSchema = Schema.ConstraintCodec<unknown, unknown, never, never>

/**
 * The state that a definition folds events into: that of its Schema, or (where it has none, so that nothing is known of `S`) what the
 * initial state is.
 *
 * @category models
 * @since 0.2.0
 */
export type StateOf<S extends StateSchema, Initial> = unknown extends S["Type"] ? Initial : S["Type"]

/**
 * What a definition says of the Schema of its state: the very Schema, for the answer of an API or a column; `undefined` where it has none.
 *
 * @category models
 * @since 0.2.0
 */
export interface Stated<S extends StateSchema> {
  readonly state: unknown extends S["Type"] ? undefined : S
}

/**
 * What the initial state is held against: the type of the Schema, from which nothing is inferred.
 *
 * @category models
 * @since 0.2.0
 */
export type TypeOf<S> = S extends { readonly Type: infer T } ? T : never

declare const impossible: unique symbol
/**
 * What no value is. Beside a type that is still to be inferred, it lets the compiler keep arrays of literals mutable. Its name is read by whoever
 * has an initial state that does not say what the folds return (`[]`, `undefined`): the option `state` says it.
 */
type UnlikeTheState_SeeOption_state = Array<UnlikeTheState_SeeOption_state> & {
  readonly [impossible]: never
  readonly [key: string]: UnlikeTheState_SeeOption_state
}

/**
 * The folds of a definition while the compiler infers its state. Literals in what they return stay literal.
 *
 * @category models
 * @since 0.2.0
 */
export type Folds<Events extends ReadonlyArray<Event.Any>, State> = {
  readonly [Type in Events[number]["type"]]: (
    state: State,
    event: Extract<Events[number], { readonly type: Type }>["Type"]
  ) => State | UnlikeTheState_SeeOption_state
}

/**
 * When snapshots of a state are kept, and (where the definition has no Schema of its state) how the state is stored.
 *
 * @category models
 * @since 0.2.0
 */
export type SnapshotOptions<S extends StateSchema, State> = {
  /** A snapshot is kept when the version of the stream passes a multiple of this. */
  readonly every: number
  /** A whole number. A snapshot that was made with another one is not used. Default: 1. */
  readonly version?: number | undefined
} & (unknown extends S["Type"]
  ? {
      /** How the state is stored, as JSON. */
      readonly state: Schema.ConstraintCodec<State, unknown, never, never>
    }
  : {
      /** Said by the definition itself. */
      readonly state?: undefined
    })

/**
 * One fold per event type; none may be missing.
 *
 * @category models
 * @since 0.1.0
 */
export type Evolve<Events extends ReadonlyArray<Event.Any>, State> = {
  readonly [Type in Events[number]["type"]]: (
    state: State,
    event: Extract<Events[number], { readonly type: Type }>["Type"]
  ) => State
}

/**
 * The state that the events of the aggregate are folded into.
 *
 * @category models
 * @since 0.1.0
 */
export type State<A extends Any> = A["initial"]

/**
 * The id of the aggregate, as its schema decodes it.
 *
 * @category models
 * @since 0.1.0
 */
export type Id<A extends Any> = A["id"]["Type"]

/**
 * Any event of the aggregate.
 *
 * @category models
 * @since 0.1.0
 */
export type EventOf<A extends Any> = A["events"][number]["Type"]

/**
 * What was given is no id of the aggregate: it does not fit the Schema of its ids, or no stream can be called so. Nothing was read or
 * written.
 *
 * @category errors
 * @since 0.2.0
 */
export class AggregateIdError extends Schema.TaggedError<AggregateIdError>("eventfold/Aggregate/AggregateIdError")(
  "AggregateIdError",
  {
    aggregate: Schema.String,
    /** What is wrong with the id. */
    problem: Schema.String
  }
) {
  override get message(): string {
    return `This is no id of the aggregate "${this.aggregate}": ${this.problem}`
  }
}

/**
 * What an aggregate is made of.
 *
 * @category models
 * @since 0.2.0
 */
export interface Options<Events extends ReadonlyArray<Event.Any>, Initial, Id extends IdSchema, S extends StateSchema> {
  /** The Schema of the ids. Default: `Schema.NonEmptyString`. */
  readonly id?: Id | undefined
  /**
   * The Schema of the state. Its literals and unions hold for `initial` and for what each fold returns, and snapshots are stored by it.
   * Default: none, the state is what `initial` is.
   */
  readonly state?: S
  /** The definitions of the events in its streams. */
  readonly events: Events
  /** The state of an aggregate that has no events. */
  readonly initial: Initial & TypeOf<S>
  /** One fold per event type: one that is missing, or one for an event that is not listed, does not compile. */
  readonly evolve: Folds<Events, NoInfer<StateOf<S, Initial>>>
  /**
   * Keeps snapshots of the state, where the `Snapshots` service is provided, so that a long stream is not folded from its
   * beginning. Default: none. A snapshot is that of the very folds that made it: when their source changes, the stream is replayed.
   * Raise `version` when something changes that a fold calls or refers to, and give two aggregates of one name whose folds differ in
   * that alone different ones.
   */
  readonly snapshot?: SnapshotOptions<S, NoInfer<StateOf<S, Initial>>> | undefined
}

/**
 * Defines an aggregate. A fold that is missing, or one for an event that is not listed, does not compile.
 *
 * Folds are pure: they give a new state and leave the one before, and the event, as they are. In development, `initial`, states and events
 * are frozen (plain objects and arrays in them, that is), so that a fold, or a decision, that changes one in place throws a `TypeError`;
 * with `NODE_ENV=production` nothing is frozen.
 *
 * The name is storage format: it is the category of the aggregate's streams (`Account-42`). It must not contain `-` nor begin
 * with `$`.
 *
 * ```ts
 * import { Schema } from "effect"
 * import { Aggregate, Event } from "eventfold"
 *
 * const AccountOpened = Event.make("AccountOpened", { owner: Schema.String })
 * const MoneyDeposited = Event.make("MoneyDeposited", { amount: Schema.Int })
 *
 * const Account = Aggregate.make("Account", {
 *   events: [AccountOpened, MoneyDeposited],
 *   initial: { owner: "", balance: 0 },
 *   evolve: {
 *     AccountOpened: (state, { owner }) => ({ ...state, owner }),
 *     MoneyDeposited: (state, { amount }) => ({ ...state, balance: state.balance + amount })
 *   }
 * })
 *
 * Aggregate.fold(Account, [AccountOpened.make({ owner: "Ada" }), MoneyDeposited.make({ amount: 5 })]) // => { owner: "Ada", balance: 5 }
 * ```
 *
 * With the Schema of the state, literals stay literal, and snapshots need no other:
 *
 * ```ts
 * import { Schema } from "effect"
 * import { Aggregate, Event } from "eventfold"
 *
 * const Paid = Event.make("Paid")
 * const Shipped = Event.make("Shipped", { parcel: Schema.String })
 *
 * const Order = Aggregate.make("Order", {
 *   state: Schema.Struct({
 *     status: Schema.Literals(["open", "paid", "shipped"]),
 *     parcel: Schema.UndefinedOr(Schema.String)
 *   }),
 *   events: [Paid, Shipped],
 *   initial: { status: "open", parcel: undefined },
 *   evolve: {
 *     Paid: (state) => ({ ...state, status: "paid" }), // "payed" would not compile
 *     Shipped: (_, { parcel }) => ({ status: "shipped", parcel })
 *   },
 *   snapshot: { every: 100 }
 * })
 *
 * Aggregate.fold(Order, [Paid.make({}), Shipped.make({ parcel: "p-1" })]) // => { status: "shipped", parcel: "p-1" }
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <
  const Name extends string,
  const Events extends ReadonlyArray<Event.Any>,
  Initial,
  // As a constant, so that what folds return is inferred as literally.
  const S extends StateSchema,
  Id extends IdSchema = Schema.NonEmptyString
>(
  name: Name,
  options: Options<Events, Initial, Id, S>
): Aggregate<Name, Id, Events, StateOf<S, Initial>> & Stated<S> => {
  const readers = readersOfAggregate(name, options.events)
  list(name, options.events)
  const id = (options.id ?? Schema.NonEmptyString) as Id
  const { evolve, events, initial } = options
  // There is one exactly where the types say so.
  const state = options.state as StateSchema | undefined
  checkInitial(`Aggregate "${name}"`, state, initial)
  return annotatable<Aggregate<Name, Id, Events, StateOf<S, Initial>> & Stated<S>>({
    [TypeId]: TypeId,
    name,
    id,
    events,
    // There is one exactly where the types say so.
    state: state as (Aggregate<Name, Id, Events, StateOf<S, Initial>> & Stated<S>)["state"],
    initial: freeze(initial as StateOf<S, Initial>),
    evolve: evolve as Evolve<Events, StateOf<S, Initial>>,
    definitions: definitionsOf(events),
    readers,
    snapshot:
      options.snapshot && makeSnapshotPolicy(name, options, { ...options.snapshot, state: options.snapshot.state ?? state }),
    encodeId: Schema.encodeUnknownResult(id)
  })
}

/** Throws a `RangeError` where the initial state does not fit its Schema: no state that is made from it could be stored. */
export const checkInitial = (owner: string, state: StateSchema | undefined, initial: unknown): void => {
  const fits = state === undefined ? undefined : Schema.encodeUnknownResult(state)(initial)
  if (fits !== undefined && Result.isFailure(fits)) {
    throw new RangeError(`${owner}: the initial state does not fit its Schema: ${fits.failure.message}`)
  }
}

const makeSnapshotPolicy = (
  name: string,
  maker: Pick<Maker, "events" | "evolve" | "initial">,
  options: { readonly state?: StateSchema | undefined; readonly every: number; readonly version?: number | undefined }
): SnapshotPolicy => {
  const { every, state, version = 1 } = options
  if (!Number.isSafeInteger(every) || every < 1) {
    throw new RangeError(`Aggregate "${name}": snapshot.every must be a whole number from 1, not ${every}`)
  }
  if (state === undefined) throw new RangeError(`Aggregate "${name}": a snapshot needs the Schema of the state`)
  return {
    every,
    fingerprint: fingerprintOf({ ...maker, name, version, schema: state }),
    ...jsonCodec(state)
  }
}

/** What an aggregate must be to fold these events; said of nothing else, so that it is inferred from the aggregate alone. */
type Folding<A extends Any, E, S = State<A>> = [E, S] extends [EventOf<A>, State<A>] ? A : never

/**
 * Folds events into a state: pure and synchronous. In a pipe the aggregate comes first: `Account.pipe(Aggregate.fold(events))`.
 *
 * `from` is the state before the first of the events; the initial state by default. Throws a `TypeError` on an event that the
 * aggregate does not list.
 *
 * @category folding
 * @since 0.1.0
 */
export const fold: {
  <E, S = never>(events: Iterable<E>, ...from: [] | [from: S]): <A extends Any>(aggregate: A & Folding<A, E, S>) => State<A>
  <A extends Any>(aggregate: A, events: Iterable<EventOf<A>>, ...from: [] | [from: State<A>]): State<A>
} = dual(
  ([first]) => hasProperty(first, TypeId),
  <A extends Any>(aggregate: A, events: Iterable<EventOf<A>>, ...from: [] | [from: State<A>]): State<A> => {
    // `undefined` may well be a state.
    let state = from.length === 0 ? aggregate.initial : freeze(from[0])
    for (const event of events) state = step(aggregate, state, event)
    return state
  }
)

const step = <A extends Any>(aggregate: A, state: State<A>, event: EventOf<A>): State<A> => {
  if (!aggregate.definitions.has(event._tag)) throw new TypeError(`Aggregate "${aggregate.name}" has no event "${event._tag}"`)
  const steps = aggregate.evolve as Record<string, (state: State<A>, event: EventOf<A>) => State<A>>
  return freeze((steps[event._tag] as (typeof steps)[string])(freeze(state), freeze(event)))
}

/**
 * One step of {@link fold}.
 *
 * @category folding
 * @since 0.1.0
 */
export const evolve: {
  <E, S>(state: S, event: E): <A extends Any>(aggregate: A & Folding<A, E, S>) => State<A>
  <A extends Any>(aggregate: A, state: State<A>, event: EventOf<A>): State<A>
} = dual(3, step)
