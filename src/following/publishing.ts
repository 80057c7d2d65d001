/**
 * What a relay does with events: it hands them to the broker page by page, and parks what the broker refuses, if it may.
 */
import type { FailedEvent } from "./body.ts"
import * as Arr from "effect/Array"
import * as Cause from "effect/Cause"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import type * as Schedule from "effect/Schedule"
import { withoutEnvelopes } from "../definitions/personal.ts"
import type { RecordedEvent } from "../definitions/stored.ts"
import { defaultRestart } from "../internal/lifecycle.ts"
import { Masking } from "../internal/masking.ts"
import { type CheckpointError, type CheckpointFencedError, type Checkpoints } from "../store/Checkpoints.ts"
import { asStored, EventStore, type EventStoreError, type Query } from "../store/EventStore.ts"
import { ParkedEvents, type ParkedEventsError } from "../store/ParkedEvents.ts"
import { markedNames, messageOf } from "../transport/kit.ts"
import { type Marked, type Message, spanOf, Transport, type TransportError } from "../transport/Transport.ts"
import type { Name } from "./follower.ts"
import { relayCheckpoint } from "./names.ts"
import { readingOf } from "./reading.ts"
import { tellFailure } from "../sql/reasons.ts"
import { type Follower, makeFollower } from "./running.ts"

/**
 * What becomes of an event that the broker refuses for good: `"halt"` tries it again and again, and publishes nothing behind it;
 * `"park"` puts it aside in `ParkedEvents`, under `relay:` and the name, and goes on, also with later events of the same stream.
 *
 * @category models
 * @since 0.1.0
 */
export type OnRefused = "halt" | "park"

/**
 * Which events a relay publishes, under which name, and what happens when it cannot.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options<P extends OnRefused = "halt"> {
  /** The name of the relay's checkpoint. Two relays need two names. */
  readonly name: string
  /** The `source` of the messages: the service they come from, as a URI reference. Default: `"/"` and the name, encoded; of a tenant's store followed by `/tenants/` and the tenant. */
  readonly source?: string | undefined
  /**
   * Which metadata of events travels, as attributes of their messages: keys, or by each key the name of its attribute, where the key
   * is no such name. A name is 1 to 20 of the characters a to z and 0 to 9; any other is refused when the relay is made, by a
   * `RangeError`. Values are text; numbers and booleans travel as text, and an event with any other value is refused as one that is
   * too large. A consumer whose option `metadata` names them writes them into what it stages. Default: none.
   *
   * Correlation and causation ids travel by themselves, as does the trace context: that of the event's metadata
   * (`Transport.traceMetadata`), or of the relay's span.
   */
  readonly metadata?: Marked | undefined
  /** Which of the published events. Default: all. */
  readonly filter?: Omit<Query, "published"> | undefined
  /**
   * What becomes of it where events that it may have to publish, beyond its checkpoint, were removed, or moved to an archive that is not read
   * through: `"halt"`, or `"skip"` to publish what is left. See `Subscription.Options`. Default: `"halt"`.
   */
  readonly removed?: "halt" | "skip" | undefined
  /** How long the relay of a process that died is left alone before another takes over. Default: 15 seconds. */
  readonly lease?: Duration.Input | undefined
  /**
   * How to wait before trying again when store, transport or checkpoints fail; it begins anew once something has been published.
   * When it ends, so does the relay, with the last failure. Default: from 100 milliseconds up to 10 seconds, without end.
   */
  readonly restart?: Schedule.Schedule<unknown, unknown> | undefined
  /**
   * How personal data leave: `"sealed"`, as they are stored, for services that have the same `Keys` (`Personal.layerTransport` opens them);
   * `"open"`, as plain values, and `null` for what is forgotten, for others: what they make of it no erasure reaches but by `SubjectForgotten`;
   * `"omit"`: not at all. Default: `"sealed"`.
   */
  readonly personal?: "sealed" | "open" | "omit" | undefined
  /** What becomes of an event that the broker refuses for good. Default: `"halt"`, because an order without gaps is the promise that others build on. */
  readonly onRefused?: P | undefined
}

/**
 * All that can go wrong on the way from store to transport.
 *
 * @category errors
 * @since 0.1.0
 */
export type RelayError = EventStoreError | TransportError | CheckpointError | CheckpointFencedError | ParkedEventsError

type AnyOptions = Options<OnRefused>

