/**
 * The transport over RabbitMQ (3.10 or newer), by AMQP 0-9-1 and `amqplib`: a topic exchange for all messages, a quorum queue for
 * each group.
 *
 * The guide `src/guides/rabbitmq.md` says how to set and watch the broker, what travels, and how exchanges and queues are called.
 *
 * @since 0.1.0
 */
import type { SocketOptions } from "amqplib"
import * as Arr from "effect/Array"
import * as Config from "effect/Config"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as RcRef from "effect/RcRef"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { wholeOrEndless } from "../internal/counting.ts"
import { passing, pausing } from "../internal/lasting.ts"
import { makeEpisodes } from "../internal/episodes.ts"
import { inBackground } from "../sql/reasons.ts"
import { inTime, type Secret, untilClosed } from "../transport/kit.ts"
import { type SubscribeOptions, Transport, type TransportError } from "../transport/Transport.ts"
import { openConnection } from "./connection.ts"
import { makeForget } from "./forgetting.ts"
import { makeFindings, makeWaiting } from "./looking.ts"
import { join } from "./member.ts"
import { makeNames } from "./names.ts"
import { makePublisher } from "./publishing.ts"
import { makeTopology } from "./topology.ts"

/**
 * Where the broker is, what is made there, and how long anybody waits.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /**
   * Where the broker is: `amqp://user:password@host:5672/vhost`, or `amqps:`. Of several, the nodes of a cluster, the first that
   * answers is taken; each has an even share of {@link Options.timeout} to do so. As text, or `Redacted`; no error shows the password.
   */
  readonly url: Secret | Arr.NonEmptyReadonlyArray<Secret>
  /** What the socket needs: `ca`, `cert`, `key`, … Default: nothing. */
  readonly socket?: SocketOptions | undefined
  /** The name of the exchange, up to 64 bytes; names of queues begin with it. Default: `"eventfold"`. */
  readonly exchange?: string | undefined
  /** Groups that keep messages as soon as the Layer is built, each with the types it will ask for. Default: none. */
  readonly groups?: ReadonlyArray<Pick<SubscribeOptions, "group" | "types">> | undefined
  /** Whether absent exchanges, queues and bindings are made. Default: true. */
  readonly declare?: boolean | undefined
  /**
   * How long to wait for the broker: to connect, to confirm the next message of a batch, to open a subscription. Default: 10
   * seconds.
   */
  readonly timeout?: Duration.Input | undefined
  /**
   * A broker that is silent for two of these is taken for lost; in whole seconds. Members look as often whether their queue is still
   * bound. The same in all processes. Default: 10 seconds.
   */
  readonly heartbeat?: Duration.Input | undefined
  /**
   * The most bytes of one message's data. A smaller limit of the broker is learned when a message is refused. Default: 128 MiB,
   * as in RabbitMQ 3.
   */
  readonly maxMessageBytes?: number | undefined
}

/**
 * The transport over RabbitMQ, until the scope closes. Connects, and makes what is absent; fails with `TransportUnavailable` if that
 * fails.
 *
 * @see {@link layer} for what it guarantees
 * @category constructors
 * @since 0.2.0
 */
export const make = Effect.fnUntraced(function* (
  options: Options
): Effect.fn.Return<Transport["Service"], TransportError, Scope.Scope> {
  const timeout = pausing("RabbitMqTransport: timeout", options.timeout ?? "10 seconds")
  const heartbeat = passing("RabbitMqTransport: heartbeat", options.heartbeat ?? "10 seconds")
  const urls = isMany(options.url) ? options.url : Arr.of(options.url)
  const address = { urls, socket: options.socket, timeout, heartbeat }
  const topology = makeTopology(makeNames(options.exchange ?? "eventfold"), {
    declares: options.declare ?? true,
    groups: options.groups ?? [],
    interval: heartbeat
  })
  const consuming = yield* RcRef.make({ acquire: openConnection(address), idleTimeToLive: Duration.infinity })
  const publisher = yield* makePublisher(
    address,
    topology,
    wholeOrEndless(1, "RabbitMqTransport: maxMessageBytes", options.maxMessageBytes ?? 128 * 1024 * 1024)
  )
  // What is wrong with the address, the rights or the topology shows as the Layer is built.
  const connect = inTime("connect", timeout)(publisher.connect)
  yield* Effect.scoped(connect)
  // Groups without a member have nobody else who looks after them.
  yield* Effect.scoped(Effect.flatMap(connect, topology.keep)).pipe(
    inBackground(makeEpisodes("the look after the groups"), "eventfold: RabbitMQ cannot be asked after the groups of messages"),
    Effect.repeat(Schedule.spaced(heartbeat)),
    Effect.delay(heartbeat),
    Effect.forkScoped
  )
  return yield* untilClosed({
    publish: publisher.publish,
    subscribe: (options) => Stream.unwrap(inTime("subscribe", timeout)(join(consuming, topology, publisher, options))),
    forget: (group) => inTime("forget", timeout)(makeForget(connect, topology)(group)),
    waiting: (group) => inTime("waiting", timeout)(makeWaiting(connect, topology)(group)),
    findings: inTime("look", timeout)(makeFindings(connect, topology))
  })
})

