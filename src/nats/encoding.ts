/**
 * How messages, types and groups look in NATS: see the head of the transport.
 */
import { headers as makeHeaders, type Msg, type MsgHdrs } from "@nats-io/transport-node"
import * as DateTime from "effect/DateTime"
import type * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { Message } from "../transport/Transport.ts"

/** One token of a subject, or the name of a consumer, for any text. Servers before 2.10 cannot bear a `%` in such a name. */
export const token = (text: string): string =>
  encodeURIComponent(text.toWellFormed())
    .replace(/[.*~!'()]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`)
    .replaceAll("%", "=")

const attributes = [
  "specversion",
  "id",
  "source",
  "type",
  "subject",
  "datacontenttype",
  "schemaversion",
  "correlationid",
  "causationid",
  "position"
] as const

/** As the HTTP binding does: all but printable ASCII, and of that the quotation mark and the percent sign. */
const headerValue = (value: string): string =>
  /[^\x21\x23\x24\x26-\x7e]/.test(value) ? value.replace(/[^\x21\x23\x24\x26-\x7e]+/g, encodeURIComponent) : value

/** What is sent to a subject. */
export interface Outgoing {
  readonly subject: string
  readonly payload: Uint8Array | string
  readonly headers?: MsgHdrs | undefined
}

/** Throws when there is text that UTF-8 cannot carry. */
export const toOutgoing = (prefix: string, message: Message): Outgoing => {
  const headers = makeHeaders()
  headers.set("Nats-Msg-Id", headerValue(message.id))
  for (const name of attributes) {
    const value = message[name]
    if (value !== undefined) headers.set(`ce-${name}`, headerValue(String(value)))
  }
  headers.set("ce-time", DateTime.formatIso(message.time))
  return { subject: `${prefix}.${token(message.type)}`, payload: encoder.encode(JSON.stringify(message.data)), headers }
}

export const sizeOf = ({ headers, payload }: Outgoing): number =>
  payload.length + (headers === undefined ? 0 : String(headers).length)

const decodeMessage = Schema.decodeUnknownResult(Message)
const encoder = new TextEncoder()
const decoder = new TextDecoder()

/** Throws, or fails, when it is no message. */
export const fromIncoming = (incoming: Msg): Result.Result<Message, unknown> => {
  const found: Record<string, unknown> = {}
  let structured = true
  for (const [name, [value = ""]] of incoming.headers ?? []) {
    const key = name.toLowerCase()
    if (key.startsWith("ce-")) {
      structured = false
      found[key.slice(3)] = decodeURIComponent(value)
    } else if (key === "content-type" && value.toLowerCase().startsWith("application/cloudevents")) {
      structured = true
      break
    }
  }
  const payload: unknown = JSON.parse(decoder.decode(incoming.data))
  if (structured) return decodeMessage(payload)
  return decodeMessage({ ...found, schemaversion: Number(found["schemaversion"]), data: payload })
}

/** How often a message has been delivered, from the subject that answers it. */
export const attemptOf = (incoming: Msg): number => {
  const tokens = (incoming.reply ?? "").split(".")
  // Newer servers put the domain and the account before the stream.
  return Number(tokens[tokens.length === 9 ? 4 : 6])
}
