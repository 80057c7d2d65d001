/**
 * The AMQP protocol binding of CloudEvents 1.0 for AMQP 0-9-1, where application properties are headers.
 */
import * as Predicate from "effect/Predicate"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { Message } from "../transport/Transport.ts"

/** A message on the wire, as far as it is ours to say. */
export interface Encoded {
  readonly content: Buffer
  readonly contentType: string
  readonly headers: Readonly<Record<string, unknown>>
}

/** The separator `_` is what the binding prefers; `:` is read too. */
const prefix = "cloudEvents_"
const prefixes = [prefix, "cloudEvents:"]
const structured = "application/cloudevents+json"

const encodeMessage = Schema.encodeSync(Message)
const decodeMessage = Schema.decodeUnknownResult(Message)

/** Binary mode: the attributes are headers, and the body is the data. */
export const encode = (message: Message): Encoded => {
  const { data, datacontenttype, ...attributes } = encodeMessage(message)
  const headers: Record<string, unknown> = {}
  for (const [name, value] of Object.entries(attributes)) headers[prefix + name] = value
  return { content: Buffer.from(JSON.stringify(data)), contentType: datacontenttype, headers }
}

const parse = (content: Buffer): unknown => JSON.parse(content.toString())

/** RabbitMQ's timestamps are in seconds. */
const attribute = (value: unknown): unknown =>
  Predicate.hasProperty(value, "!") && value["!"] === "timestamp" && Predicate.hasProperty(value, "value")
    ? new Date(Number(value.value) * 1000).toISOString()
    : value

const document = ({
  content,
  contentType,
  headers
}: {
  readonly content: Buffer
  readonly contentType: unknown
  readonly headers: Readonly<Record<string, unknown>>
}): unknown => {
  if (String(contentType).toLowerCase().startsWith(structured)) return parse(content)
  const attributes: Record<string, unknown> = { datacontenttype: contentType }
  for (const [name, value] of Object.entries(headers)) {
    const found = prefixes.find((prefix) => name.startsWith(prefix))
    if (found !== undefined) attributes[name.slice(found.length)] = attribute(value)
  }
  return { ...attributes, data: parse(content) }
}

/** Reads either mode: binary, and structured in the JSON format. The failure says what is wrong. */
export const decode = (encoded: Parameters<typeof document>[0]): Result.Result<Message, string> =>
  Result.try({ try: () => document(encoded), catch: (cause) => `The body is not JSON: ${String(cause)}` }).pipe(
    Result.flatMap((document) => Result.mapError(decodeMessage(document), String))
  )
