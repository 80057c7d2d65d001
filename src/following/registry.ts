import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { Checkpoints } from "../store/Checkpoints.ts"
import type { EventStoreError } from "../store/EventStore.ts"
import type { NotParkedError, ParkedEventsError } from "../store/ParkedEvents.ts"
import { type Controls as ControlsOf, makeRegistries, type Registered } from "./followers.ts"
import type { EventRetryError, ParkedBehindError, Retried, Status } from "./model.ts"
import { subscriptionCheckpoint } from "./names.ts"
import type * as body from "./body.ts"

/** A subscription of this process. */
export interface SubscriptionControls extends Registered, ControlsOf<Status> {
  readonly part: "subscription"
  readonly retry: (
    position: number
  ) => Effect.Effect<void, NotParkedError | ParkedBehindError | EventRetryError | ParkedEventsError | EventStoreError>
  readonly retryParked: (stream: string | undefined) => Effect.Effect<Retried, ParkedEventsError | EventStoreError>
}

/** A relay of this process, or a watch over deadlines. */
interface OtherControls extends Registered, ControlsOf<body.Status> {
  readonly part: "relay" | "deadlines"
}

/** All that follows the log in this process, by the names of their checkpoints; of partitions, by that of the whole. */
export type LogFollower = SubscriptionControls | OtherControls

export const followers = makeRegistries<LogFollower>("eventfold/Subscription/Registry")

/** The follower of a checkpoint, as far as it can be seen from here. */
export const findFollower = (checkpoint: string): Effect.Effect<LogFollower | undefined> =>
  Effect.flatMap(Effect.serviceOption(Checkpoints), (home) => followers.find(checkpoint, Option.getOrUndefined(home)))

/** The subscription of a name, as far as it can be seen from here. */
export const findSubscription = (name: string): Effect.Effect<SubscriptionControls | undefined> =>
  Effect.map(findFollower(subscriptionCheckpoint(name)), (found) => (found?.part === "subscription" ? found : undefined))
