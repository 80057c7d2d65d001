import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Pull from "effect/Pull"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type * as Event from "../definitions/Event.ts"
import { CurrentMetadata } from "../definitions/metadata.ts"
import { defaultRestart, finishing, restarting } from "../internal/lifecycle.ts"
import type { Unlisted } from "../internal/unlisted.ts"
import { decodeBy } from "../transport/kit.ts"
import { type Delivery, type Message, Transport, TransportError, TransportUnavailable } from "../transport/Transport.ts"
import { DeadLetters, type DeadLettersError } from "./DeadLetters.ts"
import { Inbox, type InboxError } from "./Inbox.ts"

/**
 * What a consumer's handler is told beside the event.
 *
 * @category models
 * @since 0.1.0
 */
export interface Received {
  readonly group: string
  readonly message: Message
  /** How often the message has been tried, from 1: the deliveries that the broker has counted, and the tries made in this process. */
  readonly attempt: number
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
    received: Received
  ) => Effect.Effect<unknown, unknown, unknown>
}

/**
 * @category models
 * @since 0.1.0
 */
export interface ConsumeOptions<I extends boolean> {
  /** Members of one group, in any number of processes, share its messages; each group gets every message. */
  readonly group: string
  /**
   * How to wait before a message is tried again; its input is the failure. When it ends, the message becomes a dead letter.
   *
   * During waits of up to 5 seconds the message stays in hand, and later ones of its subject wait behind it. For a longer wait it
   * goes back to the broker, and is overtaken. Default: from 100 milliseconds on, doubling up to a minute.
   */
  readonly retry?: Schedule.Schedule<unknown, unknown> | undefined
  /** How often a message is tried before it becomes a dead letter. Default: 5. */
  readonly maxAttempts?: number | undefined
  /** The most messages in hand at once. Those of one subject are handled one after the other all the same. Default: 1. */
  readonly concurrency?: number | undefined
  /** How long the messages in hand have to be finished when the scope closes or the transport fails. Default: 10 seconds. */
  readonly grace?: Duration.Input | undefined
  /**
   * How to wait before subscribing again when the transport has failed; it begins anew once a message has been dealt with. When
   * it ends, so does the consumer. Default: from 100 milliseconds up to 10 seconds, without end.
   */
  readonly restart?: Schedule.Schedule<unknown, unknown> | undefined
  /**
   * Handles each message through the {@link Inbox}, so that what a handler writes by the `SqlClient` of `Inbox.layerSql` takes
   * effect exactly once. Default: `false`.
   */
  readonly inbox?: I | undefined
}

/**
 * What a consumer needs.
 *
 * @category models
 * @since 0.1.0
 */
export type ConsumerRequirements<R, I extends boolean> =
  | Transport
  | DeadLetters
  | Exclude<R, Scope.Scope>
  | (true extends I ? Inbox : never)

/** What the handlers of a consumer need. */
type HandlerServices<Events extends ReadonlyArray<Event.Any>, H extends Handlers<Events>> = Effect.Services<
  ReturnType<H[Events[number]["type"]]>
>

/**
 * No consumer of this process handles messages of this type for this group.
 *
 * @category errors
 * @since 0.1.0
 */
export class UnknownConsumerError extends Schema.TaggedError<UnknownConsumerError>("eventfold/Transport/UnknownConsumerError")(
  "UnknownConsumerError",
  { group: Schema.String, type: Schema.String }
) {
  override get message(): string {
    return `No consumer of this process handles "${this.type}" for the group "${this.group}"`
  }
}

/**
 * The group has no dead letter with this message id, or not any more.
 *
 * @category errors
 * @since 0.1.0
 */
export class NotDeadLetterError extends Schema.TaggedError<NotDeadLetterError>("eventfold/Transport/NotDeadLetterError")(
  "NotDeadLetterError",
  { group: Schema.String, id: Schema.String }
) {
  override get message(): string {
    return `The group "${this.group}" has no dead letter "${this.id}"`
  }
}

/**
 * The handler failed again. The message stays a dead letter, with the new cause.
 *
 * @category errors
 * @since 0.1.0
 */
export class ReplayError extends Schema.TaggedError<ReplayError>("eventfold/Transport/ReplayError")("ReplayError", {
  group: Schema.String,
  id: Schema.String,
  cause: Schema.Defect()
}) {
  override get message(): string {
    return `The group "${this.group}" failed again with "${this.id}": ${this.cause instanceof Error ? this.cause.message : String(this.cause)}`
  }
}

