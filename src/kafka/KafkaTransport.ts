/**
 * The transport over Apache Kafka (tried on 4.4), by `@platformatic/kafka`: a topic for all messages, a consumer group for each group.
 *
 * The guide `src/guides/kafka.md` says how to set and watch the brokers, what travels, and what Kafka cannot do.
 *
 * @since 0.2.0
 */
import * as Config from "effect/Config"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as RcMap from "effect/RcMap"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { ConnectionOptions } from "node:tls"
import { wholeFrom, wholeOrEndless } from "../internal/counting.ts"
import { lasting, passing, pausing } from "../internal/lasting.ts"
import { makeMembers, type Secret, untilClosed } from "../transport/kit.ts"
import { type Message, type SubscribeOptions, Transport, type TransportError } from "../transport/Transport.ts"
import { makeConnection } from "./connection.ts"
import { makeForget } from "./forgetting.ts"
import { type Group, groupId as idOf, type Member, openGroup } from "./group.ts"
import type { Login } from "./login.ts"
import { join } from "./member.ts"
import { makeMemory, type Memory } from "./memory.ts"
import { makePublish } from "./publishing.ts"
import { makeTopic } from "./topic.ts"

export { type Login } from "./login.ts"

/**
 * Where the brokers are, what is made there, and how long anybody waits. All durations are finite.
 *
 * Processes that share a topic share its `key`, and those of a group its `groupProtocol` and `session`.
 *
 * @category models
 * @since 0.2.0
 */
export interface Options {
  /** Some of the brokers, as `host:port`; they tell of the others. Default: `127.0.0.1:9092`. */
  readonly brokers?: ReadonlyArray<Secret> | undefined
  /** How to log in. Default: as nobody. */
  readonly login?: Login | undefined
  /** What TLS needs: `{}`, or `ca`, `cert`, `key`, … Default: no TLS. */
  readonly tls?: ConnectionOptions | undefined
  /** What the brokers call this client in their logs, without white space. Default: `"eventfold"`. */
  readonly clientId?: string | undefined
  /** The topic of all messages. Default: `"eventfold"`. */
  readonly topic?: string | undefined
  /**
   * What decides the partition of a message: those of one key keep their order. It is sent as the key of the record. Default: the
   * message's subject, which is its stream.
   */
  readonly key?: ((message: Message) => string) | undefined
  /** How messages are written: attributes as headers, or all as one document. Both are read. Default: `"binary"`. */
  readonly mode?: "binary" | "structured" | undefined
  /** Whether the topic is created when it is absent. What is there is not changed. Default: `true`. */
  readonly createTopic?: boolean | undefined
  /** How many partitions it is created with: as many members can share a group. Default: 12. */
  readonly partitions?: number | undefined
  /** How many brokers keep each partition of it. Default: as the brokers are set (`default.replication.factor`). */
  readonly replicas?: number | undefined
  /** What else it is created with: `retention.ms`, `min.insync.replicas`, … Default: as the brokers are set. */
  readonly topicConfig?: Readonly<Record<string, string>> | undefined
  /** How partitions are given to members: as all brokers know it, or as Kafka 4.0 and newer do (KIP-848). Default: `"classic"`. */
  readonly groupProtocol?: "classic" | "consumer" | undefined
  /** How long the brokers may take to answer. Default: 10 seconds. */
  readonly timeout?: Duration.Input | undefined
  /**
   * After how long without a sign of life the partitions of a member go to others. With the protocol `"consumer"` the brokers say that
   * themselves, and this is how long a member may take to let go of a partition. Default: 15 seconds.
   */
  readonly session?: Duration.Input | undefined
  /** How far beyond the oldest message in hand of a partition others are handed out, in messages. Default: 1000. */
  readonly reach?: number | undefined
  /** The longest that a partition stands still for a message that was given back with a delay. Default: 1 minute. */
  readonly longestPause?: Duration.Input | undefined
}

/**
 * The id of the consumer group that Kafka shows for a group.
 *
 * @category names
 * @since 0.2.0
 */
export const groupId = (topic: string, group: string): string => idOf(topic, group)

const subjectOf = ({ subject }: Message): string => subject

/**
 * The transport over Kafka, until the scope closes. It fails with `TransportUnavailable` when the brokers do not answer, and when the
 * topic is not there and must not be created, or would lose messages because it is compacted.
 *
 * @see {@link layer} for what it guarantees
 * @category constructors
 * @since 0.2.0
 */
