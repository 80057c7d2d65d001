/**
 * Published messages through NATS JetStream: a stream for all messages, a durable pull consumer for each group.
 *
 * The guide `src/guides/nats.md` says how to set and watch the server, and what travels.
 *
 * @since 0.1.0
 */
import type { StreamUpdateConfig } from "@nats-io/jetstream"
import * as Config from "effect/Config"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { lasting, pausing } from "../internal/lasting.ts"
import { makeMembers, untilClosed } from "../transport/kit.ts"
import { Transport, type TransportError } from "../transport/Transport.ts"
import { type ConnectionOptions, openConnection, type Watcher } from "./connection.ts"
import { token } from "./encoding.ts"
import { makeForget } from "./forgetting.ts"
import { makeFindings, makeWaiting } from "./looking.ts"
import { join } from "./member.ts"
import { makePublish } from "./publishing.ts"
import { makeTopology } from "./topology.ts"

export { type ConnectionOptions } from "./connection.ts"

/**
 * How the transport finds its server, and what it makes there.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /**
   * Servers, credentials and whatever else the client takes. Default: `127.0.0.1:4222`; and, other than the client's own defaults,
   * it connects again without end, four times a second, and finds out within half a minute that a server does not answer.
   */
  readonly connection?: ConnectionOptions | undefined
  /** The name of the stream. Default: `"eventfold"`. */
  readonly stream?: string | undefined
  /** What the subjects begin with; may have several tokens. Default: the name of the stream. */
  readonly subjectPrefix?: string | undefined
  /**
   * Whether the stream and the consumers are created when they are absent. What is there is not changed, apart from the filter of a
   * consumer. Default: `true`. With `false` they have to be there, the consumers with the names that {@link consumerName} gives.
   */
  readonly createTopology?: boolean | undefined
  /**
   * What the stream is created with, apart from its name and subjects: replicas, limits. Default: one replica in files, no limits,
   * so nothing is lost to a group that is away; with a limit in size, publishing fails when it is reached (`discard: "new"`).
   */
  readonly streamConfig?: Partial<Omit<StreamUpdateConfig, "subjects" | "duplicate_window">> | undefined
  /** How long the stream that is created remembers ids; its server does so in memory. Default: 10 minutes. */
  readonly duplicateWindow?: Duration.Input | undefined
  /** How long the server may take to answer. Default: 5 seconds. */
  readonly timeout?: Duration.Input | undefined
  /**
   * After how long the messages of a member that does not renew them go to others: at least a second. A consumer keeps what it was
   * created with. Default: 15 seconds.
   */
  readonly ackWait?: Duration.Input | undefined
}

/**
 * The name of the durable consumer of a group: encoded like the types in subjects.
 *
 * @category names
 * @since 0.1.0
 */
export const consumerName = (group: string): string => token(group)

/**
 * The transport over a NATS server with JetStream (2.9 or later), with a connection of its own until the scope closes. It fails
 * with `TransportUnavailable` when the server does not answer, or lacks a stream that it must not create.
 *
 * @see {@link layer} for what it guarantees
 * @category constructors
 * @since 0.2.0
 */
export const make = Effect.fnUntraced(function* (
  options: Options = {}
): Effect.fn.Return<Transport["Service"], TransportError, Scope.Scope> {
  const stream = options.stream ?? "eventfold"
  const connection = yield* openConnection(options.connection, pausing("NatsTransport: timeout", options.timeout ?? "5 seconds"))
  const topology = yield* makeTopology(connection, {
    stream,
    prefix: options.subjectPrefix ?? stream,
    create: options.createTopology ?? true,
    streamConfig: options.streamConfig,
    duplicateWindow: lasting("NatsTransport: duplicateWindow", options.duplicateWindow ?? "10 minutes"),
    ackWait: pausing("NatsTransport: ackWait", options.ackWait ?? "15 seconds")
  })
  yield* topology.openStream
  const members = yield* makeMembers<Watcher>()
  connection.tell(members.present)
  return yield* untilClosed({
    publish: makePublish(connection, topology),
    subscribe: (options) =>
      options.types?.length === 0 ? Stream.never : Stream.unwrap(join(connection, topology, members, options)),
    forget: makeForget(topology),
    waiting: makeWaiting(topology),
    findings: makeFindings(connection, topology)
  })
})

