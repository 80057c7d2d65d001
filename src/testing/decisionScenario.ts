/**
 * Scenarios of decisions on facts from anywhere in the log, told by their pure functions: see `Scenario.decision`.
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Decision from "../deciding/Decision.ts"
import type * as Aggregate from "../definitions/Aggregate.ts"
import { eventsOf } from "../definitions/decided.ts"
import * as Event from "../definitions/Event.ts"
import * as Tag from "../definitions/Tag.ts"
import { failed, same, succeeded } from "./same.ts"

/**
 * A scenario of one decision.
 *
 * @category models
 * @since 0.2.0
 */
export interface DecisionScenario<State, E extends Event.Any, T extends Decision.Target> {
  /** The same, with these events in the past, after those that it has already, in whatever streams. */
  readonly given: (events: ReadonlyArray<E["Type"]>) => DecisionScenario<State, E, T>
  /** Decides on the state that the past has folded to: what `Decision.execute` is given. */
  readonly when: <const D extends Aggregate.AnyDecided<{ readonly _tag: string }>>(
    decide: (state: State) => D & Decision.Writes<D, Decision.Admitted<E, T>, T>
  ) => DecisionOutcome<State, Decision.Admitted<E, T>, Aggregate.DecidedError<D>, Aggregate.DecidedServices<D>>
}

/**
 * What a decision must have come to. Each effect decides anew, and dies with an `AssertionError` when it came to something else.
 *
 * @category models
 * @since 0.2.0
 */
export interface DecisionOutcome<State, Written, E, R> {
  /** Exactly these events, in this order; none is `[]`. */
  readonly then: (events: ReadonlyArray<Written>) => Effect.Effect<void, never, R>
  /** This error: of the same class, with equal fields. */
  readonly thenFails: (error: E | Event.EventEncodeError | Event.EventDecodeError | Tag.TagError) => Effect.Effect<void, never, R>
  /** This state, once the new events are folded as well. */
  readonly thenState: (state: State) => Effect.Effect<void, never, R>
}

/**
 * A scenario of one decision on a boundary, which has no past yet. With `into` it may come to other events than those that it reads,
 * as in `Decision.execute`.
 *
 * Given events and decided ones are encoded and decoded by their definitions, so an event that could not be stored is a failure here as
 * it is in production. Each model folds those that bear its tags; an aggregate of the boundary folds all that it lists.
 *
 * ```ts
 * import { Effect, Schema } from "effect"
 * import { Decision, Event, Tag } from "eventfold"
 * import { Scenario } from "eventfold/testing"
 *
 * class Taken extends Schema.TaggedError<Taken>()("Taken", {}) {}
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
 * const register = (name: string) => (claimed: boolean) => (claimed ? new Taken() : Registered.make({ name }))
 *
 * const ada = Scenario.decision(Claimed({ username: "ada" }))
 *
 * await Effect.runPromise(ada.when(register("ada")).then([Registered.make({ name: "ada" })]))
 * await Effect.runPromise(ada.given([Registered.make({ name: "ada" })]).when(register("ada")).thenFails(new Taken()))
 * await Effect.runPromise(ada.given([Registered.make({ name: "ben" })]).when(register("ada")).thenState(true))
 * ```
 *
 * @category constructors
 * @since 0.2.0
 */
export const decision = <State, E extends Event.Any, const T extends Decision.Target = string>(
  boundary: Decision.Boundary<State, E>,
  into?: T
): DecisionScenario<State, E, T> => scenario(boundary, [...boundary.events, ...written(into)], [])

/** What a target adds to the events of a decision. */
const written = (into: Decision.Target | undefined): ReadonlyArray<Event.Any> =>
  into === undefined || typeof into === "string" ? [] : "events" in into ? into.events : [...into.aggregate.definitions.values()]

const scenario = <State, E extends Event.Any, T extends Decision.Target>(
  boundary: Decision.Boundary<State, E>,
  definitions: ReadonlyArray<Event.Any>,
  past: ReadonlyArray<E["Type"]>
): DecisionScenario<State, E, T> => ({
  given: (events) => scenario(boundary, definitions, [...past, ...events]),
  when: <const D extends Aggregate.AnyDecided<{ readonly _tag: string }>>(
    decide: (state: State) => D & Decision.Writes<D, Decision.Admitted<E, T>, T>
  ): DecisionOutcome<State, Decision.Admitted<E, T>, Aggregate.DecidedError<D>, Aggregate.DecidedServices<D>> => {
    const outcome = Effect.gen(function* () {
      const stored = yield* Effect.orDie(asStored(definitions, past))
      const decided = Effect.flatMap(fold(boundary, stored), (state) => eventsOf<{ readonly _tag: string }, D>(decide(state)))
      const result = yield* Effect.result(Effect.flatMap(decided, (events) => asStored(definitions, events)))
      return { stored, result }
    })
    const title = "The decision"
    return {
      // oxlint-disable-next-line unicorn/no-thenable
      then: (events) => Effect.map(outcome, ({ result }) => same(title, "unexpected events", succeeded(result), events)),
      thenFails: (error) => Effect.map(outcome, ({ result }) => same(title, "an unexpected error", failed(result), error)),
      thenState: (state) =>
        Effect.flatMap(outcome, ({ result, stored }) => {
          const read = succeeded(result).filter(({ _tag }) => boundary.events.some(({ type }) => type === _tag))
          return Effect.map(Effect.orDie(fold(boundary, [...stored, ...read])), (after) =>
            same(title, "an unexpected state", after, state)
          )
        })
    }
  }
})

/** The state after events; a value that no tag can be made of is an error of the decision's. */
const fold = <State, E extends Event.Any>(
  boundary: Decision.Boundary<State, E>,
  events: ReadonlyArray<{ readonly _tag: string }>
): Effect.Effect<State, Tag.TagError> =>
  Effect.suspend(() => {
    try {
      // What the boundary does not read is refused by it.
      return Effect.succeed(Decision.fold(boundary, events as ReadonlyArray<E["Type"]>))
    } catch (error) {
      return error instanceof Tag.TagError ? Effect.fail(error) : Effect.die(error)
    }
  })

/** The events as a store would give them back. */
const asStored = (
  definitions: ReadonlyArray<Event.Any>,
  events: ReadonlyArray<{ readonly _tag: string }>
): Effect.Effect<ReadonlyArray<{ readonly _tag: string }>, Event.EventEncodeError | Event.EventDecodeError> =>
  Effect.forEach(events, (event, index) => {
    const definition = definitions.find(({ type }) => type === event._tag)
    if (definition === undefined) {
      const cause = new Error("the boundary of the decision has no event of this type")
      return Effect.fail(new Event.EventEncodeError({ type: event._tag, cause }))
    }
    const { type, version: schemaVersion } = definition
    const place = { stream: "Scenario", version: index + 1, position: 0, type, schemaVersion }
    return Effect.fromResult(
      Result.flatMap(Event.encode(definition, event), ({ payload }) => Event.decode(definition, { ...place, payload }))
    )
  })
