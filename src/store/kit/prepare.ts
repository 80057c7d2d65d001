import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import { reserved, storedFault } from "../../definitions/personal.ts"
import type { Metadata, NewEvent } from "../../definitions/stored.ts"
import { makeIds, type NewId, release } from "../../internal/ids.ts"
import { type JsonFault, jsonText } from "../../internal/json.ts"
import { flatMapNow } from "../../internal/now.ts"
import { DuplicateEventError, InvalidAppendError } from "../errors.ts"
import { type AppendCondition, ExpectedVersion, limits, type Query, type StreamAppend } from "../model.ts"
import { tombstoneType } from "../tombstone.ts"
import { filterFault, isCount, nameFault, queriesOf } from "./checks.ts"

/**
 * A {@link NewEvent} that has passed all checks, its JSON written out: what a store keeps.
 *
 * @category adapters
 * @since 0.1.0
 */
export interface PreparedEvent {
  readonly id: string
  /** The id was made here and has never been sent to a store, so it stands nowhere, and the store need not look for it. */
  readonly fresh: boolean
  readonly type: string
  readonly schemaVersion: number
  readonly published: boolean
  readonly tags: ReadonlyArray<string>
  /** JSON text. */
  readonly payload: string
  /** JSON text of an object. */
  readonly metadata: string
  /** What stands in the metadata. */
  readonly correlationId: string | undefined
  /** Milliseconds since the epoch. */
  readonly recordedAt: number
}

/**
 * One append that has passed all checks. Nothing in it can make a store fail, save what stands in the store.
 *
 * @category adapters
 * @since 0.1.0
 */
export interface PreparedAppend {
  readonly appends: ReadonlyArray<PreparedPart>
  /** Its conditions, all of which must hold. */
  readonly unless: ReadonlyArray<PreparedCondition>
  /** How many events in all. */
  readonly count: number
  /** About how many bytes in all. */
  readonly bytes: number
}

/**
 * An append condition that has passed all checks.
 *
 * @category adapters
 * @since 0.2.0
 */
export interface PreparedCondition {
  readonly filter: ReadonlyArray<Query>
  readonly after: number
  /** The id of the event that must stand at `after`. */
  readonly afterId?: string
}

/**
 * One stream's part of an append. One without events writes nothing; what it expects must hold where others of the append write.
 *
 * @category adapters
 * @since 0.2.0
 */
export interface PreparedPart {
  readonly stream: string
  readonly expected: ExpectedVersion
  readonly events: ReadonlyArray<PreparedEvent>
}

/**
 * Checks an append and writes out its JSON: the one gate to every store, so that all are equally strict.
 *
 * @category adapters
 * @since 0.1.0
 */
export const prepare = (
  appends: ReadonlyArray<StreamAppend>,
  unless: AppendCondition | ReadonlyArray<AppendCondition> = noConditions,
  /** Only a copy may hold tombstones. */
  source: "caller" | "copy" = "caller"
): Effect.Effect<PreparedAppend, InvalidAppendError | DuplicateEventError> =>
  Effect.withFiber((fiber) => {
    let anonymous = 0
    for (const { events } of appends) for (const event of events) if (event.id === undefined) anonymous++
    return flatMapNow(makeIds(fiber, anonymous), (ids) => {
      const result = prepareWith(appends, unless, ids, fiber.getRef(Clock.Clock).currentTimeMillisUnsafe(), source)
      return "appends" in result ? Effect.succeed(result) : Effect.fail(result)
    })
  })

const noConditions: ReadonlyArray<PreparedCondition> = []

/** What is known of an append while its events are prepared one after the other. */
interface Tally {
  /** Ids for the events that have none, and how many of them are given away. */
  readonly ids: ReadonlyArray<NewId>
  used: number
  bytes: number
  /** Milliseconds since the epoch. */
  readonly now: number
}

/** What is wrong with a field of an event. */
class Fault {
  readonly field: string
  readonly problem: string
  constructor(field: string, problem: string) {
    this.field = field
    this.problem = problem
  }
}

