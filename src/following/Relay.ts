/**
 * The relay: moves published events from the store to the transport.
 *
 * Events leave in position order, at least once, with their id as the broker's de-duplication id. The checkpoint is moved after
 * the broker has taken the events, and now and then over what stays inside, and is fenced, so a crash between commit and
 * publishing loses nothing, and of several processes that run one relay one works and the others stand by. The store is the truth:
 * a commit wakes the relay, and polling finds what a lost wake-up would have told.
 *
 * Whatever fails, the relay goes on by itself: it logs the cause, gives the lease back, waits as its schedule says and starts
 * again from the checkpoint. Only where the log ends before its checkpoint it halts, and logs a `CheckpointAheadError`. A message that
 * the broker refuses for good is logged as an error with its id. By default it holds up everything behind it until the broker takes
 * it; with `onRefused: "park"` it is put aside in `ParkedEvents`, to be replayed.
 *
 * @since 0.1.0
 */
import * as Arr from "effect/Array"
import * as Cause from "effect/Cause"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import type * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Semaphore from "effect/Semaphore"
import * as Stream from "effect/Stream"
import type { RecordedEvent } from "../definitions/stored.ts"
import { makeId } from "../internal/ids.ts"
import { defaultRestart, finishing, restarting } from "../internal/lifecycle.ts"
import {
  beat,
  CheckpointAheadError,
  type CheckpointError,
  type CheckpointFencedError,
  type CheckpointHeldError,
  Checkpoints,
  type Lease,
  withLease as withCheckpoint
} from "../store/Checkpoints.ts"
import { EventStore, type EventStoreError, type Query } from "../store/EventStore.ts"
import { ParkedEvents, type ParkedEventsError } from "../store/ParkedEvents.ts"
import { relayCheckpoint } from "./names.ts"
import { lookAhead } from "./progress.ts"
import { type Message, toMessage, Transport, type TransportError } from "../transport/Transport.ts"

/**
 * What becomes of an event that the broker refuses for good: `"halt"` tries it again and again, and publishes nothing behind it;
 * `"park"` puts it aside in `ParkedEvents`, under `relay:` and the name, and goes on, also with later events of the same stream.
 *
 * @category models
 * @since 0.1.0
 */
export type OnRefused = "halt" | "park"

/**
 * @category models
 * @since 0.1.0
 */
export interface Options<P extends OnRefused = "halt"> {
  /** The name of the relay's checkpoint. Two relays need two names. */
  readonly name: string
  /** The `source` of the messages: the service they come from, as a URI reference. Default: `"/"` and the name, encoded. */
  readonly source?: string | undefined
  /** Which of the published events. Default: all. */
  readonly filter?: Omit<Query, "published"> | undefined
  /** How long the relay of a process that died is left alone before another takes over. Default: 15 seconds. */
  readonly lease?: Duration.Input | undefined
  /**
   * How to wait before trying again when store, transport or checkpoints fail; it begins anew once something has been published.
   * When it ends, so does the relay, with the last failure. Default: from 100 milliseconds up to 10 seconds, without end.
   */
  readonly restart?: Schedule.Schedule<unknown, unknown> | undefined
  /** Default: `"halt"`, because an order without gaps is the promise that others build on. */
  readonly onRefused?: P | undefined
}

/**
 * All that can go wrong on the way from store to transport.
 *
 * @category errors
 * @since 0.1.0
 */
export type RelayError = EventStoreError | TransportError | CheckpointError | CheckpointFencedError | ParkedEventsError

/**
 * The event at this position is not parked by this relay, or not any more.
 *
 * @category errors
 * @since 0.1.0
 */
