/**
 * The relay: moves published events from the store to the transport.
 *
 * Events leave in position order, at least once, with their id as the broker's de-duplication id. The checkpoint is moved after
 * the broker has taken the events and is fenced, so a crash between commit and publishing loses nothing, and of several
 * processes that run one relay one works and the others stand by. The store is the truth: a commit wakes the relay, and polling
 * finds what a lost wake-up would have told.
 *
 * @since 0.1.0
 */
import { isReadonlyArrayNonEmpty } from "effect/Array"
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import {
  type CheckpointError,
  type CheckpointFencedError,
  type CheckpointHeldError,
  Checkpoints,
  type Lease
} from "./Checkpoints.ts"
import { EventStore, type EventStoreError, type Query, type RecordedEvent } from "./EventStore.ts"
import { makeId } from "./internal/ids.ts"
import { toMessage, Transport, type TransportError } from "./Transport.ts"

/**
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** The name of the relay's checkpoint. Two relays need two names. */
  readonly name: string
  /** The `source` of the messages: the service they come from, as a URI reference. Default: `"/"` and the name. */
  readonly source?: string | undefined
  /** Which of the published events. Default: all. */
  readonly filter?: Omit<Query, "published"> | undefined
  /** How long the relay of a process that died is left alone before another takes over. Default: 15 seconds. */
  readonly lease?: Duration.Input | undefined
  /** How to wait before trying again when store, transport or checkpoints fail. Default: from 100 milliseconds up to 10 seconds. */
  readonly retry?: Schedule.Schedule<unknown, unknown> | undefined
}

/**
 * All that can go wrong on the way from store to transport.
 *
 * @category errors
 * @since 0.1.0
 */
export type RelayError = EventStoreError | TransportError | CheckpointError | CheckpointFencedError

type Services = EventStore | Transport | Checkpoints

const relayed = Metric.counter("eventfold_relayed_messages", {
  description: "Messages handed to the transport, by relay",
  incremental: true
})
const lag = Metric.gauge("eventfold_relay_lag", {
  description: "How many positions the relay was behind the newest event when it last published, by relay"
})

const defaultRetry = Schedule.min([Schedule.exponential("100 millis"), Schedule.spaced("10 seconds")])

const checkpointName = ({ name }: Options) => `relay:${name}`

/**
 * The relay as a Layer: runs as long as the Layer is open. When its scope closes it finishes the batch in hand.
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
export const layer = (options: Options): Layer.Layer<never, never, Services> =>
  Layer.effectDiscard(Effect.forkScoped(run(options)))

/**
 * The relay as an effect that never ends: claims the checkpoint (standing by while somebody else holds it), publishes, and
 * starts over after any failure.
 *
 * @category running
 * @since 0.1.0
 */
export const run = (options: Options): Effect.Effect<never, never, Services> =>
  Effect.gen(function* () {
    const owner = yield* makeId
    const store = yield* EventStore
    const failed = (cause: Cause.Cause<RelayError | CheckpointHeldError>) =>
      Effect.logWarning(`eventfold: the relay "${options.name}" was interrupted and starts again`, cause)
    return yield* withLease(options, owner, (lease) =>
      move(options, lease, store.subscribe({ after: lease.position, filter: { ...options.filter, published: true } }))
    ).pipe(
      Effect.tapCause((cause) =>
        Cause.hasInterruptsOnly(cause) ||
        Cause.findErrorOption(cause).pipe((error) => error._tag === "Some" && error.value._tag === "CheckpointHeldError")
          ? Effect.void
          : failed(cause)
      ),
      // A standby asks again when the lease may have run out; everything else waits as the schedule says.
      Effect.retry({
        schedule: Schedule.spaced(Duration.times(leaseTime(options), 1 / 3)),
        while: (error) => error._tag === "CheckpointHeldError"
      }),
      Effect.retry(options.retry ?? defaultRetry),
      Effect.orDie,
      Effect.forever
    )
  }).pipe(Effect.annotateLogs({ relay: options.name }))

/**
 * Publishes what is waiting now, and ends: for a scheduled job, or before a program exits. Fails when somebody else holds the
 * checkpoint, and with the first thing that goes wrong.
 *
 * @category running
 * @since 0.1.0
 */
export const drain = (options: Options): Effect.Effect<void, RelayError | CheckpointHeldError, Services> =>
  Effect.gen(function* () {
    const owner = yield* makeId
    const store = yield* EventStore
    return yield* withLease(options, owner, (lease) =>
      move(options, lease, store.readAll({ after: lease.position, filter: { ...options.filter, published: true } }))
    )
  })

const leaseTime = (options: Options) => Duration.fromInputUnsafe(options.lease ?? "15 seconds")

/** Holds the checkpoint while `work` runs. */
const withLease = <A>(
  options: Options,
  owner: string,
  work: (lease: Lease) => Effect.Effect<A, RelayError, Services>
): Effect.Effect<A, RelayError | CheckpointHeldError, Services> =>
  Effect.gen(function* () {
    const checkpoints = yield* Checkpoints
    const ttl = leaseTime(options)
    return yield* Effect.acquireUseRelease(
      checkpoints.claim(checkpointName(options), { owner, ttl }),
      (lease) => {
        const heartbeat = Effect.forever(Effect.andThen(Effect.sleep(Duration.times(ttl, 1 / 3)), checkpoints.renew(lease)))
        // Whoever finds first that the lease is lost ends the other.
        return Effect.raceFirst(work(lease), heartbeat)
      },
      (lease) => Effect.ignore(checkpoints.release(lease))
    )
  })

/** Publishes a stream of events, page by page; after each page the checkpoint is moved. A page in hand is finished. */
const move = Effect.fnUntraced(function* (
  options: Options,
  lease: Lease,
  events: Stream.Stream<RecordedEvent, EventStoreError>
): Effect.fn.Return<void, RelayError, Services> {
  const checkpoints = yield* Checkpoints
  const transport = yield* Transport
  const store = yield* EventStore
  const source = options.source ?? `/${options.name}`
  const published = Metric.withAttributes(relayed, { relay: options.name })
  const behind = Metric.withAttributes(lag, { relay: options.name })
  let current = lease
  yield* Stream.runForEachArray(events, (page) =>
    Effect.gen(function* () {
      const messages = page.map((event) => toMessage(event, source))
      if (!isReadonlyArrayNonEmpty(messages)) return
      const { position } = page[page.length - 1] as RecordedEvent
      yield* transport.publish(messages)
      current = yield* checkpoints.advance(current, position)
      yield* Metric.update(published, messages.length)
      yield* Metric.update(behind, (yield* store.head) - position)
    }).pipe(
      Effect.uninterruptible,
      Effect.withSpan(`publish ${options.name}`, {
        kind: "producer",
        attributes: {
          "messaging.system": "eventfold",
          "messaging.operation.type": "send",
          "messaging.batch.message_count": page.length
        }
      })
    )
  )
})
