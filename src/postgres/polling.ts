/**
 * Polling: how a store hears of what others have written when no hint comes. All stores of one client that poll as often are asked about
 * in one statement.
 */
import type * as PgClient from "@effect/sql-pg/PgClient"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import type * as Scope from "effect/Scope"
import { realSleep } from "../internal/realTime.ts"
import { answered } from "../sql/answering.ts"
import { isOutage } from "../sql/errors.ts"

/** A store that wants to know its head now and then. */
export interface Polled {
  /** The statement that reads its head. */
  readonly head: string
  /** Whether anybody wants to know it now. */
  readonly isAsked: () => boolean
  /** The head stands there. */
  readonly heard: (head: number) => void
  /** Asks for this head by itself; whether it could be read. */
  readonly alone: Effect.Effect<boolean>
}

/** The stores that are asked about together. */
interface Poller {
  readonly members: Set<Polled>
  /** Those about which the database did not answer the last time, by themselves. */
  readonly apart: Set<Polled>
  fiber: Fiber.Fiber<unknown> | undefined
}

/** By the client, and by the milliseconds between two polls. */
const pollers = new WeakMap<PgClient.PgClient, Map<number, Poller>>()

/** More heads than this are not asked for in one statement: each takes a lock for a moment. */
const mostHeads = 256

/** All heads, in their order. */
const headsOf = (heads: ReadonlyArray<string>): string => `select array[${heads.map((head) => `(${head})`).join(", ")}]`

const askAlone = ({ apart }: Poller, polled: Polled): Effect.Effect<void> =>
  Effect.map(polled.alone, (answers) => void (answers ? apart.delete(polled) : apart.add(polled)))

/** Where the database refuses one of them, each is asked for by itself. */
const askTogether = (sql: PgClient.PgClient, poller: Poller, some: ReadonlyArray<Polled>): Effect.Effect<void> =>
  Effect.matchEffect(answered(sql, sql.unsafe(headsOf(some.map(({ head }) => head))).values), {
    onSuccess: ([row]) =>
      Effect.sync(() => {
        const [heads] = row as readonly [heads: ReadonlyArray<number>]
        for (const [index, head] of heads.entries()) some[index]?.heard(head)
      }),
    onFailure: (error) =>
      isOutage(error)
        ? Effect.logDebug("eventfold: polling the heads failed", error)
        : Effect.forEach(some, (polled) => askAlone(poller, polled), { discard: true })
  })

/** Asks for all heads where anybody wants to know more than one; so the statement is the same each time. */
const pollOnce = (sql: PgClient.PgClient, poller: Poller): Effect.Effect<void> =>
  Effect.suspend(() => {
    const asked = Array.from(poller.members).filter(({ isAsked }) => isAsked())
    const together = Array.from(poller.members).filter((polled) => !poller.apart.has(polled))
    if (asked.length < 2 || together.length < 2) {
      return Effect.forEach(asked, (polled) => askAlone(poller, polled), { discard: true })
    }
    const chunks = Array.from({ length: Math.ceil(together.length / mostHeads) }, (_, index) =>
      together.slice(index * mostHeads, (index + 1) * mostHeads)
    )
    const apart = asked.filter((polled) => poller.apart.has(polled))
    return Effect.andThen(
      Effect.forEach(chunks, (some) => askTogether(sql, poller, some), { discard: true }),
      Effect.forEach(apart, (polled) => askAlone(poller, polled), { discard: true })
    )
  })

/** Polls until the scope closes. */
export const polling = (
  sql: PgClient.PgClient,
  interval: Duration.Duration,
  polled: Polled
): Effect.Effect<void, never, Scope.Scope> => {
  const millis = Duration.toMillis(interval)
  const poller = Effect.sync((): Poller => {
    const known = pollers.get(sql) ?? new Map<number, Poller>()
    const poller = known.get(millis) ?? { members: new Set(), apart: new Set(), fiber: undefined }
    pollers.set(sql, known.set(millis, poller))
    return poller
  })
  const enter = Effect.tap(poller, (poller) => {
    poller.members.add(polled)
    if (poller.fiber !== undefined) return Effect.void
    const again = Effect.forever(Effect.andThen(realSleep(interval), pollOnce(sql, poller)), { disableYield: true })
    return Effect.map(Effect.forkDetach(again), (fiber) => void (poller.fiber = fiber))
  })
  const leave = (poller: Poller) =>
    Effect.sync(() => {
      poller.members.delete(polled)
      poller.apart.delete(polled)
      if (poller.members.size > 0) return
      // Nobody waits for what it may be asking just now.
      poller.fiber?.interruptUnsafe()
      poller.fiber = undefined
    })
  return Effect.asVoid(Effect.acquireRelease(enter, leave))
}
