/** Events as rows. */
import * as Result from "effect/Result"
import type * as SchemaAST from "effect/SchemaAST"
import * as Event from "../../definitions/Event.ts"
import type { RecordedEvent } from "../../definitions/stored.ts"
import { categoryOf } from "../../store/EventStore.ts"
import type { EventRow, Payload, Payloads } from "../contract/events.ts"
import type { Parts } from "../parts.ts"
import { hiddenValues, mask, shownAs } from "./payloads.ts"
import { makeSaying, withoutQuotes, withoutValues } from "./saying.ts"

const textOr = (value: unknown): string | null => (typeof value === "string" ? value : null)

/** The definitions that a program has told of, by the category of the stream that their events stand in. */
const readersFor = ({ aggregates, processes }: Parts, stream: string): Event.Readers | undefined => {
  const category = categoryOf(stream)
  return aggregates.get(category)?.readers ?? processes.get(category)?.journal.readers
}

/** Makes rows for one operator. */
export const makeRows = (parts: Parts, payloads: Payloads) => {
  const readers = new Map<string, Event.Readers | undefined>()
  const readersOf = (stream: string) => {
    const category = categoryOf(stream)
    if (!readers.has(category)) readers.set(category, readersFor(parts, stream))
    return readers.get(category)
  }
  const astsOf = (event: RecordedEvent): ReadonlyArray<SchemaAST.AST> =>
    (readersOf(event.stream)?.get(event.type) ?? []).map((definition) => definition.ast)
  const problemOf = (event: RecordedEvent): string | null => {
    const known = readersOf(event.stream)
    if (known === undefined || !known.has(event.type)) return null
    const read = Event.readAll(known, event)
    if (Result.isSuccess(read)) return null
    return payloads === "shown" ? read.failure.message : withoutQuotes(event, read.failure)
  }
  const hiddenIn = (event: RecordedEvent) => hiddenValues(event.payload, astsOf(event))
  /** Tags are made of payloads. */
  const tagsOf = (event: RecordedEvent): ReadonlyArray<string> => {
    if (payloads === "shown" || event.tags.length === 0) return event.tags
    if (payloads === "hidden") return event.tags.map(() => mask)
    const hidden = hiddenIn(event)
    return event.tags.map((tag) => withoutValues(tag, hidden))
  }
  const row = (event: RecordedEvent, whole = false): EventRow => ({
    position: event.position,
    stream: event.stream,
    version: event.version,
    id: event.id,
    type: event.type,
    schemaVersion: event.schemaVersion,
    recordedAt: event.recordedAt,
    published: event.published,
    tags: tagsOf(event),
    correlationId: textOr(event.metadata.correlationId),
    causationId: textOr(event.metadata.causationId),
    by: textOr(event.metadata["by"]),
    payload: shownAs(payloads, event.payload, astsOf(event), whole),
    problem: problemOf(event)
  })
  /** Metadata is nobody's definition: masked, its values are, but for what rows say anyway. */
  const metadata = ({ metadata }: RecordedEvent): Payload => shownAs(payloads, metadata, [], true)
  return { row, metadata, hiddenIn, saying: makeSaying(parts.store, payloads, hiddenIn) }
}
