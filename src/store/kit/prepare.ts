import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type { Metadata, NewEvent } from "../../definitions/stored.ts"
import { makeIds } from "../../internal/ids.ts"
import { jsonFault, textFault } from "../../internal/json.ts"
import { DuplicateEventError, EventStoreError, InvalidAppendError, InvalidRead } from "../errors.ts"
import {
  type AppendCondition,
  ExpectedVersion,
  type Filter,
  limits,
  type Query,
  type ReadAllOptions,
  type ReadOptions,
  type ReadPageOptions,
  type StreamAppend,
  type StreamsOptions
} from "../model.ts"

/**
 * A {@link NewEvent} that has passed all checks, its JSON written out: what a store keeps.
 *
 * @category adapters
 * @since 0.1.0
 */
export interface PreparedEvent {
  readonly id: string
  /** The id was made for this append, so it stands nowhere yet, and the store need not look for it. */
  readonly fresh: boolean
  readonly type: string
  readonly schemaVersion: number
  readonly published: boolean
  readonly tags: ReadonlyArray<string>
  /** JSON text. */
  readonly payload: string
  /** JSON text of an object. */
  readonly metadata: string
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
  readonly appends: ReadonlyArray<{
    readonly stream: string
    readonly expected: ExpectedVersion
    readonly events: ReadonlyArray<PreparedEvent>
  }>
  readonly unless: { readonly filter: ReadonlyArray<Query>; readonly after: number } | undefined
  /** How many events in all. */
  readonly count: number
  /** About how many bytes in all. */
  readonly bytes: number
}

/**
 * Checks an append and writes out its JSON: the one gate to every store, so that all are equally strict.
 *
 * @category adapters
 * @since 0.1.0
 */
export const prepare = (
  appends: ReadonlyArray<StreamAppend>,
  unless?: AppendCondition | undefined
): Effect.Effect<PreparedAppend, InvalidAppendError | DuplicateEventError> =>
  Effect.withFiber((fiber) => {
    let anonymous = 0
    for (const { events } of appends) for (const event of events) if (event.id === undefined) anonymous++
    const withIds = (ids: ReadonlyArray<string>) => {
      const result = prepareWith(appends, unless, ids, fiber.getRef(Clock.Clock).currentTimeMillisUnsafe())
      return "appends" in result ? Effect.succeed(result) : Effect.fail(result)
    }
    return anonymous === 0 ? withIds(noIds) : Effect.flatMap(makeIds(anonymous), withIds)
  })

const noIds: ReadonlyArray<string> = []

const prepareWith = (
  appends: ReadonlyArray<StreamAppend>,
  unless: AppendCondition | undefined,
  ids: ReadonlyArray<string>,
  now: number
): PreparedAppend | InvalidAppendError | DuplicateEventError => {
  const seen = new Set<string>()
  let nextId = 0
  let count = 0
  let bytes = 0
  const prepared: Array<PreparedAppend["appends"][number]> = []
  for (const { events, expected = ExpectedVersion.Any, stream } of appends) {
    const refuse = (field: string, problem: string) => new InvalidAppendError({ stream: String(stream), field, problem })
    const nameProblem = nameFault(stream)
    if (nameProblem !== undefined) return refuse("stream", nameProblem)
    const expectedProblem = expectedFault(expected)
    if (expectedProblem !== undefined) return refuse("expected", expectedProblem)
    const written: Array<PreparedEvent> = []
    for (let index = 0; index < events.length; index++) {
      const event = events[index] as NewEvent
      const id = event.id ?? (ids[nextId++] as string)
      const at = (field: string, problem: string) => refuse(`events[${index}].${field}`, problem)
      const schemaVersion = event.schemaVersion ?? 1
      const tags = event.tags === undefined || event.tags.length === 0 ? noTags : Array.from(new Set(event.tags))
      const metadata = event.metadata ?? noMetadata
      const recordedAt = event.recordedAt === undefined ? now : event.recordedAt.epochMilliseconds
      const idProblem = event.id === undefined ? undefined : nameFault(id)
      if (idProblem !== undefined) return at("id", idProblem)
      if (event.id !== undefined) {
        if (seen.has(id)) return new DuplicateEventError({ stream, id })
        seen.add(id)
      }
      const typeProblem = nameFault(event.type)
      if (typeProblem !== undefined) return at("type", typeProblem)
      if (!Number.isSafeInteger(schemaVersion) || schemaVersion < 1 || schemaVersion > 2_147_483_647) {
        return at("schemaVersion", `must be a whole number from 1 to 2147483647, not ${schemaVersion}`)
      }
      if (event.published !== undefined && typeof event.published !== "boolean") return at("published", "must be a boolean")
      if (tags.length > limits.tags) return at("tags", `has ${tags.length} entries, more than ${limits.tags}`)
      for (const tag of tags) {
        const tagProblem = nameFault(tag)
        if (tagProblem !== undefined) return at("tags", `has an entry that ${tagProblem}`)
      }
      if (!(recordedAt >= earliest && recordedAt <= latest)) return at("recordedAt", "must be an instant of the years 1 to 9999")
      const payloadFault = jsonFault(event.payload)
      if (payloadFault !== undefined) return at(`payload${payloadFault.path}`, payloadFault.problem)
      const metadataProblem = metadataFault(metadata)
      if (metadataProblem !== undefined) return at(`metadata${metadataProblem.path}`, metadataProblem.problem)
      const payload = JSON.stringify(event.payload)
      const metadataText = metadata === noMetadata ? "{}" : JSON.stringify(metadata)
      const payloadBytes = utf8Bytes(payload)
      const metadataBytes = utf8Bytes(metadataText)
      if (payloadBytes > limits.payloadBytes) {
        return at("payload", `is ${payloadBytes} bytes of JSON, more than ${limits.payloadBytes}: store a reference instead`)
      }
      if (metadataBytes > limits.metadataBytes) {
        return at("metadata", `is ${metadataBytes} bytes of JSON, more than ${limits.metadataBytes}`)
      }
      bytes += payloadBytes + metadataBytes
      if (bytes > limits.appendBytes) {
        return at("payload", `takes the append beyond ${limits.appendBytes} bytes: split it`)
      }
      written.push({
        id,
        fresh: event.id === undefined,
        type: event.type,
        schemaVersion,
        published: event.published === true,
        tags,
        payload,
        metadata: metadataText,
        recordedAt
      })
    }
    count += written.length
    prepared.push({ stream, expected, events: written })
  }
  if (unless === undefined) return { appends: prepared, unless, count, bytes }
  const after = unless.after ?? 0
  if (!isCount(after)) {
    return new InvalidAppendError({
      stream: prepared[0]?.stream ?? "",
      field: "unless.after",
      problem: `must be a position, not ${after}`
    })
  }
  const filter = normalizeFilter(unless.filter)
  if (typeof filter === "string") {
    return new InvalidAppendError({ stream: prepared[0]?.stream ?? "", field: "unless.filter", problem: filter })
  }
  return { appends: prepared, unless: { filter, after }, count, bytes }
}

