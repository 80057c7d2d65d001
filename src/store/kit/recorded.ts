import * as DateTime from "effect/DateTime"
import type * as Schema from "effect/Schema"
import { parseJson, writeJson } from "../../internal/exactJson.ts"
import type { Metadata, RecordedEvent } from "../../definitions/stored.ts"
import type { Write } from "./decide.ts"
import type { PreparedEvent } from "./prepare.ts"
import { cutToPage, type EventPage } from "./pages.ts"

/**
 * A prepared event in its place: all of it that a store keeps.
 *
 * @category adapters
 * @since 0.2.0
 */
export interface StoredEvent extends Omit<PreparedEvent, "fresh" | "correlationId"> {
  readonly stream: string
  readonly version: number
  readonly position: number
}

/**
 * The stored event of a write that {@link decide} has accepted.
 *
 * @category adapters
 * @since 0.2.0
 */
export const storedEvent = ({ event, position, stream, version }: Write): StoredEvent => ({
  stream,
  version,
  position,
  id: event.id,
  type: event.type,
  schemaVersion: event.schemaVersion,
  published: event.published,
  tags: event.tags,
  payload: event.payload,
  metadata: event.metadata,
  recordedAt: event.recordedAt
})

/**
 * Reads the JSON text that a store has kept of a payload. No digit is lost: see `NewEvent.payload`.
 *
 * @category adapters
 * @since 0.2.0
 */
export const parsePayload = (text: string): Schema.Json => parseJson(text) as Schema.Json

/**
 * Writes a payload that was read as the JSON text that it came from, but for white space: what `JSON.stringify` leaves out of numbers with
 * more digits than a double, and of -0, is there.
 *
 * @category adapters
 * @since 0.2.0
 */
export const writePayload = (payload: Schema.Json): string => writeJson(payload)

/**
 * Reads the JSON text that a store has kept of the metadata.
 *
 * @category adapters
 * @since 0.2.0
 */
export const parseMetadata = (text: string): Metadata => parseJson(text) as Metadata

/**
 * A stored event as readers get it. Everything in it is new, so nobody can change what the store holds.
 *
 * @category adapters
 * @since 0.2.0
 */
export const recordedEvent = (stored: StoredEvent): RecordedEvent => ({
  stream: stored.stream,
  version: stored.version,
  position: stored.position,
  id: stored.id,
  type: stored.type,
  schemaVersion: stored.schemaVersion,
  published: stored.published,
  tags: stored.tags.slice(),
  payload: parsePayload(stored.payload),
  metadata: parseMetadata(stored.metadata),
  recordedAt: DateTime.makeUnsafe(stored.recordedAt)
})

/**
 * A page of stored events: the first of them where their payloads and metadata are more than {@link pageBytes}.
 *
 * @category adapters
 * @since 0.2.0
 */
export const eventPage = (stored: ReadonlyArray<StoredEvent>): EventPage => {
  const { bytes, fitting, isCut } = cutToPage(stored, ({ metadata, payload }) => payload.length + metadata.length)
  return { items: fitting.map(recordedEvent), bytes, isCut }
}
