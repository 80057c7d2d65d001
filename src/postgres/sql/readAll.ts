/** A page of the whole log, or of what passes a filter. Its text depends on which keys the queries have, so there are few different ones. */
import * as PgTypes from "@effect/sql-pg/PgTypes"
import type { Query } from "../../store/EventStore.ts"
import { type EventPage, pageCutBelow, type Pages } from "../../store/kit/index.ts"
import { type EventIndex, eventIndexes } from "./eventIndexes.ts"
import { cut, eventColumns, type EventRow, fits, page, toEventPage } from "./eventPage.ts"
import { type Statement, statement, textArray } from "./statement.ts"

/** The tables that are read, with the schema, and the indexes of events that there are beside those of its keys. */
export interface Tables {
  readonly event: string
  readonly tag: string
  readonly indexes: ReadonlySet<EventIndex>
}

/** Puts a value among the parameters, and says how the text calls it. */
type Parameter = (value: unknown) => string

/** What a query asks of an event `e`, its first tag apart. */
const conditionsOf = (query: Query, parameter: Parameter): string => {
  const all: Array<string> = []
  if (query.types !== undefined) all.push(`e.type = any (${parameter(textArray(query.types))})`)
  // Without the coalesce the planner takes any category for a very rare one, and scans all events for each page.
  if (query.categories !== undefined) {
    all.push(`coalesce(split_part(e.stream, '-', 1) = any (${parameter(textArray(query.categories))}), false)`)
  }
  if (query.published !== undefined) all.push(`e.published = ${parameter(PgTypes.bool(query.published))}`)
  if (query.tags !== undefined && query.tags.length > 1) all.push(`e.tags @> ${parameter(textArray(query.tags))}`)
  if (query.correlationId !== undefined) all.push(`e.metadata->>'correlationId' = ${parameter(query.correlationId)}`)
  return all.map((condition) => ` and ${condition}`).join("")
}

const within = (position: string) => `${position} > $1::bigint and ${position} <= $2::bigint`

const isTagged = ({ tags }: Query): boolean => tags !== undefined && tags.length > 0

/** For more values of one key than this the log is looked through: a page of events is looked up for each of them. */
const mostValues = 8

/** How a query without tags is looked up in an index. */
interface Lookup {
  readonly values: ReadonlyArray<string>
  /** What else the query asks for. */
  readonly rest: Query
  /** What is compared with them, and what is so of all events in the index. */
  readonly of: string
  readonly where: string | undefined
}

/** By the first index that there is for it. */
const lookupOf = ({ indexes }: Tables, query: Query): Lookup | undefined => {
  if (isTagged(query)) return undefined
  for (const { index, key, of, where } of eventIndexes) {
    const { [key]: wanted, ...rest } = query
    if (!indexes.has(index) || wanted === undefined) continue
    const values = Array.from(new Set(typeof wanted === "string" ? [wanted] : wanted))
    if (values.length > 0 && values.length <= mostValues) return { values, rest, of: of("e."), where: where?.("e.") }
  }
  return undefined
}

/** Whether a query asks for nothing but what one index tells. */
export const isLookedUp = (tables: Tables, query: Query): boolean => {
  const lookup = lookupOf(tables, query)
  return lookup !== undefined && Object.values(lookup.rest).every((value) => value === undefined)
}

/**
 * The positions of the events that have one of some values. Both columns are compared at once, and order the rows: see `eventIndexes.ts`.
 */
const positionsOfValues = ({ event }: Tables, lookup: Lookup, direction: string, parameter: Parameter): string => {
  const { of, rest, values, where } = lookup
  const within = `(${of}, e.position) > (v.value, $1::bigint) and (${of}, e.position) <= (v.value, $2::bigint)`
  const conditions = `${where === undefined ? "" : ` and ${where}`}${conditionsOf(rest, parameter)}`
  const order = `order by ${of} ${direction}, e.position ${direction} limit $3::bigint`
  return `select e.position from unnest(${parameter(textArray(values))}::text[]) v(value)
    cross join lateral (select e.position from ${event} e where ${within}${conditions} ${order}) e
    order by e.position ${direction} limit $3::bigint`
}

/** The positions that one query finds, at most a page of them. */
const positionsOf = (tables: Tables, query: Query, direction: string, parameter: Parameter): string => {
  const { event, tag } = tables
  const lookup = lookupOf(tables, query)
  if (lookup !== undefined) return positionsOfValues(tables, lookup, direction, parameter)
  const conditions = conditionsOf(query, parameter)
  const page = (position: string) => `order by ${position} ${direction} limit $3::bigint`
  if (!isTagged(query)) {
    return `select e.position from ${event} e where ${within("e.position")}${conditions} ${page("e.position")}`
  }
  // Joined by a lateral subquery with a limit, an event is looked up by its position: no plan can scan them all instead.
  const having =
    conditions === "" ? "" : ` cross join lateral (select from ${event} e where e.position = t.position${conditions} limit 1) e`
  return `select t.position from ${tag} t${having} where t.tag = ${parameter(query.tags?.[0])} and ${within("t.position")} ${page("t.position")}`
}

