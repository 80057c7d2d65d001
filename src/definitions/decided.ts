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

const isMany = <Event>(events: Event | ReadonlyArray<Event>): events is ReadonlyArray<Event> => Array.isArray(events)

const toMany = <Event>(events: Event | ReadonlyArray<Event>): ReadonlyArray<Event> => (isMany(events) ? events : [events])

/** What a decision comes to, in one form. */
export const eventsOf = <Event, E, R>(decided: Decided<Event, E, R>): Effect.Effect<ReadonlyArray<Event>, E, R> => {
  if (Effect.isEffect(decided)) return Effect.map(decided as Effect.Effect<Event | ReadonlyArray<Event>, E, R>, toMany)
  if (Result.isResult(decided)) return Effect.map(Effect.fromResult(decided), toMany)
  return Effect.succeed(toMany(decided))
}
