/**
 * Subscriptions: handlers that follow the log, from history to live in one seamless sequence, and survive restarts.
 *
 * The store is the truth and a wake-up is only a hint. The checkpoint never passes an event that has neither been handled nor
 * parked. Delivery is at least once, in the order of positions (with `concurrency`, in the order of each stream); with
 * `transactional` what a handler writes through the `SqlClient` takes effect exactly once.
 *
 * Of all processes that run one name, one works; the others stand by. One takes over when the lease has run out, and within half a second of
 * the next event when it was given back. A superseded owner can commit nothing, however long it slept. Processes that run several names share them by
 * themselves: one that holds two more than another, which stands by, gives a lease back at the end of the work in hand, within twice its time. With `partitions` the processes share the work instead: see
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
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as SubscriptionRef from "effect/SubscriptionRef"
import type * as Context from "effect/Context"
import type * as Event from "../definitions/Event.ts"
import { defaultRestart } from "../internal/lifecycle.ts"
import { type CheckpointError, Checkpoints } from "../store/Checkpoints.ts"
import { EventStore, type EventStoreError, type Filter } from "../store/EventStore.ts"
import { type NotParkedError, ParkedEvents, type ParkedEventsError } from "../store/ParkedEvents.ts"
import { changesOf, type Registry as RegistryOf, stoppedBy } from "./followers.ts"
import { checkSubscription } from "./checking.ts"
import { checkPartitions, makeGroup } from "./group.ts"
import { type AnyOptions, type Handling, handlingOf } from "./handling.ts"
import {
  type EventRetryError,
  type Handlers,
  type OnFailure,
  type Options,
  type ParkedBehindError,
  type RawOptions,
  type Requirements,
  type Retried,
  type Status,
  type StillRunningError,
  type TypedOptions,
  UnknownSubscriptionError
} from "./model.ts"
import {
  type LogHandlers,
  type Logs,
  type LogsRequirements,
  overLogs,
  type RawLogsOptions,
  type TypedLogsOptions
} from "./logs.ts"
import { parseCheckpoint, subscriptionCheckpoint } from "./names.ts"
import * as progress from "./progress.ts"
import { findSubscription, followers, type LogFollower, register, type SubscriptionControls } from "./registry.ts"
import { type RemoveOptions, retire } from "./retiring.ts"
import { makeOwner } from "./spreading.ts"
import { subscribe } from "./subscribing.ts"

export {
  type Delivery,
  EventRetryError,
  type Handlers,
  HandlerTimeoutError,
  type OnFailure,
  type Options,
  ParkedBehindError,
  PartitionsChangedError,
  type RawOptions,
  type Requirements,
  type Retried,
  StillRunningError,
  type FailedEvent,
  type State,
  type Status,
  type TypedOptions,
  UnknownSubscriptionError
} from "./model.ts"
export { type LogDelivery, type LogHandlers, type Logs, type RawLogsOptions, type TypedLogsOptions } from "./logs.ts"
export { type RemoveOptions } from "./retiring.ts"
export { type NotParkedError } from "../store/ParkedEvents.ts"

/**
 * A follower of this process, as the {@link Registry} holds it.
 *
 * @category models
 * @since 0.1.0
 */
export type Controls = LogFollower

/**
 * Who follows the log in this process, by checkpoints. By itself each instance of `Checkpoints` has a registry of its own, so that
 * programs in one process see nothing of each other; one may be provided to what shares an instance and shall be as two processes.
 *
 * @category references
 * @since 0.1.0
 */
export const Registry: Context.Reference<RegistryOf<Controls> | undefined> = followers.Provided

const controls = (name: string): Effect.Effect<SubscriptionControls, UnknownSubscriptionError> =>
  Effect.flatMap(findSubscription(name), (found) =>
    found === undefined ? Effect.fail(new UnknownSubscriptionError({ subscription: name })) : Effect.succeed(found)
  )

