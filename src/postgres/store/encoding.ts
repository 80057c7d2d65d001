/** A batch of appends as the arrays that the function `append` takes. */
import type { PreparedPart } from "../../store/kit/index.ts"
import { type AppendValues, expectedNumber } from "../sql/append.ts"
import { arrayLiteral } from "../sql/statement.ts"
import type { Attempt } from "../sql/conditions.ts"
import { encodeConditions } from "./conditions.ts"

/** The arrays while they are filled. */
type Columns = {
  readonly [Name in Exclude<keyof AppendValues, keyof ReturnType<typeof encodeConditions>>]: Array<
    Exclude<AppendValues[Name], null>[number]
  >
}

const emptyColumns = (): Columns => ({
  p_streams: [],
  p_entry_stream: [],
  p_entry_expected: [],
  p_entry_count: [],
  p_request_entries: [],
  p_event_entry: [],
  p_event_nth: [],
  p_event_stream: [],
  p_id: [],
  p_type: [],
  p_schema_version: [],
  p_published: [],
  p_tags: [],
  p_payload: [],
  p_metadata: [],
  p_recorded_at: [],
  p_asked: [],
  p_asked_id: []
})

const addEvents = (columns: Columns, { events, stream }: PreparedPart, again: boolean): void => {
  const entry = columns.p_entry_stream.length
  let nth = 0
  for (const event of events) {
    columns.p_event_entry.push(entry)
    columns.p_event_nth.push(++nth)
    columns.p_event_stream.push(stream)
    const position = columns.p_id.push(event.id)
    if (again || !event.fresh) {
      columns.p_asked.push(position)
      columns.p_asked_id.push(event.id)
    }
    columns.p_type.push(event.type)
    columns.p_schema_version.push(event.schemaVersion)
    columns.p_published.push(event.published)
    columns.p_tags.push(arrayLiteral(event.tags))
    columns.p_payload.push(event.payload)
    columns.p_metadata.push(event.metadata)
    columns.p_recorded_at.push(event.recordedAt)
  }
}

/** `again` says that these requests have been sent before: then every id may stand already. */
export const encodeAppend = (requests: ReadonlyArray<Attempt>, again: boolean): AppendValues => {
  const columns = emptyColumns()
  const streams = new Map<string, number>()
  for (const { appends } of requests) {
    columns.p_request_entries.push(appends.length)
    for (const part of appends) {
      let index = streams.get(part.stream)
      if (index === undefined) streams.set(part.stream, (index = columns.p_streams.push(part.stream)))
      columns.p_entry_stream.push(index)
      columns.p_entry_expected.push(expectedNumber(part.expected))
      columns.p_entry_count.push(part.events.length)
      addEvents(columns, part, again)
    }
  }
  const nothingAsked = columns.p_asked.length === 0
  return {
    ...columns,
    ...encodeConditions(requests),
    p_tags: columns.p_tags.some((tags) => tags !== "{}") ? columns.p_tags : null,
    p_asked: nothingAsked ? null : columns.p_asked,
    p_asked_id: nothingAsked ? null : columns.p_asked_id
  }
}
