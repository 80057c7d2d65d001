/** Boundaries made of others, and of aggregates; and what they fold to, without a store. */
import * as Effect from "effect/Effect"
import { dual } from "effect/Function"
import { hasProperty } from "effect/Predicate"
import * as Result from "effect/Result"
import * as Aggregate from "../definitions/Aggregate.ts"
import type * as Event from "../definitions/Event.ts"
import { isSame } from "../definitions/listing.ts"
import { type AggregatePart, bind, type Boundary, evolve, inOrder, makeBoundary, type Part, TypeId } from "./boundary.ts"

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

/** The boundaries in a record, or in a list. */
type PartsOf<B> = Extract<B[keyof B & (B extends ReadonlyArray<unknown> ? number : unknown)], Boundary<unknown>>

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
  PartsOf<B>["events"][number],
  PartsOf<B>["modelled"][number]
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
    list.flatMap(({ modelled }) => modelled),
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
  <State, Other>(
    f: (state: State) => Other
  ): <E extends Event.Any, Modelled extends Event.Any>(self: Boundary<State, E, Modelled>) => Boundary<Other, E, Modelled>
  <State, E extends Event.Any, Modelled extends Event.Any, Other>(
    self: Boundary<State, E, Modelled>,
    f: (state: State) => Other
  ): Boundary<Other, E, Modelled>
} = dual(
  2,
  <State, E extends Event.Any, Modelled extends Event.Any, Other>(
    self: Boundary<State, E, Modelled>,
    f: (state: State) => Other
  ): Boundary<Other, E, Modelled> => makeBoundary(self.parts, self.events, self.modelled, (states) => f(self.combine(states)))
)

/** Beside a boundary: what no model of it reads cannot be ignored, and the compiler's message ends with the sentence. */
type Reads<Modelled extends Event.Any, Ignored extends Event.Any> = [Ignored["type"]] extends [Modelled["type"]]
  ? unknown
  : `${Exclude<Ignored["type"], Modelled["type"]>} is read by no model here, so it cannot be ignored`

/**
 * Events that are read, but may come meanwhile without spoiling the decision: deposits, where one decides on a withdrawal.
 *
 * It is a promise about the domain, and wrong as soon as the decision depends on there being no such event. What a model reads and what is not ignored is checked, so an
 * event that is added to the model later is checked until somebody says otherwise. The stream of an aggregate is guarded as a whole: of what it
 * alone reads nothing can be ignored. That does not compile, and throws a `RangeError` where the types know nothing of it.
 *
 * @category combinators
 * @since 0.2.0
 */
export const ignoring: {
  <const Ignored extends ReadonlyArray<Event.Any>>(
    ...events: Ignored
  ): <State, E extends Event.Any, Modelled extends Event.Any>(
    self: Boundary<State, E, Modelled> & Reads<Modelled, Ignored[number]>
  ) => Boundary<State, E, Modelled>
  <State, E extends Event.Any, Modelled extends Event.Any>(
    self: Boundary<State, E, Modelled>,
    ...events: ReadonlyArray<NoInfer<Modelled>>
  ): Boundary<State, E, Modelled>
} = dual(
  ([first]) => hasProperty(first, TypeId),
  <State, E extends Event.Any, Modelled extends Event.Any>(
    self: Boundary<State, E, Modelled>,
    ...events: ReadonlyArray<Event.Any>
  ): Boundary<State, E, Modelled> => {
    const reads = (part: Part, event: Event.Any) => part._tag === "Model" && part.fold.events.some((own) => isSame(own, event))
    for (const event of events) {
      if (!self.parts.some((part) => reads(part, event))) {
        throw new RangeError(`Decision.ignoring: no model of the boundary reads "${event.type}"`)
      }
    }
    const parts = self.parts.map((part): Part =>
      part._tag === "Model" ? { ...part, ignored: [...part.ignored, ...events] } : part
    )
    return makeBoundary(parts, self.events, self.modelled, self.combine)
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
): Boundary<Aggregate.State<A>, A["events"][number], never> =>
  makeBoundary([{ _tag: "Aggregate", aggregate, id }], [...aggregate.definitions.values()], [], ([state]) => state)

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