const prepareWith = (
  appends: ReadonlyArray<StreamAppend>,
  unless: AppendCondition | ReadonlyArray<AppendCondition>,
  ids: ReadonlyArray<NewId>,
  now: number,
  source: "caller" | "copy"
): PreparedAppend | InvalidAppendError | DuplicateEventError => {
  const tally: Tally = { ids, used: 0, bytes: 0, now }
  let given: Set<string> | undefined
  let count = 0
  const parts: Array<PreparedPart> = []
  for (const { events, expected = ExpectedVersion.Any, stream } of appends) {
    const nameProblem = nameFault(stream)
    if (nameProblem !== undefined) return refuse(stream, "stream", nameProblem)
    const expectedProblem = expectedFault(expected)
    if (expectedProblem !== undefined) return refuse(stream, "expected", expectedProblem)
    const prepared: Array<PreparedEvent> = []
    for (const event of events) {
      const { id } = event
      if (event.type === tombstoneType && source === "caller") {
        return refuse(
          stream,
          `events[${prepared.length}].type`,
          `must not be "${tombstoneType}": that stands for a removed event`
        )
      }
      if (id !== undefined) {
        const idProblem = nameFault(id)
        if (idProblem !== undefined) return refuse(stream, `events[${prepared.length}].id`, idProblem)
        if (given?.has(id) === true) return new DuplicateEventError({ stream, id })
        given = (given ?? new Set()).add(id)
      }
      const written = prepareEvent(event, tally)
      if (written instanceof Fault) return refuse(stream, `events[${prepared.length}].${written.field}`, written.problem)
      prepared.push(written)
    }
    count += prepared.length
    parts.push({ stream, expected, events: prepared })
  }
  const conditions = prepareConditions(unless)
  if (conditions instanceof Fault) return refuse(parts[0]?.stream ?? "", conditions.field, conditions.problem)
  return { appends: parts, unless: conditions, count, bytes: tally.bytes }
}

const refuse = (stream: string, field: string, problem: string) =>
  new InvalidAppendError({ stream: String(stream), field, problem })

const prepareConditions = (
  unless: AppendCondition | ReadonlyArray<AppendCondition>
): ReadonlyArray<PreparedCondition> | Fault => {
  if (unless === noConditions) return noConditions
  if (!Array.isArray(unless)) return prepareList([unless as AppendCondition], () => "unless")
  return prepareList(unless as ReadonlyArray<AppendCondition>, (index) => `unless[${index}]`)
}

const prepareList = (
  conditions: ReadonlyArray<AppendCondition>,
  pathOf: (index: number) => string
): ReadonlyArray<PreparedCondition> | Fault => {
  const prepared: Array<PreparedCondition> = []
  for (const [index, { after = 0, afterId, filter }] of conditions.entries()) {
    const queries = queriesOf(filter)
    if (!isCount(after)) return new Fault(`${pathOf(index)}.after`, `must be a position, not ${after}`)
    const idProblem = afterId === undefined ? undefined : after === 0 ? "needs a position in `after`" : nameFault(afterId)
    if (idProblem !== undefined) return new Fault(`${pathOf(index)}.afterId`, idProblem)
    const problem = filterFault(queries)
    if (problem !== undefined) return new Fault(`${pathOf(index)}.filter`, problem)
    // No event passes a filter of no queries.
    if (queries.length > 0 || afterId !== undefined) {
      prepared.push({ filter: queries.map(withoutUndefined), after, ...(afterId === undefined ? {} : { afterId }) })
    }
  }
  return prepared
}

/** A key may be given as `undefined` where the compiler is not told to tell that apart. */
const withoutUndefined = (query: Query): Query =>
  Object.values(query).includes(undefined)
    ? (Object.fromEntries(Object.entries(query).filter(([, value]) => value !== undefined)) as Query)
    : query

/** Checks an event and writes out its JSON, which is added to the bytes of the append. */
const prepareEvent = (event: NewEvent, tally: Tally): PreparedEvent | Fault => {
  const { published, schemaVersion = 1, type } = event
  const tags = event.tags === undefined || event.tags.length === 0 ? noTags : Array.from(new Set(event.tags))
  const metadata = event.metadata ?? noMetadata
  const recordedAt = event.recordedAt === undefined ? tally.now : event.recordedAt.epochMilliseconds
  const fault = headFault(event, schemaVersion, tags, recordedAt)
  if (fault !== undefined) return fault
  const payload = jsonText(event.payload)
  if (typeof payload !== "string") return new Fault(`payload${payload.path}`, payload.problem)
  const metadataText = textOfMetadata(metadata)
  if (typeof metadataText !== "string") return new Fault(`metadata${metadataText.path}`, metadataText.problem)
  const inTheClear = personalFault("payload", payload, event.payload) ?? personalFault("metadata", metadataText, metadata)
  if (inTheClear !== undefined) return inTheClear
  const sizeProblem = sizeFault(payload, metadataText, tally)
  if (sizeProblem !== undefined) return sizeProblem
  const { unseen, value } =
    event.id === undefined ? (tally.ids[tally.used++] as NewId) : { value: event.id, unseen: release(event.id) }
  return {
    id: value,
    fresh: unseen,
    type,
    schemaVersion,
    published: published === true,
    tags,
    payload,
    metadata: metadataText,
    correlationId: metadata.correlationId,
    recordedAt
  }
}

