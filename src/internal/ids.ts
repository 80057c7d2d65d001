import * as Context from "effect/Context"
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"

/**
 * Makes new ids: UUIDv7s, ascending. The `SecureRandom` service is used where one is provided (a test can make ids
 * deterministic with it), the process's own generator otherwise.
 */
export const makeIds = (count: number): Effect.Effect<ReadonlyArray<string>> =>
  Effect.withFiber((fiber) => {
    const random = Context.getOrUndefined(fiber.context, SecureRandom.SecureRandom)
    return random === undefined
      ? Effect.sync(() => Array.from({ length: count }, () => SecureRandom.uuidV7Unsafe()))
      : Effect.forEach(Array.from({ length: count }), () => random.uuidV7())
  })

/** One new id, as {@link makeIds} makes them. */
export const makeId: Effect.Effect<string> = Effect.map(makeIds(1), (ids) => ids[0] as string)
