/** The append conditions of a batch as the arrays that the function `append_batch` takes. */
import type { Query } from "../../store/EventStore.ts"
import { type Attempt, encodeAsk, isTagged, mostOf } from "../sql/conditions.ts"
import { type Matchable, matches, parseMetadata, type PreparedAppend } from "../../store/kit/index.ts"
import type { AppendValues, SeenEvents } from "../sql/append.ts"
import { isOfTenant } from "../sql/tenantTables.ts"

type Names =
  | "p_request_conditions"
  | "p_request_checked"
  | "p_condition_request"
  | "p_condition_after"
  | "p_condition_match"
  | "p_condition_most"
  | "p_condition_rest"
  | "p_condition_own"
  | "p_ask_condition"
  | "p_ask_tag"
  | "p_ask_tags"
  | "p_ask_types"
  | "p_rest_filter"
  | "p_own_query"
  | "p_matched_event"
  | "p_matched_query"

type ConditionValues = Pick<AppendValues, Names>

/** The arrays while they are filled. */
type Columns = { readonly [Name in Names]: Array<Exclude<AppendValues[Name], null>[number]> }

/** An event of the batch. */
interface Candidate extends Matchable {
  /** Its place in the batch, from 1. */
  readonly nth: number
  /** Its request. */
  readonly request: number
}

/** A query of the conditions of a batch, and the last of the requests that ask it: only what comes before can be in its way. */
interface Asked {
  readonly query: Query
  last: number
  /** The conditions that ask it, by their places. */
  readonly conditions: Array<number>
}

/** The events of a batch, by tag and all together. */
const candidatesOf = (requests: ReadonlyArray<PreparedAppend>, correlated: boolean) => {
  const all: Array<Candidate> = []
  const tagged = new Map<string, Array<Candidate>>()
  for (const [request, { appends }] of requests.entries()) {
    for (const { events, stream } of appends) {
      for (const event of events) {
        const { published, tags, type } = event
        const metadata = correlated ? parseMetadata(event.metadata) : {}
        const candidate = { nth: all.length + 1, request, stream, type, tags, published, metadata }
        all.push(candidate)
        for (const tag of tags) {
          const found = tagged.get(tag)
          if (found === undefined) tagged.set(tag, [candidate])
          else found.push(candidate)
        }
      }
    }
  }
  /** Those that have all of the tags, and perhaps others. */
  const having = (tags: ReadonlyArray<string> = []): ReadonlyArray<Candidate> => {
    let fewest: ReadonlyArray<Candidate> = all
    for (const tag of tags) {
      const found = tagged.get(tag) ?? []
      if (found.length < fewest.length) fewest = found
    }
    return fewest
  }
  return { having }
}

/** The queries of a batch that an event of an earlier request may match, each of them once. */
const askedOf = (requests: ReadonlyArray<PreparedAppend>, having: ReturnType<typeof candidatesOf>["having"]): Iterable<Asked> => {
  const asked = new Map<string, Asked>()
  let condition = 0
  for (const [index, { unless }] of requests.entries()) {
    for (const { filter } of unless) {
      for (const query of filter) {
        const [first] = having(query.tags)
        if (first === undefined || first.request >= index) continue
        const key = JSON.stringify(query)
        const one = asked.get(key) ?? { query, last: index, conditions: [] }
        one.last = index
        one.conditions.push(condition)
        asked.set(key, one)
      }
      condition++
    }
  }
  return asked.values()
}

/** Whether each query asks for a tag, and no event of the batch has one. */
const noneCanMatch = (requests: ReadonlyArray<PreparedAppend>): boolean => {
  for (const { appends, unless } of requests) {
    for (const { filter } of unless) for (const { tags = [] } of filter) if (tags.length === 0) return false
    for (const { events } of appends) for (const { tags } of events) if (tags.length > 0) return false
  }
  return true
}