/**
 * Why a message could not be handled, and whether another try makes sense.
 *
 * @category models
 * @since 0.1.0
 */
export interface Failure {
  readonly cause: Cause.Cause<unknown>
  readonly again: boolean
}

/**
 * How the consumers of this process handle a message once, by group and type; of two, the one that was started last. A map of
 * their own may be provided to programs that share a process.
 *
 * @category references
 * @since 0.1.0
 */
export const Consumers: Context.Reference<
  Map<string, Map<string, (message: Message, attempt: number) => Effect.Effect<Option.Option<Failure>, InboxError>>>
> = Context.Reference("eventfold/Transport/Consumers", { defaultValue: () => new Map() })

/**
 * Tries a dead letter once more with the handler of a consumer of this process, and forgets it if that succeeds. Other groups
 * see nothing of it, and messages of the same subject that came after it have been handled meanwhile.
 *
 * Two replays of one dead letter at once may both run the handler, unless the consumer has an inbox.
 *
 * @category consuming
 * @since 0.1.0
 */
export const replay = Effect.fn("Transport.replay")(function* (
  group: string,
  id: string
): Effect.fn.Return<void, UnknownConsumerError | NotDeadLetterError | ReplayError | DeadLettersError | InboxError, DeadLetters> {
  const letters = yield* DeadLetters
  const found = yield* letters.get(group, id)
  if (Option.isNone(found)) return yield* new NotDeadLetterError({ group, id })
  const { message } = found.value
  const handle = (yield* Consumers).get(group)?.get(message.type)
  if (handle === undefined) return yield* new UnknownConsumerError({ group, type: message.type })
  const attempts = found.value.attempts + 1
  const failure = yield* handle(message, attempts)
  if (Option.isNone(failure)) return yield* Effect.asVoid(letters.discard(group, id))
  const { cause } = failure.value
  yield* letters.park({ group, message, cause: Cause.pretty(cause), attempts, parkedAt: yield* DateTime.now })
  return yield* new ReplayError({ group, id, cause: Cause.squash(cause) })
})

/**
 * Consumes messages: decodes them (upcasts first, then the Schema), handles and acknowledges them. Does not end by itself: it
 * subscribes again after any failure of the transport, and fails only when the `restart` schedule ends. Only the types of
 * `events` are subscribed to.
 *
 * **Delivery.** At least once; with `inbox` the effect is exactly once. A message is acknowledged after its handler has
 * succeeded, or after it has become a dead letter: at once when it cannot be decoded, otherwise when it has been tried
 * `maxAttempts` times or `retry` ends. What has been delivered more often than that (after crashes, or by members that left)
 * is still tried, once a delivery; from twice as many on it is parked unseen, for it may be what kills the process. Failures of
 * the inbox and of the dead letters are no failures of a message: it stays in hand, and is tried until they answer. But it is
 * one when the database of the inbox refuses to commit what its handler has done.
 *
 * **Order.** One member handles the messages of one subject one after the other, in the order in which the broker delivers
 * them, which for a first delivery is that of publishing. A message that is tried again holds up its subject while it waits in
 * hand, so nothing overtakes it, unless its wait is longer than 5 seconds. With several members in a group, and after a
 * failure of the transport, messages of one subject may be handled at once or out of order.
 *
 * **Ending.** Interrupted, it begins no further message, finishes those in hand within `grace`, acknowledges them, and gives the
 * others back to the broker.
 *
 * What a handler stages or executes on the bus bears the `correlationid` of the message (its id, if it has none), and its id as
 * causation id.
 *
 * @category consuming
 * @since 0.1.0
 */
export const consume = <
  const Events extends ReadonlyArray<Event.Any>,
  const H extends Handlers<Events>,
  const I extends boolean = false
>(
  events: Events,
  handlers: H & Unlisted<H, Events[number]["type"]>,
  options: ConsumeOptions<I>
): Effect.Effect<never, TransportError, ConsumerRequirements<HandlerServices<Events, H>, I>> =>
  // The types have said which inbox and which services there are; from here on they are looked up.
  run(events, handlers as Readonly<Record<string, Handler<HandlerServices<Events, H>>>>, options)

