import type * as DateTime from "effect/DateTime"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as SchemaTransformation from "effect/SchemaTransformation"
import * as Event from "../definitions/Event.ts"
import { readersOf } from "../definitions/listing.ts"

/**
 * A CloudEvents 1.0 event as it was received, whoever has sent it: everything that CloudEvents allow.
 *
 * **Details**
 *
 * What eventfold publishes is a {@link Message}, which says more. Of other producers `id`, `source` and `type` alone are certain.
 *
 * @category models
 * @since 0.2.0
 */
export interface CloudEvent {
  readonly specversion: "1.0"
  /** Unique among the events of its source: an event is known by both together. */
  readonly id: string
  /** Where it comes from, as a URI reference. */
  readonly source: string
  /** Whose it is, where its source has tenants: the id of the tenant, as its store says it. Two tenants may have events of one id. */
  readonly tenant?: string
  /** What has happened. */
  readonly type: string
  /** What it has happened to, within its source. Of eventfold the stream. */
  readonly subject?: string
  /** When it happened, to the millisecond: what a producer says beyond that is cut off. */
  readonly time?: DateTime.Utc
  /** The media type of the data. Where it is absent, data that is JSON is JSON. */
  readonly datacontenttype?: string
  /** Where the schema of the data is, as a URI. */
  readonly dataschema?: string
  /**
   * JSON where the content type says so, or is absent and it can be read as JSON; text of other text and XML types; otherwise bytes.
   * Absent where the event has no data.
   */
  readonly data?: Schema.Json | Uint8Array
  /** The version of the payload's schema, where the producer says it as eventfold does. */
  readonly schemaversion?: number
  readonly correlationid?: string
  readonly causationid?: string
  /** The position of the event in the store of its source, where that is an eventfold. */
  readonly position?: number
  /** All other attributes, by name, as they were sent. Brokers that have no types for attributes give text. */
  readonly extensions?: Readonly<Record<string, string | number | boolean>>
}

/** The names of attributes that are no extensions. */
const own: ReadonlySet<string> = new Set([
  "specversion",
  "id",
  "source",
  "tenant",
  "type",
  "subject",
  "time",
  "datacontenttype",
  "dataschema",
  "data",
  "data_base64",
  "schemaversion",
  "correlationid",
  "causationid",
  "position"
])

/** Whether an attribute of this name is one that is known here. */
export const isOwn = (name: string): boolean => own.has(name)

/**
 * Why nothing can travel as an extension of this name; `undefined` when it can.
 *
 * @category encoding
 * @since 0.2.0
 */
export const extensionFault = (name: string): string | undefined =>
  !/^[a-z0-9]{1,20}$/.test(name)
    ? `"${name}" cannot be the name of a CloudEvents attribute: it is 1 to 20 of the characters a to z and 0 to 9`
    : own.has(name)
      ? `"${name}" is an attribute that CloudEvents or eventfold give a meaning of their own`
      : undefined

/**
 * Reads the typed event back from a message, through the definition of its type (or of one that it had before): upcasts first, then the
 * Schema. Of an event that does not say its `schemaversion` the version is 1, and without data its payload is `{}`. A message that is
 * none of the definitions' events, because its type is retired, or several, because it is split, is an `EventDecodeError` here; a
 * consumer passes over the one, and handles each of the others.
 *
 * The `version` in its errors is 0: a message does not say which place it has in its stream.
 *
 * @category encoding
 * @since 0.1.0
 */
export const decode = <const Events extends ReadonlyArray<Event.Any>>(
  events: Events,
  message: CloudEvent
): Result.Result<Events[number]["Type"], Event.EventDecodeError | Event.UnknownEventTypeError> => {
  const readers = readersOf("Transport.decode", events)
  return Result.flatMap(storedOf(readers, message), (stored) =>
    Result.flatMap(Event.readAll(readers, stored), ([first, ...more]) => {
      if (first !== undefined && more.length === 0) return Result.succeed(first.event)
      const cause = new Error(first === undefined ? "its type is retired" : "it is read as several events")
      return Result.fail(new Event.EventDecodeError({ ...placeOf(message), cause }))
    })
  )
}

