/** Bytes and text: with `Buffer` where the runtime has it, which takes a fraction of the time. */
import * as Base64 from "effect/encoding/Base64"
import * as Result from "effect/Result"

const { Buffer: buffer } = globalThis as {
  readonly Buffer?: {
    allocUnsafe(length: number): Uint8Array
    from(text: string, encoding: "base64" | "utf8"): Uint8Array
    from(bytes: ArrayBufferLike, offset: number, length: number): { toString(encoding: "base64" | "utf8"): string }
  }
}

const encoder = new TextEncoder()
const decoder = new TextDecoder()

/** Bytes whose content is still to be written. */
export const allocate = (length: number): Uint8Array =>
  buffer === undefined ? new Uint8Array(length) : buffer.allocUnsafe(length)

export const toBytes = (text: string): Uint8Array => (buffer === undefined ? encoder.encode(text) : buffer.from(text, "utf8"))

export const toText = (bytes: Uint8Array): string =>
  buffer === undefined ? decoder.decode(bytes) : buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("utf8")

export const toBase64 = (bytes: Uint8Array): string =>
  buffer === undefined ? Base64.encode(bytes) : buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("base64")

/** The bytes of a text that is base64; of one that is not, what cannot be opened. */
export const fromBase64 = (text: string): Uint8Array =>
  buffer === undefined ? Result.getOrElse(Base64.decode(text), () => new Uint8Array()) : buffer.from(text, "base64")
