/**
 * What all that follows the log does alike: start again after a failure, and end in good order.
 */
import type * as Cause from "effect/Cause"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Pull from "effect/Pull"
import * as Schedule from "effect/Schedule"
import { realSleep } from "./realTime.ts"

/** From 100 milliseconds up to 10 seconds, without end. */
export const defaultRestart = Schedule.min([Schedule.exponential("100 millis"), Schedule.spaced("10 seconds")])

/**
 * Repeats an attempt that ends by failing alone. After each failure, defects included, `onFailure` is run and then the
 * schedule's wait; the schedule begins anew when the attempt has made progress. When it ends, so does this, with the last cause.
 * When `onFailure` says `true`, the next attempt begins at once, and the schedule anew.
 */
export const restarting = Effect.fnUntraced(function* <E, R, E2, R2>(
  attempt: (progress: () => void) => Effect.Effect<never, E, R>,
  options: {
    readonly schedule: Schedule.Schedule<unknown, unknown>
    readonly onFailure: (cause: Cause.Cause<E>) => Effect.Effect<boolean | void, E2, R2>
    readonly onEnd: Effect.Effect<unknown>
  }
): Effect.fn.Return<never, E | E2, R | R2> {
  const newSchedule = Schedule.toStepWithSleep(options.schedule)
  let wait = yield* newSchedule
  while (true) {
    let progressed = false
    const cause: Cause.Cause<E> = yield* Effect.flip(Effect.sandbox(attempt(() => (progressed = true))))
    const atOnce = yield* options.onFailure(cause)
    if (progressed || atOnce === true) wait = yield* newSchedule
    if (atOnce !== true) yield* Pull.catchDone(wait(cause), () => Effect.andThen(options.onEnd, Effect.failCause(cause)))
  }
})

/**
 * Interrupts a fiber and waits for its end, but for ten seconds at most: a statement to a server that has fallen silent takes half of
 * that to be given up, and a COMMIT cannot be interrupted at all. Whether it has ended.
 */
export const interruptWithin = (fiber: Fiber.Fiber<unknown, unknown>): Effect.Effect<boolean> =>
  Effect.suspend(() => {
    fiber.interruptUnsafe()
    return Effect.raceFirst(Effect.as(Fiber.await(fiber), true), Effect.as(realSleep("10 seconds"), false))
  })

/**
 * Runs work whose end must not be missed. An interruption ends the waiting and not the work, which has `grace` to come to an
 * end by itself, and is interrupted then and left to itself if that does not end it. To be called in an uninterruptible region, so that nothing comes between the work and
 * what follows it; `restore` is that of the region.
 */
export const finishing = <A, E, R>(
  work: Effect.Effect<A, E, R>,
  options: {
    readonly restore: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
    readonly grace: Duration.Input
    /** Tells the work to end soon. */
    readonly onInterrupt?: () => void
  }
): Effect.Effect<Exit.Exit<A, E>, never, R> =>
  Effect.gen(function* () {
    const fiber = yield* Effect.forkDetach(work, { startImmediately: true })
    yield* Effect.exit(options.restore(Effect.onInterrupt(Fiber.await(fiber), () => Effect.sync(() => options.onInterrupt?.()))))
    return yield* Effect.exit(
      Effect.timeoutOrElse(Fiber.join(fiber), {
        duration: options.grace,
        orElse: () => Effect.andThen(interruptWithin(fiber), Effect.interrupt)
      })
    )
  })
