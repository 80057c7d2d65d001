/** The data of CloudEvents: bytes on the wire, and what their content type says they are. */
import * as Result from "effect/Result"
import type * as Schema from "effect/Schema"
import { parseJson } from "../internal/exactJson.ts"
import { isJsonType } from "./message.ts"

const encoder = new TextEncoder()

export const bytesOf = (body: string | Uint8Array): Uint8Array => (typeof body === "string" ? encoder.encode(body) : body)

const strict = new TextDecoder("utf-8", { fatal: true })

/** Text of UTF-8; throws where it is none. */
export const textOf = (body: string | Uint8Array): string => (typeof body === "string" ? body : strict.decode(body))

export const toBase64 = (bytes: Uint8Array): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("base64")

/** Media types whose content is text, JSON apart. */
const isTextType = (contentType: string): boolean =>
  /^\s*(text\/[^;]+|[^/;\s]+\/([^/;\s]+\+)?(xml|yaml))\s*(;|$)/i.test(contentType)

/** The text of bytes in the character set of their content type; `undefined` where they are no text of it. */
const inCharset = (bytes: Uint8Array, contentType: string): string | undefined => {
  const [, charset] = contentType.includes(";") ? (/;\s*charset\s*=\s*"?([^";\s]+)/i.exec(contentType) ?? []) : []
  const decoded = Result.try(() => (charset === undefined ? strict : new TextDecoder(charset, { fatal: true })).decode(bytes))
  return Result.isSuccess(decoded) ? decoded.success : undefined
}

/** What has been parsed is JSON. */
const parse = (text: string): Result.Result<Schema.Json, unknown> => Result.try(() => parseJson(text) as Schema.Json)

/**
 * What bytes are: JSON, text, or bytes. No bytes are no data, where the content type is not that of text. Without a content type they
 * are JSON if they can be read as such and `guess` allows it. Fails where the content type is that of JSON, and they are none.
 */
export const dataOf = (
  bytes: Uint8Array,
  contentType: string | undefined,
  guess: boolean
): Result.Result<Schema.Json | Uint8Array | undefined, string> => {
  const own = () => new Uint8Array(bytes)
  if (contentType === undefined) {
    if (bytes.length === 0) return Result.succeed(undefined)
    const text = guess ? inCharset(bytes, "") : undefined
    return Result.succeed(text === undefined ? own() : Result.getOrElse(parse(text), own))
  }
  if (isJsonType(contentType)) {
    if (bytes.length === 0) return Result.succeed(undefined)
    const text = inCharset(bytes, contentType)
    if (text === undefined) return Result.fail("its data is not JSON: it is no text of its character set")
    return Result.mapError(
      parse(text),
      (cause) => `its data is not JSON: ${cause instanceof Error ? cause.message : String(cause)}`
    )
  }
  return Result.succeed(isTextType(contentType) ? (inCharset(bytes, contentType) ?? own()) : own())
}
