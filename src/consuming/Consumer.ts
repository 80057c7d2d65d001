/**
 * Consumers: handlers of messages that others have published. They have no position in a log: the broker keeps account of what has been
 * acknowledged, and shares the messages of a group out among its members.
 *
 * What cannot be handled becomes a dead letter, and can be retried. How a message is tried, waits, is left and set aside is that of
 * subscriptions, and so are the states, and what observes and steers them.
 *
 * @since 0.2.0
 */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import * as SubscriptionRef from "effect/SubscriptionRef"
import type * as Event from "../definitions/Event.ts"
import { readersOf } from "../definitions/listing.ts"
import { changesOf, type Registry as RegistryOf, retrying, unlessInHandler } from "../following/engine.ts"
import type { Unlisted } from "../internal/unlisted.ts"
import { removeSeries } from "../internal/series.ts"
import { GroupInUseError, Transport, type TransportError } from "../transport/Transport.ts"
import { type Handler, makeConsumer } from "./consuming.ts"
import { DeadLetters, type DeadLettersError } from "./DeadLetters.ts"
import type { InboxError } from "./Inbox.ts"
import { consumers, findGroup, type Group, halt, type Member, release } from "./members.ts"
import {
  type Handlers,
  MessageRetryError,
  NotDeadLetterError,
  type Options,
  type Requirements,
  type Status,
  UnknownConsumerError,
  UnknownGroupError
} from "./model.ts"

export {
  type Failure,
  type Handlers,
  MessageRetryError,
  NotDeadLetterError,
  type Options,
  type Received,
  type Requirements,
  type Status,
  UnknownConsumerError,
  UnknownGroupError,
  UnreadableMessageError
} from "./model.ts"

/**
 * The consumers of this process, by group. By itself each instance of `Transport` has a registry of its own, so that programs in one
 * process see nothing of each other; one may be provided to what shares an instance and shall be as two processes.
 *
 * @category references
 * @since 0.1.0
 */
export const Registry: Context.Reference<RegistryOf<Group> | undefined> = consumers.Provided

/**
 * Refuses events that never leave the process in which they are made: nobody could consume them.
 *
 * @category models
 * @since 0.2.0
 */
export type Published<Events extends ReadonlyArray<Event.Any>> = {
  readonly [I in keyof Events]: Events[I] extends { readonly published: false }
    ? "an event to consume: Event.make(…, …, { published: true })"
    : unknown
}

/** What the handlers of a consumer need. */
type HandlerServices<Events extends ReadonlyArray<Event.Any>, H extends Handlers<Events>> = Effect.Services<
  ReturnType<H[Events[number]["type"]]>
>

/**
 * Consumes messages: decodes them (upcasts first, then the Schema), handles and acknowledges them. Does not end by itself: it
 * subscribes again after any failure of the transport, and fails only when the `restart` schedule ends. Only the types of
 * `events` are subscribed to.
 *
 * **Delivery.** At least once; with `inbox` the effect is exactly once. A message is acknowledged after its handler has
 * succeeded, or after it has become a dead letter: at once when it cannot be decoded, otherwise when it has been tried
 * `maxAttempts` times or `retry` ends. What has been delivered more often than that (after crashes, or by members that left)
 * is still tried, once a delivery; from twice as many on it is parked unseen, for it may be what kills the process. Failures of
 * the inbox and of the dead letters are no failures of a message, nor is it one when the handler fails because a database, a store
 * or a transport is away: it stays in hand, and is tried until they answer. But it is one when the database of the inbox refuses to
 * commit what its handler has done.
 *
 * **Messages.** Of any producer of CloudEvents: one without a `schemaversion` is of version 1, one without data has the payload
 * `{}`. What cannot be decoded, and what is no CloudEvent at all, becomes a dead letter with its cause, and the next one goes on.
 *
 * **Order.** One member handles the messages of one subject one after the other, in the order in which the broker delivers
 * them, which for a first delivery is that of publishing. A message that is tried again holds up its subject while it waits in
 * hand, so nothing overtakes it, unless its wait is longer than 5 seconds. With several members in a group, and after a
 * failure of the transport, messages of one subject may be handled at once or out of order. Messages without a subject have no
 * order among each other.
 *
 * **Ending.** Interrupted, it begins no further message, finishes those in hand within `grace`, acknowledges them, and gives the
 * others back to the broker.
 *
 * **Pausing.** Where `Checkpoints` is provided, what operators have said of the group holds: paused, it begins nothing, whenever it was
 * started. It is looked up before the first message, and every five seconds.
 *
 * What a handler stages or executes on the bus bears the `correlationid` of the message (its id, if it has none), and its id as
 * causation id.
 *
 * @category consuming
 * @since 0.1.0
 */
