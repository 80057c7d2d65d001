/**
 * The AMQP protocol binding of CloudEvents 1.0 for AMQP 0-9-1, where application properties are headers.
 */
import * as Predicate from "effect/Predicate"
import * as Result from "effect/Result"
import { decodeBinary, decodeText, encodeBinary, isStructured } from "../transport/kit.ts"
import type { Message } from "../transport/Transport.ts"

/** A message on the wire, as far as it is ours to say. */
export interface Encoded {
  readonly content: Buffer
  readonly contentType: string
  readonly headers: Readonly<Record<string, unknown>>
}

/** The separator `_` is what the binding prefers; `:` is read too. */
const prefix = "cloudEvents_"
const prefixes = [prefix, "cloudEvents:"]

/** Binary mode: the attributes are headers, and the body is the data. Fails, with what is wrong, when it is no valid message. */
export const encode = (message: Message): Result.Result<Encoded, string> =>
  Result.map(encodeBinary(message), ({ attributes: { datacontenttype, ...attributes }, data }) => {
    const headers: Record<string, unknown> = {}
    for (const [name, value] of Object.entries(attributes)) headers[prefix + name] = value
    return { content: Buffer.from(data), contentType: String(datacontenttype), headers }
  })

/** RabbitMQ's timestamps are in seconds. */
const attribute = (value: unknown): unknown =>
  Predicate.hasProperty(value, "!") && value["!"] === "timestamp" && Predicate.hasProperty(value, "value")
    ? new Date(Number(value.value) * 1000).toISOString()
    : value

/** Reads either mode: binary, and structured in the JSON format. The failure says what is wrong. */
export const decode = (encoded: {
  readonly content: Buffer
  readonly contentType: unknown
  readonly headers: Readonly<Record<string, unknown>>
}): Result.Result<Message, string> => {
  const text = encoded.content.toString()
  if (isStructured(String(encoded.contentType))) return Result.mapError(decodeText(text), String)
  const attributes: Record<string, unknown> = { datacontenttype: encoded.contentType }
  for (const [name, value] of Object.entries(encoded.headers)) {
    const found = prefixes.find((prefix) => name.startsWith(prefix))
    if (found !== undefined) attributes[name.slice(found.length)] = attribute(value)
  }
  return decodeBinary(attributes, text)
}
