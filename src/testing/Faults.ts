/**
 * Faults at random, for `EventStore.layerFaulty` and `Transport.layerFaulty`.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"

/**
 * An endless list of faults that are drawn at random, each with its own probability, and `"none"` with what remains. The same seed
 * draws the same faults.
 *
 * ```ts
 * import { Effect, Layer, Schedule } from "effect"
 * import { EventStore } from "eventfold"
 * import { Faults } from "eventfold/testing"
 *
 * const Store = EventStore.layerFaulty({
 *   append: Faults.seeded("tuesday", [[0.3, "lost"], [0.3, "unavailable"]])
 * }).pipe(Layer.provide(EventStore.layerMemory))
 *
 * // Whatever happens to an append, it is repeated with the same id until it is answered.
 * const append = (id: string) =>
 *   EventStore.append("Account-1", [{ type: "Deposited", payload: {}, id }]).pipe(Effect.retry(Schedule.forever))
 *
 * const program = Effect.andThen(Effect.forEach(["1", "2", "3", "4", "5"], append), EventStore.version("Account-1"))
 *
 * await Effect.runPromise(Effect.provide(program, Store)) // => 5
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const seeded = <const F>(
  seed: string | number,
  chances: ReadonlyArray<readonly [probability: number, fault: F]>
): Iterable<F | "none"> => {
  const total = chances.reduce((sum, [probability]) => sum + probability, 0)
  if (!(chances.every(([probability]) => probability >= 0) && total <= 1)) {
    throw new RangeError(`Faults.seeded: probabilities must not be negative, nor their sum above 1: it is ${total}`)
  }
  return {
    *[Symbol.iterator]() {
      const random = Effect.runSync(Random.withSeed(Random.Random, seed))
      while (true) {
        let drawn = random.nextDoubleUnsafe()
        yield chances.find(([probability]) => (drawn -= probability) < 0)?.[1] ?? "none"
      }
    }
  }
}
