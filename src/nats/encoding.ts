/**
 * How messages, types and groups look in NATS: CloudEvents by the NATS binding.
 */
import { headers as makeHeaders, type Msg, type MsgHdrs } from "@nats-io/transport-node"
import * as Result from "effect/Result"
import { decodeBinary, decodeText, encodeBinary, isStructured } from "../transport/kit.ts"
import type { Message } from "../transport/Transport.ts"

/** One token of a subject, or the name of a consumer, for any text. Servers before 2.10 cannot bear a `%` in such a name. */
export const token = (text: string): string =>
  encodeURIComponent(text.toWellFormed())
    .replace(/[.*~!'()]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`)
    .replaceAll("%", "=")

/** As the HTTP binding does: all but printable ASCII, and of that the quotation mark and the percent sign. */
const headerValue = (value: string): string =>
  /[^\x21\x23\x24\x26-\x7e]/.test(value) ? value.replace(/[^\x21\x23\x24\x26-\x7e]+/g, encodeURIComponent) : value

/** What is sent to a subject. */
export interface Outgoing {
  readonly subject: string
  readonly payload: Uint8Array | string
  readonly headers?: MsgHdrs | undefined
}

/** The message in binary mode, on the subject of its type. Fails, with what is wrong, when it cannot be carried. */
export const toOutgoing = (prefix: string, message: Message): Result.Result<Outgoing, string> =>
  Result.map(encodeBinary(message), ({ attributes, data }) => {
    const headers = makeHeaders()
    headers.set("Nats-Msg-Id", headerValue(message.id))
    for (const [name, value] of Object.entries(attributes)) headers.set(`ce-${name}`, headerValue(String(value)))
    return { subject: `${prefix}.${token(message.type)}`, payload: encoder.encode(data), headers }
  })

export const sizeOf = ({ headers, payload }: Outgoing): number =>
  payload.length + (headers === undefined ? 0 : String(headers).length)

const encoder = new TextEncoder()
const decoder = new TextDecoder()

/** Reads either mode: binary, and structured in the JSON format. Fails, with what is wrong, when it is no message. */
export const fromIncoming = ({ data, headers }: Msg): Result.Result<Message, unknown> => {
  const attributes: Record<string, string> = {}
  let structured = true
  for (const [name, [value = ""]] of headers ?? []) {
    const key = name.toLowerCase()
    if (key === "content-type" && isStructured(value)) {
      structured = true
      break
    }
    if (!key.startsWith("ce-")) continue
    structured = false
    const decoded = value.includes("%") ? Result.try(() => decodeURIComponent(value)) : Result.succeed(value)
    if (Result.isFailure(decoded)) return Result.fail(`the header "${name}" is not percent-encoded: ${String(decoded.failure)}`)
    attributes[key.slice(3)] = decoded.success
  }
  const text = decoder.decode(data)
  return structured ? decodeText(text) : decodeBinary(attributes, text)
}

/** The subject that answers a message says how often it has been delivered, and its place in the stream. */
const answeringToken = ({ reply = "" }: Msg, index: number): number => {
  const tokens = reply.split(".")
  // Newer servers put the domain and the account before the stream.
  return Number(tokens[tokens.length === 9 ? index : index + 2])
}

/** How often a message has been delivered. */
export const attemptOf = (incoming: Msg): number => answeringToken(incoming, 4)

/** The place of a message in the stream. */
export const positionOf = (incoming: Msg): number => answeringToken(incoming, 5)
