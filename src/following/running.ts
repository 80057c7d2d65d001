/**
 * Carries out what the machine of `follower.ts` says: claims the lease and keeps it, reads, looks, lets the work be done, moves the
 * checkpoint and waits; and tells the machine what came of it.
 *
 * One fiber, the hand, does one thing after the other. Beside it, as long as the lease lasts, another renews it and reads the log.
 */
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Pull from "effect/Pull"
import * as Schedule from "effect/Schedule"
import { interruptWithin } from "../internal/lifecycle.ts"
import * as Stream from "effect/Stream"
import { beat, type Checkpoints, type Lease, type SeenEvent } from "../store/Checkpoints.ts"
import type { EventStore } from "../store/EventStore.ts"
import {
  advance,
  aheadOf,
  type Arrived,
  type Body,
  type Failure,
  type Following,
  Halted,
  makeBody,
  publish,
  type Status,
  tell
} from "./body.ts"
import { type Action, isBehind, type Reason } from "./follower.ts"
import type { Controls } from "./followers.ts"
import { reasonOf, tellFailure } from "../sql/reasons.ts"
import { keepSeen, look, missedMeanwhile, newestSeen, restoredMeanwhile } from "./seeing.ts"
import { Unavailable, unlessInHandler } from "./settling.ts"
import { heldHere, spread } from "./spreading.ts"

/** A follower of this process. */
export interface Follower<E> extends Controls<Status> {
  /** Claims the checkpoint, follows the log, and starts over after any failure. Interrupted, it ends in good order. */
  readonly main: Effect.Effect<never, E>
  /** Shows a state while it does not run. */
  readonly show: (state: "starting" | "standby" | "stopped") => Effect.Effect<void>
}

/**
 * Does one thing. When its end becomes urgent it is interrupted: at once, or, if it is worth waiting for, some time later. What does not
 * end then is left to itself: its lease is given back, or will run out, and what it still does to the checkpoint is fenced.
 */
const carryOut = Effect.fnUntraced(function* <A extends SeenEvent, E, B, E2>(
  body: Body<A, E>,
  effect: Effect.Effect<B, E2>,
  worthWaiting: boolean
): Effect.fn.Return<Exit.Exit<B, E2>> {
  const fiber = yield* Effect.forkDetach(effect, { startImmediately: true })
  const done = fiber.pollUnsafe()
  if (done !== undefined) return done
  const exit = yield* Effect.callback<Exit.Exit<B, E2>>((resume) => {
    body.inFlight = { fiber, worthWaiting, abandon: () => resume(Effect.succeed(Exit.interrupt())) }
    body.occupied.openUnsafe()
    fiber.addObserver((exit) => resume(Effect.succeed(exit)))
  })
  body.inFlight = undefined
  body.occupied.closeUnsafe()
  return exit
})

/** Ends what is in hand when that has become urgent; what is worth waiting for has a third of the lease. */
const hurrying = <A extends SeenEvent, E>(body: Body<A, E>): Effect.Effect<never> =>
  Effect.forever(
    Effect.gen(function* () {
      yield* body.urgent.await
      yield* body.occupied.await
      // It was waited for: the end may not be urgent any more.
      if (body.inFlight === undefined || !body.urgent.isOpen()) return
      const { abandon, fiber, worthWaiting } = body.inFlight
      if (worthWaiting) yield* Effect.timeoutOption(Fiber.await(fiber), beat(body.following.ttl))
      if (!(yield* interruptWithin(fiber))) abandon()
    })
  )

/** Where everything closes, a store may be gone a moment before this is told to end: that is nobody's concern, if it is told now. */
const unlessItCloses = <A, E>(telling: Effect.Effect<A, E>): Effect.Effect<A, E> => Effect.andThen(Effect.yieldNow, telling)

/** Tells of a failure of what was in hand. */
const failing = <A extends SeenEvent, E>(body: Body<A, E>, cause: Failure): Effect.Effect<void> => {
  const error = Option.getOrUndefined(Cause.findErrorOption(cause))
  const why = error instanceof Halted || error instanceof Unavailable ? error.cause : cause
  const failed: Effect.Effect<void> = tell(body, { _tag: "Failed", cause: why, halts: error instanceof Halted })
  return body.state.holds ? unlessItCloses(failed) : failed
}

/** Carries out what the machine says. */
const perform = <A extends SeenEvent, E>(
  body: Body<A, E>,
  action: Exclude<Action<A, Failure>, { readonly _tag: "Read" | "Stop" }>
): Effect.Effect<void> => {
  const { following } = body
  switch (action._tag) {
    case "Claim":
      return claim(body, action.first)
    case "StandBy":
      return Effect.andThen(carryOut(body, standingBy(body), false), tell(body, { _tag: "Woke" }))
    case "Wait":
      return waitAgain(body, action)
    case "Look":
      return looking(body, action.after)
    case "Measure":
      // Nobody waits for a figure.
      return Effect.flatMap(following.head ?? Effect.never, (head) => tell(body, { _tag: "Measured", head })).pipe(
        Effect.ignore,
        Effect.forkChild,
        Effect.asVoid
      )
    case "Begin":
      body.batch = action.events
      return Effect.flatMap(carryOut(body, following.work(action.events, body.context), true), (exit) =>
        exit._tag === "Success" ? tell(body, { _tag: "Ended", head: following.heard?.() }) : failing(body, exit.cause)
      )
    case "Advance":
      return Effect.flatMap(carryOut(body, advance(body, action.to, newestSeen(body)), true), (exit) => {
        if (exit._tag === "Failure") return failing(body, exit.cause)
        body.lease = exit.value
        return tell(body, { _tag: "Advanced", position: exit.value.position })
      })
    case "Release":
      return release(body)
    case "Halt":
      return halt(body, action.reason)
  }
}