/**
 * How a subscription of this process is doing.
 *
 * It is found through the `Checkpoints` of whoever asks, or in the context that its Layer was provided to.
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
  Stream.unwrap(Effect.map(controls(name), changesOf))

/**
 * How many positions each checkpoint is behind the newest event. Those of subscriptions are called `subscription:` and the name,
 * with partitions followed by `:<k>/<n>`; those of relays `relay:` and the name; those of the watches over the deadlines of process
 * managers `deadlines:` and the name. A watch stays before the oldest deadline that is set, so its lag is what it has not seen of the
 * log. What is behind no event is left out: the checkpoints of projection versions that run inline or have been dropped.
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
 * Pauses a subscription of this process; it keeps its lease. Succeeds when the event in hand is done; inside of a handler, which may be
 * the one in hand, at once. One that stands by stands by, and is paused when it takes over.
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
 * Tries a parked event once more with the handler of a subscription of this process, and forgets it if that succeeds. One that is
 * discarded meanwhile stays discarded. Events of the same stream that came after it have been handled meanwhile; not so with
 * `onFailure: "park-stream"`, which refuses with {@link ParkedBehindError} what comes behind another parked event of its stream.
 *
 * A handler may retry what is parked of its own subscription, unless it runs for a retry itself: that is an {@link EventRetryError}, for it
 * would begin itself again and again. So it is, with `"park-stream"`, in a handler while another retry is under way.
 *
 * @category steering
 * @since 0.2.0
 */
export const retry = (
  name: string,
  position: number
): Effect.Effect<
  void,
  UnknownSubscriptionError | NotParkedError | ParkedBehindError | EventRetryError | ParkedEventsError | EventStoreError
> => Effect.flatMap(controls(name), (subscription) => subscription.retry(position)).pipe(Effect.withSpan("Subscription.retry"))

/**
 * Tries everything that is parked once more with the handler of a subscription of this process, in order, and forgets what succeeds. Says
 * how much that was.
 *
 * With `onFailure: "park-stream"` a stream ends at its first event that fails again: what comes behind it stays parked, and is not tried.
 * What is discarded is passed by. An event that arrives while the last parked one of its stream is tried may be parked as well, for it
 * must not overtake: retry once more.
 *
 * Inside of a handler that is being retried it is refused, with a `ParkedEventsError`: see {@link retry}.
 *
 * **Gotchas**: with `"park-stream"` retries of one process take turns. Without `transactional`, two processes that retry one subscription at once may both
 * run a handler.
 *
 * ```ts
 * import { Effect, Layer, Schedule, Stream } from "effect"
 * import { Checkpoints, EventStore, ParkedEvents, Subscription } from "eventfold"
 *
 * const program = Effect.gen(function* () {
 *   let isDown = true
 *   const done: Array<number> = []
 *   yield* Layer.build(
 *     Subscription.layer({
 *       name: "mails",
 *       onFailure: "park-stream",
 *       retry: Schedule.recurs(0),
 *       handler: ({ version }) => (isDown ? Effect.fail("no mail server") : Effect.sync(() => done.push(version)))
 *     })
 *   )
 *   yield* EventStore.append("Order-1", [{ type: "Placed", payload: {} }, { type: "Shipped", payload: {} }])
 *   yield* Subscription.changes("mails").pipe(Stream.takeUntil(({ position }) => position === 2), Stream.runDrain)
 *   isDown = false
 *   return [yield* Subscription.retryParked("mails"), done]
 * })
 *
 * const Live = Layer.mergeAll(EventStore.layerMemory, Checkpoints.layerMemory, ParkedEvents.layerMemory)
 * await Effect.runPromise(Effect.scoped(Effect.provide(program, Live))) // => [{ handled: 2, failed: 0, behind: 0 }, [1, 2]]
 * ```
 *
 * @category steering
 * @since 0.2.0
 */
export const retryParked = (
  name: string,
  options?: {
    /** Only what is parked of this stream. Default: of all streams. */
    readonly stream?: string | undefined
  }
): Effect.Effect<Retried, UnknownSubscriptionError | ParkedEventsError | EventStoreError> =>
  Effect.flatMap(controls(name), (subscription) => subscription.retryParked(options?.stream))

