import type * as Effect from "effect/Effect"
import type * as Duration from "effect/Duration"
import * as Option from "effect/Option"
import type * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import type * as SqlClient from "effect/sql/SqlClient"
import type * as Event from "../definitions/Event.ts"
import type { RecordedEvent } from "../definitions/stored.ts"
import type { Unlisted } from "../internal/unlisted.ts"
import { describe } from "../sql/errors.ts"
import type { Checkpoints } from "../store/Checkpoints.ts"
import type { EventStore, Filter } from "../store/EventStore.ts"
import type { ParkedEvents } from "../store/ParkedEvents.ts"
import type * as body from "./body.ts"

/**
 * What a handler is told beside the event.
 *
 * @category models
 * @since 0.1.0
 */
export interface Delivery {
  /** The name of the subscription. */
  readonly subscription: string
  /** The event as it stands in the store. */
  readonly event: RecordedEvent
  /** How often it has been tried, from 1. Begins anew after a restart, a resume and a rolled-back batch. */
  readonly attempt: number
}

/**
 * What becomes of an event that cannot be handled:
 *
 * - `"halt"` stops the subscription before it, until it is resumed;
 * - `"park"` puts it aside in {@link ParkedEvents} and goes on, also with later events of the same stream, which overtake it;
 * - `"park-stream"` puts it aside, and behind it all later events of its stream, which are not tried (their `attempts` are 0), for as long
 *   as any of that stream is parked. Other streams go on. What is parked of a stream is retried in order, so its events take effect in
 *   order, whatever fails. It costs one look at the parked events a batch.
 *
 * @category models
 * @since 0.1.0
 */
export type OnFailure = "halt" | "park" | "park-stream"

/**
 * What all subscriptions have in common. What can never work, as `batch: NaN` or `lease: 0`, is a defect when the Layer is built: a
 * `RangeError` that names the option.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options<P extends OnFailure, T extends boolean> {
  /** Names the checkpoint and the lease. The same in all processes that share the work. */
  readonly name: string
  /**
   * Where a name that has never run begins: with the whole history, with what is appended after the Layer has been built, or
   * after a position. Later on the checkpoint counts. Default: `"start"`.
   */
  readonly from?: "start" | "end" | number | undefined
  /**
   * What becomes of it where events that it handles, beyond its checkpoint, were removed by `Retention`, or moved to an archive that is not read
   * through (`Archive.layer`), as far as their types tell: `"halt"` halts before anything is handled, with the `EventStoreError` whose reason is
   * `EventsRemoved` or `EventsArchived`; `"skip"` goes on with what is left. Without types, what eventfold itself writes (`$…`) is passed over.
   * It is looked for when a lease is claimed: `Retention` removes nothing that a follower with a checkpoint has before it. Default: `"halt"`.
   */
  readonly removed?: "halt" | "skip" | undefined
  /** The most events between two checkpoints, and of one transaction. Default: 256. */
  readonly batch?: number | undefined
  /** How many streams are handled at once within a batch; each stream stays in order. Default: 1. With `transactional` always 1. */
  readonly concurrency?: number | undefined
  /**
   * How to wait before an event is tried again; its input is the failure. When it ends, `onFailure` decides. What cannot be
   * decoded is not tried again. Default: five times, from 100 milliseconds on.
   */
  readonly retry?: Schedule.Schedule<unknown, unknown> | undefined
  /** What becomes of an event that cannot be handled. Default: `"halt"`. */
  readonly onFailure?: P | undefined
  /** How long the lease of a process that died lasts; another takes over within a third of it more. Default: 15 seconds. */
  readonly lease?: Duration.Input | undefined
  /**
   * Runs the handlers of a batch, and the move of its checkpoint, in one transaction of the `SqlClient`, which must be that of the
   * `Checkpoints` (building the Layer is a defect otherwise) and of the `ParkedEvents`. When a handler fails, or the database refuses
   * to commit what handlers did, the batch is rolled back and done again event by event, a transaction each; so what handlers do
   * beyond the database may be done again.
   *
   * No event begins when a batch has taken a third of the lease: the batch is committed as far as it is, and the rest is the next one.
   * A handler has the time of the lease. One that takes longer is interrupted, and fails with {@link HandlerTimeoutError}: so
   * transactions end, with the locks that they have. PostgreSQL itself breaks off a transaction in which nothing has been asked of it
   * for one and a half times as long, so that a process that was stopped (`SIGSTOP`, a sleeping machine) keeps no locks. On SQLite a
   * batch has the write lock of the file: others wait while it runs, and if its process is stopped then, nobody can write, take over
   * or append until it goes on or is killed. Default: `false`.
   *
   * A handler that appends to the event store in the transaction, by itself or in a unit of work, makes all other writers wait from then
   * on until the transaction ends. So that ends with its event, and the next one begins another: append last, and do what takes long before.
   */
  readonly transactional?: T | undefined
  /**
   * Makes the processes that run this name a consumer group: the streams are spread over so many partitions by a hash of their
   * names (FNV-1a of 32 bits over UTF-16 code units), each partition with a checkpoint and a lease of its own,
   * `subscription:<name>:<k>/<n>`. Each of m processes works on about n/m of them; what is beyond that it gives back, its events
   * in hand finished, when others join, and it takes what is released, or whose lease has run out, when others leave. So each
   * stream stays in order, and all other guarantees are those of a subscription, partition by partition.
   *
   * A process more than there are partitions stands by. The log is read once by a process for all its partitions that keep up,
   * and by itself for one that is behind. The number is fixed once a name has run: with another one, or without any, it
   * halts with {@link PartitionsChangedError}. Default: none, one process works.
   */
  readonly partitions?: number | undefined
}