/** Why the data of an event cannot be the payload of one of eventfold's. */
const payloadFault = ({ data, datacontenttype }: CloudEvent): string | undefined =>
  data instanceof Uint8Array || (typeof data === "string" && datacontenttype !== undefined && !isJsonType(datacontenttype))
    ? `its data is no JSON: its content type is ${datacontenttype === undefined ? "not said" : `"${datacontenttype}"`}`
    : undefined

const placeOf = (message: CloudEvent) => ({
  stream: message.subject ?? "",
  version: 0,
  position: message.position ?? 0,
  type: message.type
})

/** A message as decoding looks at it, with what travels of its metadata. It fails where its data cannot be a payload. */
export const storedOf = (readers: Event.Readers, message: CloudEvent): Result.Result<Event.Stored, Event.EventDecodeError> => {
  const fault = readers.has(message.type) ? payloadFault(message) : undefined
  if (fault !== undefined) return Result.fail(new Event.EventDecodeError({ ...placeOf(message), cause: new Error(fault) }))
  return Result.succeed({
    ...placeOf(message),
    schemaVersion: message.schemaversion ?? 1,
    // What is no bytes is JSON.
    payload: (message.data ?? (message.data === null ? null : {})) as Schema.Json,
    metadata: {
      ...(message.correlationid === undefined ? {} : { correlationId: message.correlationid }),
      ...(message.causationid === undefined ? {} : { causationId: message.causationid })
    },
    ...(message.time === undefined ? {} : { recordedAt: message.time })
  })
}

/** Whether a media type is that of JSON. */
export const isJsonType = (contentType: string): boolean =>
  contentType === "application/json" || /^\s*[^/;\s]+\/([^/;\s]+\+)?json\s*(;|$)/i.test(contentType)

const Attributes = Schema.Struct({
  specversion: Schema.Literal("1.0"),
  /**
   * The id of the event. With its `source` it is what a message is known by, to brokers that de-duplicate, inboxes and dead letters
   * alike. What the store makes (UUIDv7) is unique everywhere.
   */
  id: Schema.NonEmptyString,
  /** The service that the message comes from, as a URI reference. */
  source: Schema.NonEmptyString,
  /** The tenant whose store it comes from; absent where that has none. It is a part of what the message is known by. */
  tenant: Schema.optionalKey(Schema.String),
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
  position: Schema.FiniteFromString,
  /** What else travels with it: text under names of 1 to 20 of the characters a to z and 0 to 9. */
  extensions: Schema.optionalKey(Schema.Record(Schema.String, Schema.String))
})

const Document = Schema.Record(Schema.String, Schema.Json)

/** The extensions stand beside the other attributes, and not in one of their own. */
const spread = ({ extensions, ...attributes }: typeof Attributes.Encoded): typeof Document.Type => ({
  ...attributes,
  ...extensions
})

const gather = (document: typeof Document.Type): typeof Attributes.Encoded => {
  // Those of other producers may be of other types: `Delivery` has them all.
  const extensions = Object.entries(document).filter(([name, value]) => !own.has(name) && typeof value === "string")
  const attributes = Object.fromEntries(Object.entries(document).filter(([name]) => own.has(name)))
  // The Schema says whether they are those of a message.
  return {
    ...attributes,
    ...(extensions.length > 0 && { extensions: Object.fromEntries(extensions) })
  } as typeof Attributes.Encoded
}

/**
 * A message: a CloudEvents 1.0 document in JSON format, as eventfold publishes it. The encoded side is what travels.
 *
 * The extension attributes of eventfold are `tenant`, `schemaversion`, `correlationid`, `causationid` and `position` (a string when encoded,
 * because CloudEvents integers have 32 bits). Others are in `extensions`; when encoded they stand beside them.
 *
 * @category models
 * @since 0.1.0
 */
export const Message = Document.pipe(
  Schema.decodeTo(Attributes, SchemaTransformation.transform({ decode: gather, encode: spread }))
)

/**
 * A message, decoded.
 *
 * @category models
 * @since 0.1.0
 */
export type Message = typeof Message.Type
