/**
 * Carries out what the machine of `follower.ts` says: claims the lease and keeps it, reads, looks, lets the work be done, moves the
 * checkpoint and waits; and tells the machine what came of it.
 *
 * One fiber, the hand, does one thing after the other. Beside it, as long as the lease lasts, another renews it and reads the log.
 */
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Pull from "effect/Pull"
import * as Schedule from "effect/Schedule"
import * as SubscriptionRef from "effect/SubscriptionRef"
import { beat, CheckpointAheadError, Checkpoints, type Lease } from "../store/Checkpoints.ts"
import {
  type Action,
  initial,
  type Input,
  isLeaving,
  isUrgent,
  mayBegin,
  type Name,
  nameOf,
  type Positioned,
  type Reason,
  type Settings,
  type State,
  step
} from "./follower.ts"
import type { Controls } from "./followers.ts"
import type { Ahead } from "./progress.ts"

/** Why something failed. */
type Failure = Cause.Cause<unknown>

/** What is known of a follower in this process. */
export interface Status {
  readonly name: string
  readonly state: Name
  /** The checkpoint, as far as this process knows it. */
  readonly position: number
  /** How many positions the checkpoint was behind the newest event when that was last looked up. */
  readonly lag: number
  /** Why it is backing off or halted. */
  readonly cause: Option.Option<Failure>
}

/** A follower makes no sense as it is: it halts. */
export class Halted {
  readonly _tag = "Halted"
  readonly cause: Failure
  constructor(cause: Failure) {
    this.cause = cause
  }
}

/** What the work is done with. */
export interface Hand<A extends Positioned> {
  /** Whether an event may begin now. */
  readonly mayBegin: (position: number) => boolean
  /** Open while none may. */
  readonly leave: Latch.Latch
  /** Open while some may. */
  readonly stay: Latch.Latch
  readonly tell: (input: Input<A, Failure>) => Effect.Effect<void>
  readonly lease: () => Lease
  /** The work itself has moved the checkpoint, behind events that have come to their end with it. */
  readonly moved: (lease: Lease, positions: ReadonlyArray<number>) => Effect.Effect<void>
}

/** What is measured of a follower. */
interface Meters {
  readonly lag: Metric.Gauge<number>
  /** 1 for the state that it is in, 0 for those that it has left. */
  readonly state: (state: Name) => Metric.Gauge<number>
}

/** What a follower follows, and what it does. */
export interface Following<A extends Positioned, E> {
  readonly meters: Meters
  /** What it is called in the log. */
  readonly title: string
  /** Its name, as its status says it. */
  readonly name: string
  readonly checkpoint: string
  readonly attributes: Readonly<Record<string, string>>
  readonly settings: Settings
  readonly owner: string
  readonly ttl: Duration.Duration
  /** Where a name that has never run begins. */
  readonly from?: number | undefined
  /** How to wait after an outage. */
  readonly restart: Schedule.Schedule<unknown, unknown>
  /** What must be so before the lease is claimed. */
  readonly check?: Effect.Effect<void, E | Halted> | undefined
  /** Reads on and on from a position, and waits after each page. */
  readonly read: (
    after: number,
    arrived: (events: ReadonlyArray<A>, to: number) => Effect.Effect<void>
  ) => Effect.Effect<unknown, E>
  /** How far the log is, and whether anything is left beyond a position. */
  readonly ahead: (after: number) => Effect.Effect<Ahead, E>
  /** How far the log is, for those who only measure after a page. */
  readonly head?: Effect.Effect<number, E> | undefined
  /** Deals with events, and tells what has become of each. */
  readonly work: (events: ReadonlyArray<A>, hand: Hand<A>) => Effect.Effect<void, E | Halted>
  /** What else goes on while the lease lasts. */
  readonly beside?: ((hand: Hand<A>) => Effect.Effect<unknown, E>) | undefined
  /** Says that it fails and starts again. Default: as a warning. */
  readonly report?: ((cause: Failure) => Effect.Effect<void>) | undefined
  /** Run when the status has changed. */
  readonly onChange?: Effect.Effect<void> | undefined
}

/** A follower of this process. */
export interface Follower<E> extends Controls<Status> {
  /** Claims the checkpoint, follows the log, and starts over after any failure. Interrupted, it ends in good order. */
  readonly main: Effect.Effect<never, E>
  /** Shows a state while it does not run. */
  readonly show: (state: "starting" | "standby" | "stopped") => Effect.Effect<void>
}