/**
 * Waits until the lease may have run out. A lease that was given back is taken sooner: as soon as there is anything to do, which is when the log
 * grows. Who holds many lets others go first.
 */
const standingBy = <A extends SeenEvent, E>({ checkpoints, following, store }: Body<A, E>): Effect.Effect<void> => {
  const time = Duration.toMillis(beat(following.ttl))
  const grown = Effect.gen(function* () {
    const after = yield* store.head
    yield* Effect.sleep(Math.min(500, time / 10))
    yield* Stream.runHead(store.subscribe({ after, filter: following.log.filter }))
    yield* Effect.sleep(Math.min(25 * heldHere(checkpoints), time / 4))
  })
  return Effect.raceFirst(
    Effect.sleep(time),
    Effect.catchCause(grown, () => Effect.never)
  )
}

const looking = Effect.fnUntraced(function* <A extends SeenEvent, E>(body: Body<A, E>, after: number) {
  const { dated } = body
  const exit = yield* carryOut(body, look(body, after), false)
  if (exit._tag === "Failure") return yield* failing(body, exit.cause)
  body.dated = false
  yield* tell(body, { _tag: "Looked", ...exit.value })
  // Where the checkpoint moves, what has been seen goes with it.
  if (!dated || body.agenda[0]?._tag === "Advance") return
  const kept = yield* carryOut(body, keepSeen(body), true)
  if (kept._tag === "Failure") yield* tell(body, { _tag: "Broke", cause: kept.cause })
})

const claim = Effect.fnUntraced(function* <A extends SeenEvent, E>(body: Body<A, E>, first: boolean) {
  const { check = Effect.void, checkpoint, claimed = Effect.succeed<Lease>, from, owner, ttl } = body.following
  const claiming = Effect.flatMap(body.checkpoints.claim(checkpoint, { owner, ttl, from }), claimed)
  const exit = yield* carryOut(body, first ? Effect.andThen(check, claiming) : claiming, true)
  if (exit._tag === "Failure") {
    const error = Option.getOrUndefined(Cause.findErrorOption(exit.cause))
    const isHeld = typeof error === "object" && error !== null && "_tag" in error && error._tag === "CheckpointHeldError"
    return yield* isHeld ? tell(body, { _tag: "Held" }) : failing(body, exit.cause)
  }
  body.lease = exit.value
  body.batch = []
  body.looked = undefined
  body.unproved = true
  body.dated = true
  body.wanted.closeUnsafe()
  body.beside = yield* Effect.forkDetach(besides(body), { startImmediately: true })
  // Somebody has paused it, perhaps while another process followed.
  if (exit.value.paused === true) yield* tell(body, { _tag: "Pause" })
  yield* tell(body, { _tag: "Claimed", position: exit.value.position })
})

/** Keeps the lease, or renews it again and again; and tells the machine that time has passed, where that can mean anything to it. */
const keeping = <A extends SeenEvent, E>(body: Body<A, E>): Effect.Effect<never, unknown> => {
  const { checkpoints, context, following, store } = body
  const time = Effect.sleep(beat(following.ttl))
  const tick = Effect.suspend(() => {
    body.dated = true
    return tell(body, { _tag: "Tick" })
  })
  if (checkpoints.keep === undefined) {
    const renew = Effect.suspend(() => checkpoints.renew(context.lease()))
    return Effect.forever(Effect.andThen(time, Effect.andThen(tick, renew)))
  }
  // While the log stands still there is nothing to look for.
  const ticking = Effect.gen(function* () {
    yield* time
    const after = yield* store.head
    yield* tick
    yield* Stream.runHead(store.subscribe({ after }))
  })
  return Effect.raceFirst(checkpoints.keep(context.lease()), Effect.forever(ticking))
}

