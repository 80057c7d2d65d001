import * as Result from "effect/Result"
import * as Schema from "effect/Schema"

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
 * @category models
 * @since 0.1.0
 */
export type Message = typeof Message.Type

const encode = Schema.encodeSync(Message)
const decode = Schema.decodeUnknownSync(Message)

// Without the Schema of JSON strings, which takes half as long again.

/** The document as text. */
export const encodeText = (message: Message): Result.Result<string, unknown> => Result.try(() => JSON.stringify(encode(message)))

/** The message of a document. */
export const decodeText = (text: string): Result.Result<Message, unknown> => Result.try(() => decode(JSON.parse(text)))