/**
 * {@link consume} as a Layer: as long as the Layer is open.
 *
 * ```ts
 * import { DateTime, Effect, Layer, Queue, Schema } from "effect"
 * import { DeadLetters, Event, Transport } from "eventfold"
 *
 * const Placed = Event.make("Placed", { total: Schema.Int })
 * const Cancelled = Event.make("Cancelled", {})
 *
 * const message: Transport.Message = {
 *   specversion: "1.0",
 *   id: "1",
 *   source: "/shop",
 *   type: "Placed",
 *   subject: "Order-1",
 *   time: DateTime.makeUnsafe("2030-01-01T00:00:00Z"),
 *   datacontenttype: "application/json",
 *   data: { total: 5 },
 *   schemaversion: 1,
 *   position: 1
 * }
 *
 * const program = Effect.gen(function* () {
 *   const mails = yield* Queue.unbounded<string>()
 *   const Mails = Transport.layerConsumer(
 *     [Placed, Cancelled],
 *     {
 *       Placed: ({ total }, { message }) => Queue.offer(mails, `${message.subject}: thank you for ${total}`),
 *       Cancelled: (_, { message }) => Queue.offer(mails, `${message.subject}: a pity`)
 *     },
 *     { group: "mails" }
 *   )
 *   yield* Layer.build(Mails)
 *   yield* Transport.publish([message])
 *   return yield* Queue.take(mails)
 * })
 *
 * const Live = Layer.mergeAll(Transport.layerMemory, DeadLetters.layerMemory)
 * await Effect.runPromise(Effect.scoped(Effect.provide(program, Live))) // => "Order-1: thank you for 5"
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layerConsumer = <
  const Events extends ReadonlyArray<Event.Any>,
  const H extends Handlers<Events>,
  const I extends boolean = false
>(
  events: Events,
  handlers: H & Unlisted<H, Events[number]["type"]>,
  options: ConsumeOptions<I>
): Layer.Layer<never, never, ConsumerRequirements<HandlerServices<Events, H>, I>> =>
  Layer.effectDiscard(Effect.forkScoped(consume<Events, H, I>(events, handlers, options)))

type Handler<R> = (event: unknown, received: Received) => Effect.Effect<unknown, unknown, R>

const consumed = Metric.counter("eventfold_consumer_handled_messages", {
  description: "Messages that a handler has dealt with, by group",
  incremental: true
})
const failures = Metric.counter("eventfold_consumer_failures", {
  description: "Tries that failed, by group",
  incremental: true
})
const deadLetters = Metric.counter("eventfold_consumer_dead_letters", {
  description: "Messages that have become dead letters, by group",
  incremental: true
})

const defaultRetry = Schedule.min([Schedule.exponential("100 millis"), Schedule.spaced("1 minute")])

/** For longer than this no message is held while it waits. */
const longestHold = Duration.seconds(5)

/** A handler has failed with a message. Not to be confused with what fails around it. */
class Failed implements Failure {
  readonly _tag = "Failed"
  readonly cause: Cause.Cause<unknown>
  readonly again: boolean
  constructor(cause: Cause.Cause<unknown>, again: boolean) {
    this.cause = cause
    this.again = again
  }
}

