/**
 * Subscriptions: handlers that follow the log, from history to live in one seamless sequence, and survive restarts.
 *
 * The store is the truth and a wake-up is only a hint. The checkpoint never passes an event that has neither been handled nor
 * parked. Delivery is at least once, in the order of positions (with `concurrency`, in the order of each stream); with
 * `transactional` what a handler writes through the `SqlClient` takes effect exactly once.
 *
 * Of all processes that run one name, one works; the others stand by, and one takes over when its lease has run out. A superseded
 * owner can commit nothing, however long it slept. With `partitions` the processes share the work instead: see
 * {@link Options.partitions}.
 *
 * The main path, and what leads away from it:
 *
 * ```text
 *   starting ──▶ catching-up ──▶ live ──────────────────────────▶ stopped    the scope closes, from any state
 *     ▲ │ ▲           ▲ │         ▲ │
 *     │ │ │           │ └────┬────┼─┴──▶ paused        pause, and back by resume
 *     │ │ │           └──────┼────┘
 *     │ │ └── backing-off ◀──┤                         store or checkpoint failed, or a handler is tried again
 *     │ ▼                    │
 *     │ standby              │                         somebody else holds the name
 *     └───────── halted ◀────┘                         a handler failed for good; left by resume alone
 * ```
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FiberMap from "effect/FiberMap"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Pull from "effect/Pull"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import * as SqlClient from "effect/sql/SqlClient"
import { isSqlError, type SqlError } from "effect/sql/SqlError"
import * as Stream from "effect/Stream"
import * as SubscriptionRef from "effect/SubscriptionRef"
import * as Event from "../definitions/Event.ts"
import type { RecordedEvent } from "../definitions/stored.ts"
import { makeId } from "../internal/ids.ts"
import { defaultRestart, finishing, restarting } from "../internal/lifecycle.ts"
import type { Unlisted } from "../internal/unlisted.ts"
import { inTransaction } from "../sql/transaction.ts"
import {
  beat,
  type Checkpoint,
  CheckpointAheadError,
  type CheckpointError,
  type CheckpointFencedError,
  Checkpoints,
  type Lease,
  withLease
} from "../store/Checkpoints.ts"
import { EventStore, type EventStoreError, type Filter } from "../store/EventStore.ts"
import { ParkedEvents, ParkedEventsError } from "../store/ParkedEvents.ts"
import { parseCheckpoint, partitionName, seatCheckpoint, subscriptionCheckpoint } from "./names.ts"
import { makeTail, partitionOf, quotaOf, type Tail } from "./partitions.ts"
import * as progress from "./progress.ts"

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
 * What becomes of an event that cannot be handled: `"halt"` stops the subscription before it, until it is resumed; `"park"` puts it
 * aside in {@link ParkedEvents} and goes on, also with later events of the same stream.
 *
 * @category models
 * @since 0.1.0
 */
export type OnFailure = "halt" | "park"

/**
 * What all subscriptions have in common.
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
  /** The most events between two checkpoints, and of one transaction. Default: 256. */
  readonly batch?: number | undefined
  /** How many streams are handled at once within a batch; each stream stays in order. Default: 1. With `transactional` always 1. */
  readonly concurrency?: number | undefined
  /**
   * How to wait before an event is tried again; its input is the failure. When it ends, `onFailure` decides. What cannot be
   * decoded is not tried again. Default: five times, from 100 milliseconds on.
   */
  readonly retry?: Schedule.Schedule<unknown, unknown> | undefined
  /** Default: `"halt"`. */
  readonly onFailure?: P | undefined
  /** How long the lease of a process that died lasts; another takes over within a third of it more. Default: 15 seconds. */
  readonly lease?: Duration.Input | undefined
  /**
   * Runs the handlers of a batch, and the move of its checkpoint, in one transaction of the `SqlClient`, which must be that of the
   * `Checkpoints` (building the Layer is a defect otherwise) and of the `ParkedEvents`. When a handler fails, or the database refuses
   * to commit what handlers did, the batch is rolled back and done again event by event, a transaction each; so what handlers do
   * beyond the database may be done again.
   *
   * A handler must not wait for anything but the database for as long as the lease: PostgreSQL breaks off a transaction in which
   * nothing has been asked of it for that time, so that a process that was stopped (`SIGSTOP`, a sleeping machine) does not keep its
   * locks, and to the handler that is a failure. On SQLite a batch has the write lock of the file: others wait while it runs, and if
   * its process is stopped then, nobody can write, take over or append until it goes on or is killed. Default: `false`.
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
  | (true extends T ? SqlClient.SqlClient : never)

/**
 * Where a subscription is in its life; the module's page shows the ways between them.
 *
 * @category models
 * @since 0.1.0
 */
export type State = "starting" | "standby" | "catching-up" | "live" | "backing-off" | "paused" | "halted" | "stopped"

/**
 * What is known of a subscription in this process.
 *
 * @category models
 * @since 0.1.0
 */
export interface Status {
  readonly name: string
  readonly state: State
  /** The checkpoint, as far as this process knows it. */
  readonly position: number
  /** How many positions the checkpoint was behind the newest event when that was last looked up. */
  readonly lag: number
  /** Why it is backing off or halted. */
  readonly cause: Option.Option<Cause.Cause<unknown>>
  /**
   * With `partitions`, each of them, in order; those that other processes work on are on standby. The status of the whole is then
   * the state (and its cause) of the partition of this process that is in most need of attention, the lowest of their positions,
   * and the greatest of their lags.
   */
  readonly partitions?: ReadonlyArray<Status> | undefined
}

/**
 * This process runs no subscription of that name.
 *
 * @category errors
 * @since 0.1.0
 */
