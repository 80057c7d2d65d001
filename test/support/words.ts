/** The words in which tests say that they wait, and for what. */
import { type Duration, Effect, Exit, Layer, Schedule, Scope } from "effect"

/** Lets other fibers run until it is so: for a clock that stands still. */
export const until = <E = never, R = never>(
  condition: (() => boolean) | Effect.Effect<boolean, E, R>
): Effect.Effect<void, E, R> =>
  Effect.flatMap(typeof condition === "function" ? Effect.sync(condition) : condition, (reached) =>
    reached ? Effect.void : Effect.andThen(Effect.yieldNow, until(condition))
  )

/** Waits until what it looks at is in the state that is asked for, in real time: not for ever. */
export const eventually = <E, R>(
  what: string,
  check: Effect.Effect<boolean, E, R>,
  within: Duration.Input = "20 seconds"
): Effect.Effect<void, E, R> =>
  check.pipe(
    Effect.repeat({ until: (reached) => reached, schedule: Schedule.spaced("5 millis") }),
    Effect.timeoutOrElse({ duration: within, orElse: () => Effect.die(new Error(`waited in vain until ${what}`)) })
  )

/** Lets everything happen that can happen without time passing. */
export const rest = Effect.forEach(Array.from({ length: 500 }), () => Effect.yieldNow, { discard: true })

/** Builds a Layer anew, until the returned effect (or the test's scope) ends it. */
export const start = Effect.fnUntraced(function* <E, R>(layer: Layer.Layer<never, E, R>) {
  const scope = yield* Scope.fork(yield* Effect.scope)
  yield* Layer.buildWithScope(Layer.fresh(layer), scope)
  return Scope.close(scope, Exit.void)
})

/** `from`, `from + 1`, …: so many. */
export const numbers = (count: number, from = 1) => Array.from({ length: count }, (_, index) => from + index)
