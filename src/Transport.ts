/**
 * The transport: published messages out of the process, and in from others.
 *
 * A message is a **CloudEvents 1.0** JSON document, so any consumer in any language can read it. Delivery is at least once: a
 * message is delivered again, to any member of the group, until one acknowledges it. Its id is that of the event, so a consumer
 * can tell a repetition, and a broker that de-duplicates does so by it.
 *
 * @since 0.1.0
 */
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Context from "effect/Context"

import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Result from "effect/Result"
import * as Schema from "effect/Schema"

import * as Stream from "effect/Stream"
import * as Event from "./Event.ts"
import type { RecordedEvent } from "./EventStore.ts"
import { inject, isDelay, makeFaults } from "./internal/faults.ts"

// -----------------------------------------------------------------------------
// models
// -----------------------------------------------------------------------------

/**
 * A message: a CloudEvents 1.0 document in JSON format. The encoded side is what travels.
 *
 * The extension attributes are `schemaversion`, `correlationid`, `causationid` and `position` (a string when encoded, because
 * CloudEvents integers have 32 bits).
 *
 * @category models
 * @since 0.1.0
 */
export const Message = Schema.Struct({
  specversion: Schema.Literal("1.0"),
  /** The id of the event. */
  id: Schema.NonEmptyString,
  /** The service that the message comes from, as a URI reference. */
  source: Schema.NonEmptyString,
  /** The type of the event. */
  type: Schema.NonEmptyString,
  /** The stream of the event. */
  subject: Schema.NonEmptyString,
  time: Schema.DateTimeUtcFromString,
  datacontenttype: Schema.Literal("application/json"),
  data: Schema.Json,
  schemaversion: Schema.Int,
  correlationid: Schema.optionalKey(Schema.String),
  causationid: Schema.optionalKey(Schema.String),
  /** The position of the event in the store of its source. */
  position: Schema.FiniteFromString
})

/**
 * @category models
 * @since 0.1.0
 */
export type Message = typeof Message.Type

/**
 * A message as it was handed to one member of a group.
 *
 * @category models
 * @since 0.1.0
 */
export interface Delivery {
  readonly message: Message
  /** 1 for the first delivery within the group, 2 for the second, … */
  readonly attempt: number
  /** The message is done with: it is not delivered to this group again. */
  readonly ack: Effect.Effect<void, TransportError>
  /** The message is not done with: it is delivered again, at once or after `delay`. */
  readonly nack: (options?: { readonly delay?: Duration.Input | undefined }) => Effect.Effect<void, TransportError>
}

/**
 * @category models
 * @since 0.1.0
 */
export interface SubscribeOptions {
  /** Members of one group share its messages; each group gets every message. */
  readonly group: string
  /** Only messages of these types. Default: all. */
  readonly types?: ReadonlyArray<string> | undefined
  /** The most messages that this member may have unacknowledged at once. Default: 1, which keeps their order. */
  readonly concurrency?: number | undefined
}

// -----------------------------------------------------------------------------
// errors
// -----------------------------------------------------------------------------

/**
 * The broker could not be reached, or did not answer in time. Trying again may succeed.
 *
 * @category errors
 * @since 0.1.0
 */
export class TransportUnavailable extends Schema.TaggedError<TransportUnavailable>("eventfold/Transport/TransportUnavailable")(
  "TransportUnavailable",
  { operation: Schema.String, detail: Schema.String, cause: Schema.optional(Schema.Defect()) }
) {}

/**
 * The broker will never take this message, for example because it is too large.
 *
 * @category errors
 * @since 0.1.0
 */
export class MessageRefused extends Schema.TaggedError<MessageRefused>("eventfold/Transport/MessageRefused")("MessageRefused", {
  operation: Schema.String,
  /** The id of the message. */
  id: Schema.String,
  detail: Schema.String,
  cause: Schema.optional(Schema.Defect())
}) {}

/**
 * The transport failed; `reason` says how.
 *
 * @category errors
 * @since 0.1.0
 */
export class TransportError extends Schema.TaggedError<TransportError>("eventfold/Transport/TransportError")("TransportError", {
  reason: Schema.Union([TransportUnavailable, MessageRefused])
}) {
  override readonly cause: TransportUnavailable | MessageRefused = this.reason

  override get message(): string {
    return `${this.reason._tag} during ${this.reason.operation}: ${this.reason.detail}`
  }

  /** Whether doing the same again may succeed. */
  get isRetryable(): boolean {
    return this.reason._tag === "TransportUnavailable"
  }
}