export class UnknownSubscriptionError extends Schema.TaggedError<UnknownSubscriptionError>(
  "eventfold/Subscription/UnknownSubscriptionError"
)("UnknownSubscriptionError", { name: Schema.String }) {
  override get message(): string {
    return `This process runs no subscription "${this.name}"`
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
 * The event at this position is not parked, or not any more.
 *
 * @category errors
 * @since 0.1.0
 */
export class NotParkedError extends Schema.TaggedError<NotParkedError>("eventfold/Subscription/NotParkedError")(
  "NotParkedError",
  { subscription: Schema.String, position: Schema.Number }
) {
  override get message(): string {
    return `The subscription "${this.subscription}" has no parked event at position ${this.position}`
  }
}

/**
 * The handler failed again. The event stays parked, with the new cause.
 *
 * @category errors
 * @since 0.1.0
 */
export class ReplayError extends Schema.TaggedError<ReplayError>("eventfold/Subscription/ReplayError")("ReplayError", {
  subscription: Schema.String,
  position: Schema.Number,
  cause: Schema.Defect()
}) {
  override get message(): string {
    return `The subscription "${this.subscription}" failed again at position ${this.position}: ${this.cause instanceof Error ? this.cause.message : String(this.cause)}`
  }
}

/**
 * A subscription of this process, as the {@link Registry} holds it.
 *
 * @category models
 * @since 0.1.0
 */
export interface Controls {
  readonly status: SubscriptionRef.SubscriptionRef<Status>
  readonly pause: Effect.Effect<void>
  readonly resume: Effect.Effect<void>
  readonly replay: (position: number) => Effect.Effect<void, NotParkedError | ReplayError | ParkedEventsError | EventStoreError>
}

/**
 * The subscriptions of this process, by name; of two with one name, the one that was built last. A map of their own may be
 * provided to programs that share a process.
 *
 * @category references
 * @since 0.1.0
 */
export const Registry: Context.Reference<Map<string, Controls>> = Context.Reference("eventfold/Subscription/Registry", {
  defaultValue: () => new Map<string, Controls>()
})

const controls = (name: string): Effect.Effect<Controls, UnknownSubscriptionError> =>
  Effect.flatMap(Effect.service(Registry), (registry) => {
    const found = registry.get(name)
    return found === undefined ? Effect.fail(new UnknownSubscriptionError({ name })) : Effect.succeed(found)
  })

/**
 * How a subscription of this process is doing.
 *
 * @category observing
 * @since 0.1.0
 */
export const status = (name: string): Effect.Effect<Status, UnknownSubscriptionError> =>
  Effect.flatMap(controls(name), (subscription) => SubscriptionRef.get(subscription.status))

/**
 * How a subscription of this process is doing, now and whenever it changes. Never ends.
 *
 * @category observing
 * @since 0.1.0
 */
export const changes = (name: string): Stream.Stream<Status, UnknownSubscriptionError> =>
  Stream.unwrap(Effect.map(controls(name), (subscription) => SubscriptionRef.changes(subscription.status)))

/**
 * How many positions each checkpoint is behind the newest event. Those of subscriptions are called `subscription:` and the name,
 * with partitions followed by `:<k>/<n>`. What is behind no event is left out: what projections keep under `projection:`, the
 * checkpoints of their versions that run inline or have been dropped, and those of process managers under `deadlines:`, which stand
 * before the oldest deadline that is set.
 *
 * @category observing
 * @since 0.1.0
 */
export const lag: Effect.Effect<
  ReadonlyArray<{ readonly checkpoint: string; readonly position: number; readonly lag: number }>,
  CheckpointError | EventStoreError,
  Checkpoints | EventStore
> = progress.lag

/**
 * Pauses a subscription of this process; it keeps its lease. Succeeds when the event in hand is done. One that stands by
 * stands by, and is paused when it takes over.
 *
 * @category steering
 * @since 0.1.0
 */
export const pause = (name: string): Effect.Effect<void, UnknownSubscriptionError> =>
  Effect.flatMap(controls(name), (subscription) => subscription.pause)

/**
 * Lets a subscription of this process go on that is paused, or halted: the event that halted it is tried again.
 *
 * @category steering
 * @since 0.1.0
 */
export const resume = (name: string): Effect.Effect<void, UnknownSubscriptionError> =>
  Effect.flatMap(controls(name), (subscription) => subscription.resume)

/**
 * Tries a parked event once more with the handler of a subscription of this process, and forgets it if that succeeds. Events of
 * the same stream that came after it have been handled meanwhile.
 *
 * @category steering
 * @since 0.1.0
 */
export const replay = (
  name: string,
  position: number
): Effect.Effect<void, UnknownSubscriptionError | NotParkedError | ReplayError | ParkedEventsError | EventStoreError> =>
  Effect.flatMap(controls(name), (subscription) => subscription.replay(position)).pipe(Effect.withSpan("Subscription.replay"))

/**
 * A subscription, as long as the Layer is open. When its scope closes, the events in hand are finished if that takes no longer than a
 * third of the lease, the checkpoint is moved, and the lease is given back.
 *
 * Failures of the store and of the checkpoints are no failures of an event: the subscription backs off, and goes on by itself. At
 * most one page of the store is in memory, with partitions one for each of them.
 *
 * ```ts
 * import { Effect, Layer, Queue, Schema } from "effect"
 * import { Checkpoints, Event, EventStore, Subscription } from "eventfold"
 *
 * const Placed = Event.make("Placed", { total: Schema.Int })
 * const Shipped = Event.make("Shipped", {})
 *
 * const program = Effect.gen(function* () {
 *   const mails = yield* Queue.unbounded<string>()
 *   const Mails = Subscription.layer({
 *     name: "mails",
 *     events: [Placed, Shipped],
 *     handlers: {
 *       Placed: ({ total }, { event }) => Queue.offer(mails, `${event.stream}: thank you for ${total}`),
 *       Shipped: (_, { event }) => Queue.offer(mails, `${event.stream}: on its way`)
 *     }
 *   })
 *   yield* Layer.build(Mails)
 *   yield* EventStore.append("Order-1", [{ type: "Placed", payload: { total: 5 } }, { type: "Shipped", payload: {} }])
 *   return yield* Queue.takeN(mails, 2)
 * })
 *
 * const Live = Layer.mergeAll(EventStore.layerMemory, Checkpoints.layerMemory)
 * await Effect.runPromise(Effect.scoped(Effect.provide(program, Live))) // => ["Order-1: thank you for 5", "Order-1: on its way"]
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: {
  <E, R, const P extends OnFailure = "halt", const T extends boolean = false>(
    options: RawOptions<E, R, P, T>
  ): Layer.Layer<never, never, Requirements<R, P, T>>
  // The last one, because it is the one that the compiler speaks of when a handler is missing.
  <
    const Events extends ReadonlyArray<Event.Any>,
    const H extends Handlers<Events>,
    const P extends OnFailure = "halt",
    const T extends boolean = false
  >(
    options: TypedOptions<Events, H, P, T>
  ): Layer.Layer<never, never, Requirements<Effect.Services<ReturnType<H[Events[number]["type"]]>>, P, T>>
} = <R, P extends OnFailure, T extends boolean>(options: AnyOptions<R, P, T>): Layer.Layer<never, never, Requirements<R, P, T>> =>
  layerOf(options, "events" in options ? typed(options) : raw(options))

/** @internal */
export const layerOf = <R, P extends OnFailure, T extends boolean>(
  options: Options<P, T>,
  handling: Handling<R>
): Layer.Layer<never, never, Requirements<R, P, T>> => Layer.effectDiscard(run(options, handling))

/** Both kinds of options, as the implementation sees them. */
type AnyOptions<R, P extends OnFailure, T extends boolean> =
  | RawOptions<unknown, R, P, T>
  | (Options<P, T> & {
      readonly events: ReadonlyArray<Event.Any>
      readonly handlers: { readonly [type: string]: (event: never, delivery: Delivery) => Effect.Effect<unknown, unknown, R> }
      readonly filter?: Filter | undefined
    })

/**
 * Which events, and what is done with one: what cannot be decoded is found before anything is done.
 *
 * @internal
 */
export interface Handling<R> {
  readonly filter: Filter | undefined
  readonly prepare: (
    event: RecordedEvent
  ) => Result.Result<
    (delivery: Delivery) => Effect.Effect<unknown, unknown, R>,
    Event.EventDecodeError | Event.UnknownEventTypeError
  >
  /** What is done, in one transaction, with several events at once. When it fails they are prepared one by one. */
  readonly together?: ((events: ReadonlyArray<RecordedEvent>) => Effect.Effect<unknown, unknown, R>) | undefined
}

const raw = <R>({ filter, handler }: RawOptions<unknown, R, OnFailure, boolean>): Handling<R> => ({
  filter,
  prepare: (event) => Result.succeed((delivery) => handler(event, delivery))
})

const typed = <R>(options: Extract<AnyOptions<R, OnFailure, boolean>, { readonly events: unknown }>): Handling<R> => {
  const definitions = new Map(options.events.map((definition) => [definition.type, definition]))
  return {
    filter: options.filter ?? { types: Array.from(definitions.keys()) },
    prepare: (event) =>
      Result.map(Event.decodeAny(definitions, event), (decoded) => (delivery) => {
        // The handler of this type: it takes what this definition decodes to.
        const handler = options.handlers[event.type] as (event: unknown, delivery: Delivery) => Effect.Effect<unknown, unknown, R>
        return handler(decoded, delivery)
      })
  }
}

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

const defaultRetry = Schedule.max([Schedule.exponential("100 millis"), Schedule.recurs(5)])

/** A handler has failed with an event. Not to be confused with what fails around it. */
class Failed {
  readonly _tag = "Failed"
  readonly cause: Cause.Cause<unknown>
  /** Whether another try makes sense. */
  readonly again: boolean
  constructor(cause: Cause.Cause<unknown>, again: boolean) {
    this.cause = cause
    this.again = again
  }
}

/** An event has failed for good and the policy is to halt, or the subscription makes no sense. */
class Halted {
  readonly _tag = "Halted"
  readonly cause: Cause.Cause<unknown>
  /** Of the event. */
  readonly position: number | undefined
  constructor(cause: Cause.Cause<unknown>, position?: number) {
    this.cause = cause
    this.position = position
  }
}

/**
 * One transaction of work and what follows it. What the database refuses of the work when that has ended is a failure of the work:
 * a constraint that is checked at the end, or, on PostgreSQL, a statement that failed and was passed over.
 */
const committing = <A, B, E, E2>(
  sql: SqlClient.SqlClient,
  work: Effect.Effect<A, E>,
  after: (done: A) => Effect.Effect<B, E2>,
  patience?: Duration.Duration
): Effect.Effect<B, E | E2 | SqlError | Failed> =>
  Effect.suspend(() => {
    let ended = false
    const whole = Effect.flatMap(work, (done) => {
      ended = true
      return after(done)
    })
    return Effect.mapError(inTransaction(sql, whole, patience), (error) =>
      ended && isRefusal(error) ? new Failed(Cause.fail(error), true) : error
    )
  })

const isRefusal = (error: unknown): boolean =>
  isSqlError(error)
    ? !error.isRetryable
    : Predicate.isTagged(error, "CheckpointError") &&
      Predicate.hasProperty(error, "cause") &&
      isSqlError(error.cause) &&
      Predicate.hasProperty(error.cause.reason.cause, "code") &&
      // "current transaction is aborted": by what came before.
      error.cause.reason.cause.code === "25P02"

/** What fails around the handlers: the subscription backs off and starts again. */
type Outage = EventStoreError | CheckpointError | CheckpointFencedError | ParkedEventsError | SqlError

/** The part of a group that a {@link make} is for. */
interface Partition {
  readonly index: number
  readonly count: number
  readonly tail: Tail<RecordedEvent>
  /** Run when the status has changed. */
  readonly onChange: Effect.Effect<void>
}

/** A subscription, or a partition of one, that is not running yet. */
interface One extends Controls {
  /** Claims the checkpoint, follows the log, and starts over after any failure. */
  readonly main: Effect.Effect<never, unknown>
  readonly enter: (state: State, cause?: Cause.Cause<unknown>) => Effect.Effect<void>
}

const leaseTime = (options: Options<OnFailure, boolean>) => Duration.fromInputUnsafe(options.lease ?? "15 seconds")

/** Fails when a subscription has checkpoints of another number of partitions. */
const checkPartitions = (name: string, partitions: number | undefined, all: ReadonlyArray<Checkpoint>) => {
  const others = all.flatMap((checkpoint) => {
    const plain = checkpoint.name === subscriptionCheckpoint(name)
    const of = parseCheckpoint(checkpoint.name)
    if (!plain && (of._tag !== "Partition" || of.name !== name)) return []
    const before = of._tag === "Partition" && !plain ? of.count : undefined
    return before === partitions ? [] : [{ before, position: checkpoint.position }]
  })
  const [other] = others
  if (other === undefined) return Effect.void
  const before = Option.fromUndefinedOr(other.before)
  const position = Math.min(...others.map(({ position }) => position))
  return Effect.fail(new Halted(Cause.fail(new PartitionsChangedError({ subscription: name, before, position }))))
}

const make = Effect.fnUntraced(function* <R, P extends OnFailure, T extends boolean>(
  options: Options<P, T>,
  { filter, prepare, together }: Handling<R>,
  { from, owner, partition }: { readonly from: number | undefined; readonly owner: string; readonly partition?: Partition }
): Effect.fn.Return<One, never, Requirements<R, P, T>> {
  const { name } = options
  const title = partition === undefined ? name : partitionName(name, partition.index, partition.count)
  const ttl = leaseTime(options)
  const batchSize = Math.max(1, options.batch ?? 256)
  const concurrency = Math.max(1, options.concurrency ?? 1)
  const newSchedule = () => Schedule.toStepWithSleep<unknown, unknown, never, never>(options.retry ?? defaultRetry)
  const store: EventStore["Service"] = yield* EventStore
  const checkpoints: Checkpoints["Service"] = yield* Checkpoints
  const context: Context.Context<Exclude<R, Scope.Scope>> = yield* Effect.context<Exclude<R, Scope.Scope>>()
  const parking = Option.getOrUndefined(yield* Effect.serviceOption(ParkedEvents))
  const client =
    options.transactional === true ? Option.getOrUndefined(yield* Effect.serviceOption(SqlClient.SqlClient)) : undefined
  if (client !== undefined && checkpoints.transactionService?.key !== client.transactionService.key) {
    return yield* Effect.die(
      new Error(
        `The subscription "${name}" is transactional, and the Checkpoints do not commit with the SqlClient provided here. Provide both from one database, or set transactional: false.`
      )
    )
  }

  // ---------------------------------------------------------------------------
  // state
  // ---------------------------------------------------------------------------

  const statusRef = yield* SubscriptionRef.make<Status>({
    name: title,
    state: partition === undefined ? "starting" : "standby",
    position: 0,
    lag: 0,
    cause: Option.none()
  })
  const of = partition === undefined ? { subscription: name } : { subscription: name, partition: String(partition.index) }
  const handledHere = Metric.withAttributes(handledEvents, of)
  const parkedHere = Metric.withAttributes(parkedEvents, of)
  const lagHere = Metric.withAttributes(lagGauge, of)
  const update = (facts: Partial<Status>) =>
    Effect.andThen(
      SubscriptionRef.update(statusRef, (status) => ({ ...status, ...facts })),
      partition === undefined ? Effect.void : partition.onChange
    )
  const enter = (state: State, cause?: Cause.Cause<unknown>) =>
    Effect.suspend(() => {
      const before = SubscriptionRef.getUnsafe(statusRef)
      if (before.state === state && cause === undefined) return Effect.void
      return Effect.all(
        [
          Metric.update(Metric.withAttributes(stateGauge, { ...of, state: before.state }), 0),
          Metric.update(Metric.withAttributes(stateGauge, { ...of, state }), 1),
          update({ state, cause: Option.fromUndefinedOr(cause) })
        ],
        { discard: true }
      )
    })

  /** Open unless the subscription is paused or halted. */
  const running = Latch.makeUnsafe(true)
  /** Open while no further event may be begun. */
  const leave = Latch.makeUnsafe(false)
  /** Whether it stays so until the lease is claimed anew. */
  let ending = false
  /** Held while events are in hand. */
  const hand = Semaphore.makeUnsafe(1)
  let phase: "catching-up" | "live" = "catching-up"
  /** Whether this process has the lease. */
  let owning = false

  // ---------------------------------------------------------------------------
  // one event
  // ---------------------------------------------------------------------------

  const handle = (event: RecordedEvent, attempt: number): Effect.Effect<void, Failed> =>
    handling(
      Effect.suspend(() => {
        const prepared = prepare(event)
        if (Result.isFailure(prepared)) return Effect.fail(new Failed(Cause.fail(prepared.failure), false))
        return prepared.success({ subscription: name, event, attempt })
      })
    )

  const handling = (work: Effect.Effect<unknown, unknown, R>): Effect.Effect<void, Failed> =>
    Effect.scoped(work).pipe(
      // The services that the Layer was built with, and the transaction, span and so on of the fiber that runs it.
      Effect.updateContext(
        (current: Context.Context<never>) => Context.merge(context, current) as Context.Context<Exclude<R, Scope.Scope>>
      ),
      Effect.catchCause((cause) => {
        const failure = Option.getOrUndefined(Cause.findErrorOption(cause))
        return Effect.fail(failure instanceof Failed ? failure : new Failed(cause, true))
      }),
      Effect.asVoid
    )

  const park = Effect.fnUntraced(function* (
    event: RecordedEvent,
    cause: Cause.Cause<unknown>,
    attempts: number
  ): Effect.fn.Return<void, ParkedEventsError> {
    if (parking === undefined) return yield* Effect.die(new Error(`The subscription "${name}" has nowhere to park events`))
    const { position, stream, type } = event
    const parkedAt = yield* DateTime.now
    yield* parking.park({ subscription: name, position, stream, type, cause: Cause.pretty(cause), attempts, parkedAt })
    yield* Metric.update(parkedHere, 1)
    yield* Effect.logWarning(`eventfold: the subscription "${name}" has parked the event at position ${position}`, cause)
  })

  /**
   * Brings an event to its end: handled or parked (`true`), or left for later (`false`). `commit` makes what is done with the
   * event last.
   */
  const settle = Effect.fnUntraced(function* (
    event: RecordedEvent,
    commit: <E>(work: Effect.Effect<void, E>) => Effect.Effect<void, E | Outage | Failed>
  ): Effect.fn.Return<boolean, Outage | Halted> {
    let wait: Effect.Success<ReturnType<typeof newSchedule>> | undefined
    for (let attempt = 1; ; attempt++) {
      const failed = yield* commit(handle(event, attempt)).pipe(
        Effect.as(undefined),
        Effect.catchIf((error): error is Failed => error instanceof Failed, Effect.succeed)
      )
      if (failed === undefined) {
        yield* Metric.update(handledHere, 1)
        return true
      }
      const { cause } = failed
      if (failed.again) {
        yield* enter("backing-off", cause)
        wait ??= yield* newSchedule()
        const waited = Effect.as(wait(Cause.squash(cause)), "again" as const)
        const next = yield* Effect.raceFirst(
          Pull.catchDone(waited, () => Effect.succeed("exhausted" as const)),
          Effect.as(leave.await, "leave" as const)
        )
        yield* enter(phase)
        if (next === "leave") return false
        if (next === "again") continue
      }
      if (options.onFailure !== "park") return yield* Effect.fail(new Halted(cause, event.position))
      yield* Effect.catchIf(
        commit(park(event, cause, attempt)),
        (error): error is Failed => error instanceof Failed,
        ({ cause }) => Effect.die(Cause.squash(cause))
      )
      return true
    }
  })

  // ---------------------------------------------------------------------------
  // while the lease lasts
  // ---------------------------------------------------------------------------

  const follow = Effect.fnUntraced(function* (lease: Lease, onProgress: () => void): Effect.fn.Return<never, Outage | Halted> {
    let current = lease
    /** The events beyond the checkpoint that have come to their end. */
    const done = new Set<number>()
    /** Up to where the log has been read, and all of it dealt with. */
    let passed = lease.position
    phase = "catching-up"
    owning = true
    ending = false
    if (running.isOpen()) leave.closeUnsafe()

    const moved = (next: Lease) =>
      Effect.suspend(() => {
        current = next
        return update({ position: next.position })
      })

    const advance = (position: number) => Effect.uninterruptible(Effect.flatMap(checkpoints.advance(current, position), moved))

    /** Looks how far the log is, and passes over what the filter drops. */
    const look = Effect.gen(function* () {
      const from = Math.max(current.position, passed)
      const { clear, head } = yield* progress.lookAhead(store, { after: from, filter })
      if (head < current.position) {
        const ahead = new CheckpointAheadError({ name: subscriptionCheckpoint(name), position: current.position, head })
        return yield* Effect.fail(new Halted(Cause.fail(ahead)))
      }
      if (clear > current.position) yield* advance(clear)
      const lag = Math.max(0, head - current.position)
      yield* Metric.update(lagHere, lag)
      yield* update({ lag })
      if (lag > 0 || phase === "live") return
      phase = "live"
      if (SubscriptionRef.getUnsafe(statusRef).state === "catching-up") yield* enter("live")
    })

    const separately = (batch: ReadonlyArray<RecordedEvent>): Effect.Effect<void, Outage | Halted> =>
      Effect.suspend(() => {
        let halted: Halted | undefined
        const one = (event: RecordedEvent) =>
          Effect.suspend(() => {
            if (leave.isOpen() || halted !== undefined || done.has(event.position)) return Effect.void
            return settle(event, (work) => work).pipe(
              Effect.map((settled) => void (settled && done.add(event.position))),
              // The events that are in hand with it come to their end.
              Effect.catchIf(
                (error): error is Halted => error instanceof Halted,
                (error) => Effect.sync(() => void (halted ??= error))
              )
            )
          })
        const streams = concurrency === 1 ? [batch] : Array.from(Map.groupBy(batch, ({ stream }) => stream).values())
        return Effect.forEach(streams, (events) => Effect.forEach(events, one, { discard: true }), {
          concurrency,
          discard: true
        }).pipe(Effect.andThen(Effect.suspend(() => (halted === undefined ? Effect.void : Effect.fail(halted)))))
      })

    const transactionally = Effect.fnUntraced(function* (
      batch: ReadonlyArray<RecordedEvent>,
      sql: SqlClient.SqlClient
    ): Effect.fn.Return<void, Outage | Halted> {
      /** Runs work that ends with the given events, and commits it with the checkpoint. */
      const commit = <E>(work: Effect.Effect<ReadonlyArray<RecordedEvent>, E>): Effect.Effect<number, E | Outage | Failed> =>
        Effect.uninterruptibleMask((restore) =>
          Effect.gen(function* () {
            const moving = Effect.fnUntraced(function* (events: ReadonlyArray<RecordedEvent>) {
              const last = events.at(-1)
              return [events, last === undefined ? current : yield* checkpoints.advance(current, last.position)] as const
            })
            const [events, next] = yield* restore(committing(sql, work, moving, ttl))
            for (const { position } of events) done.add(position)
            yield* moved(next)
            return events.length
          })
        )
      if (batch.length > 1) {
        const all = Effect.gen(function* () {
          const handled: Array<RecordedEvent> = []
          if (together !== undefined && !leave.isOpen()) {
            yield* handling(together(batch))
            return batch
          }
          for (const event of batch) {
            if (leave.isOpen()) break
            yield* handle(event, 1)
            handled.push(event)
          }
          return handled
        })
        const count = yield* Effect.catchIf(
          commit(all),
          (error): error is Failed => error instanceof Failed,
          () => Effect.undefined
        )
        if (count !== undefined) return yield* Metric.update(handledHere, count)
      }
      for (const event of batch) {
        if (leave.isOpen()) return
        if (!(yield* settle(event, (work) => Effect.asVoid(commit(Effect.as(work, [event])))))) return
      }
    })

    /** Deals with a batch and moves the checkpoint as far as all is done. How many events that was. */
    const dealWith = (batch: ReadonlyArray<RecordedEvent>) =>
      Effect.uninterruptibleMask((restore) =>
        Effect.gen(function* () {
          const work = client === undefined ? separately(batch) : transactionally(batch, client)
          const exit = yield* finishing(work, {
            restore,
            grace: beat(ttl),
            onInterrupt: () => {
              ending = true
              leave.openUnsafe()
            }
          })
          const pending = batch.findIndex(({ position }) => !done.has(position))
          const count = pending === -1 ? batch.length : pending
          const last = batch[count - 1]
          if (last !== undefined) {
            if (last.position > current.position) yield* advance(last.position)
            for (const { position } of batch.slice(0, count)) done.delete(position)
            onProgress()
          }
          yield* exit
          return count
        })
      ).pipe(
        Effect.withSpan(`process ${name}`, {
          kind: "consumer",
          attributes: {
            "messaging.system": "eventfold",
            "messaging.operation.name": "process",
            "messaging.operation.type": "process",
            "messaging.destination.subscription.name": name,
            ...(partition === undefined ? {} : { "messaging.destination.partition.id": String(partition.index) }),
            "messaging.batch.message_count": batch.length
          }
        })
      )

    const untilResumed = Effect.suspend(() =>
      running.isOpen()
        ? Effect.void
        : Effect.andThen(
            Effect.andThen(enter("paused"), running.await),
            Effect.suspend(() => enter(phase))
          )
    )

    const take = Effect.fnUntraced(function* (page: ReadonlyArray<RecordedEvent>) {
      const own =
        partition === undefined ? page : page.filter(({ stream }) => partitionOf(stream, partition.count) === partition.index)
      for (let start = 0; start < own.length;) {
        yield* untilResumed
        start += yield* hand.withPermit(dealWith(own.slice(start, start + batchSize)))
      }
      passed = Math.max(passed, page.at(-1)?.position ?? 0)
      // Of the events of others the checkpoint is told by the lookout: not all partitions shall write for each event.
      if (own.length > 0) yield* hand.withPermit(look)
    })

    yield* update({ position: lease.position })
    yield* enter(phase)
    yield* untilResumed
    yield* hand.withPermit(look)
    passed = Math.max(passed, current.position)
    const work =
      partition === undefined
        ? Stream.runForEachArray(store.subscribe({ after: passed, filter }), take)
        : Effect.forever(
            Effect.suspend(() => {
              const next = partition.tail.next(passed)
              if (next !== undefined) return Effect.flatMap(next, take)
              // Behind what is shared: this partition reads by itself, until it has come up with the others.
              const { begin } = partition.tail
              const behind = Stream.takeWhile(store.readAll({ after: passed, filter }), ({ position }) => position <= begin())
              const reached = begin()
              return Effect.map(Stream.runForEachArray(behind, take), () => void (passed = Math.max(passed, reached)))
            })
          )
    const lookout = Effect.forever(
      Effect.delay(
        Effect.suspend(() => (running.isOpen() ? hand.withPermit(look) : Effect.void)),
        beat(ttl)
      )
    )
    return yield* Effect.raceFirst(Effect.andThen(work, Effect.never), lookout)
  })

  // ---------------------------------------------------------------------------
  // from start to stop
  // ---------------------------------------------------------------------------

  const attempt = (progress: () => void): Effect.Effect<never, Outage | Halted> =>
    withLease(subscriptionCheckpoint(title), { owner, ttl, from }, (lease) =>
      Effect.ensuring(
        follow(lease, progress),
        Effect.sync(() => {
          owning = false
        })
      )
    ).pipe(
      Effect.provideService(Checkpoints, checkpoints),
      // The last step, so that nothing piles up while it stands by.
      Effect.catchTag("CheckpointHeldError", () => Effect.andThen(enter("standby"), Effect.delay(attempt(progress), beat(ttl))))
    )

  const begin = (progress: () => void) =>
    partition === undefined
      ? checkpoints.list.pipe(
          Effect.flatMap((all) => checkPartitions(name, undefined, all)),
          Effect.andThen(attempt(progress))
        )
      : attempt(progress)

  const main = restarting((progress) => Effect.andThen(enter("starting"), begin(progress)), {
    schedule: defaultRestart,
    onFailure: (cause) => {
      const failure = Option.getOrUndefined(Cause.findErrorOption(cause))
      if (!(failure instanceof Halted)) {
        return Effect.andThen(
          enter("backing-off", cause),
          Effect.logWarning(`eventfold: the subscription "${title}" failed and starts again`, cause)
        )
      }
      running.closeUnsafe()
      const where = failure.position === undefined ? "" : ` at position ${failure.position}`
      return Effect.logError(`eventfold: the subscription "${title}" halts${where}`, failure.cause).pipe(
        Effect.andThen(enter("halted", failure.cause)),
        Effect.andThen(running.await),
        Effect.as(true)
      )
    },
    onEnd: Effect.void
  }).pipe(Effect.annotateLogs(of))

  const replayOne = Effect.fnUntraced(function* (
    position: number
  ): Effect.fn.Return<void, NotParkedError | ReplayError | ParkedEventsError | EventStoreError> {
    const notParked = new NotParkedError({ subscription: name, position })
    if (parking === undefined) return yield* notParked
    const [parked] = yield* parking.list(name, { after: position - 1, limit: 1 })
    const [event] = yield* Stream.runCollect(store.readAll({ after: position - 1, limit: 1 }))
    if (parked?.position !== position || event?.position !== position) return yield* notParked
    const attempts = parked.attempts + 1
    const discard = Effect.flatMap(parking.discard(name, position), (was) => (was ? Effect.void : Effect.fail(notParked)))
    const work =
      client === undefined
        ? Effect.andThen(handle(event, attempts), parking.discard(name, position))
        : // Discarded first: of two replays at once, the second waits for the first and finds nothing.
          Effect.mapError(committing(client, Effect.andThen(discard, handle(event, attempts)), Effect.succeed), (error) =>
            error._tag === "SqlError" ? new ParkedEventsError({ operation: "replay", cause: error }) : error
          )
    yield* Effect.catchIf(
      work,
      (error): error is Failed => error instanceof Failed,
      ({ cause }) =>
        Effect.andThen(
          park(event, cause, attempts),
          Effect.fail(new ReplayError({ subscription: name, position, cause: Cause.squash(cause) }))
        )
    )
  })

  return {
    main,
    enter,
    status: statusRef,
    pause: Effect.suspend(() => {
      running.closeUnsafe()
      if (!owning) return Effect.void
      leave.openUnsafe()
      return hand.withPermit(Effect.suspend(() => (owning && !running.isOpen() ? enter("paused") : Effect.void)))
    }),
    resume: Effect.suspend(() => {
      if (!ending) leave.closeUnsafe()
      running.openUnsafe()
      return SubscriptionRef.getUnsafe(statusRef).state === "paused" ? enter(phase) : Effect.void
    }),
    replay: replayOne
  }
})

const run = Effect.fnUntraced(function* <R, P extends OnFailure, T extends boolean>(
  options: Options<P, T>,
  handling: Handling<R>
): Effect.fn.Return<void, never, Requirements<R, P, T> | Scope.Scope> {
  const store: EventStore["Service"] = yield* EventStore
  const from =
    options.from === "end"
      ? yield* Effect.retry(store.head, defaultRestart).pipe(Effect.orDie)
      : options.from === "start"
        ? 0
        : options.from
  const owner = yield* makeId
  const registry = yield* Registry
  if (options.partitions !== undefined) {
    const group = yield* makeGroup({ ...options, partitions: options.partitions }, handling, { from, owner })
    registry.set(options.name, group)
    return
  }
  const one = yield* make(options, handling, { from, owner })
  registry.set(options.name, one)
  yield* Effect.addFinalizer(() => one.enter("stopped"))
  yield* Effect.forkScoped(one.main)
})

/** The states that a partition of this process can be in, those that need attention first. */
const urgency: ReadonlyArray<State> = ["halted", "backing-off", "starting", "catching-up", "paused", "live", "stopped"]

/**
 * Decides, three times in the time of a lease, how many partitions this process may hold. Who else is there is read from the
 * checkpoints: the owners of the partitions, and one process that has none yet and waits in the seat. All of them, in the order of
 * their names, get the same number, the first ones one more if it does not come out even.
 */
const makeGroup = Effect.fnUntraced(function* <R, P extends OnFailure, T extends boolean>(
  options: Options<P, T> & { readonly partitions: number },
  handling: Handling<R>,
  { from, owner }: { readonly from: number | undefined; readonly owner: string }
): Effect.fn.Return<Controls, never, Requirements<R, P, T> | Scope.Scope> {
  const { name } = options
  const count = Math.max(1, Math.trunc(options.partitions))
  const ttl = leaseTime(options)
  const store: EventStore["Service"] = yield* EventStore
  const checkpoints: Checkpoints["Service"] = yield* Checkpoints
  const statusRef = yield* SubscriptionRef.make<Status>({ name, state: "starting", position: 0, lag: 0, cause: Option.none() })
  const parts: Array<One> = []
  /** Why no partition can be held. */
  let refused: Halted | undefined

  const summary = (): Status => {
    const partitions = parts.map(({ status }) => SubscriptionRef.getUnsafe(status))
    const held = partitions.filter(({ state }) => state !== "standby")
    const first = urgency.flatMap((state) => held.filter((status) => status.state === state))[0]
    return {
      name,
      state: refused === undefined ? (first?.state ?? "standby") : "halted",
      position: held.length === 0 ? 0 : Math.min(...held.map(({ position }) => position)),
      lag: Math.max(0, ...held.map(({ lag }) => lag)),
      cause: refused === undefined ? (first?.cause ?? Option.none()) : Option.some(refused.cause),
      partitions
    }
  }
  const onChange = SubscriptionRef.update(statusRef, summary)
  const tail = yield* makeTail((after) => store.subscribe({ after, filter: handling.filter }))
  for (let index = 0; index < count; index++) {
    parts.push(yield* make(options, handling, { from, owner, partition: { index, count, tail, onChange } }))
  }
  const every = (effect: (part: One) => Effect.Effect<void>) =>
    Effect.forEach(parts, effect, { concurrency: "unbounded", discard: true })

  yield* Effect.addFinalizer(() => every(({ enter }) => enter("stopped")))
  const running = yield* FiberMap.make<number>()

  /** When each checkpoint was first seen as it is. */
  const seen = new Map<string, { readonly expiresAt: number; readonly since: number }>()
  let seat: Lease | undefined

  const balance = Effect.gen(function* () {
    const all = yield* checkpoints.list
    yield* checkPartitions(name, count, all)
    const now = yield* Clock.currentTimeMillis
    /** Who holds a checkpoint. A lease that has not been renewed for its whole time is nobody's, whatever the clocks of others say. */
    const holder = (checkpoint: Checkpoint | undefined): string | undefined => {
      if (checkpoint === undefined) return undefined
      const expiresAt = DateTime.toEpochMillis(checkpoint.expiresAt)
      const before = seen.get(checkpoint.name)
      const since = before?.expiresAt === expiresAt ? before.since : now
      seen.set(checkpoint.name, { expiresAt, since })
      return now - since < Duration.toMillis(ttl) ? Option.getOrUndefined(checkpoint.owner) : undefined
    }
    const known = new Map(all.map((checkpoint) => [checkpoint.name, checkpoint]))
    const rows = parts.map(({ status }) => known.get(subscriptionCheckpoint(SubscriptionRef.getUnsafe(status).name)))
    const holders = rows.map(holder)
    const waiting = holder(known.get(seatCheckpoint(name, count)))
    const members = new Set(holders.filter((holder) => holder !== undefined))
    for (const one of [owner, waiting]) if (one !== undefined && members.size < count) members.add(one)
    const quota = quotaOf(owner, members, count)

    const standing = (index: number) => SubscriptionRef.getUnsafe((parts[index] as One).status).state === "standby"
    const indices = parts.map((_, index) => index)
    // Somebody else was faster.
    const lost = indices.filter((index) => FiberMap.hasUnsafe(running, index) && standing(index))
    const held = indices.filter((index) => FiberMap.hasUnsafe(running, index) && !standing(index))
    yield* Effect.forEach([...lost, ...held.slice(quota)], (index) => FiberMap.remove(running, index), {
      concurrency: "unbounded",
      discard: true
    })
    // Whether a lease has run out decides who keeps it, when it is claimed; here it is a guess by the clock of this process.
    const free = indices.filter((index) => {
      const row = rows[index]
      const expired = row !== undefined && DateTime.toEpochMillis(row.expiresAt) <= now
      return !FiberMap.hasUnsafe(running, index) && (holders[index] === undefined || expired || holders[index] === owner)
    })
    const wanted = free.slice(0, Math.max(0, quota - held.length))
    for (const index of wanted) {
      const { enter, main } = parts[index] as One
      yield* enter("starting")
      yield* FiberMap.run(running, index, Effect.ensuring(main, enter("standby")))
    }

    // One that holds no lease is not seen, even when what it has taken has halted.
    if (quota > 0 && !holders.includes(owner) && wanted.length === 0) {
      seat = yield* checkpoints
        .claim(seatCheckpoint(name, count), { owner, ttl })
        .pipe(Effect.catchTag("CheckpointHeldError", () => Effect.undefined))
    } else if (seat !== undefined && holders.includes(owner)) {
      yield* checkpoints.release(seat)
      seat = undefined
    }
  })

  const watch = Effect.suspend(() => balance).pipe(
    Effect.as(undefined),
    Effect.catchIf((error): error is Halted => error instanceof Halted, Effect.succeed),
    Effect.flatMap((halted) => {
      const before = refused
      refused = halted
      if (halted === undefined) return onChange
      const log =
        before === undefined ? Effect.logError(`eventfold: the subscription "${name}" halts`, halted.cause) : Effect.void
      return Effect.all([FiberMap.clear(running), log, onChange], { discard: true })
    }),
    Effect.catchCause((cause) => Effect.logWarning(`eventfold: the group of the subscription "${name}" cannot be seen`, cause))
  )
  yield* Effect.addFinalizer(() =>
    Effect.suspend(() => (seat === undefined ? Effect.void : Effect.ignore(checkpoints.release(seat))))
  )
  yield* watch.pipe(
    Effect.andThen(Effect.sleep(beat(ttl))),
    Effect.forever,
    Effect.annotateLogs({ subscription: name }),
    Effect.forkScoped
  )

  return {
    status: statusRef,
    pause: every(({ pause }) => pause),
    resume: every(({ resume }) => resume),
    replay: (parts[0] as One).replay
  }
})
