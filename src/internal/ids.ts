import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"

const poolSize = 4096
let pool = new Uint8Array(0)
let used = 0

/** A random byte from a pool that is filled now and then: asking the system for a few at a time costs more than all else here. */
const randomByte = (): number => {
  if (used === pool.length) {
    pool = globalThis.crypto.getRandomValues(new Uint8Array(poolSize))
    used = 0
  }
  return pool[used++] as number
}

const hex = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"))
const hexByte = (): string => hex[randomByte()] as string

const maxMillis = 2 ** 48 - 1
const maxCounter = 2 ** 26 - 1
let millis = -1
let counter = 0

/**
 * A UUIDv7 beyond all before it (RFC 9562, section 6.2, method 1): the time, a counter of 26 bits that begins somewhere in its lower half
 * each millisecond, and 48 random bits. While the clock stands still or goes back, the time does not.
 */
const nextUuid = (now: number): string => {
  const time = Math.min(Math.max(0, Math.trunc(now)), maxMillis)
  if (time <= millis && counter < maxCounter) counter++
  else {
    millis = Math.min(Math.max(time, millis + 1), maxMillis)
    counter = ((randomByte() & 1) << 24) | (randomByte() << 16) | (randomByte() << 8) | randomByte()
  }
  const at = millis.toString(16).padStart(12, "0")
  const [high, low] = [(0x7000 | (counter >>> 14)).toString(16), (0x8000 | (counter & 0x3fff)).toString(16)]
  const random = hexByte() + hexByte() + hexByte() + hexByte() + hexByte() + hexByte()
  return `${at.slice(0, 8)}-${at.slice(8)}-${high}-${low}-${random}`
}

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
   * New ids at once, from the process's own generator; `undefined` where the fiber has been provided with another one.
   */
  static own(fiber: Fiber.Fiber<unknown, unknown>, count: number): ReadonlyArray<NewId> | undefined {
    if (Context.getOrUndefined(fiber.context, SecureRandom.SecureRandom) !== undefined) return undefined
    const clock = fiber.getRef(Clock.Clock)
    const ids: Array<NewId> = []
    while (ids.length < count) ids.push(new NewId(nextUuid(clock.currentTimeMillisUnsafe()), true))
    return ids
  }

  /**
   * Makes a new id, as {@link makeId} does.
   */
  static readonly make: Effect.Effect<NewId> = Effect.withFiber((fiber) => {
    const [own] = NewId.own(fiber, 1) ?? []
    if (own !== undefined) return Effect.succeed(own)
    return Effect.map(Context.getUnsafe(fiber.context, SecureRandom.SecureRandom).uuidV7(), (value) => new NewId(value, false))
  })
}

/** New ids for a fiber, as {@link makeId} makes them. */
export const makeIds = (fiber: Fiber.Fiber<unknown, unknown>, count: number): Effect.Effect<ReadonlyArray<NewId>> => {
  const own = NewId.own(fiber, count)
  return own === undefined ? Effect.forEach(Array.from({ length: count }), () => NewId.make) : Effect.succeed(own)
}

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