/**
 * Tries a parked event once more.
 *
 * @category steering
 * @since 0.1.0
 * @deprecated since 0.2.0: write `Subscription.retry`. What is parked is retried; a replay is of history.
 */
export const replay: typeof retry = (name, position) => retry(name, position)

/**
 * Retires a subscription that nobody runs any more: its checkpoint (with `partitions`, those of all of them) is forgotten, and what it
 * has parked. So {@link lag} does not show it any more, and this process has no {@link status} and no metrics of it. Whether it was known.
 *
 * It is refused with {@link StillRunningError}, and nothing is changed, where a process holds its lease or this process runs it. A process
 * that only stands by is not seen: end all of them before. So a handler cannot remove what it works for. The name may be used again, with another number of partitions too, and begins
 * anew.
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Checkpoints, Subscription } from "eventfold"
 *
 * const program = Effect.gen(function* () {
 *   yield* Checkpoints.Checkpoints.use(({ reset }) => reset("subscription:mails", 42))
 *   return [yield* Subscription.remove("mails"), yield* Subscription.remove("mails")]
 * })
 *
 * await Effect.runPromise(Effect.provide(program, Checkpoints.layerMemory)) // => [true, false]
 * ```
 *
 * @category steering
 * @since 0.2.0
 */
export const remove = (
  name: string,
  options?: RemoveOptions
): Effect.Effect<boolean, StillRunningError | CheckpointError | ParkedEventsError, Checkpoints> => {
  const whole = subscriptionCheckpoint(name)
  const isOf = (checkpoint: string) => {
    const of = parseCheckpoint(checkpoint)
    return checkpoint === whole || ((of._tag === "Partition" || of._tag === "Seat") && of.name === name)
  }
  return retire({ here: [whole], isOf, parkedUnder: name }, options)
}

/**
 * A subscription, as long as the Layer is open. When its scope closes, the events in hand are finished if that takes no longer than a
 * third of the lease, the checkpoint is moved, and the lease is given back.
 *
 * Failures of the store and of the checkpoints are no failures of an event, also inside of its handler: the subscription backs off, and
 * goes on by itself. At
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
  layerOf(options, handlingOf(options))

/**
 * A subscription to several logs, as of {@link layer}: of several tenants, or of a log that was divided over databases. Each log is followed in its own
 * order, with a checkpoint of its own, `subscription:<name>@<log>`; there is no order between logs.
 *
 * The checkpoints all stand in the `Checkpoints` that the Layer is provided with, beside what the handlers write: with `transactional`, the rows of a view over all logs and
 * the checkpoint of the log that they come from commit together, in the database of the view, whichever databases the logs are in. So each event of each log takes
 * effect there exactly once.
 *
 * Each of the subscriptions is steered and seen by its own name, `<name>@<log>`. A log whose store is away backs off by itself, and the others go on. What a handler
 * finds as its `EventStore` is the log of the event.
 *
 * **Gotchas**: a position says nothing without its log. Ids of events are unique in a log, not over several: a view whose rows bear them has the log in its key.
 *
 * ```ts
 * import { Effect, Layer, Queue, Schema } from "effect"
 * import { Checkpoints, Event, EventStore, Subscription } from "eventfold"
 *
 * const Placed = Event.make("Placed", { total: Schema.Int })
 *
 * const program = Effect.gen(function* () {
 *   const totals = yield* Queue.unbounded<string>()
 *   const eu = yield* EventStore.makeMemory
 *   const us = yield* EventStore.makeMemory
 *   const World = Subscription.layerLogs(
 *     { eu: Layer.succeed(EventStore.EventStore, eu), us: Layer.succeed(EventStore.EventStore, us) },
 *     {
 *       name: "world",
 *       events: [Placed],
 *       handlers: { Placed: ({ total }, { log }) => Queue.offer(totals, `${log}: ${total}`) }
 *     }
 *   )
 *   yield* Layer.build(World)
 *   yield* eu.append("Order-1", [{ type: "Placed", payload: { total: 5 } }])
 *   yield* us.append("Order-1", [{ type: "Placed", payload: { total: 7 } }])
 *   return (yield* Queue.takeN(totals, 2)).toSorted()
 * })
 *
 * await Effect.runPromise(Effect.scoped(Effect.provide(program, Checkpoints.layerMemory))) // => ["eu: 5", "us: 7"]
 * ```
 *
 * @category layers
 * @since 0.2.0
 */