/**
 * The transport over RabbitMQ. Connects, and makes what is absent, when it is built; fails if that fails.
 *
 * **When to use**
 *
 * Where services share a RabbitMQ. How to set it so that no message gets lost is in the guide `src/guides/rabbitmq.md`.
 *
 * **Details**
 *
 * - *Groups.* Each has one durable quorum queue, bound to the exchange by the types that its members ask for. It begins at its first
 *   subscription, or when a Layer that names it in `groups` is built.
 * - *Publishing* is pipelined, persistent and confirmed: it succeeds when every queue that a message is routed to has it on the disks
 *   of a majority of its nodes. The messages of one call, and of calls one after the other, keep their order. A broker that confirms,
 *   however slowly, has all the time it needs; when it keeps silent for `timeout`, publishing fails, and whoever repeats the batch
 *   sends what the broker has not confirmed at its beginning.
 * - A message with more data than `maxMessageBytes`, or with an attribute that AMQP cannot carry, is `MessageRefused`, and nothing of
 *   its batch is published. When only the broker finds it too large, what came before it in the batch may be published; from then on
 *   its limit is known.
 * - *Delivery* is at least once. What a member has not settled when it leaves, or when its process or connection dies, goes back at
 *   once (of a host that vanishes: when two heartbeats have been missed). The queue counts the attempts, so those that ended with a
 *   crash count too.
 * - *Order*: a queue hands out its messages for the first time (`attempt` 1) in the order of publishing, whatever happens and however
 *   many members there are. What goes back comes again before what has not been delivered yet, in the order of going back. A group
 *   with one member of `concurrency` 1 therefore gets its messages in the order of publishing, also across `nack()` and when the
 *   member leaves and comes again.
 * - *Connections*: one to publish, and one to consume from the first subscription on, so that a broker that stops publishers for
 *   want of memory or disk does not stop acknowledgements. After a loss the next call connects anew. During an outage, and when the
 *   broker is frozen or blocks publishers for longer than `timeout`, everything fails with `TransportUnavailable`, subscriptions
 *   included: the relay and consumers start again by their schedules.
 * - *What vanishes* is made again, if it may be (`declare`). A member whose queue is deleted fails; members look every `heartbeat`
 *   whether their queue is bound. When the exchange has been deleted, publishing fails with `TransportUnavailable` until the members
 *   of all processes have had the time to bind their queues again, and goes on then.
 *
 * **Gotchas**
 *
 * - An exchange keeps nothing: a message of a type that no group asks for is gone, and that is a success.
 * - RabbitMQ does not de-duplicate: what is published twice is delivered twice, with the same id.
 * - AMQP does not confirm acknowledgements: when one is lost with its connection, the message comes again.
 * - Three things take a message out of its order: `nack({ delay })`; being published again, which makes a copy of it at the end; and
 *   the loss of the connection by which it was given to a member (a crash of the member or of the broker, too). Such a message goes
 *   back when the queue learns of the loss, and is overtaken by what is handed out until then. It bears an `attempt` of 2 or more,
 *   also if no handler ever saw it. The guide has the queue that keeps the order over this, too.
 * - A group without any member whose binding somebody deletes is noticed by Layers alone that name it in `groups`.
 *
 * **Example**
 *
 * ```ts no-run
 * import { Effect, Stream } from "effect"
 * import { Transport } from "eventfold"
 * import { RabbitMqTransport } from "eventfold/rabbitmq"
 *
 * const Live = RabbitMqTransport.layer({
 *   url: "amqp://shop:secret@rabbitmq.internal",
 *   groups: [{ group: "mail", types: ["OrderPlaced"] }] // keeps messages from now on, even if no member has come yet
 * })
 *
 * const program = Transport.subscribe({ group: "mail", types: ["OrderPlaced"] }).pipe(
 *   Stream.runForEach(({ ack, message }) => Effect.andThen(Effect.log(message.subject), ack)),
 *   Effect.provide(Live)
 * )
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: Options): Layer.Layer<Transport, TransportError> => Layer.effect(Transport, make(options))

const isMany = (url: Options["url"]): url is Arr.NonEmptyReadonlyArray<Secret> => Array.isArray(url)

/**
 * {@link layer} with options that come from the configuration: each of them, or all at once, is a `Config`.
 *
 * ```ts no-run
 * import { Config } from "effect"
 * import { RabbitMqTransport } from "eventfold/rabbitmq"
 *
 * const Live = RabbitMqTransport.layerConfig({ url: Config.Redacted("RABBITMQ_URL") })
 * ```
 *
 * @category layers
 * @since 0.2.0
 */
export const layerConfig = (options: Config.Wrap<Options>): Layer.Layer<Transport, TransportError | Config.ConfigError> =>
  Layer.unwrap(Effect.map(Config.unwrap(options), layer))
