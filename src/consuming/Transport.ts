/**
 * The transport: published messages out of the process, and in from others.
 *
 * A message is a **CloudEvents 1.0** JSON document, so any consumer in any language can read it. Delivery is at least once: a
 * message is delivered again, to any member of the group, until one acknowledges it. Its id is that of the event, so a consumer
 * can tell a repetition, and a broker that de-duplicates does so by it.
 *
 * `Consumer` handles messages by their types; {@link subscribe} gives the bare deliveries.
 *
 * @since 0.1.0
 */
import * as Consumer from "./Consumer.ts"

export * from "../transport/Transport.ts"
export {
  type Failure,
  type Handlers,
  type MessageRetryError as ReplayError,
  type NotDeadLetterError,
  type Options as ConsumeOptions,
  type Received,
  type Requirements as ConsumerRequirements,
  type UnknownConsumerError
} from "./Consumer.ts"

/**
 * Consumes messages.
 *
 * @category consuming
 * @since 0.1.0
 * @deprecated since 0.2.0: write `Consumer.run`.
 */
export const consume: typeof Consumer.run = Consumer.run

/**
 * Consumes messages as long as the Layer is open.
 *
 * @category layers
 * @since 0.1.0
 * @deprecated since 0.2.0: write `Consumer.layer`.
 */
export const layerConsumer: typeof Consumer.layer = Consumer.layer

/**
 * Tries a dead letter once more.
 *
 * @category consuming
 * @since 0.1.0
 * @deprecated since 0.2.0: write `Consumer.retry`. What is set aside is retried; a replay is of history.
 */
export const replay: typeof Consumer.retry = Consumer.retry

/**
 * The consumers of this process.
 *
 * @category references
 * @since 0.1.0
 * @deprecated since 0.2.0: write `Consumer.Registry`.
 */
export const Consumers: typeof Consumer.Registry = Consumer.Registry
