/**
 * The transport: published messages out of the process, and in from others.
 *
 * A message is a **CloudEvents 1.0** JSON document, so any consumer in any language can read it. Delivery is at least once: a
 * message is delivered again, to any member of the group, until one acknowledges it. Its id is that of the event, so a consumer
 * can tell a repetition, and a broker that de-duplicates does so by it.
 *
 * {@link consume} handles messages by their types; {@link subscribe} gives the bare deliveries.
 *
 * @since 0.1.0
 */
export * from "../transport/Transport.ts"
export {
  consume,
  type ConsumeOptions,
  type ConsumerRequirements,
  Consumers,
  type Failure,
  type Handlers,
  layerConsumer,
  NotDeadLetterError,
  type Received,
  replay,
  ReplayError,
  UnknownConsumerError
} from "./Consumer.ts"
