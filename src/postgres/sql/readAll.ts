/** A page of the whole log, or of what passes a filter. Its text depends on which keys the queries have, so there are few different ones. */
import * as PgTypes from "@effect/sql-pg/PgTypes"
import type { Query } from "../../store/EventStore.ts"
import type { EventPage, Pages } from "../../store/kit/index.ts"
import { eventColumns, type EventRow, toEventPage } from "./eventPage.ts"
import { type Statement, statement, textArray } from "./statement.ts"

/** The tables that are read, with the schema. */
interface Tables {
  readonly event: string
  readonly tag: string
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

/** The positions that one query finds, at most a page of them. */
const positionsOf = ({ event, tag }: Tables, query: Query, direction: string, parameter: Parameter): string => {
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

const textOf = (tables: Tables, filter: ReadonlyArray<Query>, direction: string, parameter: Parameter): string => {
  const [only] = filter
  if (only !== undefined && filter.length === 1 && !isTagged(only)) {
    return `select ${eventColumns} from ${tables.event} e where ${within("e.position")}${conditionsOf(only, parameter)} order by e.position ${direction} limit $3::bigint`
  }
  const found =
    filter.length === 0
      ? "select e.position from unnest('{}'::bigint[]) e(position)"
      : filter.map((query) => `(${positionsOf(tables, query, direction, parameter)})`).join(" union ")
  return `select ${eventColumns} from (${found}) f cross join lateral (select e.* from ${tables.event} e where e.position = f.position limit 1) e where ${within("f.position")} order by f.position ${direction} limit $3::bigint`
}

/** The statement of one page, and its parameters. */
export const readAll = (
  tables: Tables,
  { after, backward, filter, size, upTo }: Parameters<Pages["all"]>[0]
): { readonly page: Statement<EventPage>; readonly parameters: ReadonlyArray<unknown> } => {
  const parameters: Array<unknown> = [String(after), String(upTo), String(size)]
  const text = textOf(tables, filter, backward ? "desc" : "asc", (value) => `$${parameters.push(value)}`)
  return { page: statement(text, (rows: ReadonlyArray<EventRow>) => toEventPage(rows)), parameters }
}