/** A follower while its process runs. */
interface Body<A extends Positioned, E> {
  readonly following: Following<A, E>
  readonly checkpoints: Checkpoints["Service"]
  readonly status: SubscriptionRef.SubscriptionRef<Status>
  readonly hand: Hand<A>
  state: State<A, Failure>
  /** What of it has been published. */
  shown: Pick<State<A, Failure>, "checkpoint" | "lag" | "cause" | "reason"> & { readonly name: Name }
  lease: Lease | undefined
  /** What goes on beside the work, as long as the lease lasts. */
  beside: Fiber.Fiber<void> | undefined
  readonly agenda: Array<Action<A, Failure>>
  /** Open while there is something on the agenda. */
  readonly news: Latch.Latch
  /** Open while what is in hand should come to its end soon. */
  readonly urgent: Latch.Latch
  /** Open while no work is in hand. */
  readonly quiet: Latch.Latch
  /** Open while a page is wanted. */
  readonly wanted: Latch.Latch
  readonly waits: { next: ((cause: Failure) => Pull.Pull<unknown, never, unknown>) | undefined }
}

const turn = (latch: Latch.Latch, open: boolean) => void (open ? latch.openUnsafe() : latch.closeUnsafe())

/**
 * Tells the machine of something. What it says is put on the agenda, and what has changed is published.
 *
 * A latch that opens may wake its waiter at once, and that one may tell of the next thing: so what comes after goes by the state as
 * it is then.
 */
const tell = <A extends Positioned, E>(body: Body<A, E>, input: Input<A, Failure>): Effect.Effect<void> =>
  Effect.suspend(() => {
    const [state, actions] = step(body.following.settings, body.state, input)
    if (state === body.state && actions.length === 0) return Effect.void
    body.state = state
    if (process.env.DBG) console.log(input._tag, actions.map((a) => a._tag).join(), state.due, state.busy)
    const wanted = actions.some(({ _tag }) => _tag === "Read")
    for (const action of actions) if (action._tag !== "Read") body.agenda.push(action)
    turn(body.hand.leave, isLeaving(body.state))
    turn(body.hand.stay, !isLeaving(body.state))
    turn(body.urgent, isUrgent(body.state))
    turn(body.quiet, !isAtWork(body.state))
    if (wanted) body.wanted.openUnsafe()
    if (body.agenda.length > 0) body.news.openUnsafe()
    return publish(body)
  })

const isAtWork = <A extends Positioned>({ busy, holds }: State<A, Failure>) =>
  holds && (busy === "batch" || busy === "advance" || busy === "look")

/** Shows the state to those who look at it, if there is anything new in it. */
const publish = <A extends Positioned, E>(body: Body<A, E>): Effect.Effect<void> => {
  const { following, shown, state } = body
  const { meters } = following
  const name = nameOf(state)
  const { cause, checkpoint, lag, reason } = state
  const same =
    shown.name === name &&
    shown.checkpoint === checkpoint &&
    shown.lag === lag &&
    shown.cause === cause &&
    shown.reason === reason
  if (same) return Effect.void
  body.shown = { name, checkpoint, lag, cause, reason }
  const status = SubscriptionRef.update(body.status, (status) => statusOf(body, status))
  return Effect.all(
    [
      lag === undefined || lag === shown.lag ? Effect.void : Metric.update(meters.lag, lag),
      name === shown.name
        ? Effect.void
        : Effect.andThen(Metric.update(meters.state(shown.name), 0), Metric.update(meters.state(name), 1)),
      status,
      following.onChange ?? Effect.void
    ],
    { discard: true }
  )
}

const statusOf = <A extends Positioned, E>({ following, state }: Body<A, E>, { name }: Status): Status => {
  const { cause, checkpoint, lag, reason } = state
  const shown = nameOf(state)
  const why = reason === undefined ? cause : causeOf(following, reason)
  return {
    name,
    state: shown,
    position: checkpoint,
    lag: lag ?? 0,
    cause: Option.fromUndefinedOr(shown === "halted" || shown === "backing-off" ? why : undefined)
  }
}

const causeOf = ({ checkpoint }: { readonly checkpoint: string }, reason: Reason<Failure>): Failure =>
  reason._tag === "Failure" ? reason.cause : Cause.fail(aheadOf(checkpoint, reason))

const aheadOf = (checkpoint: string, { head, position }: Extract<Reason<Failure>, { readonly _tag: "Ahead" }>) =>
  new CheckpointAheadError({ name: checkpoint, position, head })

/**
 * Does one thing. When its end becomes urgent it is interrupted: at once, or, if it is worth waiting for, a third of the lease later.
 */