const publishedMessages = Metric.counter("eventfold_relay_published_messages", {
  description: "Messages handed to the transport, by relay",
  incremental: true
})
const parkedMessages = Metric.counter("eventfold_relay_parked_events", {
  description: "Events that the broker has refused for good and that have been parked, by relay",
  incremental: true
})

const lagGauge = Metric.gauge("eventfold_relay_lag", {
  description: "How many positions the checkpoint was behind the newest event when that was last looked up, by relay"
})
const stateGauge = Metric.gauge("eventfold_relay_state", {
  description: "1 for the state that the relay is in, 0 for those that it has left, by relay and state"
})

/** What is measured of a relay, whoever runs it. */
export const metersOf = (name: string) => ({
  lag: Metric.withAttributes(lagGauge, { relay: name }),
  state: (state: Name) => Metric.withAttributes(stateGauge, { relay: name, state })
})

export const leaseTime = ({ lease }: AnyOptions) => Duration.fromInputUnsafe(lease ?? "15 seconds")

export const filterOf = ({ filter }: AnyOptions): Query => ({ ...filter, published: true })

const sourceOf = ({ name, source }: Pick<AnyOptions, "name" | "source">, tenant: string | undefined) =>
  source ?? `/${encodeURIComponent(name)}${tenant === undefined ? "" : `/tenants/${tenant}`}`

/** Which metadata travels; throws where something cannot. */
const markedOf = ({ metadata, name }: Pick<AnyOptions, "name" | "metadata">) => markedNames(`Relay "${name}"`, metadata)

/** Where a relay reads: what leaves sealed, or without personal data, need not be opened. */
export const logOf = ({ personal }: Pick<AnyOptions, "personal">): Effect.Effect<EventStore["Service"], never, EventStore> =>
  Effect.map(EventStore, (store) => (personal === "open" ? store : asStored(store)))

/** How events become the messages of a relay. Whose they are, the store says. */
export const leavingAs = (
  options: Pick<AnyOptions, "name" | "source" | "metadata" | "personal">
): Effect.Effect<(event: RecordedEvent) => Message, never, EventStore> =>
  EventStore.useSync(({ tenant }) => {
    const [source, marked, personal = "sealed"] = [sourceOf(options, tenant), markedOf(options), options.personal]
    if (personal === "sealed") return (event) => messageOf(event, source, marked, tenant)
    const values = personal === "open" ? "plain" : "omitted"
    return (event) => messageOf({ ...event, payload: withoutEnvelopes(event.payload, values) }, source, marked, tenant)
  })

/** Publishes the pages of a log. */
export type Publish = (page: ReadonlyArray<RecordedEvent>) => Effect.Effect<void, TransportError | ParkedEventsError>

/** What a broker says of a message it may quote: it is kept and told without what is personal in the page. */
const masked = <A>(
  work: Effect.Effect<A, TransportError>,
  page: ReadonlyArray<RecordedEvent>
): Effect.Effect<A, TransportError> =>
  Effect.catchCause(work, (cause) =>
    Effect.flatMap(Masking, (mask) =>
      // Masked errors are of the same class.
      Effect.failCause(
        mask(
          cause,
          page.map(({ payload }) => payload)
        ) as Cause.Cause<TransportError>
      )
    )
  )

/** Publishes what the broker takes, and parks what it refuses. */
export const makePublish = Effect.fnUntraced(function* (
  options: AnyOptions
): Effect.fn.Return<Publish, never, EventStore | Transport> {
  const { name } = options
  const transport = yield* Transport
  const leaving = yield* leavingAs(options)
  // The types demand it where it is asked for.
  const parking = options.onRefused === "park" ? Option.getOrUndefined(yield* Effect.serviceOption(ParkedEvents)) : undefined
  const published = Metric.withAttributes(publishedMessages, { relay: name })

  /** How many messages it has taken. */
  const publish = (
    messages: Arr.NonEmptyReadonlyArray<Message>,
    page: ReadonlyArray<RecordedEvent>
  ): Effect.Effect<number, TransportError | ParkedEventsError> =>
    Effect.as(masked(transport.publish(messages), page), messages.length).pipe(
      Effect.catchTag("TransportError", (error) => {
        const { reason } = error
        const culprit = reason._tag === "MessageRefused" ? messages.find(({ id }) => id === reason.id) : undefined
        if (parking === undefined || culprit === undefined) return Effect.fail(error)
        const rest = messages.filter((message) => message !== culprit)
        return Effect.andThen(
          park(parking, name, culprit, error),
          Arr.isArrayNonEmpty(rest) ? publish(rest, page) : Effect.succeed(0)
        )
      })
    )

  return (page) => {
    const messages = page.map(leaving)
    if (!Arr.isArrayNonEmpty(messages)) return Effect.void
    return Effect.flatMap(publish(messages, page), (taken) => Metric.update(published, taken)).pipe(
      Effect.withSpan(
        `publish ${name}`,
        {
          kind: "producer",
          // Of each event that says so, the span that staged it.
          links: messages.flatMap((message) => {
            const span = spanOf(message)
            return span === undefined ? [] : [{ span, attributes: {} }]
          }),
          attributes: {
            "messaging.system.name": "eventfold",
            "messaging.operation.name": "publish",
            "messaging.operation.type": "send",
            "messaging.batch.message_count": page.length,
            "eventfold.relay": name
          }
        },
        // It begins here, always.
        { captureStackTrace: false }
      )
    )
  }
})

