import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type { CloudEvent, Message } from "./message.ts"

/**
 * A message as it was handed to one member of a group.
 *
 * @category models
 * @since 0.1.0
 */
export interface Delivery {
  /** The message itself: of eventfold, or of any other producer of CloudEvents. */
  readonly message: CloudEvent
  /**
   * Why it is no CloudEvent; absent for all that are. Then `message` stands for what was found: the bytes are its `data`, and its
   * `source` and `id` say where. Only who asks for it gets it: see {@link SubscribeOptions.unreadable}.
   */
  readonly unreadable?: string
  /** 1 for the first delivery within the group, 2 for the second, … */
  readonly attempt: number
  /** The message is done with: it is not delivered to this group again. */
  readonly ack: Effect.Effect<void, TransportError>
  /** The message is not done with: it is delivered again, after `delay` (default: at once). */
  readonly nack: (options?: { readonly delay?: Duration.Input | undefined }) => Effect.Effect<void, TransportError>
}

/**
 * As which member of which group one subscribes, and to what.
 *
 * @category models
 * @since 0.1.0
 */
export interface SubscribeOptions {
  /** Members of one group share its messages; each group gets every message. */
  readonly group: string
  /** Only messages of these types. Default: all. The same in all members of a group: what becomes of others is the broker's affair. */
  readonly types?: ReadonlyArray<string> | undefined
  /** The most messages that this member may have unacknowledged at once. Default: 1, which keeps their order. */
  readonly concurrency?: number | undefined
  /**
   * What becomes of what is no CloudEvent. `"set aside"`: it is logged as an error and not delivered; each broker's guide says what
   * is left of it. `"deliver"`: it is delivered, with {@link Delivery.unreadable}, to be settled as any other; consumers make it a
   * dead letter. Default: `"set aside"`.
   */
  readonly unreadable?: "set aside" | "deliver" | undefined
}

/**
 * The broker could not be reached, or did not answer in time. Trying again may succeed.
 *
 * @category errors
 * @since 0.1.0
 */
export class TransportUnavailable extends Schema.TaggedError<TransportUnavailable>("eventfold/Transport/TransportUnavailable")(
  "TransportUnavailable",
  { operation: Schema.String, detail: Schema.String, cause: Schema.optional(Schema.Defect()) }
) {
  override get message(): string {
    return `The broker could not be reached, or did not answer in time, during ${this.operation}: ${this.detail}. Try again with the same messages`
  }
}

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
}) {
  override get message(): string {
    return `The broker will never take the message "${this.id}" (${this.operation}): ${this.detail}. Mend the message, or the broker's limit`
  }
}

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

/**
 * The group cannot be forgotten: it has members, as far as is known. Nothing was changed. End its members, in all processes; what a member
 * that died had in hand is given back when its time has run out.
 *
 * @category errors
 * @since 0.2.0
 */
export class GroupInUseError extends Schema.TaggedError<GroupInUseError>("eventfold/Transport/GroupInUseError")(
  "GroupInUseError",
  {
    group: Schema.String,
    /** How it is known. */
    detail: Schema.String
  }
) {
  override get message(): string {
    return `The group "${this.group}" is in use: ${this.detail}. End its members before it is forgotten`
  }
}

/**
 * Something that was looked at, in words for a person.
 *
 * @category models
 * @since 0.2.0
 */
export interface Finding {
  /** What was looked at, in a word or two. */
  readonly check: string
  readonly level: "ok" | "warning" | "problem"
  readonly message: string
  /** What to do; `null` where there is nothing to do. */
  readonly remedy: string | null
}

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
     * may have some of them. It can be interrupted at any time, and fails when the broker does not answer in time, and when the
     * Layer has closed.
     */
    readonly publish: (messages: NonEmptyReadonlyArray<Message>) => Effect.Effect<void, TransportError>
    /**
     * The messages for one member of a group. What the member has not acknowledged when the stream ends is delivered again. The
     * stream fails when the Layer closes.
     */
    readonly subscribe: (options: SubscribeOptions) => Stream.Stream<Delivery, TransportError>
    /**
     * Forgets a group for good: how far it has come, and what waits for it. Whether it was known. Its name may be used again, and begins
     * anew, like any other.
     *
     * It is refused where this transport has members of the group, and where the broker can tell that others have.
     */
    readonly forget: (group: string) => Effect.Effect<boolean, GroupInUseError | TransportError>
    /**
     * How many messages a group has not done with: those that nobody was handed, that wait for another try, or are in hand. RabbitMQ does not
     * count what is in hand, nor what waits for a delay. `undefined` where there is no such group, or where the broker cannot tell, as Redis
     * where messages before the group's place were deleted. Absent: this transport never can.
     */
    readonly waiting?: ((group: string) => Effect.Effect<number | undefined, TransportError>) | undefined
    /** What operators should know of the broker: its version, and the settings on which it depends that nothing is lost. Absent: nothing. */
    readonly findings?: Effect.Effect<ReadonlyArray<Finding>, TransportError> | undefined
  }
>()("eventfold/Transport") {}

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
 * Forgets a group that nobody consumes for any more: otherwise the broker keeps for it, often without bound, what is published. Whether
 * it was known.
 *
 * **Gotchas**: members of other processes are seen as far as the broker tells of them. RabbitMQ and Kafka know all; Redis those that have asked
 * within their lease; NATS those that wait for messages; Postgres those that have messages in hand. One that is not seen makes the group
 * anew. Dead letters of the group stay where they are.
 *
 * ```ts
 * import { Effect, Stream } from "effect"
 * import { Transport } from "eventfold"
 *
 * const program = Effect.gen(function* () {
 *   yield* Effect.timeoutOption(Stream.runDrain(Transport.subscribe({ group: "mail" })), "10 millis")
 *   return [yield* Transport.forget("mail"), yield* Transport.forget("mail")]
 * })
 *
 * await Effect.runPromise(Effect.provide(program, Transport.layerMemory)) // => [true, false]
 * ```
 *
 * @category accessors
 * @since 0.2.0
 */
export const forget = (group: string): Effect.Effect<boolean, GroupInUseError | TransportError, Transport> =>
  Transport.use((transport) => transport.forget(group))
