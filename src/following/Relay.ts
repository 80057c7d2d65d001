/**
 * The relay: moves published events from the store to the transport.
 *
 * Events leave in position order, at least once, with their id as the broker's de-duplication id. The checkpoint is moved after
 * the broker has taken the events, and now and then over what stays inside, and is fenced, so a crash between commit and
 * publishing loses nothing, and of several processes that run one relay one works and the others stand by. The store is the truth:
 * a commit wakes the relay, and polling finds what a lost wake-up would have told.
 *
 * Whatever fails, the relay goes on by itself: it logs the cause, gives the lease back, waits as its schedule says and starts
 * again from the checkpoint. Only where the log ends before its checkpoint it halts until it is resumed, and logs a
 * `CheckpointAheadError`. A message that
 * the broker refuses for good is logged as an error with its id. By default it holds up everything behind it until the broker takes
 * it; with `onRefused: "park"` it is put aside in `ParkedEvents`, to be retried.
 *
 * @since 0.1.0
 */
import * as Arr from "effect/Array"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as SubscriptionRef from "effect/SubscriptionRef"
import { makeId } from "../internal/ids.ts"
import { finishing } from "../internal/lifecycle.ts"
import {
  beat,
  CheckpointAheadError,
  type CheckpointContradictedError,
  type CheckpointError,
  type CheckpointHeldError,
  Checkpoints,
  type Lease,
  withLease
} from "../store/Checkpoints.ts"
import { type EventStore, type EventStoreError } from "../store/EventStore.ts"
import { NotParkedError, ParkedEvents, type ParkedEventsError } from "../store/ParkedEvents.ts"
import { isTombstone, removedError } from "../store/tombstone.ts"
import { Transport, type TransportError } from "../transport/Transport.ts"
import { checkRelay } from "./checking.ts"
import { changesOf, type Registry, stoppedBy } from "./followers.ts"
import { relayCheckpoint } from "./names.ts"
import { compare, lookAhead, seeAt, seenOf } from "./progress.ts"
import {
  filterOf,
  leaseTime,
  leavingAs,
  logOf,
  makePublish,
  makeRelay,
  metersOf,
  type OnRefused,
  type Options,
  type RelayError
} from "./publishing.ts"
import type { StillRunningError } from "./model.ts"
import { findFollower, followers, type LogFollower, register } from "./registry.ts"
import { type RemoveOptions, retire } from "./retiring.ts"
import type { Status } from "./body.ts"
import type { Follower } from "./running.ts"
import { makeOwner } from "./spreading.ts"

export { type OnRefused, type Options, type RelayError } from "./publishing.ts"
export { type Status } from "./body.ts"
export { type NotParkedError } from "../store/ParkedEvents.ts"

/**
 * This process runs no relay of that name.
 *
 * @category errors
 * @since 0.2.0
 */
export class UnknownRelayError extends Schema.TaggedError<UnknownRelayError>("eventfold/Relay/UnknownRelayError")(
  "UnknownRelayError",
  { relay: Schema.String }
) {
  override get message(): string {
    return `This process runs no relay "${this.relay}"`
  }
}

/**
 * What a relay needs.
 *
 * @category models
 * @since 0.1.0
 */
export type Requirements<P extends OnRefused> = EventStore | Transport | Checkpoints | ("park" extends P ? ParkedEvents : never)

type Services = EventStore | Transport | Checkpoints
type AnyOptions = Options<OnRefused>

/**
 * The relay as a Layer: {@link run}, as long as the Layer is open. When its scope closes, the batch in hand is finished if the
 * broker answers within a third of the lease, and the lease is given back.
 *
 * ```ts
 * import { Effect, Layer, Stream } from "effect"
 * import { Checkpoints, EventStore, Relay, Transport } from "eventfold"
 *
 * const program = Effect.gen(function* () {
 *   yield* EventStore.append("Order-1", [
 *     { type: "OrderPlaced", payload: { total: 5 }, published: true },
 *     { type: "OrderChecked", payload: {} } // stays inside
 *   ])
 *   return yield* Transport.subscribe({ group: "mail" }).pipe(
 *     Stream.take(1),
 *     Stream.map(({ message }) => [message.type, message.subject, message.data]),
 *     Stream.runCollect
 *   )
 * })
 *
 * const Live = Relay.layer({ name: "shop" }).pipe(
 *   Layer.provideMerge(Layer.mergeAll(EventStore.layerMemory, Transport.layerMemory, Checkpoints.layerMemory))
 * )
 * await Effect.runPromise(Effect.provide(program, Live)) // => [["OrderPlaced", "Order-1", { total: 5 }]]
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = <const P extends OnRefused = "halt">(options: Options<P>): Layer.Layer<never, never, Requirements<P>> =>
  Layer.effectContext(
    Effect.gen(function* () {
      const { ended, registry, relay } = yield* start(options)
      yield* Effect.addFinalizer(() => ended)
      yield* Effect.forkScoped(relay.main)
      const seen: Context.Context<never> = followers.seenFrom(registry)
      return seen
    })
  )

/**
 * The relay as an effect that does not end by itself: claims the checkpoint (standing by while somebody else holds it),
 * publishes, and starts over after any failure, defects included. Fails only when the `restart` schedule ends. Where the log ends
 * before the checkpoint it publishes nothing until it is resumed or run again.
 *
 * Interrupted, it finishes the batch in hand if the broker answers within a third of the lease, and gives the lease back. What
 * the broker may have taken without an answer is published again by the next one, with the same ids.
 *
 * @category running
 * @since 0.1.0
 */
