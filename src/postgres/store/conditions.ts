/** The append conditions of a batch as the arrays that the function `append_batch` takes. */
import type { Query } from "../../store/EventStore.ts"
import { type Attempt, encodeAsk, isTagged, mostOf } from "../sql/conditions.ts"
import { type Matchable, matches, parseMetadata, type PreparedAppend } from "../../store/kit/index.ts"
import type { AppendValues } from "../sql/append.ts"

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

/** A query of the conditions of a batch, which several may have. */
interface Asked {
  readonly query: Query
  /** The last request that asks it: only what comes before can be in its way. */
  last: number
  /** What {@link AppendValues} calls it; 0 while no event is known to match. */
  number: number
}

/** The events of a batch, by tag and all together. */
const candidatesOf = (requests: ReadonlyArray<PreparedAppend>, tags: ReadonlySet<string>, correlated: boolean) => {
  const all: Array<Candidate> = []
  const tagged = new Map<string, Array<Candidate>>()
  for (const [request, { appends }] of requests.entries()) {
    for (const { events, stream } of appends) {
      for (const event of events) {
        const { published, type } = event
        const metadata = correlated ? parseMetadata(event.metadata) : {}
        const candidate = { nth: all.length + 1, request, stream, type, tags: event.tags, published, metadata }
        all.push(candidate)
        for (const tag of event.tags) {
          if (!tags.has(tag)) continue
          const found = tagged.get(tag)
          if (found === undefined) tagged.set(tag, [candidate])
          else found.push(candidate)
        }
      }
    }
  }
  return { all, tagged }
}

/** Which events of a batch match which of the queries that later requests of the batch ask. */
const matchesWithin = (requests: ReadonlyArray<PreparedAppend>, queries: ReadonlyMap<string, Asked>) => {
  const found: Array<{ readonly nth: number; readonly query: number }> = []
  const asked = Array.from(queries.values()).filter(({ last }) => last > 0)
  if (asked.length === 0) return found
  const tags = new Set(asked.flatMap(({ query }) => query.tags ?? []))
  const correlated = asked.some(({ query }) => query.correlationId !== undefined)
  const { all, tagged } = candidatesOf(requests, tags, correlated)
  let numbers = 0
  for (const one of asked) {
    const { last, query } = one
    let fewest: ReadonlyArray<Candidate> = all
    for (const tag of query.tags ?? []) {
      const having = tagged.get(tag) ?? []
      if (having.length < fewest.length) fewest = having
    }
    for (const candidate of fewest) {
      if (candidate.request >= last) break
      if (!matches(query, candidate)) continue
      if (one.number === 0) one.number = ++numbers
      found.push({ nth: candidate.nth, query: one.number })
    }
  }
  return found.sort((one, other) => one.nth - other.nth)
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
  for (const [index, { after, filter }] of unless.entries()) {
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
    if (rest.length > 0) columns.p_request_checked[request - 1] = true
  }
  columns.p_request_conditions.push(columns.p_condition_request.length)
}

export const encodeConditions = (requests: ReadonlyArray<Attempt>): ConditionValues => {
  if (requests.every(({ unless }) => unless.length === 0)) return none
  const columns = emptyColumns()
  const queries = new Map<string, Asked>()
  const asks: Array<ReadonlyArray<Asked>> = []
  for (const [index, request] of requests.entries()) {
    addConditions(columns, request)
    for (const { filter } of request.unless) {
      asks.push(
        filter.map((query) => {
          const key = JSON.stringify(query)
          const asked = queries.get(key) ?? { query, last: index, number: 0 }
          asked.last = index
          queries.set(key, asked)
          return asked
        })
      )
    }
  }
  for (const { nth, query } of matchesWithin(requests, queries)) {
    columns.p_matched_event.push(nth)
    columns.p_matched_query.push(query)
  }
  for (const [index, queriesOfOne] of asks.entries()) {
    for (const { number } of queriesOfOne) {
      if (number === 0) continue
      columns.p_own_query.push(number)
      columns.p_request_checked[(columns.p_condition_request[index] as number) - 1] = true
    }
    columns.p_condition_own.push(columns.p_own_query.length)
  }
  return columns
}