/**
 * {@link layer} with options.
 *
 * **Gotchas**: each call is another Layer, and is built for itself. Keep the result in a constant where it is provided more than once.
 *
 * @category layers
 * @since 0.2.0
 */
export const layerWith = (options: Options): Layer.Layer<Transport, TransportError> => Layer.effect(Transport, make(options))

/**
 * The transport over a NATS server with JetStream (2.9 or later), with a connection of its own.
 *
 * **When to use**
 *
 * Where services share a NATS server. How to set it so that no message gets lost is in the guide `src/guides/nats.md`.
 *
 * **Details**
 *
 * - *Publishing* succeeds when the stream has acknowledged every message. A batch is sent in one go of many in flight, and stored in
 *   its order; when it fails, the broker has its beginning or none of it (apart from a message that the stream itself refuses, and
 *   from a change of the leader in a cluster amid the batch). A message that is published again within `duplicateWindow` is not
 *   delivered again. One that exceeds the server's `max_payload` or the stream's `max_msg_size` is refused before any of its batch
 *   is sent. While the connection is down, publishing fails at once.
 * - *Consuming.* A group begins at the first message that the stream has. `ack` and `nack` succeed when the server has confirmed
 *   them; after a failure the member still has the message in flight, and may try again or leave. The server keeps delays, whoever
 *   ends meanwhile. A member that leaves gives back what it has at once. One that cannot (its process is killed, its connection
 *   cut) is found out after `ackWait`; one that lives renews its messages by itself, so a handler may take longer than that.
 * - *Order.* Messages are handed out for the first time in the order of publishing, however many members there are. What is given
 *   back, or was in flight for `ackWait` without a sign of life, comes before what is new, but behind what was handed out before. A
 *   group whose only member has a concurrency of 1 gets its messages in the order of publishing, also over a `nack` without delay,
 *   a lost connection, a crash of either side: a member with a concurrency of 1 that starts, or connects again, while messages of
 *   its group are with others lets `ackWait` pass before it begins with what is new.
 * - *Types.* A group gets the types that its members have ever asked for; a type that is asked for later is delivered from then on.
 * - *Outages.* The client connects again by itself, for ever, and members go on with what they have in flight. The stream of
 *   deliveries fails when its consumer is gone, when the server does not answer while connected, or when the Layer closes.
 * - *What vanishes* is made again, if it may be (`createTopology`): a stream by whoever publishes or subscribes, a consumer by whoever
 *   subscribes. It begins anew then, at the first message of its stream.
 *
 * **Gotchas**
 *
 * - What one member did not ask for is given back after a second for another one, which counts as an attempt. Let the members of a
 *   group ask for the same types, and only for a while for others (as two versions of a program do).
 * - A crash of the server may repeat what was acknowledged in its last moments, also with an earlier `attempt`: in order again, but
 *   the server writes acknowledgements to its disk a moment after it has confirmed them.
 *
 * **Example**
 *
 * ```ts no-run
 * import { Effect, Layer } from "effect"
 * import { Relay, Transport } from "eventfold"
 * import { NatsTransport } from "eventfold/nats"
 *
 * const Nats = NatsTransport.layerWith({
 *   connection: { servers: ["nats://one:4222", "nats://two:4222"], user: "shop", pass: "secret" },
 *   stream: "shop",
 *   streamConfig: { num_replicas: 3 }
 * })
 *
 * // With a store and checkpoints, this moves every published event to NATS.
 * const Relayed = Relay.layer({ name: "shop" }).pipe(Layer.provide(Nats))
 *
 * // In another service:
 * const mail = Transport.subscribe({ group: "mail", types: ["OrderPlaced"] })
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<Transport, TransportError> = layerWith({})

/**
 * {@link layer} with options that come from the configuration: each of them, or all at once, is a `Config`.
 *
 * ```ts no-run
 * import { Config } from "effect"
 * import { NatsTransport } from "eventfold/nats"
 *
 * const Live = NatsTransport.layerConfig({
 *   connection: { servers: Config.String("NATS_SERVERS"), token: Config.Redacted("NATS_TOKEN") }
 * })
 * ```
 *
 * @category layers
 * @since 0.2.0
 */
export const layerConfig = (options: Config.Wrap<Options>): Layer.Layer<Transport, TransportError | Config.ConfigError> =>
  Layer.unwrap(Effect.map(Config.unwrap(options), layerWith))