// -----------------------------------------------------------------------------
// service
// -----------------------------------------------------------------------------

/**
 * The transport service.
 *
 * @category services
 * @since 0.1.0
 */
export class Transport extends Context.Service<
  Transport,
  {
    /**
     * Succeeds once the broker has all messages durably (as durable as the broker is). When it fails or is interrupted, the broker
     * may have some of them. It can be interrupted at any time, and fails when the broker does not answer in time.
     */
    readonly publish: (messages: NonEmptyReadonlyArray<Message>) => Effect.Effect<void, TransportError>
    /**
     * The messages for one member of a group. What the member has not acknowledged when the stream ends is delivered again.
     */
    readonly subscribe: (options: SubscribeOptions) => Stream.Stream<Delivery, TransportError>
  }
>()("eventfold/Transport") {}

/**
 * What has been published through {@link layerMemory}, for tests.
 *
 * @category services
 * @since 0.1.0
 */
export class Published extends Context.Service<Published, { readonly messages: Effect.Effect<ReadonlyArray<Message>> }>()(
  "eventfold/Transport/Published"
) {}

// -----------------------------------------------------------------------------
// accessors
// -----------------------------------------------------------------------------

/**
 * Publishes messages; succeeds once the broker has them durably.
 *
 * @category accessors
 * @since 0.1.0
 */
export const publish = (messages: NonEmptyReadonlyArray<Message>): Effect.Effect<void, TransportError, Transport> =>
  Transport.use((transport) => transport.publish(messages))

/**
 * The messages for one member of a group.
 *
 * @category accessors
 * @since 0.1.0
 */
export const subscribe = (options: SubscribeOptions): Stream.Stream<Delivery, TransportError, Transport> =>
  Stream.unwrap(Transport.useSync((transport) => transport.subscribe(options)))

/**
 * What has been published through {@link layerMemory} so far, in order.
 *
 * @category accessors
 * @since 0.1.0
 */
export const published: Effect.Effect<ReadonlyArray<Message>, never, Published> = Published.use(({ messages }) => messages)

/**
 * The message that a stored event leaves as. `source` names the service it comes from.
 *
 * @category encoding
 * @since 0.1.0
 */
export const toMessage = (event: RecordedEvent, source: string): Message => ({
  specversion: "1.0",
  id: event.id,
  source,
  type: event.type,
  subject: event.stream,
  time: event.recordedAt,
  datacontenttype: "application/json",
  data: event.payload,
  schemaversion: event.schemaVersion,
  ...(event.metadata.correlationId === undefined ? {} : { correlationid: event.metadata.correlationId }),
  ...(event.metadata.causationId === undefined ? {} : { causationid: event.metadata.causationId }),
  position: event.position
})

/**
 * Reads the typed event back from a message, through the definition of its type: upcasts first, then the Schema.
 *
 * The `version` in its errors is 0: a message does not say which place it has in its stream.
 *
 * @category encoding
 * @since 0.1.0
 */
export const decode = <const Events extends ReadonlyArray<Event.Any>>(
  events: Events,
  message: Message
): Result.Result<Events[number]["Type"], Event.EventDecodeError | Event.UnknownEventTypeError> =>
  Event.decodeAny(new Map(events.map((event) => [event.type, event])), {
    stream: message.subject,
    version: 0,
    position: message.position,
    type: message.type,
    schemaVersion: message.schemaversion,
    payload: message.data
  })

// -----------------------------------------------------------------------------
// layers
// -----------------------------------------------------------------------------

/** A message that waits in a group. */
interface Waiting {
  /** Its place in the order of publishing. */
  readonly index: number
  /** How often it has been delivered. */
  readonly attempts: number
}

interface Group {
  /** In the order of publishing. */
  readonly waiting: Array<Waiting>
  /** Members that would take a message, longest waiting first. */
  readonly idle: Set<() => void>
}