export const layerLogs: {
  <EL, RL, E, R, const P extends OnFailure = "halt", const T extends boolean = false>(
    logs: Logs<EL, RL>,
    options: RawLogsOptions<E, R, P, T>
  ): Layer.Layer<never, EL, LogsRequirements<R, P, T, RL>>
  <
    EL,
    RL,
    const Events extends ReadonlyArray<Event.Any>,
    const H extends LogHandlers<Events>,
    const P extends OnFailure = "halt",
    const T extends boolean = false
  >(
    logs: Logs<EL, RL>,
    options: TypedLogsOptions<Events, H, P, T>
  ): Layer.Layer<never, EL, LogsRequirements<Effect.Services<ReturnType<H[Events[number]["type"]]>>, P, T, RL>>
} = (logs: Logs<unknown, unknown>, options: { readonly name: string }) =>
  // What the signatures say of handlers holds of each of the logs.
  overLogs(logs, options, (one: never) => layer(one)) as Layer.Layer<never, never, never>

/** @internal */
export const layerOf = <R, P extends OnFailure, T extends boolean>(
  options: Options<P, T>,
  handling: Handling<R>
): Layer.Layer<never, never, Requirements<R, P, T>> => Layer.effectContext(run(options, handling))

/** What it is, for whoever gives its name to something else. */
const aboutOf = (name: string, filter: Filter | undefined) =>
  `the subscription "${name}" to ${filter === undefined ? "all events" : JSON.stringify(filter)}`

const kindOf = ({ runs }: Pick<Handling<never>, "runs">) =>
  runs === "projection" ? "Projection" : runs === "process" ? "ProcessManager" : "Subscription"

const run = Effect.fnUntraced(function* <R, P extends OnFailure, T extends boolean>(
  options: Options<P, T>,
  handling: Handling<R>
): Effect.fn.Return<Context.Context<never>, never, Requirements<R, P, T> | Scope.Scope> {
  const { name, partitions } = options
  checkSubscription({ kind: kindOf(handling), title: handling.title ?? name }, options)
  const store: EventStore["Service"] = yield* EventStore
  const checkpoints: Checkpoints["Service"] = yield* Checkpoints
  const from =
    options.from === "end"
      ? yield* Effect.retry(store.head, defaultRestart).pipe(Effect.orDie)
      : options.from === "start"
        ? 0
        : options.from
  const owner = yield* makeOwner(checkpoints)
  const parking = Option.getOrUndefined(yield* Effect.serviceOption(ParkedEvents))
  const known = (follower: Pick<SubscriptionControls, "status" | "pause" | "resume" | "retry" | "retryParked">) =>
    register(subscriptionCheckpoint(name), {
      ...follower,
      part: "subscription",
      runs: handling.runs ?? "subscription",
      title: handling.title ?? name,
      filter: handling.filter,
      onFailure: options.onFailure ?? "halt",
      parking,
      home: checkpoints,
      about: aboutOf(name, handling.filter),
      isStopped: stoppedBy(follower.status)
    })
  if (partitions !== undefined) {
    const group = yield* makeGroup({ ...options, partitions }, handling, { from, owner })
    const { ended, registry } = yield* known(group)
    yield* Effect.addFinalizer(() => ended)
    yield* group.start
    return followers.seenFrom(registry)
  }
  const check = Effect.flatMap(checkpoints.list, (all) => checkPartitions(name, undefined, all))
  const one = yield* subscribe(options, handling, { from, owner, check })
  const { ended, registry } = yield* known(one)
  yield* Effect.addFinalizer(() => Effect.andThen(one.show("stopped"), ended))
  yield* Effect.forkScoped(one.main)
  return followers.seenFrom(registry)
})