/** Personal data in the clear. In metadata, which nothing seals, they have no place at all. */
const personalFault = (field: "payload" | "metadata", text: string, json: unknown): Fault | undefined => {
  const fault = text.includes(reserved) ? storedFault(json) : undefined
  if (fault === undefined) return undefined
  return new Fault(
    pathIn(field, fault.path),
    field === "payload" ? fault.problem : "is personal data, and metadata are not sealed"
  )
}

const pathIn = (field: string, path: string): string => (path === "" ? field : `${field}.${path}`)

/** What is wrong with an event, its id and its JSON aside. */
const headFault = (
  { published, type }: NewEvent,
  schemaVersion: number,
  tags: ReadonlyArray<string>,
  recordedAt: number
): Fault | undefined => {
  const typeProblem = nameFault(type)
  if (typeProblem !== undefined) return new Fault("type", typeProblem)
  if (!Number.isSafeInteger(schemaVersion) || schemaVersion < 1 || schemaVersion > 2_147_483_647) {
    return new Fault("schemaVersion", `must be a whole number from 1 to 2147483647, not ${schemaVersion}`)
  }
  if (published !== undefined && typeof published !== "boolean") return new Fault("published", "must be a boolean")
  if (tags.length > limits.tags) return new Fault("tags", `has ${tags.length} entries, more than ${limits.tags}`)
  for (const tag of tags) {
    const tagProblem = nameFault(tag)
    if (tagProblem !== undefined) return new Fault("tags", `has an entry that ${tagProblem}`)
  }
  if (!(recordedAt >= earliest && recordedAt <= latest))
    return new Fault("recordedAt", "must be an instant of the years 1 to 9999")
  return undefined
}

/** What is wrong with the size of an event, or of the append once the event is part of it. */
const sizeFault = (payload: string, metadata: string, tally: Tally): Fault | undefined => {
  const payloadBytes = utf8Bytes(payload, limits.payloadBytes)
  const metadataBytes = utf8Bytes(metadata, limits.metadataBytes)
  if (payloadBytes > limits.payloadBytes) {
    return new Fault("payload", `is ${payloadBytes} bytes of JSON, more than ${limits.payloadBytes}: store a reference instead`)
  }
  if (metadataBytes > limits.metadataBytes) {
    return new Fault("metadata", `is ${metadataBytes} bytes of JSON, more than ${limits.metadataBytes}`)
  }
  tally.bytes += payloadBytes + metadataBytes
  return tally.bytes > limits.appendBytes
    ? new Fault("payload", `takes the append beyond ${limits.appendBytes} bytes: split it`)
    : undefined
}

const noTags: ReadonlyArray<string> = Object.freeze([])
export const noMetadata: Metadata = Object.freeze({})

/** The years that every database's timestamps and every ISO 8601 text can carry. */
const earliest = Date.parse("0001-01-01T00:00:00.000Z")
const latest = Date.parse("9999-12-31T23:59:59.999Z")

const expectedFault = (expected: ExpectedVersion): string | undefined =>
  typeof expected === "number"
    ? isCount(expected)
      ? undefined
      : `must be a whole number from 0 to 2^53 - 1, not ${expected}`
    : expected === "any" || expected === "no-stream" || expected === "exists"
      ? undefined
      : `must be a version, "any", "no-stream" or "exists", not ${JSON.stringify(expected)}`

const textOfMetadata = (metadata: Metadata): string | JsonFault => {
  if (metadata === noMetadata) return "{}"
  if (typeof metadata !== "object" || metadata === null || Array.isArray(metadata))
    return { path: "", problem: "must be an object" }
  for (const key of ["correlationId", "causationId"] as const) {
    const id = metadata[key]
    if (id === undefined && !(key in metadata)) continue
    const problem = nameFault(id as string)
    if (problem !== undefined) return { path: `.${key}`, problem }
  }
  return jsonText(metadata)
}

const utf8Bytes = (text: string, limit: number): number => {
  // A UTF-16 code unit takes at most three bytes: texts that are sure to be below the limit need no exact count.
  if (text.length * 3 <= limit) return text.length
  return new TextEncoder().encode(text).byteLength
}