/**
 * A broker in memory, for tests and for programs of one process: consumer groups, acknowledgement, redelivery, de-duplication by
 * id. Everything published is kept until the Layer closes, and {@link published} reads it. A group begins at the first message.
 *
 * ```ts
 * import { DateTime, Effect, Stream } from "effect"
 * import { Transport } from "eventfold"
 *
 * const message: Transport.Message = {
 *   specversion: "1.0",
 *   id: "1",
 *   source: "/shop",
 *   type: "OrderPlaced",
 *   subject: "Order-1",
 *   time: DateTime.makeUnsafe("2026-01-01T00:00:00Z"),
 *   datacontenttype: "application/json",
 *   data: { total: 5 },
 *   schemaversion: 1,
 *   position: 1
 * }
 *
 * const program = Effect.gen(function* () {
 *   yield* Transport.publish([message])
 *   const first = Transport.subscribe({ group: "mail" }).pipe(Stream.take(1))
 *   yield* Stream.runForEach(first, ({ nack }) => nack())
 *   return yield* Stream.runCollect(Stream.map(first, ({ attempt, message }) => [message.type, attempt]))
 * })
 *
 * await Effect.runPromise(Effect.provide(program, Transport.layerMemory)) // => [["OrderPlaced", 2]]
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layerMemory: Layer.Layer<Transport | Published> = Layer.effectContext(
  Effect.gen(function* () {
    const scope = yield* Effect.scope
    const messages: Array<Message> = []
    const ids = new Set<string>()
    const groups = new Map<string, Group>()

    const groupOf = (name: string): Group => {
      let group = groups.get(name)
      if (group === undefined) {
        group = { waiting: messages.map((_, index) => ({ index, attempts: 0 })), idle: new Set() }
        groups.set(name, group)
      }
      return group
    }

    const wake = (group: Group) => {
      for (const resume of group.idle) resume()
    }

    /** Puts a message back in its place. */
    const giveBack = (group: Group, { attempts, index }: Waiting) => {
      const place = group.waiting.findIndex((other) => other.index > index)
      group.waiting.splice(place === -1 ? group.waiting.length : place, 0, { index, attempts })
      wake(group)
    }

    const publish: Transport["Service"]["publish"] = (batch) =>
      Effect.sync(() => {
        for (const message of batch) {
          if (ids.has(message.id)) continue
          ids.add(message.id)
          const index = messages.push(message) - 1
          for (const group of groups.values()) group.waiting.push({ index, attempts: 0 })
        }
        for (const group of groups.values()) wake(group)
      })

    const subscribe: Transport["Service"]["subscribe"] = ({ concurrency = 1, group: name, types }) =>
      Stream.unwrap(
        Effect.gen(function* () {
          const group = groupOf(name)
          /** What this member has been given and has not settled. */
          const unsettled = new Set<Waiting>()
          let resume: (() => void) | undefined

          const take = (): Delivery | undefined => {
            if (unsettled.size >= concurrency) return undefined
            const place = group.waiting.findIndex(
              ({ index }) => types === undefined || types.includes((messages[index] as Message).type)
            )
            if (place === -1) return undefined
            const [waiting] = group.waiting.splice(place, 1) as [Waiting]
            const given = { index: waiting.index, attempts: waiting.attempts + 1 }
            unsettled.add(given)
            /** Settles it once; a second time, or after the stream has ended, does nothing. */
            const settle = (then: () => void) =>
              Effect.sync(() => {
                if (!unsettled.delete(given)) return
                then()
                resume?.()
              })
            return {
              message: messages[given.index] as Message,
              attempt: given.attempts,
              ack: settle(() => {}),
              nack: (options) =>
                options?.delay === undefined
                  ? settle(() => giveBack(group, given))
                  : Effect.suspend(() => {
                      if (!unsettled.delete(given)) return Effect.void
                      resume?.()
                      const later = Effect.andThen(
                        Effect.sleep(options.delay as Duration.Input),
                        Effect.sync(() => giveBack(group, given))
                      )
                      return Effect.asVoid(Effect.forkIn(later, scope))
                    })
            }
          }

          const next: Effect.Effect<Delivery> = Effect.callback((done) => {
            resume = () => {
              const delivery = take()
              if (delivery === undefined) return
              stop()
              done(Effect.succeed(delivery))
            }
            const stop = () => {
              group.idle.delete(resume as () => void)
              resume = undefined
            }
            group.idle.add(resume)
            resume()
            return Effect.sync(() => {
              if (resume !== undefined) stop()
            })
          })

          yield* Effect.addFinalizer(() =>
            Effect.sync(() => {
              for (const given of unsettled) giveBack(group, given)
              unsettled.clear()
            })
          )
          return Stream.fromEffectRepeat(next)
        })
      )

    return Context.make(Transport, { publish, subscribe }).pipe(
      Context.add(Published, { messages: Effect.sync(() => messages.slice()) })
    )
  })
)