const noTags: ReadonlyArray<string> = Object.freeze([])
export const noMetadata: Metadata = Object.freeze({})

/** The years that every database's timestamps and every ISO 8601 text can carry. */
const earliest = Date.parse("0001-01-01T00:00:00.000Z")
const latest = Date.parse("9999-12-31T23:59:59.999Z")

const isCount = (value: number): boolean => Number.isSafeInteger(value) && value >= 0

const nameFault = (name: string): string | undefined => {
  if (typeof name !== "string") return `must be a string, not ${typeof name}`
  if (name.length === 0) return "must not be empty"
  if (name.length > limits.nameLength) return `has ${name.length} characters, more than ${limits.nameLength}`
  return textFault(name)
}

const expectedFault = (expected: ExpectedVersion): string | undefined =>
  typeof expected === "number"
    ? isCount(expected)
      ? undefined
      : `must be a whole number from 0 to 2^53 - 1, not ${expected}`
    : expected === "any" || expected === "no-stream" || expected === "exists"
      ? undefined
      : `must be a version, "any", "no-stream" or "exists", not ${JSON.stringify(expected)}`

const metadataFault = (metadata: Metadata): { readonly path: string; readonly problem: string } | undefined => {
  if (metadata === noMetadata) return undefined
  if (typeof metadata !== "object" || metadata === null || Array.isArray(metadata))
    return { path: "", problem: "must be an object" }
  for (const key of ["correlationId", "causationId"] as const) {
    const id = metadata[key]
    if (id === undefined && !(key in metadata)) continue
    const problem = nameFault(id as string)
    if (problem !== undefined) return { path: `.${key}`, problem }
  }
  return jsonFault(metadata)
}

const utf8Bytes = (text: string): number => {
  // A UTF-16 code unit takes at most three bytes: small texts need no exact count.
  if (text.length * 3 <= limits.payloadBytes) return text.length
  return new TextEncoder().encode(text).byteLength
}

/** The filter as a list of queries, or what is wrong with it. */
const normalizeFilter = (filter: Filter): ReadonlyArray<Query> | string => {
  const queries = Array.isArray(filter) ? (filter as ReadonlyArray<Query>) : [filter as Query]
  for (const query of queries) {
    for (const key of ["categories", "types", "tags"] as const) {
      for (const name of query[key] ?? []) {
        const problem = nameFault(name)
        if (problem !== undefined) return `has an entry in ${key} that ${problem}`
      }
    }
    if (query.published !== undefined && typeof query.published !== "boolean") return "has a published that is not a boolean"
    if (query.correlationId !== undefined) {
      const problem = nameFault(query.correlationId)
      if (problem !== undefined) return `has a correlationId that ${problem}`
    }
  }
  return queries
}

const everything: ReadonlyArray<Query> = [{}]

