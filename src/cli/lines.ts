/** Events as lines of JSON, for export and import: as they are recorded, or as CloudEvents. */
import * as DateTime from "effect/DateTime"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type { NewEvent, RecordedEvent } from "../definitions/stored.ts"
import { parseJson, writeJson } from "../internal/exactJson.ts"
import { decodeText, encodeText } from "../transport/kit.ts"
import { isTombstone } from "../store/EventStore.ts"
import { type CloudEvent, toMessage } from "../transport/Transport.ts"

/** What a line holds: an event, the stream that it belongs to, and its version there, where that is said. */
export interface Entry {
  readonly stream: string
  readonly version: number | undefined
  readonly event: NewEvent
}

/** The line of an event as it is recorded: everything that it carries. */
export const recordedLine = (event: RecordedEvent): string =>
  writeJson({
    position: event.position,
    stream: event.stream,
    version: event.version,
    id: event.id,
    type: event.type,
    schemaVersion: event.schemaVersion,
    published: event.published,
    tags: event.tags,
    recordedAt: DateTime.formatIso(event.recordedAt),
    metadata: event.metadata as Schema.Json,
    payload: event.payload
  })

/** The line of an event as a CloudEvent in structured mode. Its tags, and metadata that is not an attribute, have no place there. */
export const cloudLine = (event: RecordedEvent, source: string): Result.Result<string, string> =>
  encodeText(toMessage(event, source))

const Recorded = Schema.Struct({
  stream: Schema.String,
  version: Schema.optionalKey(Schema.Int),
  id: Schema.String,
  type: Schema.String,
  schemaVersion: Schema.optionalKey(Schema.Int),
  published: Schema.optionalKey(Schema.Boolean),
  tags: Schema.optionalKey(Schema.Array(Schema.String)),
  recordedAt: Schema.optionalKey(Schema.DateTimeUtcFromString),
  metadata: Schema.optionalKey(Schema.Record(Schema.String, Schema.Json)),
  payload: Schema.Json
})

const decodeRecorded = Schema.decodeUnknownResult(Recorded)

/** What stands in the place of an event that was removed. */
const Removed = Schema.Struct({
  type: Schema.String,
  reason: Schema.String,
  digest: Schema.String.check(Schema.isPattern(/^[0-9a-f]{64}$/))
})
const decodeRemoved = Schema.decodeUnknownResult(Removed, { onExcessProperty: "error" })

const oneLine = (issue: { readonly message: string }): string => `it is no event: ${issue.message.replace(/\s*\n\s*/g, " ")}`

const recordedEntry = (value: unknown): Result.Result<Entry, string> =>
  Result.flatMap(Result.mapError(decodeRecorded(value), oneLine), ({ stream, version, ...event }) => {
    const entry = Result.succeed({ stream, version, event })
    if (!isTombstone(event)) return entry
    if ("archive" in event.payload) {
      return Result.fail(
        `version ${version} of "${stream}" is in an archive, which knows it by its position: take it along by eventfold copy`
      )
    }
    return Result.andThen(Result.mapError(decodeRemoved(event.payload), oneLine), entry)
  })

/** An event of somebody else: it does not leave again by a relay. Without a subject it stands in a stream that its source names. */
const cloudEntry = (event: CloudEvent): Result.Result<Entry, string> => {
  const { causationid, correlationid, data, id, schemaversion, source, subject, time, type } = event
  if (data instanceof Uint8Array) return Result.fail("its data is no JSON")
  if (isTombstone(event)) return Result.fail("no CloudEvent stands for an event that was removed")
  const entry: NewEvent = {
    id,
    type,
    payload: data ?? null,
    ...(schemaversion === undefined ? {} : { schemaVersion: schemaversion }),
    ...(time === undefined ? {} : { recordedAt: time }),
    metadata: {
      ...(correlationid === undefined ? {} : { correlationId: correlationid }),
      ...(causationid === undefined ? {} : { causationId: causationid }),
      source
    }
  }
  return Result.succeed({ stream: subject ?? source, version: undefined, event: entry })
}

/** What a line says, or what is wrong with it. */
export const entryOf = (line: string): Result.Result<Entry, string> => {
  const parsed = Result.try({ try: (): unknown => parseJson(line), catch: () => "it is no JSON" })
  return Result.flatMap(parsed, (value) =>
    typeof value === "object" && value !== null && "specversion" in value
      ? Result.flatMap(decodeText(line), cloudEntry)
      : recordedEntry(value)
  )
}
