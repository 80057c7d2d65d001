import * as DateTime from "effect/DateTime"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { parseJson, writeJson } from "../internal/exactJson.ts"
import { Message } from "./message.ts"

/**
 * The attributes of a CloudEvent by name. `schemaversion` is a number, all others are text.
 *
 * @category models
 * @since 0.2.0
 */
export type Attributes = Readonly<Record<string, string | number>>

/**
 * A message in CloudEvents' binary mode: the attributes, for the headers of the broker, and the data as text of JSON.
 *
 * @category models
 * @since 0.2.0
 */
export interface Binary {
  readonly attributes: Attributes
  readonly data: string
}

const required = ["id", "source", "type", "subject"] as const
/** The attributes whose text is anybody's choice. */
const free = [...required, "correlationid", "causationid"] as const

/**
 * The message in binary mode. Fails, with what is wrong, when it is no message that anybody could read.
 *
 * @category encoding
 * @since 0.2.0
 */
export const encodeBinary = (message: Message): Result.Result<Binary, string> => {
  const { causationid, correlationid, datacontenttype, id, position, schemaversion, source, specversion, subject, type } = message
  for (const name of required) if (message[name] === "") return Result.fail(`its ${name} is empty`)
  if (!Number.isInteger(schemaversion)) return Result.fail("its schemaversion is no integer")
  if (!Number.isFinite(position)) return Result.fail("its position is no finite number")
  const attributes: Record<string, string | number> = {
    specversion,
    id,
    source,
    type,
    subject,
    time: DateTime.formatIso(message.time),
    datacontenttype,
    schemaversion,
    position: String(position)
  }
  if (correlationid !== undefined) attributes["correlationid"] = correlationid
  if (causationid !== undefined) attributes["causationid"] = causationid
  for (const name of free) {
    if (message[name]?.isWellFormed() === false) return Result.fail("an attribute is malformed: it has a lone surrogate")
  }
  return Result.succeed({ attributes, data: writeJson(message.data) })
}

const decodeMessage = Schema.decodeUnknownResult(Message)

/**
 * The message of attributes and data. An attribute may have either form that the bindings allow: its own type, or text. Fails, with
 * what is wrong, when it is no message.
 *
 * @category encoding
 * @since 0.2.0
 */
export const decodeBinary = (attributes: Readonly<Record<string, unknown>>, data: string): Result.Result<Message, string> => {
  const { position, schemaversion } = attributes
  const read = Result.try({
    try: (): unknown => ({
      ...attributes,
      ...(typeof schemaversion === "string" && { schemaversion: Number(schemaversion) }),
      ...(typeof position === "number" && { position: String(position) }),
      data: parseJson(data)
    }),
    catch: (cause) => `the body is not JSON: ${String(cause)}`
  })
  return Result.flatMap(read, (document) => Result.mapError(decodeMessage(document), String))
}

/**
 * Whether a content type says that the body is the whole event: the structured mode, in the JSON format.
 *
 * @category encoding
 * @since 0.2.0
 */
export const isStructured = (contentType: string): boolean => /^application\/cloudevents(\+json)?\s*(;|$)/i.test(contentType)