/**
 * Checked options of a read, with all defaults filled in.
 *
 * @category adapters
 * @since 0.1.0
 */
export interface PreparedRead {
  /** The lowest version. */
  readonly from: number
  /** The highest version. */
  readonly to: number
  /** Milliseconds since the epoch, `undefined` for no bound. */
  readonly until: number | undefined
  readonly backward: boolean
  readonly limit: number
}

/**
 * @category adapters
 * @since 0.1.0
 */
export const prepareRead = (stream: string, options: ReadOptions = {}): Effect.Effect<PreparedRead, EventStoreError> => {
  const { direction = "forward", from = 1, limit = Number.MAX_SAFE_INTEGER, to = Number.MAX_SAFE_INTEGER, until } = options
  const nameProblem = nameFault(stream)
  if (nameProblem !== undefined) return invalidRead("read", `stream ${nameProblem}`)
  const problem = countFault("from", from) ?? countFault("to", to) ?? countFault("limit", limit) ?? directionFault(direction)
  if (problem !== undefined) return invalidRead("read", problem)
  return Effect.succeed({
    from: Math.max(1, from),
    to,
    until: until?.epochMilliseconds,
    backward: direction === "backward",
    limit
  })
}

/**
 * Checked options of a read of the whole store, with all defaults filled in.
 *
 * @category adapters
 * @since 0.1.0
 */
export interface PreparedReadAll {
  /** Exclusive: the lower bound of a forward read, the upper bound of a backward one (`undefined`: from the newest). */
  readonly after: number | undefined
  readonly filter: ReadonlyArray<Query>
  readonly backward: boolean
  readonly limit: number
}

/**
 * @category adapters
 * @since 0.1.0
 */
export const prepareReadAll = (options: ReadAllOptions = {}): Effect.Effect<PreparedReadAll, EventStoreError> => {
  const { after, direction = "forward", filter, limit = Number.MAX_SAFE_INTEGER } = options
  const problem =
    (after === undefined ? undefined : countFault("after", after)) ?? countFault("limit", limit) ?? directionFault(direction)
  if (problem !== undefined) return invalidRead("readAll", problem)
  const queries = filter === undefined ? everything : normalizeFilter(filter)
  if (typeof queries === "string") return invalidRead("readAll", `filter ${queries}`)
  return Effect.succeed({ after, filter: queries, backward: direction === "backward", limit })
}

/**
 * Checked options of a page of the log, with all defaults filled in.
 *
 * @category adapters
 * @since 0.2.0
 */
export interface PreparedReadPage {
  readonly after: number
  readonly upTo: number
  readonly filter: ReadonlyArray<Query>
  readonly size: number
}

/** Refuses options that make no sense. */
export const prepareReadPage = (options: ReadPageOptions = {}): Effect.Effect<PreparedReadPage, EventStoreError> => {
  const { after = 0, filter, size = 64, upTo = Number.MAX_SAFE_INTEGER } = options
  const problem =
    countFault("after", after) ??
    countFault("upTo", upTo) ??
    countFault("size", size) ??
    (size === 0 ? "size must be at least 1" : undefined)
  if (problem !== undefined) return invalidRead("readPage", problem)
  const queries = filter === undefined ? everything : normalizeFilter(filter)
  if (typeof queries === "string") return invalidRead("readPage", `filter ${queries}`)
  return Effect.succeed({ after, upTo, filter: queries, size })
}

/**
 * @category adapters
 * @since 0.1.0
 */
export const prepareStreams = (
  options: StreamsOptions = {}
): Effect.Effect<{ readonly category: string | undefined; readonly after: string; readonly limit: number }, EventStoreError> => {
  const { after = "", category, limit = Number.MAX_SAFE_INTEGER } = options
  const problem =
    countFault("limit", limit) ??
    (after === "" ? undefined : prefixed("after", nameFault(after))) ??
    (category === undefined ? undefined : prefixed("category", nameFault(category)))
  return problem === undefined ? Effect.succeed({ category, after, limit }) : invalidRead("streams", problem)
}

/**
 * @category adapters
 * @since 0.1.0
 */
export const prepareName = (operation: string, stream: string): Effect.Effect<string, EventStoreError> => {
  const problem = nameFault(stream)
  return problem === undefined ? Effect.succeed(stream) : invalidRead(operation, `stream ${problem}`)
}

const prefixed = (field: string, problem: string | undefined) => (problem === undefined ? undefined : `${field} ${problem}`)

const countFault = (field: string, value: number): string | undefined =>
  isCount(value) ? undefined : `${field} must be a whole number from 0 to 2^53 - 1, not ${value}`

const directionFault = (direction: string): string | undefined =>
  direction === "forward" || direction === "backward"
    ? undefined
    : `direction must be "forward" or "backward", not ${JSON.stringify(direction)}`

const invalidRead = (operation: string, detail: string): Effect.Effect<never, EventStoreError> =>
  Effect.fail(new EventStoreError({ reason: new InvalidRead({ operation, detail }) }))