/**
 * A subscription to events as they stand in the store.
 *
 * @category models
 * @since 0.1.0
 */
export interface RawOptions<E, R, P extends OnFailure, T extends boolean> extends Options<P, T> {
  /** Which events. Default: all. */
  readonly filter?: Filter | undefined
  /** What is done with an event. It is done with when the effect succeeds. */
  readonly handler: (event: RecordedEvent, delivery: Delivery) => Effect.Effect<unknown, E, R>
}

/**
 * One handler per event type.
 *
 * @category models
 * @since 0.1.0
 */
export type Handlers<Events extends ReadonlyArray<Event.Any>> = {
  readonly [Type in Events[number]["type"]]: (
    event: Extract<Events[number], { readonly type: Type }>["Type"],
    delivery: Delivery
  ) => Effect.Effect<unknown, unknown, unknown>
}

/**
 * A subscription to events by their definitions.
 *
 * @category models
 * @since 0.1.0
 */
export interface TypedOptions<
  Events extends ReadonlyArray<Event.Any>,
  H extends Handlers<Events>,
  P extends OnFailure,
  T extends boolean
> extends Options<P, T> {
  /** The definitions of the events that are handled. */
  readonly events: Events
  /** One for each of `events`: one that is missing, or one for an event that is not listed, does not compile. */
  readonly handlers: H & Unlisted<H, Events[number]["type"]>
  /** Which events; those of other types than `events` are failures. Default: all events of these types. */
  readonly filter?: Filter | undefined
}

/**
 * What a subscription needs.
 *
 * @category models
 * @since 0.1.0
 */
export type Requirements<R, P extends OnFailure, T extends boolean> =
  | EventStore
  | Checkpoints
  | Exclude<R, Scope.Scope>
  | ("park" extends P ? ParkedEvents : never)
  | ("park-stream" extends P ? ParkedEvents : never)
  | (true extends T ? SqlClient.SqlClient : never)

/**
 * Where a subscription is in its life; the module's page shows the ways between them.
 *
 * @category models
 * @since 0.1.0
 */
export type { Name as State } from "./follower.ts"
export type { FailedEvent } from "./body.ts"

/**
 * What is known of a subscription in this process.
 *
 * @category models
 * @since 0.1.0
 */
export interface Status extends body.Status {
  /**
   * With `partitions`, each of them, in order; those that other processes work on are on standby. The status of the whole is then
   * the state (and its cause) of the partition of this process that is in most need of attention, the lowest of their positions,
   * and the greatest of their lags.
   */
  readonly partitions?: ReadonlyArray<body.Status> | undefined
}

/**
 * This process runs no subscription of that name.
 *
 * @category errors
 * @since 0.1.0
 */
export class UnknownSubscriptionError extends Schema.TaggedError<UnknownSubscriptionError>(
  "eventfold/Subscription/UnknownSubscriptionError"
)("UnknownSubscriptionError", { subscription: Schema.String }) {
  override get message(): string {
    return `This process runs no subscription "${this.subscription}"`
  }
}

