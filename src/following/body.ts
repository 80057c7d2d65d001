/**
 * What a follower consists of while its process runs: what it follows, the state of its machine, and what others see of it.
 */
import * as Cause from "effect/Cause"
import * as DateTime from "effect/DateTime"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import type * as Pull from "effect/Pull"
import type * as Schedule from "effect/Schedule"
import * as SubscriptionRef from "effect/SubscriptionRef"
import type { RecordedEvent } from "../definitions/stored.ts"
import { type Episodes, makeEpisodes } from "../internal/episodes.ts"
import {
  CheckpointAheadError,
  type CheckpointError,
  type CheckpointFencedError,
  Checkpoints,
  type Lease,
  type SeenEvent
} from "../store/Checkpoints.ts"
import { EventStore, type EventStoreError } from "../store/EventStore.ts"
import {
  type Action,
  initial,
  type Input,
  isLeaving,
  isUrgent,
  mayBegin,
  type Name,
  nameOf,
  type Reason,
  type Settings,
  type State,
  step
} from "./follower.ts"
import type { Log } from "./progress.ts"

/** Why something failed. */
export type Failure = Cause.Cause<unknown>

/**
 * The event at which a follower stands still.
 *
 * @category models
 * @since 0.2.0
 */
export interface FailedEvent {
  readonly position: number
  readonly stream: string
  readonly type: string
  /** How often it has been tried in a row. */
  readonly attempts: number
  /** When it failed first. */
  readonly since: DateTime.Utc
}