/** Which events of a batch match which of the queries that later requests of the batch ask, and which conditions those queries are of. */
const matchesWithin = (requests: ReadonlyArray<PreparedAppend>) => {
  const found: Array<{ readonly nth: number; readonly query: number }> = []
  const own = new Map<number, Array<number>>()
  if (noneCanMatch(requests)) return { found, own }
  const correlated = requests.some(({ unless }) =>
    unless.some(({ filter }) => filter.some(({ correlationId }) => correlationId !== undefined))
  )
  const { having } = candidatesOf(requests, correlated)
  let queries = 0
  for (const { conditions, last, query } of askedOf(requests, having)) {
    let number = 0
    for (const candidate of having(query.tags)) {
      if (candidate.request >= last) break
      if (!isOfTenant(query, candidate.stream) || !matches(query, candidate)) continue
      if (number === 0) number = ++queries
      found.push({ nth: candidate.nth, query: number })
    }
    if (number === 0) continue
    for (const condition of conditions) own.set(condition, [...(own.get(condition) ?? []), number])
  }
  found.sort((one, other) => one.nth - other.nth)
  return { found, own }
}

const none: ConditionValues = {
  p_request_conditions: null,
  p_request_checked: null,
  p_condition_request: null,
  p_condition_after: null,
  p_condition_match: null,
  p_condition_most: null,
  p_condition_rest: null,
  p_condition_own: null,
  p_ask_condition: null,
  p_ask_tag: null,
  p_ask_tags: null,
  p_ask_types: null,
  p_rest_filter: null,
  p_own_query: null,
  p_matched_event: null,
  p_matched_query: null
}

const emptyColumns = (): Columns => ({
  p_request_conditions: [],
  p_request_checked: [],
  p_condition_request: [],
  p_condition_after: [],
  p_condition_match: [],
  p_condition_most: [],
  p_condition_rest: [],
  p_condition_own: [],
  p_ask_condition: [],
  p_ask_tag: [],
  p_ask_tags: [],
  p_ask_types: [],
  p_rest_filter: [],
  p_own_query: [],
  p_matched_event: [],
  p_matched_query: []
})

/** What the conditions of a request ask of what stood before the batch. */
const addConditions = (columns: Columns, { known, unless }: Attempt): void => {
  const request = columns.p_request_checked.push(known?.matches.some((match) => match > 0) === true)
  for (const [index, { after, afterId, filter }] of unless.entries()) {
    const condition = columns.p_condition_after.push(Math.max(after, known?.upTo ?? 0))
    columns.p_condition_request.push(request)
    columns.p_condition_match.push(known?.matches[index] ?? 0)
    columns.p_condition_most.push(known?.final === true ? Number.MAX_SAFE_INTEGER : mostOf(filter))
    for (const query of filter) {
      if (!isTagged(query)) continue
      const { tag, tags, types } = encodeAsk(query)
      columns.p_ask_condition.push(condition)
      columns.p_ask_tag.push(tag)
      columns.p_ask_tags.push(tags)
      columns.p_ask_types.push(types)
    }
    const rest = filter.filter((query) => !isTagged(query))
    columns.p_condition_rest.push(rest.length === 0 ? 0 : columns.p_rest_filter.push(JSON.stringify(rest)))
    if (rest.length > 0 || afterId !== undefined) columns.p_request_checked[request - 1] = true
  }
  columns.p_request_conditions.push(columns.p_condition_request.length)
}

/** The events that the conditions of a batch were made on; `undefined` where none says so. */
export const seenOf = (requests: ReadonlyArray<Attempt>): SeenEvents | undefined => {
  const all = requests.flatMap(({ unless }) => unless)
  if (all.every(({ afterId }) => afterId === undefined)) return undefined
  return { positions: all.map(({ after }) => after), ids: all.map(({ afterId = null }) => afterId) }
}

export const encodeConditions = (requests: ReadonlyArray<Attempt>): ConditionValues => {
  if (requests.every(({ unless }) => unless.length === 0)) return none
  const columns = emptyColumns()
  for (const request of requests) addConditions(columns, request)
  const { found, own } = matchesWithin(requests)
  for (const { nth, query } of found) {
    columns.p_matched_event.push(nth)
    columns.p_matched_query.push(query)
  }
  for (const [condition, request] of columns.p_condition_request.entries()) {
    for (const number of own.get(condition) ?? []) {
      columns.p_own_query.push(number)
      columns.p_request_checked[request - 1] = true
    }
    columns.p_condition_own.push(columns.p_own_query.length)
  }
  return columns
}
