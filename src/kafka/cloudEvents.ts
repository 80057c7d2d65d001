/**
 * The Kafka protocol binding of CloudEvents 1.0: headers with the prefix `ce_` in binary mode, a document in structured mode. The text of
 * headers is UTF-8, and not percent-encoded as elsewhere.
 */
import * as Result from "effect/Result"
import { decodeBinary, decodeText, encodeBinary, encodeText, formatFault, isStructured } from "../transport/kit.ts"
import type { CloudEvent, Message } from "../transport/Transport.ts"

/** What a record has, beside its key. */
export interface Encoded {
  readonly value: Buffer
  readonly headers: Map<Buffer, Buffer>
  /** The bytes of both, with what the format of records adds at most. */
  readonly size: number
}

/** A record as it was fetched. */
export interface Fetched {
  readonly value: Buffer | null
  readonly headers: ReadonlyArray<readonly [Buffer | null, Buffer | null]>
}

const prefix = "ce_"
const contentTypeHeader = Buffer.from("content-type")
const structuredType = Buffer.from("application/cloudevents+json; charset=UTF-8")
const nothing = Buffer.alloc(0)

/** The lengths of a header, and the lengths, deltas and attributes of a record, at most. */
const headerOverhead = 10
const recordOverhead = 36

const sizeOf = (value: Buffer, headers: ReadonlyMap<Buffer, Buffer>): number => {
  let size = value.length + recordOverhead
  for (const [name, text] of headers) size += name.length + text.length + headerOverhead
  return size
}

const encoded = (value: Buffer, headers: Map<Buffer, Buffer>): Encoded => ({ value, headers, size: sizeOf(value, headers) })

/** The names of headers, as they are written: there are few. Those of extensions are anybody's, and are not kept. */
const names = new Map(
  [
    "specversion",
    "id",
    "source",
    "tenant",
    "type",
    "subject",
    "time",
    "schemaversion",
    "correlationid",
    "causationid",
    "position"
  ].map((name) => [name, Buffer.from(prefix + name)])
)

/** The record of a message. Fails, with what is wrong, when it is no message that anybody could read. */
export const encode = (message: Message, mode: "binary" | "structured"): Result.Result<Encoded, string> =>
  mode === "structured"
    ? Result.map(encodeText(message), (text) => encoded(Buffer.from(text), new Map([[contentTypeHeader, structuredType]])))
    : Result.map(encodeBinary(message), ({ attributes: { datacontenttype, ...attributes }, data }) => {
        const headers = new Map([[contentTypeHeader, Buffer.from(String(datacontenttype))]])
        for (const name in attributes) {
          headers.set(names.get(name) ?? Buffer.from(prefix + name), Buffer.from(String(attributes[name])))
        }
        return encoded(Buffer.from(data), headers)
      })

/** A record that has come, and what it says: read once, whoever asks. */
export class Incoming {
  readonly partition: number
  readonly record: Fetched
  private read: Result.Result<CloudEvent, string> | undefined
  constructor(partition: number, record: Fetched) {
    this.partition = partition
    this.record = record
  }
  get message(): Result.Result<CloudEvent, string> {
    return (this.read ??= decode(this.record))
  }
}

const textOf = (bytes: Buffer | null): string => (bytes === null ? "" : bytes.toString("utf8"))

const isSame = (one: Buffer, other: Buffer): boolean => {
  if (one.length !== other.length) return false
  for (let at = 0; at < one.length; at++) if (one[at] !== other[at]) return false
  return true
}

/** What the name of a header says. */
interface Name {
  readonly bytes: Buffer
  /** Of which attribute it is, if of any. */
  readonly attribute: string | undefined
  readonly isContentType: boolean
}

const readName = (bytes: Buffer): Name => {
  const text = bytes.toString("utf8")
  return {
    bytes,
    attribute: text.startsWith(prefix) ? text.slice(prefix.length) : undefined,
    isContentType: text.toLowerCase() === "content-type"
  }
}

/** The names of the headers of the record that was read last, by their place: those of the next one are most often the same. */
const last: Array<Name> = []
/** No more headers and no longer names are kept. */
const kept = { headers: 32, bytes: 64 }

const nameOf = (bytes: Buffer, place: number): Name => {
  const known = last[place]
  if (known !== undefined && isSame(known.bytes, bytes)) return known
  const isKept = place < kept.headers && bytes.length <= kept.bytes
  // A copy: what was fetched is not kept for a name's sake.
  const name = readName(isKept ? Buffer.from(bytes) : bytes)
  if (isKept) last[place] = name
  return name
}

/** Reads either mode. The failure says what is wrong. */
export const decode = ({ headers, value }: Fetched): Result.Result<CloudEvent, string> => {
  const attributes: Record<string, unknown> = {}
  let contentType: string | undefined
  let isBinary = false
  for (let place = 0; place < headers.length; place++) {
    const [bytes = null, text = null] = headers[place] ?? []
    const { attribute, isContentType } = nameOf(bytes ?? nothing, place)
    if (attribute !== undefined) {
      isBinary = true
      attributes[attribute] = textOf(text)
    } else if (isContentType) contentType = textOf(text)
  }
  const fault = contentType === undefined ? undefined : formatFault(contentType)
  if (fault !== undefined) return Result.fail(fault)
  // Producers that know nothing of headers send documents.
  if (!isBinary || (contentType !== undefined && isStructured(contentType))) {
    return value === null ? Result.fail("it has no value: it marks what is deleted of a compacted topic") : decodeText(value)
  }
  if (contentType !== undefined) attributes["datacontenttype"] = contentType
  return decodeBinary(attributes, value ?? nothing)
}