const eventsOf = (tables: Tables, filter: ReadonlyArray<Query>, direction: string, parameter: Parameter): string => {
  const [only] = filter
  if (only !== undefined && filter.length === 1 && !isTagged(only) && lookupOf(tables, only) === undefined) {
    return `select e.* from ${tables.event} e where ${within("e.position")}${conditionsOf(only, parameter)} order by e.position ${direction} limit $3::bigint`
  }
  const found =
    filter.length === 0
      ? "select e.position from unnest('{}'::bigint[]) e(position)"
      : filter.map((query) => `(${positionsOf(tables, query, direction, parameter)})`).join(" union ")
  return `select e.* from (${found}) f cross join lateral (select e.* from ${tables.event} e where e.position = f.position limit 1) e where ${within("f.position")} order by f.position ${direction} limit $3::bigint`
}

const directionOf = (backward: boolean): string => (backward ? "desc" : "asc")

/** The statement of one page, and its parameters. */
export const readAll = (
  tables: Tables,
  { after, backward, filter, size, upTo }: Parameters<Pages["all"]>[0]
): { readonly page: Statement<EventPage>; readonly parameters: ReadonlyArray<unknown> } => {
  const parameters: Array<unknown> = [String(after), String(upTo), String(size)]
  const direction = directionOf(backward)
  const text = page(
    eventsOf(tables, filter, direction, (value) => `$${parameters.push(value)}`),
    `position ${direction}`
  )
  return { page: statement(text, (rows: ReadonlyArray<EventRow>) => pageCutBelow(toEventPage(rows), size)), parameters }
}

/** How many events of some categories are few. */
const mostFew = 1_000

/**
 * The events of a category: of the stream of its own name, and of those that begin with it and "-", which comes right before ".". As with
 * the indexes of `eventIndexes.ts`, rows are compared, so that the index of names and versions is gone along as far as there are few, and no further.
 */
const ofCategories = (event: string, categories: string, columns: string): string => {
  const between = (low: string, high: string) =>
    `(select ${columns} from ${event} e where (e.stream, e.version) > ${low} and (e.stream, e.version) < ${high} order by e.stream, e.version limit ${mostFew})`
  const [own, others] = [
    between("(c.name, 0::bigint)", `(c.name, ${Number.MAX_SAFE_INTEGER}::bigint)`),
    between("(c.name || '-', 0::bigint)", "(c.name || '.', 0::bigint)")
  ]
  return `select e.* from unnest(${categories}::text[]) c(name) cross join lateral (${own} union all ${others}) e limit ${mostFew}`
}

type FewRow = readonly [many: boolean, ...event: EventRow | ReadonlyArray<null>]

/**
 * The page of {@link readAll}, found by the names of streams: `undefined` where a query asks for no category, or for tags. It reads as `undefined` where
 * too many events are of the categories: that is found out first, without looking at an event.
 */
export const readFew = (
  { event }: Tables,
  { after, backward, filter, size, upTo }: Parameters<Pages["all"]>[0]
): { readonly page: Statement<EventPage | undefined>; readonly parameters: ReadonlyArray<unknown> } | undefined => {
  if (filter.some((query) => query.categories === undefined || isTagged(query))) return undefined
  const categories = new Set(filter.flatMap((query) => query.categories ?? []))
  const parameters: Array<unknown> = [String(after), String(upTo), String(size), textArray(Array.from(categories))]
  const parameter = (value: unknown) => `$${parameters.push(value)}`
  const any = filter.map((query) => `(true${conditionsOf(query, parameter)})`).join(" or ")
  const order = `position ${directionOf(backward)}`
  const found = `select e.* from (${ofCategories(event, "$4", "e.*")}) e
         where not n.many and ${within("e.position")} and (${any})
         order by e.${order} limit $3::bigint`
  const text = `
    select n.many, ${eventColumns}
      from (select count(*) >= ${mostFew} as many from (${ofCategories(event, "$4", "1")}) e) n
      left join lateral (
        select e.* from (${cut(found, order)}) e where ${fits}
      ) e on true
     order by e.${order}`
  const read = (rows: ReadonlyArray<FewRow>): EventPage | undefined => {
    if (rows[0]?.[0] === true) return undefined
    const events = rows.flatMap(([, ...row]) => (row[0] === null ? [] : [row as EventRow]))
    return pageCutBelow(toEventPage(events), size)
  }
  return { page: statement(text, read), parameters }
}
