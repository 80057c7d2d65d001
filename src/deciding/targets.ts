/** Where the events of a decision go, and which they may be. */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type * as Aggregate from "../definitions/Aggregate.ts"
import * as Event from "../definitions/Event.ts"
import { isSame } from "../definitions/listing.ts"
import type { NewEvent } from "../definitions/stored.ts"
import type { Boundary } from "./boundary.ts"
import { streamOf } from "./loading.ts"

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

/** What the events of a decision are encoded by. */
export const makeEncode = (boundary: Boundary<unknown>, target: Target) => {
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
    return Result.map(Event.write(definition, event), (written) => ({ _tag: "Event", ...written }))
  }
}

export const streamOfTarget = (target: Target): Effect.Effect<string, Aggregate.AggregateIdError> =>
  typeof target === "string"
    ? Effect.succeed(target)
    : target[IntoTypeId] === "aggregate"
      ? streamOf(target.aggregate, target.id)
      : Effect.succeed(target.stream)
