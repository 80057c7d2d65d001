import type * as DateTime from "effect/DateTime"
import type * as Schema from "effect/Schema"

/**
 * What is known about an event beside its payload. Ids are free text; anything JSON may be added under other keys.
 *
 * @category models
 * @since 0.1.0
 */
export interface Metadata {
  /** Names the whole conversation that the event belongs to. */
  readonly correlationId?: string
  /** The id of the message that caused the event. */
  readonly causationId?: string
  readonly [key: string]: Schema.Json | undefined
}

/**
 * An event to append: its payload is JSON already (`Repository` and `Event.encode` make it from a typed event).
 *
 * @category models
 * @since 0.1.0
 */
export interface NewEvent {
  /** The event's type, 1 to 255 characters. Part of the storage format. */
  readonly type: string
  /**
   * At most {@link limits}`.payloadBytes` as JSON text. A whole number that no double can hold is what `JSON.rawJSON` makes of it, here and
   * when it is read; `Event.decode` gives it to a `BigInt` or `BigDecimal`.
   */
  readonly payload: Schema.Json
  /** Unique in the whole store; a retry with the same ids, types and payloads writes nothing twice. Default: a new UUIDv7. */
  readonly id?: string
  /** The version of the payload's schema, from 1. Default: 1. */
  readonly schemaVersion?: number
  /** Whether the event leaves the process through a transport. Default: `false`. */
  readonly published?: boolean
  /** For queries and append conditions, such as `course:42`. Repetitions are dropped. Default: none. */
  readonly tags?: ReadonlyArray<string>
  /** Default: empty. */
  readonly metadata?: Metadata
  /** When the event was recorded, to the millisecond, in the years 1 to 9999; for imports. Default: the current time of the fiber's `Clock`. */
  readonly recordedAt?: DateTime.Utc
}

/**
 * An event as it stands in the store.
 *
 * @category models
 * @since 0.1.0
 */
export interface RecordedEvent extends Required<NewEvent> {
  readonly stream: string
  /** Place in the stream: 1, 2, 3, … without gaps. */
  readonly version: number
  /** Place in the whole store: 1, 2, 3, … without gaps, in commit order. */
  readonly position: number
}

/**
 * The category of a stream: its name up to the first `-`, the whole name when there is none.
 *
 * @category accessors
 * @since 0.1.0
 */
export const categoryOf = (stream: string): string => {
  const dash = stream.indexOf("-")
  return dash === -1 ? stream : stream.slice(0, dash)
}
