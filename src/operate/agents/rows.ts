/** What agents are shown of events: small, and text. What comes from the store is data, whatever it says. */
import * as DateTime from "effect/DateTime"
import * as Schema from "effect/Schema"
import { printable } from "../../internal/printable.ts"
import type { EventRow, Payload } from "../contract/events.ts"

/** How much of a payload stands in a list, and of one event that is asked for, in characters. */
const [ofList, ofOne] = [200, 20_000]

/** An event, as a row of a list. */
export const EventLine = Schema.Struct({
  position: Schema.Int,
  stream: Schema.String,
  version: Schema.Int,
  id: Schema.String,
  type: Schema.String,
  recordedAt: Schema.String,
  by: Schema.NullOr(Schema.String),
  correlationId: Schema.NullOr(Schema.String),
  causationId: Schema.NullOr(Schema.String),
  /** JSON, cut where it is long. */
  payload: Schema.String,
  problem: Schema.NullOr(Schema.String)
})

const cutTo = (text: string, length: number): string =>
  text.length > length ? `${text.slice(0, length)}… (${text.length} characters)` : text

/** A value of JSON as text, at most so long. */
export const jsonText = (value: Schema.Json, length = ofOne): string => printable(cutTo(JSON.stringify(value), length))

/** What of a payload may be seen, as text. */
export const payloadText = (payload: Payload, isWhole: boolean): string => {
  switch (payload._tag) {
    case "Shown":
      return jsonText(payload.value, isWhole ? ofOne : ofList)
    case "Cut":
      return printable(`${payload.text}… (${payload.bytes} bytes: ask for the event)`)
    case "Hidden":
      return `(hidden: ${payload.bytes} bytes)`
  }
}

const text = (value: string | null): string | null => (value === null ? null : printable(value))

export const eventLine = (event: EventRow, isWhole = false): typeof EventLine.Type => ({
  position: event.position,
  stream: printable(event.stream),
  version: event.version,
  id: printable(event.id),
  type: printable(event.type),
  recordedAt: DateTime.formatIso(event.recordedAt),
  by: text(event.by),
  correlationId: text(event.correlationId),
  causationId: text(event.causationId),
  payload: payloadText(event.payload, isWhole),
  problem: text(event.problem)
})
