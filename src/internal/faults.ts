import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"

/** What happens to a call on purpose. */
type Fault<E> = "none" | "unavailable" | "lost" | "duplicate" | { readonly delay: Duration.Input } | E

/** The fault of each call, one after the other; when they are through, calls have none. */
export const makeFaults = <F>(plan: Iterable<F> = []): Effect.Effect<F | "none"> => {
  const faults = plan[Symbol.iterator]()
  return Effect.sync(() => {
    const next = faults.next()
    return next.done === true ? "none" : next.value
  })
}

export const isDelay = (fault: object | string): fault is { readonly delay: Duration.Input } =>
  typeof fault === "object" && "delay" in fault

/** Makes a call with a fault. `errors` are what it fails with when it is not made, and when its answer is lost. */
export const inject = <A, E, E2 extends object>(
  fault: Fault<E2>,
  call: Effect.Effect<A, E>,
  errors: { readonly unavailable: E2; readonly lost: E2 }
): Effect.Effect<A, E | E2> => {
  switch (fault) {
    case "none":
      return call
    case "unavailable":
      return Effect.fail(errors.unavailable)
    case "lost":
      return Effect.andThen(call, Effect.fail(errors.lost))
    case "duplicate":
      return Effect.andThen(call, call)
    default:
      return isDelay(fault) ? Effect.delay(call, fault.delay) : Effect.fail(fault)
  }
}