export const make = Effect.fnUntraced(function* (
  options: Options = {}
): Effect.fn.Return<Transport["Service"], TransportError, Scope.Scope> {
  const connection = makeConnection({
    brokers: options.brokers ?? ["127.0.0.1:9092"],
    login: options.login,
    tls: options.tls,
    clientId: options.clientId ?? "eventfold",
    timeout: pausing("KafkaTransport: timeout", options.timeout ?? "10 seconds")
  })
  const topic = yield* makeTopic(connection, {
    topic: options.topic ?? "eventfold",
    create: options.createTopic ?? true,
    partitions: wholeFrom(1, "KafkaTransport: partitions", options.partitions ?? 12),
    replicas: options.replicas === undefined ? -1 : wholeFrom(1, "KafkaTransport: replicas", options.replicas),
    config: options.topicConfig ?? {},
    keepsAll: options.key === undefined
  })
  yield* topic.open
  const publish = yield* makePublish(connection, topic, { mode: options.mode ?? "binary", key: options.key ?? subjectOf })
  const settings = {
    groupProtocol: options.groupProtocol ?? "classic",
    session: Duration.toMillis(passing("KafkaTransport: session", options.session ?? "15 seconds")),
    reach: wholeOrEndless(1, "KafkaTransport: reach", options.reach ?? 1000),
    longestPause: Duration.toMillis(lasting("KafkaTransport: longestPause", options.longestPause ?? "1 minute"))
  } as const
  const memories = new Map<string, Memory>()
  const memoryOf = (group: string): Memory => {
    const memory = memories.get(group) ?? makeMemory()
    memories.set(group, memory)
    return memory
  }
  const groups: RcMap.RcMap<string, Group, TransportError> = yield* RcMap.make({
    lookup: (group: string) =>
      Effect.andThen(
        topic.open,
        openGroup(connection, topic, group, settings, memoryOf(group), () => Effect.runFork(RcMap.invalidate(groups, group)))
      )
  })
  const members = yield* makeMembers<Member>()
  const subscribe = (options: SubscribeOptions) =>
    Effect.flatMap(RcMap.get(groups, options.group), (group) => join(topic.name, group, members, options))
  return yield* untilClosed({
    publish,
    subscribe: (options) => (options.types?.length === 0 ? Stream.never : Stream.unwrap(subscribe(options))),
    forget: makeForget(connection, topic, (group) => memories.delete(group))
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
 * The transport over Kafka, on brokers of this machine.
 *
 * **When to use**
 *
 * Where services share a Kafka. How to set it so that no message gets lost, and what it cannot do, is in the guide
 * `src/guides/kafka.md`.
 *
 * **Details**
 *
 * - *Publishing* succeeds when all replicas in sync have every message (`acks=all`, with an idempotent producer). A batch goes out in
 *   its order, in pieces that the topic takes; when it fails, the partitions may have some of it. While too few replicas are in sync
 *   (`min.insync.replicas`) it fails with `TransportUnavailable`. A message that is larger than the topic takes is `MessageRefused`, and
 *   nothing of its batch is published.
 * - *Order* is kept for each key, which is the stream of the event: over restarts, crashes and changes of the group, as long as nobody
 *   changes the number of partitions. Messages of different streams have no order among each other.
 * - *Delivery* is at least once. A group begins at the oldest message that the topic still has. The members of one process share one
 *   consumer of Kafka and are handed out messages in turn; those of several processes share the partitions. What is acknowledged is
 *   committed within a tenth of a second, up to the oldest message of its partition that is still in hand: after a crash the group goes
 *   on there, and what was acknowledged beyond comes again.
 * - *Giving back* with a delay lets the partition stand still until the message comes again, {@link Options.longestPause} at most: what
 *   is behind it stays behind it. Without a delay it comes again at once, before what is newer.
 * - *Attempts* are counted by this process alone, as long as its Layer is open. For another process everything is the first attempt.
 * - *Members* that leave commit and give up their partitions at once; those of a process that died are found out after
 *   {@link Options.session}. What a partition had in hand is let go when it is given to another process.
 * - *Outages.* The client asks again for a moment; then publishing and subscriptions fail with `TransportUnavailable`, and relays and
 *   consumers start again by their schedules.
 * - *What the topic has lost* before a group has seen it (`retention.ms`) is logged as an error with the number of messages, and the
 *   group goes on with what there is.
 *
 * **Gotchas**
 *
 * - Kafka does not de-duplicate what is published twice, neither by id nor for a while: a relay that starts again may repeat its last
 *   batch. Consumers for whom that matters use `Inbox`.
 * - What is published is kept by the topic's retention, whoever has seen it: seven days by default.
 * - A group that has no member for seven days (`offsets.retention.minutes`) is forgotten by the brokers, and begins anew.
 * - A record that is no CloudEvent is logged and passed over; it stays in the topic.
 *
 * **Example**
 *
 * ```ts no-run
 * import { Effect, Layer, Redacted } from "effect"
 * import { Relay, Transport } from "eventfold"
 * import { KafkaTransport } from "eventfold/kafka"
 *
 * const Kafka = KafkaTransport.layerWith({
 *   brokers: ["one:9092", "two:9092"],
 *   login: { mechanism: "SCRAM-SHA-512", username: "shop", password: Redacted.make("secret") },
 *   tls: {},
 *   topic: "shop",
 *   replicas: 3,
 *   topicConfig: { "min.insync.replicas": "2", "retention.ms": "-1" }
 * })
 *
 * // With a store and checkpoints, this moves every published event to Kafka.
 * const Relayed = Relay.layer({ name: "shop" }).pipe(Layer.provide(Kafka))
 *
 * // In another service:
 * const mail = Transport.subscribe({ group: "mail", types: ["OrderPlaced"] })
 * ```
 *
 * @category layers
 * @since 0.2.0
 */
export const layer: Layer.Layer<Transport, TransportError> = layerWith({})

/**
 * {@link layer} with options that come from the configuration: each of them, or all at once, is a `Config`.
 *
 * ```ts no-run
 * import { Config, Schema } from "effect"
 * import { KafkaTransport } from "eventfold/kafka"
 *
 * const Live = KafkaTransport.layerConfig({
 *   brokers: Config.Array(Schema.String, "KAFKA_BROKERS")
 * })
 * ```
 *
 * @category layers
 * @since 0.2.0
 */
export const layerConfig = (options: Config.Wrap<Options>): Layer.Layer<Transport, TransportError | Config.ConfigError> =>
  Layer.unwrap(Effect.map(Config.unwrap(options), layerWith))