/**
 * What is to be removed still runs, or may have died a moment ago: somebody holds its checkpoint, or this process runs it. Nothing was
 * changed. End whatever runs it, in all processes; the lease of one that died runs out by itself.
 *
 * @category errors
 * @since 0.2.0
 */
export class StillRunningError extends Schema.TaggedError<StillRunningError>("eventfold/Subscription/StillRunningError")(
  "StillRunningError",
  {
    /** The checkpoint that is held. */
    checkpoint: Schema.String,
    /** Who holds it; none where this process runs it and holds no lease, as when it has halted. */
    owner: Schema.Option(Schema.String)
  }
) {
  override get message(): string {
    const holder = Option.match(this.owner, {
      onNone: () => "is followed by this process",
      onSome: (owner) => `is held by "${owner}"`
    })
    return `The checkpoint "${this.checkpoint}" ${holder}: end whatever runs it, or wait until its lease has run out, before it is removed`
  }
}

/**
 * A subscription has run with another number of partitions, and the checkpoints of those say nothing of these: it halts. Nothing
 * was handled. To change the number, stop all processes that run the name and go on under a new name, `from` the position here.
 *
 * @category errors
 * @since 0.1.0
 */
export class PartitionsChangedError extends Schema.TaggedError<PartitionsChangedError>(
  "eventfold/Subscription/PartitionsChangedError"
)("PartitionsChangedError", {
  subscription: Schema.String,
  /** The number that it has run with; none when it ran without. */
  before: Schema.Option(Schema.Number),
  /** Up to where everything has been dealt with: the lowest position of those checkpoints. */
  position: Schema.Number
}) {
  override get message(): string {
    const before = Option.match(this.before, { onNone: () => "without partitions", onSome: (n) => `with ${n} partitions` })
    return `The subscription "${this.subscription}" has run ${before} before; to change that, give it a new name, from position ${this.position}`
  }
}

/**
 * A transactional handler has taken longer than the lease. What it did in the database is rolled back, and the event has failed: it is
 * tried again by `retry`, and then `onFailure` decides.
 *
 * @category errors
 * @since 0.2.0
 */
export class HandlerTimeoutError extends Schema.TaggedError<HandlerTimeoutError>("eventfold/Subscription/HandlerTimeoutError")(
  "HandlerTimeoutError",
  {
    subscription: Schema.String,
    /** How long a handler may take, in milliseconds: the lease. */
    lease: Schema.Number
  }
) {
  override get message(): string {
    return `A handler of the subscription "${this.subscription}" took longer than the lease of ${this.lease} milliseconds in a transaction: do what waits outside of it, or make the lease longer`
  }
}

/**
 * The handler failed again. The event stays parked, with the new cause.
 *
 * @category errors
 * @since 0.1.0
 */
export class EventRetryError extends Schema.TaggedError<EventRetryError>("eventfold/Subscription/EventRetryError")(
  "EventRetryError",
  {
    subscription: Schema.String,
    position: Schema.Number,
    cause: Schema.Defect()
  }
) {
  override get message(): string {
    return `The subscription "${this.subscription}" failed again at position ${this.position}: ${describe(this.cause)}`
  }
}

/**
 * The parked event comes behind another one of its stream that is parked, and the subscription keeps streams in order (`"park-stream"`).
 * Nothing was tried. Retry or discard the one before it, or let `Subscription.retryParked` take all of them in order.
 *
 * @category errors
 * @since 0.2.0
 */
export class ParkedBehindError extends Schema.TaggedError<ParkedBehindError>("eventfold/Subscription/ParkedBehindError")(
  "ParkedBehindError",
  {
    subscription: Schema.String,
    position: Schema.Number,
    /** The position of the first parked event of its stream. */
    first: Schema.Number
  }
) {
  override get message(): string {
    return `The event at position ${this.position} is parked behind that at ${this.first} of its stream, and the subscription "${this.subscription}" keeps streams in order: retry or discard that one first`
  }
}

/**
 * What came of `Subscription.retryParked`.
 *
 * @category models
 * @since 0.2.0
 */
export interface Retried {
  /** How many events have been handled. */
  readonly handled: number
  /** How many have failed again, and stay parked with the new cause. */
  readonly failed: number
  /** How many were not tried, for one before them in their stream is parked. */
  readonly behind: number
}