const run = Effect.fnUntraced(function* <R, I extends boolean>(
  events: ReadonlyArray<Event.Any>,
  handlers: Readonly<Record<string, Handler<R>>>,
  options: ConsumeOptions<I>
): Effect.fn.Return<never, TransportError, ConsumerRequirements<R, I>> {
  const { group } = options
  const maxAttempts = Math.max(1, options.maxAttempts ?? 5)
  const concurrency = Math.max(1, options.concurrency ?? 1)
  const grace = options.grace ?? "10 seconds"
  const transport: Transport["Service"] = yield* Transport
  const letters: DeadLetters["Service"] = yield* DeadLetters
  const context: Context.Context<Exclude<R, Scope.Scope>> = yield* Effect.context<Exclude<R, Scope.Scope>>()
  const inbox = options.inbox === true ? Option.getOrUndefined(yield* Effect.serviceOption(Inbox)) : undefined
  const of = { group }
  const definitions = new Map(events.map((event) => [event.type, event]))
  const types = Array.from(definitions.keys())
  const newStep = Schedule.toStep(options.retry ?? defaultRetry)

  /** Tries a message once. An error is no failure of the message. */
  const handle = (message: Message, attempt: number): Effect.Effect<Option.Option<Failure>, InboxError> =>
    Effect.suspend((): Effect.Effect<unknown, Failed | InboxError> => {
      const decoded = decodeBy(definitions, message)
      if (Result.isFailure(decoded)) return Effect.fail(new Failed(Cause.fail(decoded.failure), false))
      // The handler of this type: it takes what this definition decodes to.
      const handler = handlers[message.type] as Handler<R>
      const work = Effect.scoped(Effect.suspend(() => handler(decoded.success, { group, message, attempt }))).pipe(
        // The services that the consumer was started with, and the transaction, span and so on of the fiber that runs it.
        Effect.updateContext(
          (current: Context.Context<never>) => Context.merge(context, current) as Context.Context<Exclude<R, Scope.Scope>>
        ),
        Effect.provideService(CurrentMetadata, { correlationId: message.correlationid ?? message.id, causationId: message.id }),
        Effect.catchCause((cause) => Effect.fail(new Failed(cause, true)))
      )
      if (inbox === undefined) return work
      return Effect.mapError(inbox.once(group, message.id, work), (error) =>
        // What the handler has done cannot be committed.
        error instanceof Failed || error.isRetryable ? error : new Failed(Cause.fail(error), true)
      )
    }).pipe(
      Effect.as(Option.none<Failure>()),
      Effect.catchIf(
        (error): error is Failed => error instanceof Failed,
        (failed) => Effect.succeed(Option.some<Failure>(failed))
      ),
      Effect.withSpan(`process ${message.type}`, {
        kind: "consumer",
        attributes: {
          "messaging.system": "eventfold",
          "messaging.operation.name": "process",
          "messaging.operation.type": "process",
          "messaging.destination.name": message.type,
          "messaging.consumer.group.name": group,
          "messaging.message.id": message.id,
          "messaging.message.conversation_id": message.correlationid ?? message.id,
          "eventfold.message.stream": message.subject,
          "eventfold.message.attempt": attempt
        }
      })
    )

  /**
   * One subscription, until the transport fails or `leave` opens; then what is in hand has `grace` to come to its end. Whatever is
   * left is interrupted, and given back as the subscription closes.
   */
  const session = Effect.fnUntraced(function* (
    leave: Latch.Latch,
    progress: () => void
  ): Effect.fn.Return<void, TransportError, Scope.Scope> {
    // The subscription closes last: what is given back is in nobody's hands any more.
    const last = yield* Scope.fork(yield* Effect.scope)
    const pull = yield* Scope.provide(Stream.toPull(transport.subscribe({ group, types, concurrency })), last)
    const broken = yield* Deferred.make<never, TransportError>()
    const inHand = yield* FiberSet.make()
    /** The newest message in hand of each subject: the next one waits behind it. */
    const newest = new Map<string, Latch.Latch>()

    /** Goes on until inbox or dead letters answer: their failures are none of the message. `None` when the consumer leaves. */
    const outlasting = Effect.fnUntraced(function* <A>(
      effect: Effect.Effect<A, InboxError | DeadLettersError>
    ): Effect.fn.Return<Option.Option<A>> {
      const wait = yield* Schedule.toStepWithSleep(defaultRestart)
      while (true) {
        const result = yield* Effect.result(effect)
        if (Result.isSuccess(result)) return Option.some(result.success)
        yield* Effect.logWarning(`eventfold: the consumer "${group}" cannot go on without its storage`, result.failure)
        yield* Effect.raceFirst(Effect.exit(wait(undefined)), leave.await)
        if (leave.isOpen()) return Option.none()
      }
    })

    const park = Effect.fnUntraced(function* ({ ack, message }: Delivery, cause: Cause.Cause<unknown>, attempts: number) {
      const letter = { group, message, cause: Cause.pretty(cause), attempts, parkedAt: yield* DateTime.now }
      if (Option.isNone(yield* outlasting(letters.park(letter)))) return
      yield* Metric.update(Metric.withAttributes(deadLetters, of), 1)
      yield* Effect.logWarning(`eventfold: the message "${message.id}" is a dead letter of the group "${group}"`, cause)
      yield* ack
    })

    /** Brings a message to its end, or gives it back. */
    const settle = Effect.fnUntraced(function* (delivery: Delivery): Effect.fn.Return<void, TransportError> {
      const { attempt: delivered, message } = delivery
      if (delivered > 2 * maxAttempts) {
        return yield* park(delivery, Cause.die(new Error(`delivered ${delivered} times without coming to an end`)), delivered)
      }
      let step: Effect.Success<typeof newStep> | undefined
      let steps = 0
      for (let attempt = delivered; ; attempt++) {
        const tried = yield* outlasting(handle(message, attempt))
        if (Option.isNone(tried)) return
        if (Option.isNone(tried.value)) {
          yield* delivery.ack
          return yield* Metric.update(Metric.withAttributes(consumed, of), 1)
        }
        const { again, cause } = tried.value.value
        yield* Metric.update(Metric.withAttributes(failures, of), 1)
        if (!again || attempt >= maxAttempts) return yield* park(delivery, cause, attempt)
        // The schedule goes as far as it would have come if every try had been made here.
        step ??= yield* newStep
        let wait: Duration.Duration | undefined
        do {
          const next = step(yield* Clock.currentTimeMillis, Cause.squash(cause))
          wait = yield* Pull.catchDone(
            Effect.map(next, ([, duration]) => duration),
            () => Effect.undefined
          )
        } while (wait !== undefined && ++steps < attempt)
        if (wait === undefined) return yield* park(delivery, cause, attempt)
        if (Duration.isGreaterThan(wait, longestHold)) return yield* delivery.nack({ delay: wait })
        yield* Effect.raceFirst(Effect.sleep(wait), leave.await)
        if (leave.isOpen()) return yield* delivery.nack()
      }
    })

    /** Begins a message: at once, or when those of its subject that came before it have ended. */
    const begin = (delivery: Delivery) => {
      const { subject } = delivery.message
      const before = newest.get(subject)
      const end = Latch.makeUnsafe(false)
      newest.set(subject, end)
      return Effect.suspend(() => before?.await ?? Effect.void).pipe(
        Effect.andThen(
          Effect.suspend(() => (leave.isOpen() ? Effect.void : Effect.tap(settle(delivery), Effect.sync(progress))))
        ),
        Effect.catchCause((cause) => Deferred.failCause(broken, cause)),
        Effect.ensuring(
          Effect.sync(() => {
            end.openUnsafe()
            if (newest.get(subject) === end) newest.delete(subject)
          })
        )
      )
    }

    // A message is among those in hand before it begins. Receiving goes on to the end: a subscription whose pull is interrupted may close, and nothing could be acknowledged any more.
    yield* pull.pipe(
      Effect.flatMap((deliveries) =>
        Effect.forEach(deliveries, (delivery) => FiberSet.run(inHand, begin(delivery), { startImmediately: false }))
      ),
      Effect.forever({ disableYield: true }),
      Pull.catchDone(() =>
        Effect.fail(
          new TransportError({ reason: new TransportUnavailable({ operation: "subscribe", detail: "the subscription ended" }) })
        )
      ),
      Effect.catchCause((cause) => Deferred.failCause(broken, cause)),
      Effect.forkScoped
    )
    const ended = yield* Effect.exit(Effect.raceFirst(Deferred.await(broken), leave.await))
    leave.openUnsafe()
    yield* Effect.timeoutOption(FiberSet.awaitEmpty(inHand), grace)
    yield* ended
  })

  const attempt = (progress: () => void): Effect.Effect<never, TransportError> =>
    Effect.uninterruptibleMask((restore) =>
      Effect.gen(function* () {
        const leave = Latch.makeUnsafe(false)
        const work = Effect.scoped(session(leave, progress))
        yield* yield* finishing(work, { restore, grace, onInterrupt: () => leave.openUnsafe() })
      })
    ).pipe(Effect.andThen(Effect.never))

  const registry = yield* Consumers
  const own = registry.get(group) ?? new Map<string, typeof handle>()
  registry.set(group, own)
  for (const type of types) own.set(type, handle)
  const unregister = Effect.sync(() => {
    for (const type of types) if (own.get(type) === handle) own.delete(type)
  })

  return yield* restarting(attempt, {
    schedule: options.restart ?? defaultRestart,
    onFailure: (cause) => Effect.logWarning(`eventfold: the consumer "${group}" failed and starts again`, cause),
    onEnd: Effect.logError(`eventfold: the consumer "${group}" gives up`)
  }).pipe(Effect.annotateLogs(of), Effect.ensuring(unregister))
})