export const run = <
  const Events extends ReadonlyArray<Event.Any>,
  const H extends Handlers<Events>,
  const I extends boolean = false,
  const T extends boolean = false
>(
  events: Events & Published<Events>,
  handlers: H & Unlisted<H, Events[number]["type"]>,
  options: Options<I, T>
): Effect.Effect<never, TransportError, Requirements<HandlerServices<Events, H>, I, T>> =>
  Effect.flatMap(make<Events, H, I, T>(events, handlers, options), ({ main }) => main)

// The types have said which inbox and which services there are; from here on they are looked up.
const make = <Events extends ReadonlyArray<Event.Any>, H extends Handlers<Events>, I extends boolean, T extends boolean>(
  events: Events,
  handlers: H,
  options: Options<I, T>
) => {
  const readers = readersOf(`Consumer "${options.group}"`, events)
  return makeConsumer(readers, handlers as Readonly<Record<string, Handler<HandlerServices<Events, H>>>>, options)
}

/**
 * {@link run} as a Layer: as long as the Layer is open.
 *
 * ```ts
 * import { DateTime, Effect, Layer, Queue, Schema } from "effect"
 * import { Consumer, DeadLetters, Event, Transport } from "eventfold"
 *
 * const Placed = Event.make("Placed", { total: Schema.Int }, { published: true })
 * const Cancelled = Event.make("Cancelled", {}, { published: true })
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
 *   const Mails = Consumer.layer(
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
export const layer = <
  const Events extends ReadonlyArray<Event.Any>,
  const H extends Handlers<Events>,
  const I extends boolean = false,
  const T extends boolean = false
>(
  events: Events & Published<Events>,
  handlers: H & Unlisted<H, Events[number]["type"]>,
  options: Options<I, T>
): Layer.Layer<never, never, Requirements<HandlerServices<Events, H>, I, T>> => {
  const consumer = make<Events, H, I, T>(events, handlers, options)
  return Layer.effectContext(
    Effect.gen(function* () {
      const { main, registry } = yield* consumer
      yield* Effect.forkScoped(main)
      const seen: Context.Context<never> = registry === undefined ? Context.empty() : consumers.seenFrom(registry)
      return seen
    })
  )
}

/**
 * Tries a dead letter once more with the handler of a consumer of this process, and forgets it if that succeeds. Other groups
 * see nothing of it, and messages of the same subject that came after it have been handled meanwhile.
 *
 * Two retries of one dead letter at once may both run the handler, unless the consumer has an inbox. Inside of a handler that is being
 * retried it is refused with {@link MessageRetryError}: it would begin itself again and again.
 *
 * @category steering
 * @since 0.2.0
 */
