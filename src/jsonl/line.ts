/**
 * One line of a log: an event as JSON, with a checksum.
 */
import * as DateTime from "effect/DateTime"
import type * as Schema from "effect/Schema"
import { crc32 } from "node:zlib"
import type { Metadata, RecordedEvent } from "../definitions/stored.ts"
import { parseJson } from "../internal/exactJson.ts"
import { tombstoneType, type Write } from "../store/kit/index.ts"

export interface Line {
  readonly position: number
  readonly stream: string
  readonly version: number
  readonly id: string
  readonly type: string
  readonly schemaVersion: number
  readonly published: boolean
  readonly tags: ReadonlyArray<string>
  /** ISO 8601. */
  readonly recordedAt: string
  readonly metadata: Metadata
  readonly payload: Schema.Json
  /** The position of the last event of the append that this one belongs to. */
  readonly commit: number
  /** Of the last event of an append, where a hash chain is kept: the digest of its link. */
  readonly chain?: string
}

/** `,"crc":"01234567"}` */
const suffixBytes = 18

const checksum = (body: string | Uint8Array): string => crc32(body).toString(16).padStart(8, "0")

/** What of an event is written. */
interface Written extends Pick<Write, "position" | "stream" | "version"> {
  readonly event: Omit<Write["event"], "fresh" | "correlationId">
}

/** The line of an event, with the newline that ends it. */
export const encodeLine = ({ event, position, stream, version }: Written, commit: number, chain?: string): string => {
  const body =
    `{"position":${position},"stream":${JSON.stringify(stream)},"version":${version},"id":${JSON.stringify(event.id)}` +
    `,"type":${JSON.stringify(event.type)},"schemaVersion":${event.schemaVersion},"published":${event.published}` +
    `,"tags":${JSON.stringify(event.tags)},"recordedAt":"${new Date(event.recordedAt).toISOString()}"` +
    `,"metadata":${event.metadata},"payload":${event.payload},"commit":${commit}${chain === undefined ? "" : `,"chain":"${chain}"`}`
  return `${body},"crc":"${checksum(body)}"}\n`
}

/** What a line says, or what is wrong with it. `bytes` goes without the newline. */
export const decodeLine = (bytes: Buffer): Line | string => {
  const end = bytes.length - suffixBytes
  const suffix = end < 0 ? "" : bytes.toString("latin1", end)
  if (!/^,"crc":"[0-9a-f]{8}"\}$/.test(suffix)) return "it does not end with a checksum"
  if (checksum(bytes.subarray(0, end)) !== suffix.slice(8, 16)) return "its checksum does not fit"
  try {
    return parseJson(bytes.toString("utf8")) as Line
  } catch {
    return "it is not JSON"
  }
}

/** The line of the tombstone that stands for the event of another line, with the newline. */
export const tombstoneLine = (line: Line, payload: string): string => {
  const { chain, commit, id, position, recordedAt, schemaVersion, stream, version } = line
  const event = { id, type: tombstoneType, schemaVersion, published: false, tags: [], payload, metadata: "{}" }
  return encodeLine({ event: { ...event, recordedAt: Date.parse(recordedAt) }, position, stream, version }, commit, chain)
}

export const recordedEvent = (line: Line): RecordedEvent => ({
  stream: line.stream,
  version: line.version,
  position: line.position,
  id: line.id,
  type: line.type,
  schemaVersion: line.schemaVersion,
  published: line.published,
  tags: line.tags,
  payload: line.payload,
  metadata: line.metadata,
  recordedAt: DateTime.makeUnsafe(Date.parse(line.recordedAt))
})
