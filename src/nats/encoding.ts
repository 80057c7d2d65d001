/**
 * How messages, types and groups look in NATS: CloudEvents by the NATS binding.
 */
import { headers as makeHeaders, type Msg, type MsgHdrs } from "@nats-io/transport-node"
import * as Result from "effect/Result"
import { decodeBinary, decodeText, encodeBinary, formatFault, isStructured, keyOf } from "../transport/kit.ts"
import type { CloudEvent, Message } from "../transport/Transport.ts"

/** One token of a subject, or the name of a consumer, for any text. Servers before 2.10 cannot bear a `%` in such a name. */
export const token = (text: string): string =>
  encodeURIComponent(text.toWellFormed())
    .replace(/[.*~!'()]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`)
    .replaceAll("%", "=")

/** The text of a token, as far as it is one. */
export const textOfToken = (token: string): string =>
  Result.getOrElse(
    Result.try(() => decodeURIComponent(token.replaceAll("=", "%"))),
    () => token
  )

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
export const toOutgoing = (prefix: string, message: Message): Result.Result<Outgoing, string> => {
  const encoded = encodeBinary(message)
  if (Result.isFailure(encoded)) return Result.fail(encoded.failure)
  const { attributes, data } = encoded.success
  const headers = makeHeaders()
  // What the server knows it by is what CloudEvents know it by.
  headers.set("Nats-Msg-Id", headerValue(keyOf(message)))
  for (const name in attributes) headers.set(`ce-${name}`, headerValue(String(attributes[name])))
  return Result.succeed({ subject: `${prefix}.${token(message.type)}`, payload: encoder.encode(data), headers })
}

export const sizeOf = ({ headers, payload }: Outgoing): number =>
  payload.length + (headers === undefined ? 0 : String(headers).length)

const encoder = new TextEncoder()
/** The text of a header: without its quotation marks, if it has some, and then percent-decoded. Fails where that is no UTF-8. */
const textOfHeader = (name: string, value: string): Result.Result<string, string> => {
  const quoted = /^\s*"((?:[^"\\]|\\.)*)"\s*$/s.exec(value)?.[1]
  const plain = quoted === undefined ? value : quoted.replace(/\\(.)/gs, "$1")
  return plain.includes("%")
    ? Result.try({
        try: () => decodeURIComponent(plain),
        catch: (cause) => `the header "${name}" is not percent-encoded: ${String(cause)}`
      })
    : Result.succeed(plain)
}

/** Reads either mode: binary, and structured in the JSON format. Fails, with what is wrong, when it is no message. */
export const fromIncoming = ({ data, headers }: Msg): Result.Result<CloudEvent, string> => {
  const attributes: Record<string, string> = {}
  let contentType: string | undefined
  let isBinary = false
  for (const [name, [value = ""]] of headers ?? []) {
    const key = name.toLowerCase()
    if (key === "content-type") contentType = value
    if (!key.startsWith("ce-")) continue
    isBinary = true
    const text = textOfHeader(name, value)
    if (Result.isFailure(text)) return Result.fail(text.failure)
    attributes[key.slice(3)] = text.success
  }
  const fault = contentType === undefined ? undefined : formatFault(contentType)
  if (fault !== undefined) return Result.fail(fault)
  // Producers that know nothing of headers send documents.
  if (!isBinary || (contentType !== undefined && isStructured(contentType))) return decodeText(data)
  return decodeBinary(contentType === undefined ? attributes : { datacontenttype: contentType, ...attributes }, data)
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