const park = Effect.fnUntraced(function* (
  parking: ParkedEvents["Service"],
  name: string,
  { position, subject, type }: Message,
  error: TransportError
) {
  yield* parking.park({
    subscription: relayCheckpoint(name),
    position,
    stream: subject,
    type,
    cause: error.message,
    attempts: 1,
    parkedAt: yield* DateTime.now
  })
  yield* Metric.update(Metric.withAttributes(parkedMessages, { relay: name }), 1)
  const what = `eventfold: the broker refuses the event at position ${position}, and the relay has parked it`
  yield* tellFailure(Effect.logError, what, Cause.fail(error))
})

/** At which event a relay stands: the one that the broker refuses, or else the first that it has not taken. */
const makeStanding = () => {
  const known = new WeakMap<object, FailedEvent>()
  let last: FailedEvent | undefined
  return {
    failed: (page: ReadonlyArray<RecordedEvent>, error: RelayError) =>
      Effect.map(DateTime.now, (now) => {
        const refused = error._tag === "TransportError" && error.reason._tag === "MessageRefused" ? error.reason.id : undefined
        const event = page.find(({ id }) => id === refused) ?? page[0]
        if (event === undefined) return
        const { position, stream, type } = event
        const before = last?.position === position ? last : undefined
        last = { position, stream, type, attempts: (before?.attempts ?? 0) + 1, since: before?.since ?? now }
        known.set(error, last)
      }),
    at: (cause: Cause.Cause<unknown>): FailedEvent | undefined => {
      const error = Option.getOrUndefined(Cause.findErrorOption(cause))
      return typeof error === "object" && error !== null ? known.get(error) : undefined
    }
  }
}

/** A relay that is not running yet. */
export const makeRelay = Effect.fnUntraced(function* (
  options: AnyOptions,
  owner: string
): Effect.fn.Return<Follower<RelayError>, never, EventStore | Transport | Checkpoints> {
  const { name } = options
  const store = yield* logOf(options)
  const publish = yield* makePublish(options)
  const filter = filterOf(options)
  const standing = makeStanding()
  return yield* makeFollower<RecordedEvent, RelayError>({
    meters: metersOf(name),
    title: `relay "${name}"`,
    name,
    checkpoint: relayCheckpoint(name),
    attributes: { relay: name },
    settings: { batch: Number.POSITIVE_INFINITY, afterPages: "measure" },
    owner,
    ttl: leaseTime(options),
    restart: options.restart ?? defaultRestart,
    ...readingOf({ store, filter }),
    log: { store, filter, removed: options.removed },
    head: store.head,
    work: (page, context) =>
      Effect.andThen(
        Effect.tapError(publish(page), (error) => standing.failed(page, error)),
        Effect.forEach(page, ({ position }) => context.tell({ _tag: "Settled", position, as: "handled" }), { discard: true })
      ),
    failedAt: standing.at,
    complaint: (cause) => complaint(name, cause)
  })
})

/** What is said of a broker that refuses what stands before all else; nothing of what passes by itself. */
const complaint = (name: string, cause: Cause.Cause<unknown>): string | undefined => {
  // All that fails in a relay is one of these.
  const error = Option.getOrUndefined(Cause.findErrorOption(cause as Cause.Cause<RelayError>))
  return error?._tag === "TransportError" && error.reason._tag === "MessageRefused"
    ? `eventfold: the broker refuses the message "${error.reason.id}", and the relay "${name}" cannot pass it`
    : undefined
}