/**
 * A transport that takes every message and forgets it, and never delivers one.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerSinkhole: Layer.Layer<Transport> = Layer.succeed(Transport, {
  publish: () => Effect.void,
  subscribe: () => Stream.never
})

/**
 * What {@link layerFaulty} does to one call, or to one delivery.
 *
 * - `"none"`: nothing;
 * - `"unavailable"`: the call is not made, and fails with `TransportUnavailable`; instead of a delivery the subscription fails;
 * - `"lost"`: the call is made and its answer is lost, so it fails with `TransportUnavailable`; a delivery gets lost on its way, and
 *   the message is delivered again;
 * - `"duplicate"`: the call is made twice; the message is delivered twice;
 * - `{ delay }`: all the same, that much later, by the `Clock`; after `Infinity` never;
 * - an error: the call is not made, and fails with it, as does the subscription instead of a delivery.
 *
 * @category models
 * @since 0.1.0
 */
export type Fault = "none" | "unavailable" | "lost" | "duplicate" | { readonly delay: Duration.Input } | TransportError

/**
 * A transport that fails as it is told, over any other: for tests of what a program does then.
 *
 * The n-th call gets the n-th fault of its list; when a list is through, calls go through unharmed. An `Iterable` may be endless
 * (`Faults.seeded` of `eventfold/testing` draws faults at random, reproducibly). Each build of the Layer begins anew.
 *
 * ```ts
 * import { DateTime, Effect, Layer, Stream } from "effect"
 * import { Transport } from "eventfold"
 *
 * const message: Transport.Message = {
 *   specversion: "1.0",
 *   id: "1",
 *   source: "/shop",
 *   type: "OrderPlaced",
 *   subject: "Order-1",
 *   time: DateTime.makeUnsafe("2026-01-01T00:00:00Z"),
 *   datacontenttype: "application/json",
 *   data: { total: 5 },
 *   schemaversion: 1,
 *   position: 1
 * }
 *
 * const Faulty = Transport.layerFaulty({ deliver: ["duplicate"] }).pipe(Layer.provide(Transport.layerMemory))
 *
 * const program = Effect.gen(function* () {
 *   yield* Transport.publish([message])
 *   const deliveries = Transport.subscribe({ group: "mail" }).pipe(Stream.take(2))
 *   return yield* Stream.runCollect(Stream.mapEffect(deliveries, ({ ack, attempt, message }) => Effect.as(ack, [message.id, attempt])))
 * })
 *
 * await Effect.runPromise(Effect.provide(program, Faulty)) // => [["1", 1], ["1", 2]]
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layerFaulty = (faults: {
  readonly publish?: Iterable<Fault> | undefined
  /** Of the deliveries, of all subscriptions together. */
  readonly deliver?: Iterable<Fault> | undefined
  /** Of `ack` and `nack`. */
  readonly settle?: Iterable<Fault> | undefined
}): Layer.Layer<Transport, never, Transport> =>
  Layer.effect(
    Transport,
    Transport.useSync((transport) => {
      const nextOfPublish = makeFaults(faults.publish)
      const nextOfDeliver = makeFaults(faults.deliver)
      const nextOfSettle = makeFaults(faults.settle)
      const unavailable = (operation: string) =>
        new TransportError({ reason: new TransportUnavailable({ operation, detail: "a fault was injected" }) })
      const calling = (next: Effect.Effect<Fault>, operation: string, call: Effect.Effect<void, TransportError>) =>
        Effect.flatMap(next, (fault) =>
          inject(fault, call, { unavailable: unavailable(operation), lost: unavailable(operation) })
        )
      const settling = (delivery: Delivery): Delivery => ({
        ...delivery,
        ack: calling(nextOfSettle, "ack", delivery.ack),
        nack: (options) => calling(nextOfSettle, "nack", delivery.nack(options))
      })
      const delivering = (delivery: Delivery): Stream.Stream<Delivery, TransportError> =>
        Stream.unwrap(
          Effect.map(nextOfDeliver, (fault): Stream.Stream<Delivery, TransportError> => {
            const given = settling(delivery)
            if (fault === "none") return Stream.succeed(given)
            if (fault === "duplicate") return Stream.make(given, { ...given, attempt: given.attempt + 1 })
            if (fault === "lost") return Stream.drain(Stream.fromEffect(delivery.nack()))
            if (isDelay(fault)) return Stream.fromEffect(Effect.as(Effect.sleep(fault.delay), given))
            return Stream.fail(fault === "unavailable" ? unavailable("subscribe") : fault)
          })
        )
      return {
        publish: (messages) => calling(nextOfPublish, "publish", transport.publish(messages)),
        subscribe: (options) => Stream.flatMap(transport.subscribe(options), delivering)
      }
    })
  )