export const run = <const P extends OnRefused = "halt">(options: Options<P>): Effect.Effect<never, RelayError, Requirements<P>> =>
  Effect.flatMap(start(options), ({ ended, relay }) => Effect.ensuring(relay.main, ended))

/** Makes a relay known to its process. Gives what is to be run when it has ended. */
const start = Effect.fnUntraced(function* (
  options: AnyOptions
): Effect.fn.Return<
  { readonly relay: Follower<RelayError>; readonly registry: Registry<LogFollower>; readonly ended: Effect.Effect<void> },
  never,
  Services
> {
  const { name } = options
  checkRelay(options)
  const relay = yield* makeRelay(options, yield* Effect.flatMap(Checkpoints, makeOwner))
  const services = yield* Effect.context<EventStore | Transport>()
  const parking = Option.getOrUndefined(yield* Effect.serviceOption(ParkedEvents))
  const { ended, registry } = yield* register(relayCheckpoint(name), {
    ...relay,
    part: "relay",
    title: name,
    filter: filterOf(options),
    retry: (position) =>
      parking === undefined
        ? Effect.fail(new NotParkedError({ follower: relayCheckpoint(name), position }))
        : retry(options, position).pipe(Effect.provideService(ParkedEvents, parking), Effect.provideContext(services)),
    again: (from, to) => Stream.provideContext(publishAgain(options, from, to), services),
    home: yield* Checkpoints,
    about: `the relay "${name}" of ${JSON.stringify(filterOf(options))}`,
    isStopped: stoppedBy(relay.status)
  })
  // Also where it ends before it has begun.
  return { relay, registry, ended: Effect.andThen(relay.show("stopped"), ended) }
})

const controls = (name: string): Effect.Effect<LogFollower, UnknownRelayError> =>
  Effect.flatMap(findFollower(relayCheckpoint(name)), (found) =>
    found === undefined ? Effect.fail(new UnknownRelayError({ relay: name })) : Effect.succeed(found)
  )

/**
 * How a relay of this process is doing: as a subscription, see `Subscription.State`.
 *
 * @category observing
 * @since 0.2.0
 */
export const status = (name: string): Effect.Effect<Status, UnknownRelayError> =>
  Effect.flatMap(controls(name), (relay) => SubscriptionRef.get<Status>(relay.status))

/**
 * How a relay of this process is doing, now and whenever it changes. Never ends.
 *
 * @category observing
 * @since 0.2.0
 */
export const changes = (name: string): Stream.Stream<Status, UnknownRelayError> =>
  Stream.unwrap(Effect.map(controls(name), (relay) => changesOf<Status>(relay)))

/**
 * Pauses a relay of this process; it keeps its lease. Succeeds when the page in hand has been published. One that stands by stands
 * by, and is paused when it takes over.
 *
 * @category steering
 * @since 0.2.0
 */
export const pause = (name: string): Effect.Effect<void, UnknownRelayError> =>
  Effect.flatMap(controls(name), (relay) => relay.pause)

/**
 * Lets a relay of this process go on that is paused, or halted.
 *
 * @category steering
 * @since 0.2.0
 */
export const resume = (name: string): Effect.Effect<void, UnknownRelayError> =>
  Effect.flatMap(controls(name), (relay) => relay.resume)

/**
 * Retires a relay that nobody runs any more: its checkpoint is forgotten, what it has parked, and its status and metrics in this process. Whether it was known. Refused with
 * `Subscription.StillRunningError` as `Subscription.remove` is. The name may be used again: it publishes everything anew, with the same
 * ids.
 *
 * @category steering
 * @since 0.2.0
 */
export const remove = (
  name: string,
  options?: RemoveOptions
): Effect.Effect<boolean, StillRunningError | CheckpointError | ParkedEventsError, Checkpoints> => {
  const checkpoint = relayCheckpoint(name)
  return retire({ here: [checkpoint], isOf: (other) => other === checkpoint, parkedUnder: checkpoint }, options)
}

