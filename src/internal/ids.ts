import * as Context from "effect/Context"
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"

const poolSize = 4096
let pool = new Uint8Array(0)
let used = 0

/** Random bytes from a pool that is filled now and then: asking the system for 16 bytes at a time costs more than all else here. */
const randomBytes = (size: number): Uint8Array => {
  if (used + size > pool.length) {
    pool = globalThis.crypto.getRandomValues(new Uint8Array(Math.max(poolSize, size)))
    used = 0
  }
  return pool.slice(used, (used += size))
}

const ownRandom = SecureRandom.make(randomBytes)

/**
 * Makes new ids: UUIDv7s, ascending. The `SecureRandom` service is used where one is provided (a test can make ids
 * deterministic with it), the process's own generator otherwise.
 */
export const makeIds = (count: number): Effect.Effect<ReadonlyArray<string>> =>
  count === 0
    ? none
    : count === 1
      ? Effect.map(makeId, (id) => [id])
      : Effect.forEach(Array.from({ length: count }), () => makeId)

/** One new id, as {@link makeIds} makes them. */
export const makeId: Effect.Effect<string> = Effect.withFiber((fiber) =>
  (Context.getOrUndefined(fiber.context, SecureRandom.SecureRandom) ?? ownRandom).uuidV7()
)

const none: Effect.Effect<ReadonlyArray<string>> = Effect.succeed([])