/** What goes on as long as the lease lasts: it is kept, and the log is read. */
const besides = <A extends SeenEvent, E>(body: Body<A, E>): Effect.Effect<void> => {
  const { beside, read } = body.following
  const arrived: Arrived<A> = (events, to, head) =>
    Effect.gen(function* () {
      body.wanted.closeUnsafe()
      const other = yield* restoredMeanwhile(body)
      if (other !== undefined) {
        // It begins anew, and halts before anything more is handled. Likewise where something is missed.
        yield* tell(body, { _tag: "Broke", cause: Cause.fail(other) })
        return yield* Effect.never
      }
      const missed = yield* missedMeanwhile(body, body.state.read, Math.max(to, events.at(-1)?.position ?? 0), events)
      if (missed !== undefined) return yield* missed
      yield* tell(body, { _tag: "Arrived", events, to, head })
      yield* body.wanted.await
    })
  const reading = Effect.andThen(
    body.wanted.await,
    Effect.suspend(() => read(body.state.read, arrived, () => isBehind(body.state)))
  )
  const working = beside === undefined ? reading : Effect.raceFirst(reading, beside(body.context))
  const broke = (cause: Failure) => tell(body, { _tag: "Broke", cause })
  return Effect.raceFirst(
    Effect.catchCause(keeping(body), broke),
    Effect.catchCause(Effect.asVoid(working), (cause) => unlessItCloses(broke(cause)))
  )
}

const release = Effect.fnUntraced(function* <A extends SeenEvent, E>(body: Body<A, E>) {
  if (body.beside !== undefined) yield* interruptWithin(body.beside)
  // Who cannot give it back is rid of it when it has run out.
  yield* carryOut(body, body.checkpoints.release(body.context.lease()), true)
  yield* tell(body, { _tag: "Released" })
})

const halt = <A extends SeenEvent, E>(body: Body<A, E>, reason: Reason<Failure>): Effect.Effect<void> => {
  body.waits.next = undefined
  const { checkpoint, title } = body.following
  const cause = reason._tag === "Ahead" ? Cause.fail(aheadOf(checkpoint, reason)) : reason.cause
  const at = reason._tag === "Ahead" || reason.position === undefined ? "" : ` at position ${reason.position}`
  return tellFailure(Effect.logError, `eventfold: the ${title} halts${at}`, cause)
}

const waitAgain = Effect.fnUntraced(function* <A extends SeenEvent, E>(
  body: Body<A, E>,
  { anew, cause }: Extract<Action<A, Failure>, { readonly _tag: "Wait" }>
) {
  const { complaint, restart, title } = body.following
  if (anew || body.waits.next === undefined) {
    body.waits.next = yield* Schedule.toStepWithSleep<unknown, unknown, never, never>(restart)
  }
  const complains = complaint?.(cause)
  const what = complains ?? `eventfold: the ${title} failed and starts again`
  yield* body.episodes.failed(body, { what, why: reasonOf(cause), cause, severe: complains !== undefined })
  const waiting = Pull.catchDone(Effect.as(body.waits.next(cause), true), () => Effect.succeed(false))
  const exit = yield* carryOut(body, waiting, false)
  if (exit._tag === "Success" && !exit.value) {
    yield* Effect.logError(`eventfold: the ${title} gives up`)
    return yield* tell(body, { _tag: "Exhausted" })
  }
  yield* tell(body, { _tag: "Woke" })
})

/** Does what is on the agenda, one thing after the other, until it stops. */
const working = Effect.fnUntraced(function* <A extends SeenEvent, E>(body: Body<A, E>): Effect.fn.Return<void, E> {
  while (true) {
    const action = body.agenda.shift()
    if (action === undefined) {
      body.news.closeUnsafe()
      yield* body.news.await
    } else if (action._tag === "Stop") {
      // What the restarts of `following` have not got over: it has failed with an `E`, or died.
      return yield* action.cause === undefined ? Effect.void : Effect.failCause(action.cause as Cause.Cause<E>)
    } else if (action._tag !== "Read") {
      yield* perform(body, action)
    }
  }
})

const running = <A extends SeenEvent, E>(body: Body<A, E>): Effect.Effect<never, E> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.gen(function* () {
      body.agenda.length = 0
      body.waits.next = undefined
      yield* tell(body, { _tag: "Started" })
      yield* Effect.forkChild(hurrying(body))
      const worker = yield* Effect.forkChild(working(body), { startImmediately: true })
      yield* Effect.exit(restore(Fiber.await(worker)))
      yield* tell(body, { _tag: "Closed" })
      return yield* Fiber.join(worker)
    })
  ).pipe(Effect.andThen(Effect.never))

/** A follower that is not running yet. */
export const makeFollower = Effect.fnUntraced(function* <A extends SeenEvent, E>(
  following: Following<A, E>,
  shows: "starting" | "standby" = "starting"
): Effect.fn.Return<Follower<E>, never, Checkpoints | EventStore> {
  const body = yield* makeBody(following, shows)
  const show = (phase: "starting" | "standby" | "stopped") =>
    Effect.suspend(() => {
      body.state = { ...body.state, phase }
      return publish(body)
    })
  const { attributes, checkpoint, shared = false, ttl } = following
  const main = running(body)
  const spreading = {
    checkpoint,
    ttl,
    isMovable: () => body.state.phase === "working" && !body.state.paused,
    standsBy: () => body.state.phase === "standby",
    show: show("standby")
  }
  return {
    status: body.status,
    main: Effect.annotateLogs(shared ? main : spread(main, body.checkpoints, spreading), attributes),
    show,
    pause: Effect.andThen(tell(body, { _tag: "Pause" }), unlessInHandler(body.quiet.await)),
    resume: tell(body, { _tag: "Resume" })
  }
})
