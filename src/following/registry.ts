import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import * as SubscriptionRef from "effect/SubscriptionRef"
import { type CheckpointError, Checkpoints, type KeptDeadline } from "../store/Checkpoints.ts"
import type { EventStoreError, Filter } from "../store/EventStore.ts"
import { type NotParkedError, type ParkedEvents, ParkedEventsError } from "../store/ParkedEvents.ts"
import type { TransportError } from "../transport/Transport.ts"
import { type Controls as ControlsOf, makeRegistries, type Registered, type Registry } from "./followers.ts"
import type { EventRetryError, OnFailure, ParkedBehindError, Retried, Status } from "./model.ts"
import { subscriptionCheckpoint } from "./names.ts"
import type * as body from "./body.ts"

/** A subscription of this process. */
export interface SubscriptionControls extends Registered, ControlsOf<Status> {
  readonly part: "subscription"
  /** What it is run for. */
  readonly runs: "subscription" | "projection" | "process"
  /** What it is called. */
  readonly title: string
  readonly filter: Filter | undefined
  /** What becomes of events that it cannot handle, and where it parks them. */
  readonly onFailure: OnFailure
  readonly parking: ParkedEvents["Service"] | undefined
  readonly retry: (
    position: number
  ) => Effect.Effect<void, NotParkedError | ParkedBehindError | EventRetryError | ParkedEventsError | EventStoreError>
  readonly retryParked: (stream: string | undefined) => Effect.Effect<Retried, ParkedEventsError | EventStoreError>
}

/** A relay of this process. */
interface RelayControls extends Registered, ControlsOf<body.Status> {
  readonly part: "relay"
  readonly title: string
  readonly filter: Filter | undefined
  /** Publishes a parked event once more. */
  readonly retry: (position: number) => Effect.Effect<void, NotParkedError | EventStoreError | TransportError | ParkedEventsError>
  /** Publishes what stands from one position to another once more, and says how many events that were. */
  readonly again: (from: number, to: number) => Stream.Stream<number, EventStoreError | TransportError>
}

/** A watch over deadlines of this process. */
interface DeadlinesControls extends Registered, ControlsOf<body.Status> {
  readonly part: "deadlines"
  /** The name of the process manager. */
  readonly title: string
  readonly filter: Filter | undefined
  /** The deadlines that are set and due up to a time, behind one, by their times. */
  readonly due: (upTo: number, after: KeptDeadline | undefined) => Effect.Effect<ReadonlyArray<KeptDeadline>, CheckpointError>
}

/** All that follows the log in this process, by the names of their checkpoints; of partitions, by that of the whole. */
export type LogFollower = SubscriptionControls | RelayControls | DeadlinesControls

/** How one of them is at this moment. */
export const statusNow = (follower: LogFollower): body.Status =>
  follower.part === "subscription" ? SubscriptionRef.getUnsafe(follower.status) : SubscriptionRef.getUnsafe(follower.status)

export const followers = makeRegistries<LogFollower>("eventfold/Subscription/Registry")

/**
 * What is left of a follower that has stopped: what it was, and how at last. It can be found until its name is taken anew or removed, and
 * holds nothing of what it worked with.
 */
const leftOf = (follower: LogFollower): LogFollower => {
  const { about, filter, home, title } = follower
  const left = { about, filter, home, title, isStopped: () => true, pause: Effect.void, resume: Effect.void }
  const stopped = () => new Error(`${about} has stopped`)
  const refuse = () => Effect.suspend(() => Effect.fail(new ParkedEventsError({ operation: "retry", cause: stopped() })))
  switch (follower.part) {
    case "subscription": {
      const { onFailure, part, runs, status } = follower
      return { ...left, onFailure, part, runs, status, parking: undefined, retry: refuse, retryParked: refuse }
    }
    case "relay":
      return { ...left, part: "relay", status: follower.status, retry: refuse, again: () => Stream.die(stopped()) }
    case "deadlines":
      return { ...left, part: "deadlines", status: follower.status, due: () => Effect.succeed([]) }
  }
}

/** Makes a follower known to its process. Gives what is to be run when it has stopped. */
export const register = (
  checkpoint: string,
  follower: LogFollower
): Effect.Effect<{ readonly registry: Registry<LogFollower>; readonly ended: Effect.Effect<void> }> =>
  Effect.map(followers.register(checkpoint, follower), (registry) => ({
    registry,
    ended: Effect.suspend(() => followers.leave(registry, checkpoint, follower, leftOf(follower)))
  }))

/** The follower of a checkpoint, as far as it can be seen from here. */
export const findFollower = (checkpoint: string): Effect.Effect<LogFollower | undefined> =>
  Effect.flatMap(Effect.serviceOption(Checkpoints), (home) => followers.find(checkpoint, Option.getOrUndefined(home)))

/** The subscription of a name, as far as it can be seen from here. */
export const findSubscription = (name: string): Effect.Effect<SubscriptionControls | undefined> =>
  Effect.map(findFollower(subscriptionCheckpoint(name)), (found) => (found?.part === "subscription" ? found : undefined))

/** All that follows the log in this process, as far as it can be seen from here: by the names of their checkpoints. */
export const allFollowers: Effect.Effect<ReadonlyMap<string, LogFollower>> = Effect.flatMap(
  Effect.serviceOption(Checkpoints),
  (home) => followers.all(Option.getOrUndefined(home))
)
