import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"

/** Lets effects of one key run one after the other, and those of different keys at once. */
export interface Turns {
  readonly take: <A, E, R>(key: string, effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
}

export const makeTurns = (): Turns => {
  const running = new Map<string, Latch.Latch>()
  return {
    take: (key, effect) =>
      Effect.uninterruptibleMask((restore) =>
        Effect.gen(function* () {
          let other: Latch.Latch | undefined
          while ((other = running.get(key)) !== undefined) yield* restore(other.await)
          const done = Latch.makeUnsafe(false)
          running.set(key, done)
          return yield* Effect.ensuring(
            restore(effect),
            Effect.sync(() => {
              running.delete(key)
              done.openUnsafe()
            })
          )
        })
      )
  }
}
