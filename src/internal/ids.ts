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
 * A new id, and whether it is known that nobody has seen it: the process's own generator made it. Another one, such as that of a
 * test, may make the same id twice.
 */
export class NewId {
  readonly value: string
  readonly unseen: boolean
  private constructor(value: string, unseen: boolean) {
    this.value = value
    this.unseen = unseen
  }

  /**
   * Makes a new id, as {@link makeId} does.
   */
  static readonly make: Effect.Effect<NewId> = Effect.withFiber((fiber) => {
    const provided = Context.getOrUndefined(fiber.context, SecureRandom.SecureRandom)
    return Effect.map((provided ?? ownRandom).uuidV7(), (value) => new NewId(value, provided === undefined))
  })
}

/** New ids, as {@link makeId} makes them. */
export const makeIds = (count: number): Effect.Effect<ReadonlyArray<NewId>> =>
  count === 0
    ? none
    : count === 1
      ? Effect.map(NewId.make, (id) => [id])
      : Effect.forEach(Array.from({ length: count }), () => NewId.make)

const none: Effect.Effect<ReadonlyArray<NewId>> = Effect.succeed([])

/**
 * Makes a new id: a UUIDv7, and they ascend. The `SecureRandom` service is used where one is provided (a test can make ids
 * deterministic with it), the process's own generator otherwise.
 */
export const makeId: Effect.Effect<string> = Effect.map(NewId.make, ({ value }) => value)

/**
 * The ids that have been given to an event and sent to no store yet. They stand here, and not at the event, so that the knowledge
 * outlives copies of it, and ends with the first attempt to write it: a second one may find what the first has written.
 */
const unsent = new Set<string>()

/** The id has been given to an event that waits to be written. Whoever says so also says {@link release}, whatever becomes of it. */
export const reserve = ({ unseen, value }: NewId): void => {
  if (unseen) unsent.add(value)
}

/** The id is not waited for any more. Tells whether it was, and so stands nowhere. */
export const release = (id: string): boolean => unsent.delete(id)