/**
 * Publishes what is waiting now, and ends: for a scheduled job, or before a program exits. Fails when somebody else holds the
 * checkpoint, and with the first thing that goes wrong.
 *
 * @category running
 * @since 0.1.0
 */
export const drain = <const P extends OnRefused = "halt">(
  options: Options<P>
): Effect.Effect<void, RelayError | CheckpointHeldError | CheckpointAheadError | CheckpointContradictedError, Requirements<P>> =>
  Effect.gen(function* () {
    checkRelay(options)
    const owner = yield* makeId
    return yield* withLease(relayCheckpoint(options.name), { owner, ttl: leaseTime(options) }, (lease) =>
      drainFrom(options, lease)
    )
  })

/** Publishes what lies beyond the checkpoint, page by page, and passes over what stays inside. */
const drainFrom = Effect.fnUntraced(function* (
  options: AnyOptions,
  lease: Lease
): Effect.fn.Return<void, RelayError | CheckpointAheadError | CheckpointContradictedError, Services> {
  const checkpoints = yield* Checkpoints
  const store = yield* logOf(options)
  const publish = yield* makePublish(options)
  const filter = filterOf(options)
  let current = lease
  const advance = (position: number, seen = current.seen) =>
    Effect.map(checkpoints.advance(current, position, seen), (next) => {
      current = next
    })
  yield* compare({ store, filter }, lease)
  /** Passes over what stays inside, up to the next event that is published. */
  const passOver = Effect.gen(function* () {
    while (true) {
      const { clear, head } = yield* lookAhead(store, { after: current.position, filter })
      if (clear <= current.position) return head
      const seen = yield* seeAt({ store }, clear)
      yield* Effect.uninterruptible(advance(clear, seen))
      if (clear >= head) return head
    }
  })
  const before = yield* passOver
  if (before < lease.position) {
    return yield* new CheckpointAheadError({ checkpoint: lease.name, position: lease.position, head: before })
  }
  yield* Stream.runForEachArray(store.readAll({ after: current.position, filter }), (page) =>
    Effect.uninterruptibleMask((restore) =>
      Effect.gen(function* () {
        // The broker may still answer while the lease lasts; from its answer to the checkpoint nothing can come between.
        yield* yield* finishing(publish(page), { restore, grace: beat(lease.ttl) })
        const last = page.at(-1)
        if (last !== undefined) yield* advance(last.position, seenOf(last))
      })
    )
  )
  const head = yield* passOver
  yield* Metric.update(metersOf(options.name).lag, Math.max(0, head - current.position))
})

/**
 * Publishes a parked event once more, and forgets it when the broker takes it. Others of its stream have been published meanwhile.
 *
 * @category running
 * @since 0.2.0
 */
export const retry = Effect.fn("Relay.retry")(function* (
  options: Pick<Options, "name" | "source" | "metadata" | "personal">,
  position: number
): Effect.fn.Return<
  void,
  NotParkedError | EventStoreError | TransportError | ParkedEventsError,
  EventStore | Transport | ParkedEvents
> {
  const store = yield* logOf(options)
  const transport = yield* Transport
  const parking = yield* ParkedEvents
  const follower = relayCheckpoint(options.name)
  const [parked] = yield* parking.list(follower, { after: position - 1, limit: 1 })
  const [event] = yield* Stream.runCollect(store.readAll({ after: position - 1, limit: 1 }))
  if (parked?.position !== position || event?.position !== position) return yield* new NotParkedError({ follower, position })
  if (isTombstone(event)) return yield* removedError("retry", event)
  yield* transport.publish([(yield* leavingAs(options))(event)])
  yield* parking.discard(follower, position)
})

/** Publishes the events of a relay from one position to another (both inclusive) once more; gives the positions that are done. */
const publishAgain = (
  options: Pick<AnyOptions, "name" | "source" | "metadata" | "filter" | "personal">,
  from: number,
  to: number
): Stream.Stream<number, EventStoreError | TransportError, EventStore | Transport> =>
  Stream.unwrap(
    Effect.gen(function* () {
      const store = yield* logOf(options)
      const transport = yield* Transport
      const leaving = yield* leavingAs(options)
      const filter = { ...options.filter, published: true }
      return Stream.unfold(from - 1, (after) =>
        Effect.gen(function* () {
          if (after >= to) return undefined
          const page = yield* store.readPage({ after, upTo: to, filter, size: 256 })
          const messages = page.events.map(leaving)
          if (Arr.isArrayNonEmpty(messages)) yield* transport.publish(messages)
          // Behind the head there is nothing.
          const done = page.position >= page.head ? to : page.position
          return [done, done] as const
        })
      )
    })
  )

/**
 * Publishes a parked event once more.
 *
 * @category running
 * @since 0.1.0
 * @deprecated since 0.2.0: write `Relay.retry`. What is parked is retried; a replay is of history.
 */
export const replay: typeof retry = (options, position) => retry(options, position)
