import * as Effect from "effect/Effect"

/**
 * Tells waiting subscribers that the log has grown. It carries the newest position that anybody has heard of, so a hint that
 * comes before its waiter is not lost, and hearing of the same position twice does nothing.
 *
 * @category adapters
 * @since 0.2.0
 */
export interface Signal {
  /** The newest position heard of. */
  readonly position: () => number
  /** How many fibers wait. A poller with nobody waiting has nothing to do. */
  readonly waiting: () => number
  /** Says that `position` stands in the log. Never blocks. */
  readonly notify: (position: number) => void
  /** Succeeds with the newest position heard of, as soon as it is beyond `position`. */
  readonly beyond: (position: number) => Effect.Effect<number>
}

/**
 * A signal that has heard of `initial`.
 *
 * @category adapters
 * @since 0.2.0
 */
export const makeSignal = (initial = 0): Signal => {
  let newest = initial
  const waiters = new Set<{ readonly position: number; readonly wake: () => void }>()
  return {
    position: () => newest,
    waiting: () => waiters.size,
    notify: (position) => {
      if (position <= newest) return
      newest = position
      for (const waiter of waiters) {
        if (waiter.position < position) {
          waiters.delete(waiter)
          waiter.wake()
        }
      }
    },
    beyond: (position) =>
      Effect.callback<number>((resume) => {
        if (newest > position) return resume(Effect.succeed(newest))
        const waiter = { position, wake: () => resume(Effect.succeed(newest)) }
        waiters.add(waiter)
        return Effect.sync(() => waiters.delete(waiter))
      })
  }
}
