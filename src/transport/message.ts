import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Event from "../definitions/Event.ts"
import { definitionsByType } from "../definitions/listing.ts"
import type { RecordedEvent } from "../definitions/stored.ts"
import { parseJson, writeJson } from "../internal/exactJson.ts"

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
  decodeBy(definitionsByType("Transport.decode", events), message)

/**
 * {@link decode} with the definitions by their types, for whoever decodes many messages.
 *
 * @category encoding
 * @since 0.2.0
 */
export const decodeBy = <E extends Event.Any>(
  definitions: ReadonlyMap<string, E>,
  message: Message
): Result.Result<E["Type"], Event.EventDecodeError | Event.UnknownEventTypeError> =>
  Event.decodeAny(definitions, {
    stream: message.subject,
    version: 0,
    position: message.position,
    type: message.type,
    schemaVersion: message.schemaversion,
    payload: message.data
  })

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
  /**
   * The id of the event. A message is known by it, to brokers that de-duplicate, inboxes and dead letters alike: services that
   * share a broker must not give one id to two events. What the store makes (UUIDv7) is theirs alone.
   */
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
 * A message, decoded.
 *
 * @category models
 * @since 0.1.0
 */
export type Message = typeof Message.Type

const encodeMessage = Schema.encodeSync(Message)
const decodeMessage = Schema.decodeUnknownSync(Message)

// Without the Schema of JSON strings, which takes half as long again.

/** The document as text. */
export const encodeText = (message: Message): Result.Result<string, unknown> =>
  Result.try(() => writeJson(encodeMessage(message)))

/** The message of a document. */
export const decodeText = (text: string): Result.Result<Message, unknown> => Result.try(() => decodeMessage(parseJson(text)))