const inHand = Effect.fnUntraced(function* <A extends Positioned, E, B, E2>(
  body: Body<A, E>,
  effect: Effect.Effect<B, E2>,
  worthWaiting: boolean
): Effect.fn.Return<Exit.Exit<B, E2>> {
  const fiber = yield* Effect.forkChild(effect, { startImmediately: true })
  const exit = fiber.pollUnsafe() ?? (yield* Effect.raceFirst(Fiber.await(fiber), Effect.as(body.urgent.await, undefined)))
  if (exit !== undefined) return exit
  if (worthWaiting) {
    const late = yield* Effect.timeoutOption(Fiber.await(fiber), beat(body.following.ttl))
    if (Option.isSome(late)) return late.value
  }
  yield* Fiber.interrupt(fiber)
  return yield* Fiber.await(fiber)
})

/** Tells of a failure of what was in hand. */
const failing = <A extends Positioned, E>(body: Body<A, E>, cause: Failure): Effect.Effect<void> => {
  const error = Option.getOrUndefined(Cause.findErrorOption(cause))
  return tell(body, error instanceof Halted ? { _tag: "Failed", cause: error.cause, halts: true } : { _tag: "Failed", cause })
}

/** Carries out what the machine says. */
const perform = <A extends Positioned, E>(
  body: Body<A, E>,
  action: Exclude<Action<A, Failure>, { readonly _tag: "Read" | "Stop" }>
): Effect.Effect<void> => {
  const { checkpoints, following } = body
  switch (action._tag) {
    case "Claim":
      return claim(body, action.first)
    case "StandBy":
      return Effect.andThen(inHand(body, Effect.sleep(beat(following.ttl)), false), tell(body, { _tag: "Woke" }))
    case "Wait":
      return waitAgain(body, action)
    case "Look":
      return Effect.flatMap(inHand(body, following.ahead(action.after), false), (exit) =>
        exit._tag === "Success" ? tell(body, { _tag: "Looked", ...exit.value }) : failing(body, exit.cause)
      )
    case "Measure":
      // Nobody waits for a figure.
      return Effect.flatMap(following.head ?? Effect.never, (head) => tell(body, { _tag: "Measured", head })).pipe(
        Effect.ignore,
        Effect.forkChild,
        Effect.asVoid
      )
    case "Begin":
      return Effect.flatMap(inHand(body, following.work(action.events, body.hand), true), (exit) =>
        exit._tag === "Success" ? tell(body, { _tag: "Ended" }) : failing(body, exit.cause)
      )
    case "Advance":
      return Effect.flatMap(inHand(body, checkpoints.advance(body.hand.lease(), action.to), true), (exit) => {
        if (exit._tag === "Failure") return failing(body, exit.cause)
        body.lease = exit.value
        return tell(body, { _tag: "Advanced", position: exit.value.position })
      })
    case "Release":
      return release(body)
    case "Halt": {
      body.waits.next = undefined
      const { reason } = action
      return reason._tag === "Ahead"
        ? Effect.logError(`eventfold: the ${following.title} halts`, aheadOf(following.checkpoint, reason))
        : Effect.logError(
            `eventfold: the ${following.title} halts${reason.position === undefined ? "" : ` at position ${reason.position}`}`,
            reason.cause
          )
    }
  }
}

const claim = Effect.fnUntraced(function* <A extends Positioned, E>(body: Body<A, E>, first: boolean) {
  const { check = Effect.void, checkpoint, from, owner, ttl } = body.following
  const claiming = body.checkpoints.claim(checkpoint, { owner, ttl, from })
  const exit = yield* inHand(body, first ? Effect.andThen(check, claiming) : claiming, true)
  if (exit._tag === "Failure") {
    const error = Option.getOrUndefined(Cause.findErrorOption(exit.cause))
    const isHeld = typeof error === "object" && error !== null && "_tag" in error && error._tag === "CheckpointHeldError"
    return yield* isHeld ? tell(body, { _tag: "Held" }) : failing(body, exit.cause)
  }
  body.lease = exit.value
  body.wanted.closeUnsafe()
  body.beside = yield* Effect.forkChild(besides(body), { startImmediately: true })
  yield* tell(body, { _tag: "Claimed", position: exit.value.position })
})

/** What goes on as long as the lease lasts: it is renewed, and the log is read. */
const besides = <A extends Positioned, E>(body: Body<A, E>): Effect.Effect<void> => {
  const { beside, read, ttl } = body.following
  const renewing = Effect.sleep(beat(ttl)).pipe(
    Effect.andThen(tell(body, { _tag: "Tick" })),
    Effect.andThen(Effect.suspend(() => body.checkpoints.renew(body.hand.lease()))),
    Effect.forever
  )
  const arrived = (events: ReadonlyArray<A>, to: number) =>
    Effect.suspend(() => {
      body.wanted.closeUnsafe()
      return Effect.andThen(tell(body, { _tag: "Arrived", events, to }), body.wanted.await)
    })
  const reading = Effect.andThen(
    body.wanted.await,
    Effect.suspend(() => read(body.state.read, arrived))
  )
  const all: Effect.Effect<unknown, unknown> = Effect.raceFirst(
    renewing,
    beside === undefined ? reading : Effect.raceFirst(reading, beside(body.hand))
  )
  return Effect.catchCause(Effect.asVoid(all), (cause) => tell(body, { _tag: "Broke", cause }))
}

