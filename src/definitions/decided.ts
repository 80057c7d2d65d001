import * as Effect from "effect/Effect"
import * as Result from "effect/Result"

/**
 * What a decision may give: an event, several (none is `[]`), or a `Result` or an `Effect` of either. A refusal is the failure of these;
 * errors of `Schema.TaggedError` are effects that fail with themselves, so `return new Overdrawn(…)` is one, too.
 *
 * @category models
 * @since 0.2.0
 */
export type Decided<Event, E = never, R = never> =
  | Event
  | ReadonlyArray<Event>
  | Result.Result<Event | ReadonlyArray<Event>, E>
  | Effect.Effect<Event | ReadonlyArray<Event>, E, R>

/**
 * Any decision about these events, whatever it may fail with and need: what `Repository.execute` and `Scenario` take. Its errors and
 * services follow from its type ({@link DecidedError}, {@link DecidedServices}), so it may return one of several errors.
 *
 * @category models
 * @since 0.2.0
 */
export type AnyDecided<Event> = Decided<Event, unknown, unknown>

/**
 * What a decision of this type may be refused with.
 *
 * @category models
 * @since 0.2.0
 */
export type DecidedError<D> =
  D extends Result.Result<infer _A, infer E> ? E : D extends Effect.Effect<infer _A, infer E, infer _R> ? E : never

/**
 * What a decision of this type needs.
 *
 * @category models
 * @since 0.2.0
 */
export type DecidedServices<D> = D extends Effect.Effect<infer _A, infer _E, infer R> ? R : never

const isMany = <Event>(events: Event | ReadonlyArray<Event>): events is ReadonlyArray<Event> => Array.isArray(events)

const toMany = <Event>(events: Event | ReadonlyArray<Event>): ReadonlyArray<Event> => (isMany(events) ? events : [events])

/** What a decision comes to, in one form. */
export const eventsOf = <Event, D extends AnyDecided<Event>>(
  decided: D
): Effect.Effect<ReadonlyArray<Event>, DecidedError<D>, DecidedServices<D>> => {
  const one: AnyDecided<Event> = decided
  const events: Effect.Effect<ReadonlyArray<Event>, unknown, unknown> = Effect.isEffect(one)
    ? Effect.map(one as Effect.Effect<Event | ReadonlyArray<Event>, unknown, unknown>, toMany)
    : Result.isResult(one)
      ? Effect.map(Effect.fromResult(one), toMany)
      : Effect.succeed(toMany(one))
  return events as Effect.Effect<ReadonlyArray<Event>, DecidedError<D>, DecidedServices<D>>
}
