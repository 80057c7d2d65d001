/**
 * Sequencing for what mostly is there already: then it goes on in the same step. Where one caller takes a hundred steps, and most of them wait for
 * nothing, the steps themselves are what it costs.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"

/** As `Effect.flatMap`. What `f` throws is thrown where this is called: do so within an effect. */
export const flatMapNow = <A, E, R, B, E2, R2>(
  self: Effect.Effect<A, E, R>,
  f: (value: A) => Effect.Effect<B, E2, R2>
): Effect.Effect<B, E | E2, R | R2> => {
  if (!Exit.isExit(self)) return Effect.flatMap(self, f)
  const exit = self as Exit.Exit<A, E>
  return Exit.isSuccess(exit) ? f(exit.value) : (exit as Exit.Exit<never, E>)
}

/** As `Effect.map`, in the same way. */
export const mapNow = <A, E, R, B>(self: Effect.Effect<A, E, R>, f: (value: A) => B): Effect.Effect<B, E, R> =>
  flatMapNow(self, (value) => Effect.succeed(f(value)))
