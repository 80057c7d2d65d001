/**
 * Ids that are the same in every run of a test.
 *
 * @since 0.1.0
 */
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Random from "effect/Random"

/**
 * {@link layer} with options.
 *
 * **Gotchas**: each call is another Layer, and is built for itself. Keep the result in a constant where it is provided more than once.
 *
 * @category layers
 * @since 0.2.0
 */
export const layerWith = (options: {
  /** What the ids follow from: the same seed gives the same ids. Default: `"eventfold"`. */
  readonly seed?: string | number | undefined
}): Layer.Layer<SecureRandom.SecureRandom> =>
  Layer.effect(
    SecureRandom.SecureRandom,
    Effect.map(Random.withSeed(Random.Random, options.seed ?? "eventfold"), (random) =>
      SecureRandom.make((size) => Uint8Array.from({ length: size }, () => Math.floor(random.nextDoubleUnsafe() * 256)))
    )
  )

/**
 * Makes the ids of events, commands and conversations reproducible: they are still ascending UUIDv7s, made of the time of the
 * `Clock` and of random bytes, and the latter now come from a seed. With a `TestClock`, the same program makes the same ids.
 *
 * Ids are made by whoever calls: provide this Layer to the program under test, and to the Layers that make events on their own,
 * such as subscriptions. Each build begins anew.
 *
 * ```ts
 * import { Effect, Layer, Stream } from "effect"
 * import { TestClock } from "effect/testing"
 * import { EventStore } from "eventfold"
 * import { TestIds } from "eventfold/testing"
 *
 * const program = Effect.gen(function* () {
 *   yield* EventStore.append("Account-1", [{ type: "AccountOpened", payload: {} }])
 *   const events = yield* Stream.runCollect(EventStore.read("Account-1"))
 *   return events.map(({ id }) => id)
 * })
 *
 * const run = () =>
 *   Effect.runPromise(Effect.provide(program, Layer.mergeAll(EventStore.layerMemory, TestIds.layer, TestClock.layer())))
 * const [first, second] = [await run(), await run()]
 * first[0] === second[0] // => true
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<SecureRandom.SecureRandom> = layerWith({})
