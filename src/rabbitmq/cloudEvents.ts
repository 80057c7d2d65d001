/**
 * The AMQP protocol binding of CloudEvents 1.0 for AMQP 0-9-1, where application properties are headers.
 */
import * as Predicate from "effect/Predicate"
import * as Result from "effect/Result"
import { decodeBinary, decodeText, encodeBinary, formatFault, isStructured } from "../transport/kit.ts"
import type { CloudEvent, Message } from "../transport/Transport.ts"

/** A message on the wire, as far as it is ours to say. */
export interface Encoded {
  readonly content: Buffer
  readonly contentType: string | undefined
  readonly headers: Readonly<Record<string, unknown>>
}

/** The separator `_` is what the binding prefers; `:` is read too. */
const prefix = "cloudEvents_"
const otherPrefix = "cloudEvents:"

/** Binary mode: the attributes are headers, and the body is the data. Fails, with what is wrong, when it is no valid message. */
export const encode = (message: Message): Result.Result<Encoded, string> =>
  Result.map(encodeBinary(message), ({ attributes: { datacontenttype, ...attributes }, data }) => {
    const headers: Record<string, unknown> = {}
    for (const [name, value] of Object.entries(attributes)) headers[prefix + name] = value
    return { content: Buffer.from(data), contentType: String(datacontenttype), headers }
  })

/** Native types of AMQP 0-9-1: timestamps are in seconds; integers of 64 bits may come as `bigint`. */
const attribute = (value: unknown): unknown => {
  if (typeof value === "bigint") return Number.isSafeInteger(Number(value)) ? Number(value) : String(value)
  if (typeof value !== "object" || !Predicate.hasProperty(value, "!") || !Predicate.hasProperty(value, "value")) return value
  return value["!"] === "timestamp" ? new Date(Number(value.value) * 1000).toISOString() : value.value
}

/** Reads either mode: binary, and structured in the JSON format. The failure says what is wrong. */
export const decode = (encoded: {
  readonly content: Buffer
  readonly contentType: unknown
  readonly headers: Readonly<Record<string, unknown>>
}): Result.Result<CloudEvent, string> => {
  const contentType = typeof encoded.contentType === "string" ? encoded.contentType : undefined
  const fault = contentType === undefined ? undefined : formatFault(contentType)
  if (fault !== undefined) return Result.fail(fault)
  if (contentType !== undefined && isStructured(contentType)) return decodeText(encoded.content)
  const attributes: Record<string, unknown> = {}
  for (const name of Object.keys(encoded.headers)) {
    // The prefixes are of one length.
    if (!name.startsWith(prefix) && !name.startsWith(otherPrefix)) continue
    attributes[name.slice(prefix.length)] = attribute(encoded.headers[name])
  }
  if (contentType !== undefined) attributes["datacontenttype"] = contentType
  return decodeBinary(attributes, encoded.content)
}