export class NotParkedError extends Schema.TaggedError<NotParkedError>("eventfold/Relay/NotParkedError")("NotParkedError", {
  relay: Schema.String,
  position: Schema.Number
}) {
  override get message(): string {
    return `The relay "${this.relay}" has no parked event at position ${this.position}`
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

const relayed = Metric.counter("eventfold_relay_published_messages", {
  description: "Messages handed to the transport, by relay",
  incremental: true
})
const lag = Metric.gauge("eventfold_relay_lag", {
  description: "How many positions the checkpoint was behind the newest event when that was last looked up, by relay"
})

const parkedMessages = Metric.counter("eventfold_relay_parked_events", {
  description: "Events that the broker has refused for good and that have been parked, by relay",
  incremental: true
})

const checkpointName = ({ name }: Pick<AnyOptions, "name">) => relayCheckpoint(name)

const filterOf = ({ filter }: AnyOptions): Query => ({ ...filter, published: true })

const sourceOf = ({ name, source }: Pick<AnyOptions, "name" | "source">) => source ?? `/${encodeURIComponent(name)}`

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
  Layer.effectDiscard(Effect.forkScoped(run(options)))

/**
 * The relay as an effect that does not end by itself: claims the checkpoint (standing by while somebody else holds it),
 * publishes, and starts over after any failure, defects included. Fails only when the `restart` schedule ends. Where the log ends
 * before the checkpoint it publishes nothing until it is run again.
 *
 * Interrupted, it finishes the batch in hand if the broker answers within a third of the lease, and gives the lease back. What
 * the broker may have taken without an answer is published again by the next one, with the same ids.
 *
 * @category running
 * @since 0.1.0
 */
export const run = <const P extends OnRefused = "halt">(options: Options<P>): Effect.Effect<never, RelayError, Requirements<P>> =>
  Effect.gen(function* () {
    const owner = yield* makeId
    const store = yield* EventStore
    return yield* restarting(
      (progress) => {
        const attempt: Effect.Effect<never, RelayError, Services> = withLease(options, owner, (lease) => {
          const events = store.subscribe({ after: lease.position, filter: filterOf(options) })
          return Effect.andThen(move(options, lease, events, progress), Effect.never)
        }).pipe(
          // A standby asks again when the lease may have run out.
          Effect.catchTag("CheckpointHeldError", () => Effect.delay(attempt, beat(leaseTime(options)))),
          Effect.catchTag("CheckpointAheadError", (error) =>
            Effect.andThen(Effect.logError(`eventfold: the relay "${options.name}" halts`, error), Effect.never)
          )
        )
        return attempt
      },
      {
        schedule: options.restart ?? defaultRestart,
        onFailure: (cause) => report(options, cause),
        onEnd: Effect.logError(`eventfold: the relay "${options.name}" gives up`)
      }
    )
  }).pipe(Effect.annotateLogs({ relay: options.name }))

/** Says why the relay starts again. */
const report = ({ name }: AnyOptions, cause: Cause.Cause<RelayError>): Effect.Effect<void> => {
  const error = Option.getOrUndefined(Cause.findErrorOption(cause))
  return error?._tag === "TransportError" && error.reason._tag === "MessageRefused"
    ? Effect.logError(
        `eventfold: the broker refuses the message "${error.reason.id}", and the relay "${name}" cannot pass it`,
        cause
      )
    : Effect.logWarning(`eventfold: the relay "${name}" failed and starts again`, cause)
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
): Effect.Effect<void, RelayError | CheckpointHeldError | CheckpointAheadError, Requirements<P>> =>
  Effect.gen(function* () {
    const owner = yield* makeId
    const store = yield* EventStore
    return yield* withLease(options, owner, (lease) =>
      move(options, lease, store.readAll({ after: lease.position, filter: filterOf(options) }), () => {})
    )
  })

/**
 * Publishes a parked event once more, and forgets it when the broker takes it. Others of its stream have been published meanwhile.
 *
 * @category running
 * @since 0.1.0
 */
export const replay = Effect.fn("Relay.replay")(function* (
  options: Pick<Options, "name" | "source">,
  position: number
): Effect.fn.Return<
  void,
  NotParkedError | EventStoreError | TransportError | ParkedEventsError,
  EventStore | Transport | ParkedEvents
> {
  const store = yield* EventStore
  const transport = yield* Transport
  const parking = yield* ParkedEvents
  const [parked] = yield* parking.list(checkpointName(options), { after: position - 1, limit: 1 })
  const [event] = yield* Stream.runCollect(store.readAll({ after: position - 1, limit: 1 }))
  if (parked?.position !== position || event?.position !== position) {
    return yield* new NotParkedError({ relay: options.name, position })
  }
  yield* transport.publish([toMessage(event, sourceOf(options))])
  yield* parking.discard(checkpointName(options), position)
})

const leaseTime = (options: AnyOptions) => Duration.fromInputUnsafe(options.lease ?? "15 seconds")

/** Holds the checkpoint while `work` runs. */
const withLease = <A>(
  options: AnyOptions,
  owner: string,
  work: (lease: Lease) => Effect.Effect<A, RelayError | CheckpointAheadError, Services>
): Effect.Effect<A, RelayError | CheckpointHeldError | CheckpointAheadError, Services> =>
  withCheckpoint(checkpointName(options), { owner, ttl: leaseTime(options) }, work)

/** Publishes a stream of events, page by page; after each page the checkpoint is moved. */
const move = Effect.fnUntraced(function* (
  options: AnyOptions,
  lease: Lease,
  events: Stream.Stream<RecordedEvent, EventStoreError>,
  onMoved: () => void
): Effect.fn.Return<void, RelayError | CheckpointAheadError, Services> {
  const checkpoints = yield* Checkpoints
  const transport = yield* Transport
  const store = yield* EventStore
  const head = yield* store.head
  if (head < lease.position) {
    return yield* new CheckpointAheadError({ name: checkpointName(options), position: lease.position, head })
  }
  const source = sourceOf(options)
  // The types demand it where it is asked for.
  const parking = options.onRefused === "park" ? Option.getOrUndefined(yield* Effect.serviceOption(ParkedEvents)) : undefined
  const published = Metric.withAttributes(relayed, { relay: options.name })
  const behind = Metric.withAttributes(lag, { relay: options.name })
  let current = lease
  /** Held while the checkpoint is about to move. */
  const turn = Semaphore.makeUnsafe(1)
  const advance = (position: number) =>
    Effect.uninterruptible(
      Effect.map(checkpoints.advance(current, position), (next) => {
        current = next
      })
    )

  /** Publishes what the broker takes, and parks what it refuses. How many it has taken. */
  const publish = (messages: Arr.NonEmptyReadonlyArray<Message>): Effect.Effect<number, TransportError | ParkedEventsError> =>
    Effect.as(transport.publish(messages), messages.length).pipe(
      Effect.catchTag("TransportError", (error) => {
        const { reason } = error
        const culprit = reason._tag === "MessageRefused" ? messages.find(({ id }) => id === reason.id) : undefined
        if (parking === undefined || culprit === undefined) return Effect.fail(error)
        const rest = messages.filter((message) => message !== culprit)
        return Effect.andThen(park(parking, culprit, error), Arr.isArrayNonEmpty(rest) ? publish(rest) : Effect.succeed(0))
      })
    )

  const park = Effect.fnUntraced(function* (
    parking: ParkedEvents["Service"],
    { position, subject, type }: Message,
    error: TransportError
  ) {
    yield* parking.park({
      subscription: checkpointName(options),
      position,
      stream: subject,
      type,
      cause: error.message,
      attempts: 1,
      parkedAt: yield* DateTime.now
    })
    yield* Metric.update(Metric.withAttributes(parkedMessages, { relay: options.name }), 1)
    yield* Effect.logError(`eventfold: the broker refuses the event at position ${position}, and the relay has parked it`, error)
  })

  const movePage = (messages: Arr.NonEmptyReadonlyArray<Message>, position: number) =>
    Effect.uninterruptibleMask((restore) =>
      Effect.gen(function* () {
        // The broker may still answer while the lease lasts; from its answer to the checkpoint nothing can come between.
        const taken = yield* yield* finishing(publish(messages), { restore, grace: beat(leaseTime(options)) })
        yield* advance(position)
        onMoved()
        yield* Metric.update(published, taken)
      })
    )

  const measure = Effect.flatMap(store.head, (head) => Metric.update(behind, Math.max(0, head - current.position))).pipe(
    Effect.ignore
  )

  /** Passes over what stays inside: otherwise it would look like a lag, and be read again after each start. */
  const passOver = Effect.suspend(() => lookAhead(store, { after: current.position, filter: filterOf(options) })).pipe(
    Effect.map(({ clear }) => (clear > current.position ? clear : undefined)),
    Effect.orElseSucceed(() => undefined),
    Effect.flatMap((head) => (head === undefined ? Effect.void : advance(head))),
    turn.withPermit,
    Effect.andThen(measure)
  )

  yield* measure
  const publishing = Stream.runForEachArray(events, (page) => {
    const messages = Arr.map(page, (event) => toMessage(event, source))
    return turn.withPermit(movePage(messages, Arr.lastNonEmpty(page).position)).pipe(
      Effect.withSpan(`publish ${options.name}`, {
        kind: "producer",
        attributes: {
          "messaging.system": "eventfold",
          "messaging.operation.name": "publish",
          "messaging.operation.type": "send",
          "messaging.batch.message_count": page.length,
          "eventfold.relay": options.name
        }
      }),
      // Nobody waits for a figure.
      Effect.andThen(Effect.forkChild(measure))
    )
  })
  yield* Effect.raceFirst(publishing, Effect.forever(Effect.delay(passOver, beat(leaseTime(options)))))
  yield* passOver
})
