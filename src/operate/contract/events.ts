import * as Schema from "effect/Schema"
import { Time } from "./page.ts"

/**
 * How much of a payload an operator sees: nothing but its size; its shape, with the values of what is sensitive masked; all of it.
 *
 * @category schemas
 * @since 0.2.0
 */
export const Payloads = Schema.Literals(["hidden", "masked", "shown"])

/**
 * How much of a payload an operator sees.
 *
 * @category models
 * @since 0.2.0
 */
export type Payloads = typeof Payloads.Type

/**
 * A payload, as far as the operator may see it. It comes from the store: it is data, never an instruction and never markup.
 *
 * @category schemas
 * @since 0.2.0
 */
export const Payload = Schema.Union([
  /** As it stands in the store. `masked` has the JSON pointers (RFC 6901) of what has been replaced by `"•••"`. */
  Schema.TaggedStruct("Shown", { value: Schema.Json, masked: Schema.Array(Schema.String) }),
  /** Too large for a list: `text` is how its JSON begins, `bytes` how much there is. The operation `Event` has it whole. */
  Schema.TaggedStruct("Cut", { text: Schema.String, bytes: Schema.Int }),
  /** The operator may not see it. */
  Schema.TaggedStruct("Hidden", { bytes: Schema.Int })
])

/**
 * A payload, as far as the operator may see it.
 *
 * @category models
 * @since 0.2.0
 */
export type Payload = typeof Payload.Type

/**
 * An event, as a row of a list.
 *
 * @category schemas
 * @since 0.2.0
 */
export const EventRow = Schema.Struct({
  position: Schema.Int,
  stream: Schema.String,
  version: Schema.Int,
  id: Schema.String,
  type: Schema.String,
  schemaVersion: Schema.Int,
  recordedAt: Time,
  published: Schema.Boolean,
  tags: Schema.Array(Schema.String),
  correlationId: Schema.NullOr(Schema.String),
  causationId: Schema.NullOr(Schema.String),
  /** Who did it: `metadata.by`, where it is text. */
  by: Schema.NullOr(Schema.String),
  payload: Payload,
  /** Why the definition that is registered for its type cannot read it; `null` where it can, or where none is registered. */
  problem: Schema.NullOr(Schema.String)
})

/**
 * An event, as a row of a list.
 *
 * @category models
 * @since 0.2.0
 */
export type EventRow = typeof EventRow.Type

/**
 * One event whole, with what caused it and what it caused.
 *
 * @category schemas
 * @since 0.2.0
 */
export const EventDetail = Schema.Struct({
  event: EventRow,
  /** All of its metadata, as far as the operator may see it. */
  metadata: Payload,
  cause: Schema.NullOr(EventRow),
  /** At most 200, by position. Empty where the event has no correlation id, by which they are found. */
  effects: Schema.Array(EventRow),
  /** Whether these are all effects there are. */
  complete: Schema.Boolean
})

/**
 * One event whole, with what caused it and what it caused.
 *
 * @category models
 * @since 0.2.0
 */
export type EventDetail = typeof EventDetail.Type

/**
 * An aggregate's state after one event.
 *
 * @category schemas
 * @since 0.2.0
 */
export const StateAt = Schema.Struct({
  version: Schema.Int,
  event: EventRow,
  /** As JSON: by the Schema of the state where the aggregate has one, or else by its structure. `null` where there is a problem. */
  state: Schema.NullOr(Schema.Json),
  /** Why there is no state from here on: the event cannot be read or folded. */
  problem: Schema.NullOr(Schema.String)
})

/**
 * An aggregate's state after one event.
 *
 * @category models
 * @since 0.2.0
 */
export type StateAt = typeof StateAt.Type

/**
 * A window of an aggregate's life: its state before the window, and after each event of it.
 *
 * @category schemas
 * @since 0.2.0
 */
export const States = Schema.Struct({
  /** The name of the aggregate or process manager by whose code it is folded. */
  aggregate: Schema.String,
  stream: Schema.String,
  /** The version of the newest event of the stream. */
  latest: Schema.Int,
  /** The state before the first event of the window: with `from` 1 the initial one. */
  before: Schema.NullOr(Schema.Json),
  states: Schema.Array(StateAt)
})

/**
 * A window of an aggregate's life.
 *
 * @category models
 * @since 0.2.0
 */
export type States = typeof States.Type

/**
 * A stream that exists.
 *
 * @category schemas
 * @since 0.2.0
 */
export const StreamRow = Schema.Struct({
  stream: Schema.String,
  category: Schema.String,
  /** The version of its newest event: how many events it has. */
  version: Schema.Int,
  /** The position of its newest event. */
  position: Schema.Int
})

/**
 * A stream that exists.
 *
 * @category models
 * @since 0.2.0
 */
export type StreamRow = typeof StreamRow.Type
