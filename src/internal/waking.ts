import * as Effect from "effect/Effect"

/**
 * Waits until `wake` is called. Whoever calls it goes on first: who was woken runs when its scheduler comes to it. What `register` gives
 * back is called when nobody waits any more because the fiber was interrupted.
 */
export const untilWoken = (register: (wake: () => void) => () => void): Effect.Effect<void> =>
  Effect.withFiber((fiber) =>
    Effect.callback<void>((resume) =>
      Effect.sync(register(() => fiber.currentDispatcher.scheduleTask(() => resume(Effect.void), 0)))
    )
  )
