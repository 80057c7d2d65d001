/** What the rooms of a subscription share: what it consists of, and what is measured of it. */
import * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import type * as Scope from "effect/Scope"
import type * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import type { RecordedEvent } from "../definitions/stored.ts"
import type { Episodes } from "../internal/episodes.ts"
import type { CheckpointError, CheckpointFencedError, Checkpoints } from "../store/Checkpoints.ts"
import type { EventStore, EventStoreError } from "../store/EventStore.ts"
import type { ParkedEvents, ParkedEventsError } from "../store/ParkedEvents.ts"
import type { Halted } from "./body.ts"
import type { Handling } from "./handling.ts"
import type { OnFailure, Options, State } from "./model.ts"
import type { Tail } from "./partitions.ts"
import type { Unavailable } from "./settling.ts"

const handledEvents = Metric.counter("eventfold_subscription_handled_events", {
  description: "Events that a handler has dealt with, by subscription",
  incremental: true
})
const parkedEvents = Metric.counter("eventfold_subscription_parked_events", {
  description: "Events that have been parked, by subscription",
  incremental: true
})

const lagGauge = Metric.gauge("eventfold_subscription_lag", {
  description: "How many positions the checkpoint was behind the newest event when that was last looked up, by subscription"
})
const stateGauge = Metric.gauge("eventfold_subscription_state", {
  description: "1 for the state that the subscription is in, 0 for those that it has left, by subscription and state"
})

export const metersOf = (name: string, partition: Partition | undefined) => {
  const of = partition === undefined ? { subscription: name } : { subscription: name, partition: String(partition.index) }
  return {
    of,
    handled: Metric.withAttributes(handledEvents, of),
    parked: Metric.withAttributes(parkedEvents, of),
    lag: Metric.withAttributes(lagGauge, of),
    state: (state: State) => Metric.withAttributes(stateGauge, { ...of, state })
  }
}

/** What fails around the handlers: the subscription backs off and starts again. */
export type Outage = EventStoreError | CheckpointError | CheckpointFencedError | ParkedEventsError | SqlError | Unavailable

/** The part of a group that a subscription is. */
export interface Partition {
  readonly index: number
  readonly count: number
  readonly tail: Tail<RecordedEvent, EventStoreError>
  readonly episodes: Episodes
  /** Run when the status has changed. */
  readonly onChange: Effect.Effect<void>
}

/** Where a subscription begins, in whose name, and which part of a group it is. */
export interface Place {
  readonly from: number | undefined
  readonly owner: string
  readonly check?: Effect.Effect<void, Halted | CheckpointError> | undefined
  readonly partition?: Partition | undefined
}

/** What all of this needs. */
export interface Work<R> {
  readonly name: string
  readonly ttl: Duration.Duration
  readonly options: Options<OnFailure, boolean>
  readonly handling: Handling<R>
  readonly partition: Partition | undefined
  readonly store: EventStore["Service"]
  readonly checkpoints: Checkpoints["Service"]
  readonly parking: ParkedEvents["Service"] | undefined
  /** Of the database in whose transactions the handlers run. */
  readonly client: SqlClient.SqlClient | undefined
  readonly provide: <A, E>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, Scope.Scope>
  readonly meters: ReturnType<typeof metersOf>
  readonly caution: Caution
}

/** What has been learnt from outages. PostgreSQL cuts the connection of a transaction that takes too long, and so looks like one. */
interface Caution {
  /** The last batch broke: its events come one by one, each in a transaction of its own, so that it comes to its end. */
  alone: boolean
  /** The event at which the connection was cut off, and how often in a row. */
  position: number
  times: number
}

export const leaseTime = (options: Options<OnFailure, boolean>) => Duration.fromInputUnsafe(options.lease ?? "15 seconds")

/** Whether what comes behind a parked event of the same stream waits for it. */
export const isOrdered = <R>({ options }: Work<R>): boolean => options.onFailure === "park-stream"
