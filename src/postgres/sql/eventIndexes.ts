/**
 * Indexes of the events that a store has if it is told to, each for one key of a filter.
 *
 * Positions come second. Where a statement compares both columns at once, as rows, and orders by both, no other index can serve it: so no
 * plan, made for whatever size of the table or for no value in particular, takes another way.
 */
import type { Query } from "../../store/EventStore.ts"

/** What an index is for. */
export type EventIndex = "type" | "category" | "correlation"

/** An index for one key of a filter. */
interface Definition {
  readonly index: EventIndex
  readonly key: Extract<keyof Query, "correlationId" | "types" | "categories">
  /** What is indexed of an event; `e` is what goes before the names of its columns. */
  readonly of: (e: string) => string
  /** Which events stand in it, if not all. */
  readonly where?: (e: string) => string
}

const correlationId = (e: string) => `(${e}metadata->>'correlationId')`

/** In the order in which a query that has several of these keys uses them: fewer events have a correlation id than a type, or a category. */
export const eventIndexes: ReadonlyArray<Definition> = [
  {
    index: "correlation",
    key: "correlationId",
    of: (e) => `${correlationId(e)} collate "C"`,
    where: (e) => `${correlationId(e)} is not null`
  },
  { index: "type", key: "types", of: (e) => `${e}type` },
  { index: "category", key: "categories", of: (e) => `split_part(${e}stream, '-', 1)` }
]

/** The name of an index; the prefix is that of the tables. */
export const nameOfIndex = (prefix: string, index: EventIndex): string => `${prefix}event_${index}_idx`

/** Makes an index. `how` stands before its name: `concurrently`, for example. */
export const createIndex = ({ index, of, where }: Definition, how: string): string => {
  const which = where === undefined ? "" : ` where ${where("")}`
  return `create index ${how} "${nameOfIndex("{prefix}", index)}" on {event} ((${of("")}), position)${which}`
}