export const retry = Effect.fn("Consumer.retry")(function* (
  group: string,
  id: string
): Effect.fn.Return<
  void,
  UnknownConsumerError | NotDeadLetterError | MessageRetryError | DeadLettersError | InboxError,
  DeadLetters
> {
  const letters = yield* DeadLetters
  const found = yield* letters.get(group, id)
  if (Option.isNone(found)) return yield* new NotDeadLetterError({ group, id })
  const { message } = found.value
  const members = Array.from((yield* findGroup(group))?.members ?? [])
  const member = members.findLast(({ types }) => types.has(message.type))
  if (member === undefined) return yield* new UnknownConsumerError({ group, type: message.type })
  const attempts = found.value.attempts + 1
  const failed = (cause: Cause.Cause<unknown>) => new MessageRetryError({ group, id, cause: Cause.squash(cause) })
  // That what the handler needs is away is not counted.
  const handled = Effect.catchTag(member.handle(message, attempts), "Unavailable", ({ cause }) => Effect.fail(failed(cause)))
  const failure = yield* retrying(group, handled, (cause) => Effect.fail(new MessageRetryError({ group, id, cause })))
  if (Option.isNone(failure)) return yield* Effect.asVoid(letters.discard(group, id))
  const { cause } = failure.value
  const letter = { group, message, cause: Cause.pretty(cause), attempts, parkedAt: yield* DateTime.now }
  // One that was discarded meanwhile stays discarded.
  yield* letters.park(letter, { ifParked: true })
  return yield* failed(cause)
})

const groupOf = (group: string): Effect.Effect<Group, UnknownGroupError> =>
  Effect.flatMap(findGroup(group), (found) =>
    found === undefined ? Effect.fail(new UnknownGroupError({ group })) : Effect.succeed(found)
  )

/** Does something about all consumers of a group. */
const every = (group: string, effect: (member: Member) => Effect.Effect<void>): Effect.Effect<void, UnknownGroupError> =>
  Effect.flatMap(groupOf(group), ({ members }) =>
    Effect.forEach(Array.from(members), effect, { concurrency: "unbounded", discard: true })
  )

/**
 * How the consumers of a group of this process are doing. They are found through the `Transport` of whoever asks, or in the context
 * that their Layer was provided to.
 *
 * @category observing
 * @since 0.2.0
 */
export const status = (group: string): Effect.Effect<Status, UnknownGroupError> =>
  Effect.flatMap(groupOf(group), ({ status }) => SubscriptionRef.get(status))

/**
 * How the consumers of a group of this process are doing, now and whenever it changes. Never ends.
 *
 * @category observing
 * @since 0.2.0
 */
export const changes = (group: string): Stream.Stream<Status, UnknownGroupError> =>
  Stream.unwrap(Effect.map(groupOf(group), changesOf))

/**
 * Forgets a group that nobody consumes for any more: see `Transport.forget`. It is refused also where this process has consumers of it that
 * are paused, or wait for the broker. Dead letters of the group stay, until they are discarded.
 *
 * @category steering
 * @since 0.2.0
 */
export const forget = Effect.fnUntraced(function* (
  group: string
): Effect.fn.Return<boolean, GroupInUseError | TransportError, Transport> {
  const members = (yield* findGroup(group))?.members.size ?? 0
  if (members > 0) return yield* new GroupInUseError({ group, detail: "consumers of this process belong to it" })
  const forgotten = yield* Transport.use((transport) => transport.forget(group))
  yield* consumers.forget(group, yield* Transport)
  yield* removeSeries("group", group)
  return forgotten
})

/**
 * Pauses the consumers of a group of this process: they begin no further message, finish those in hand within their grace, give the
 * others back, and leave the group's messages to its other members. Succeeds when that is done; inside of a handler, which may be the one
 * in hand, at once.
 *
 * All consumers of a group, in every process, are paused by the act `Pause` of `eventfold/operate`.
 *
 * @category steering
 * @since 0.2.0
 */
export const pause = (group: string): Effect.Effect<void, UnknownGroupError> =>
  every(group, (member) =>
    Effect.suspend(() => {
      halt(member)
      return unlessInHandler(member.idle.await)
    })
  )

/**
 * Lets the consumers of a group of this process subscribe again.
 *
 * @category steering
 * @since 0.2.0
 */
export const resume = (group: string): Effect.Effect<void, UnknownGroupError> =>
  every(group, (member) => Effect.sync(() => release(member)))