/** What is known of a follower in this process. */
export interface Status {
  readonly name: string
  readonly state: Name
  /** The checkpoint, as far as this process knows it. */
  readonly position: number
  /** How many positions the checkpoint was behind the newest event when that was last looked up. */
  readonly lag: number
  /** Why it is backing off or halted. */
  readonly cause: Option.Option<Cause.Cause<unknown>>
  /** The event that has failed, where it was one: what it backs off from or has halted at. Absent: none. */
  readonly failed?: FailedEvent | undefined
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
export interface WorkContext<A extends SeenEvent> {
  /** Whether an event may begin now. */
  readonly mayBegin: (position: number) => boolean
  /** Open while none may. */
  readonly leave: Latch.Latch
  /** Open while some may. */
  readonly stay: Latch.Latch
  readonly tell: (input: Input<A, Failure>) => Effect.Effect<void>
  readonly lease: () => Lease
  /** Notes which event fails, and how often it has been tried: shown as long as the follower backs off from it, or has halted at it. */
  readonly failing: (event: RecordedEvent, attempts: number) => Effect.Effect<void>
  /** The work itself has moved the checkpoint, behind events that have come to their end with it. */
  readonly moved: (lease: Lease, positions: ReadonlyArray<number>) => Effect.Effect<void>
}

/** What is measured of a follower. */
interface Meters {
  readonly lag: Metric.Gauge<number>
  /** 1 for the state that it is in, 0 for those that it has left. */
  readonly state: (state: Name) => Metric.Gauge<number>
}

/** Takes a page, read up to `to`, and perhaps how far the log is; waits until the next one is wanted. */
export type Arrived<A> = (events: ReadonlyArray<A>, to: number, head?: number) => Effect.Effect<void, EventStoreError>

/** What a follower follows, and what it does. */
export interface Following<A extends SeenEvent, E> {
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
  /** Whether it is one of a group, which shares its work out by itself. */
  readonly shared?: boolean | undefined
  /** Where a name that has never run begins. */
  readonly from?: number | undefined
  /** How to wait after an outage. */
  readonly restart: Schedule.Schedule<unknown, unknown>
  /** What must be so before the lease is claimed. */
  readonly check?: Effect.Effect<void, E | Halted> | undefined
  /** What a lease becomes before anything is done under it. Default: it stays as it was claimed. */
  readonly claimed?: ((lease: Lease) => Effect.Effect<Lease, CheckpointError | CheckpointFencedError>) | undefined
  /** Moves the checkpoint. Default: nothing else is written with it. */
  readonly advance?: Checkpoints["Service"]["advance"] | undefined
  /** Reads on and on from a position, and waits after each page. */
  readonly read: (after: number, arrived: Arrived<A>, isBehind: () => boolean) => Effect.Effect<unknown, E | EventStoreError>
  /** The newest position that is known without asking, where `read` tells how far each page has been read. */
  readonly heard?: (() => number) | undefined
  /** The log that it follows. */
  readonly log: Log
  /** How far the log is, for those who only measure after a page. */
  readonly head?: Effect.Effect<number, E> | undefined
  /** Deals with events, and tells what has become of each. */
  readonly work: (events: ReadonlyArray<A>, context: WorkContext<A>) => Effect.Effect<void, E | Halted>
  /** What else goes on while the lease lasts. */
  readonly beside?: ((context: WorkContext<A>) => Effect.Effect<unknown, E>) | undefined
  /** What is said in the log when it fails, where that does not pass by itself. Default: that it starts again. */
  readonly complaint?: ((cause: Failure) => string | undefined) | undefined
  /** The event at which a failure of the work leaves it standing, where the work does not tell that by itself. */
  readonly failedAt?: ((cause: Failure) => FailedEvent | undefined) | undefined
  /** Where failures are told together with those of others. Default: by itself. */
  readonly episodes?: Episodes | undefined
  /** Run when the status has changed. */
  readonly onChange?: Effect.Effect<void> | undefined
}

/** A follower while its process runs. */
export interface Body<A extends SeenEvent, E> {
  readonly following: Following<A, E>
  readonly checkpoints: Checkpoints["Service"]
  readonly store: EventStore["Service"]
  readonly episodes: Episodes
  readonly status: SubscriptionRef.SubscriptionRef<Status>
  readonly context: WorkContext<A>
  state: State<A, Failure>
  /** What of it has been published. */
  shown: Pick<State<A, Failure>, "checkpoint" | "lag" | "cause" | "reason"> & { readonly name: Name }
  lease: Lease | undefined
  /** The event that has failed last. */
  failing: FailedEvent | undefined
  /** What has begun last: in order. */
  batch: ReadonlyArray<A>
  /** The newest event that was looked up by its position. */
  looked: SeenEvent | undefined
  /** Whether the log has to be compared with the checkpoint before anything is done under this lease. */
  unproved: boolean
  /** When it was compared last, in milliseconds. */
  provedAt: number
  /** Up to where something may be removed by who has not yet seen this lease. */
  unsafe: number
  /** Whether time has passed since the newest event was looked up. */
  dated: boolean
  /** What goes on beside the work, as long as the lease lasts. */
  beside: Fiber.Fiber<void> | undefined
  /** What is being done, and whether it has time to come to its end when that is urgent. */
  inFlight:
    | {
        readonly fiber: Fiber.Fiber<unknown, unknown>
        readonly worthWaiting: boolean
        /** Says that nobody waits for it any more. */
        readonly abandon: () => void
      }
    | undefined
  /** Open while something is being done. */
  readonly occupied: Latch.Latch
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

/** Moves the checkpoint of a follower. */
export const advance = <A extends SeenEvent, E>(
  { checkpoints, context, following }: Body<A, E>,
  to: number,
  seen: SeenEvent | undefined
): Effect.Effect<Lease, CheckpointError | CheckpointFencedError> =>
  (following.advance ?? checkpoints.advance)(context.lease(), to, seen)

const turn = (latch: Latch.Latch, open: boolean) => void (open ? latch.openUnsafe() : latch.closeUnsafe())

/**
 * Tells the machine of something. What it says is put on the agenda, and what has changed is published.
 *
 * A latch that opens may wake its waiter at once, and that one may tell of the next thing: so what comes after goes by the state as
 * it is then.
 */
export const tell = <A extends SeenEvent, E>(body: Body<A, E>, input: Input<A, Failure>): Effect.Effect<void> =>
  Effect.suspend(() => {
    const [state, actions] = step(body.following.settings, body.state, input)
    if (state === body.state && actions.length === 0) return Effect.void
    body.state = state
    const wanted = actions.some(({ _tag }) => _tag === "Read")
    for (const action of actions) if (action._tag !== "Read") body.agenda.push(action)
    turn(body.context.leave, isLeaving(body.state))
    turn(body.context.stay, !isLeaving(body.state))
    turn(body.urgent, isUrgent(body.state))
    turn(body.quiet, !isAtWork(body.state))
    if (wanted) body.wanted.openUnsafe()
    if (body.agenda.length > 0) body.news.openUnsafe()
    if (!body.episodes.isFailing(body) || isFailing(body.state)) return publish(body)
    const { phase } = body.state
    // It has ended: that is said by itself.
    const over = phase === "halted" || phase === "stopped" ? body.episodes.forget : body.episodes.recovered
    return Effect.andThen(publish(body), over(body))
  })

/** Whether it has failed, and not yet come any further: what it begins with may fail again. */
const isFailing = <A extends SeenEvent>({ live, moved, phase }: State<A, Failure>) =>
  phase === "starting" || phase === "backing-off" || (phase === "working" && !live && !moved)

const isAtWork = <A extends SeenEvent>({ busy, holds }: State<A, Failure>) =>
  holds && (busy === "batch" || busy === "advance" || busy === "look")

/** Shows the state to those who look at it, if there is anything new in it. */
export const publish = <A extends SeenEvent, E>(body: Body<A, E>): Effect.Effect<void> => {
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

const statusOf = <A extends SeenEvent, E>({ failing, following, state }: Body<A, E>, { name }: Status): Status => {
  const { cause, checkpoint, lag, reason, retrying } = state
  const shown = nameOf(state)
  const isAt = reason?._tag === "Failure" ? reason.position === failing?.position : retrying > 0
  const why = reason === undefined ? cause : causeOf(following, reason)
  const isStanding = shown === "halted" || shown === "backing-off"
  const failed = isAt ? failing : isStanding && why !== undefined ? following.failedAt?.(why) : undefined
  return {
    name,
    state: shown,
    position: checkpoint,
    lag: lag ?? 0,
    cause: Option.fromUndefinedOr(isStanding ? why : undefined),
    ...(failed !== undefined && { failed })
  }
}

const causeOf = ({ checkpoint }: { readonly checkpoint: string }, reason: Reason<Failure>): Failure =>
  reason._tag === "Failure" ? reason.cause : Cause.fail(aheadOf(checkpoint, reason))

export const aheadOf = (checkpoint: string, { head, position }: Extract<Reason<Failure>, { readonly _tag: "Ahead" }>) =>
  new CheckpointAheadError({ checkpoint: checkpoint, position, head })

/** A follower whose machine has not started. */
export const makeBody = Effect.fnUntraced(function* <A extends SeenEvent, E>(
  following: Following<A, E>,
  shows: "starting" | "standby"
): Effect.fn.Return<Body<A, E>, never, Checkpoints | EventStore> {
  const { name } = following
  const status = yield* SubscriptionRef.make<Status>({ name, state: shows, position: 0, lag: 0, cause: Option.none() })
  const body: Body<A, E> = {
    following,
    checkpoints: yield* Checkpoints,
    store: yield* EventStore,
    episodes: following.episodes ?? makeEpisodes(`the ${following.title}`),
    status,
    state: initial(shows),
    shown: { name: shows, checkpoint: 0, lag: undefined, cause: undefined, reason: undefined },
    lease: undefined,
    failing: undefined,
    batch: [],
    looked: undefined,
    unproved: true,
    provedAt: 0,
    unsafe: 0,
    dated: true,
    beside: undefined,
    inFlight: undefined,
    occupied: Latch.makeUnsafe(false),
    agenda: [],
    news: Latch.makeUnsafe(false),
    urgent: Latch.makeUnsafe(false),
    quiet: Latch.makeUnsafe(true),
    wanted: Latch.makeUnsafe(false),
    waits: { next: undefined },
    context: {
      leave: Latch.makeUnsafe(false),
      stay: Latch.makeUnsafe(true),
      mayBegin: (position) => mayBegin(body.state, position),
      tell: (input) => tell(body, input),
      lease: () => {
        if (body.lease === undefined) throw new Error(`eventfold: the ${following.title} works without a lease`)
        return body.lease
      },
      failing: ({ position, stream, type }, attempts) =>
        Effect.map(DateTime.now, (now) => {
          const since = body.failing?.position === position && attempts > 1 ? body.failing.since : now
          body.failing = { position, stream, type, attempts, since }
        }),
      moved: (lease, positions) => {
        body.lease = lease
        const settled = Effect.forEach(positions, (position) => tell(body, { _tag: "Settled", position, as: "handled" }), {
          discard: true
        })
        return Effect.andThen(settled, tell(body, { _tag: "Advanced", position: lease.position }))
      }
    }
  }
  return body
})
