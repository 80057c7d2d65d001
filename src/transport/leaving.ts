/** How events leave their store: as messages. */
import type { RecordedEvent } from "../definitions/stored.ts"
import type { Message } from "./message.ts"
import { extensionsOf, type Marked, markedNames } from "./tracing.ts"

/**
 * The message that a stored event leaves as. `source` names the service it comes from.
 *
 * **Details**
 *
 * Of the metadata, correlation and causation travel, the trace context that was staged with the event (`traceMetadata`), and what
 * `marked` says. Tags do not travel: they are for the queries and conditions of the store that has the event. What others shall know of
 * them belongs into the payload, or into marked metadata.
 *
 * @category encoding
 * @since 0.1.0
 */
export const toMessage = (event: RecordedEvent, source: string, marked?: Marked): Message =>
  messageOf(event, source, markedNames("Transport.toMessage", marked))

/** {@link toMessage} with what is marked by its names, of the tenant that the store of the event says. */
export const messageOf = (
  event: RecordedEvent,
  source: string,
  marked: ReturnType<typeof markedNames>,
  tenant?: string
): Message => ({
  specversion: "1.0",
  id: event.id,
  source,
  ...(tenant === undefined ? {} : { tenant }),
  type: event.type,
  subject: event.stream,
  time: event.recordedAt,
  datacontenttype: "application/json",
  data: event.payload,
  schemaversion: event.schemaVersion,
  ...(event.metadata.correlationId === undefined ? {} : { correlationid: event.metadata.correlationId }),
  ...(event.metadata.causationId === undefined ? {} : { causationid: event.metadata.causationId }),
  position: event.position,
  ...withExtensions(extensionsOf(event.metadata, marked))
})

const withExtensions = (extensions: Message["extensions"]) => (extensions === undefined ? {} : { extensions })
