/**
 * Settling one thing: it is tried, tried again after the waits of a schedule, and given up in the end: the same for an event that is
 * followed and for a message that is consumed.
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Latch from "effect/Latch"
import * as Option from "effect/Option"
import * as Pull from "effect/Pull"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import type * as Semaphore from "effect/Semaphore"
import { Masking } from "../internal/masking.ts"
import { isOutage } from "./outages.ts"

/** A handler has failed. Not to be confused with what fails around it. */
export class Failed {
  readonly _tag = "Failed"
  readonly cause: Cause.Cause<unknown>
  /** Whether another try makes sense. */
  readonly again: boolean
  constructor(cause: Cause.Cause<unknown>, again: boolean) {
    this.cause = cause
    this.again = again
  }
}

export const isFailed = (error: unknown): error is Failed => error instanceof Failed

/** What a handler needs is away. That is no failure of what it handles: it is neither counted nor given up. */
export class Unavailable {
  readonly _tag = "Unavailable"
  readonly cause: Cause.Cause<unknown>
  constructor(cause: Cause.Cause<unknown>) {
    this.cause = cause
  }
}

/**
 * Whether one runs inside of a handler. Who steers there does not wait until what is in hand has ended: that may be the handler itself,
 * or one that waits for it.
 */
const InHandler = Context.Reference<boolean>("eventfold/following/InHandler", { defaultValue: () => false })

/** Waits until what is in hand has ended, outside of handlers. */
export const unlessInHandler = (ended: Effect.Effect<void>): Effect.Effect<void> =>
  Effect.flatMap(InHandler, (inside) => (inside ? Effect.void : ended))

/** Whose failures are being tried again, as seen from inside of the handlers that this runs. */
const Retrying = Context.Reference<ReadonlySet<string>>("eventfold/following/Retrying", { defaultValue: () => new Set() })

/**
 * Tries again what has been given up, with the handler of whoever that is. Refused where it is asked for inside of that: it would begin
 * itself again and again. Where they take turns, one at a time; inside of a handler, which may be what the other one waits for, it is refused
 * while it is another one's turn.
 */
export const retrying = <A, E, R, E2>(
  whose: string,
  retry: Effect.Effect<A, E, R>,
  refuse: (why: Error) => Effect.Effect<never, E2>,
  turns?: Semaphore.Semaphore
): Effect.Effect<A, E | E2, R> =>
  Effect.gen(function* () {
    const all = yield* Retrying
    if (all.has(whose)) return yield* refuse(new Error(`"${whose}" cannot retry inside of its own handler while that is a retry`))
    const marked = Effect.provideService(retry, Retrying, new Set([...all, whose]))
    if (turns === undefined) return yield* marked
    if (!(yield* InHandler)) return yield* turns.withPermit(marked)
    const done = yield* turns.withPermitsIfAvailable(1)(marked)
    return Option.isSome(done) ? done.value : yield* refuse(new Error(`"${whose}" retries something else at this moment`))
  })

/** Runs what a handler does, in a scope of its own; whatever goes wrong in it is its failure, unless what it needs is away. */
export const handling = <R>(
  work: Effect.Effect<unknown, unknown, R>
): Effect.Effect<void, Failed | Unavailable, Exclude<R, Scope.Scope>> =>
  Effect.scoped(work).pipe(
    Effect.provideService(InHandler, true),
    Effect.catchCause((cause) => {
      const failure = Option.getOrUndefined(Cause.findErrorOption(cause))
      if (isFailed(failure)) return Effect.fail(failure)
      return Effect.fail(isOutage(cause) ? new Unavailable(cause) : new Failed(cause, true))
    }),
    Effect.asVoid
  )

/** A failure as it may be kept and told: see `Masking`. `about` is what was being handled. */
export const telling = <E>(
  work: Effect.Effect<void, E | Failed | Unavailable>,
  about: unknown
): Effect.Effect<void, E | Failed | Unavailable> =>
  Effect.catch(work, (error) =>
    Effect.flatMap(Masking, (masked): Effect.Effect<never, E | Failed | Unavailable> => {
      if (isFailed(error)) return Effect.fail(new Failed(masked(error.cause, about), error.again))
      return Effect.fail(error instanceof Unavailable ? new Unavailable(masked(error.cause, about)) : error)
    })
  )

/** How a thing is settled. */
export interface Settling<A, E> {
  /** Tries it: a failure of the thing, `"left"` when it was not begun, or what has become of it. */
  readonly attempt: (attempt: number) => Effect.Effect<A | "left" | Failed, E>
  /** What becomes of it when it is not tried any more. */
  readonly giveUp: (cause: Cause.Cause<unknown>, attempts: number) => Effect.Effect<A | "left", E>
  readonly retry: Schedule.Schedule<unknown, unknown>
  /** Open while nothing may be begun: it is then left as it is. */
  readonly leave: Latch.Latch
  /** How often it has been tried elsewhere, this time included; the schedule is as far. Default: 1. */
  readonly from?: number | undefined
  /** How often it is tried in all, at the most. Default: as the schedule says. */
  readonly maxAttempts?: number | undefined
  /** For waits beyond `limit` it is given back instead. Default: none is too long. */
  readonly giveBack?:
    | { readonly limit: Duration.Duration; readonly after: (wait: Duration.Duration) => Effect.Effect<A, E> }
    | undefined
  /** Surrounds each wait. */
  readonly waiting?:
    | ((cause: Cause.Cause<unknown>, wait: Effect.Effect<void>, attempt: number) => Effect.Effect<void>)
    | undefined
}

/** Brings a thing to its end, or leaves it. */
export const settle = Effect.fnUntraced(function* <A, E>(how: Settling<A, E>): Effect.fn.Return<A | "left", E> {
  const { giveBack, leave, maxAttempts = Number.POSITIVE_INFINITY, waiting } = how
  // Most things need none.
  let waits: ReturnType<typeof makeWaits> | undefined
  for (let attempt = how.from ?? 1; ; attempt++) {
    const tried = yield* how.attempt(attempt)
    if (!isFailed(tried)) return tried
    const { again, cause } = tried
    const wait = again && attempt < maxAttempts ? yield* (waits ??= makeWaits(how.retry))(attempt, cause) : undefined
    if (wait === undefined) return yield* how.giveUp(cause, attempt)
    if (giveBack !== undefined && Duration.isGreaterThan(wait, giveBack.limit)) return yield* giveBack.after(wait)
    const waited = Effect.raceFirst(Effect.sleep(wait), leave.await)
    yield* waiting === undefined ? waited : waiting(cause, waited, attempt)
    if (leave.isOpen()) return "left"
  }
})

/** How long to wait after the failure of an attempt; none when the schedule has ended. It steps once for each attempt. */
const makeWaits = (retry: Schedule.Schedule<unknown, unknown>) => {
  let step: Effect.Success<ReturnType<typeof Schedule.toStep<unknown, unknown, never, never>>> | undefined
  let steps = 0
  return Effect.fnUntraced(function* (attempt: number, cause: Cause.Cause<unknown>) {
    step ??= yield* Schedule.toStep<unknown, unknown, never, never>(retry)
    let wait: Duration.Duration | undefined
    do {
      const next = step(yield* Clock.currentTimeMillis, Cause.squash(cause))
      wait = yield* Pull.catchDone(
        Effect.map(next, ([, duration]) => duration),
        () => Effect.undefined
      )
    } while (wait !== undefined && ++steps < attempt)
    return wait
  })
}
