/**
 * Indexes of the events that a store has if it is told to, each for one key of a filter. Positions are the row ids, so they come second in each
 * of them by themselves.
 */
import type { Query } from "../store/EventStore.ts"

/** The category of a stream. */
export const categoryOf = (stream: string): string => `substr(${stream}, 1, instr(${stream} || '-', '-') - 1)`

/** What an index is for. */
export type EventIndex = "type" | "category" | "correlation"

interface Definition {
  readonly index: EventIndex
  readonly key: Extract<keyof Query, "correlationId" | "types" | "categories">
  /** What is indexed of an event; `e` is what goes before the names of its columns. */
  readonly of: (e: string) => string
  /** The one value that a row of `asked` asks for (see `asking.ts`), null where it asks for none or for several. */
  readonly asked: string
  /** Which events stand in it, if not all. */
  readonly where?: string
}

const only = (values: string): string => `iif(json_array_length(${values}) = 1, ${values} ->> 0, NULL)`

const correlationOf = (e: string): string => `(${e}metadata ->> '$.correlationId')`

/** In the order in which a query that has several of these keys uses them. */
export const eventIndexes: ReadonlyArray<Definition> = [
  {
    index: "correlation",
    key: "correlationId",
    of: correlationOf,
    asked: "asked.correlation_id",
    where: `WHERE ${correlationOf("")} IS NOT NULL`
  },
  { index: "type", key: "types", of: (e) => `${e}type`, asked: only("asked.types") },
  { index: "category", key: "categories", of: (e) => `(${categoryOf(`${e}stream`)})`, asked: only("asked.categories") }
]

/** For more values of one key than this the log is looked through: a page of events is looked up for each of them. */
const mostValues = 8

/** Queries that together pass what one passes, each of one value of a key that has an index. */
export const singly = (indexes: ReadonlySet<EventIndex>, query: Query): ReadonlyArray<Query> => {
  if (query.tags !== undefined && query.tags.length > 0) return [query]
  const used = eventIndexes.find(({ index, key }) => indexes.has(index) && query[key] !== undefined)
  const values = used === undefined ? undefined : query[used.key]
  if (used === undefined || typeof values === "string" || values === undefined) return [query]
  const different = Array.from(new Set(values))
  return different.length > 1 && different.length <= mostValues
    ? different.map((value) => ({ ...query, [used.key]: [value] }))
    : [query]
}