const release = Effect.fnUntraced(function* <A extends Positioned, E>(body: Body<A, E>) {
  if (body.beside !== undefined) yield* Fiber.interrupt(body.beside)
  // Who cannot give it back is rid of it when it has run out.
  yield* inHand(body, body.checkpoints.release(body.hand.lease()), true)
  yield* tell(body, { _tag: "Released" })
})

const waitAgain = Effect.fnUntraced(function* <A extends Positioned, E>(
  body: Body<A, E>,
  { anew, cause }: Extract<Action<A, Failure>, { readonly _tag: "Wait" }>
) {
  const { report, restart, title } = body.following
  if (anew || body.waits.next === undefined) {
    body.waits.next = yield* Schedule.toStepWithSleep<unknown, unknown, never, never>(restart)
  }
  yield* report === undefined ? Effect.logWarning(`eventfold: the ${title} failed and starts again`, cause) : report(cause)
  const waiting = Pull.catchDone(Effect.as(body.waits.next(cause), true), () => Effect.succeed(false))
  const exit = yield* inHand(body, waiting, false)
  if (exit._tag === "Success" && !exit.value) {
    yield* Effect.logError(`eventfold: the ${title} gives up`)
    return yield* tell(body, { _tag: "Exhausted" })
  }
  yield* tell(body, { _tag: "Woke" })
})

/** Does what is on the agenda, one thing after the other, until it stops. */
const working = Effect.fnUntraced(function* <A extends Positioned, E>(body: Body<A, E>): Effect.fn.Return<void, E> {
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

const running = <A extends Positioned, E>(body: Body<A, E>): Effect.Effect<never, E> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.gen(function* () {
      body.agenda.length = 0
      body.waits.next = undefined
      yield* tell(body, { _tag: "Started" })
      const hand = yield* Effect.forkChild(working(body), { startImmediately: true })
      yield* Effect.exit(restore(Fiber.await(hand)))
      yield* tell(body, { _tag: "Closed" })
      return yield* Fiber.join(hand)
    })
  ).pipe(Effect.andThen(Effect.never))

/** A follower that is not running yet. */
export const makeFollower = Effect.fnUntraced(function* <A extends Positioned, E>(
  following: Following<A, E>,
  shows: "starting" | "standby" = "starting"
): Effect.fn.Return<Follower<E>, never, Checkpoints> {
  const { attributes, name } = following
  const status = yield* SubscriptionRef.make<Status>({ name, state: shows, position: 0, lag: 0, cause: Option.none() })
  const body: Body<A, E> = {
    following,
    checkpoints: yield* Checkpoints,
    status,
    state: initial(shows),
    shown: { name: shows, checkpoint: 0, lag: undefined, cause: undefined, reason: undefined },
    lease: undefined,
    beside: undefined,
    agenda: [],
    news: Latch.makeUnsafe(false),
    urgent: Latch.makeUnsafe(false),
    quiet: Latch.makeUnsafe(true),
    wanted: Latch.makeUnsafe(false),
    waits: { next: undefined },
    hand: {
      leave: Latch.makeUnsafe(false),
      stay: Latch.makeUnsafe(true),
      mayBegin: (position) => mayBegin(body.state, position),
      tell: (input) => tell(body, input),
      lease: () => {
        if (body.lease === undefined) throw new Error(`eventfold: the ${following.title} works without a lease`)
        return body.lease
      },
      moved: (lease, positions) => {
        body.lease = lease
        const settled = Effect.forEach(positions, (position) => tell(body, { _tag: "Settled", position, as: "handled" }), {
          discard: true
        })
        return Effect.andThen(settled, tell(body, { _tag: "Advanced", position: lease.position }))
      }
    }
  }
  return {
    status,
    main: Effect.annotateLogs(running(body), attributes),
    show: (phase) =>
      Effect.suspend(() => {
        body.state = { ...body.state, phase }
        return publish(body)
      }),
    pause: Effect.andThen(tell(body, { _tag: "Pause" }), body.quiet.await),
    resume: tell(body, { _tag: "Resume" })
  }
})
