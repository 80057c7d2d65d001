/**
 * Rows in the order of their positions, and the same by their tags and correlation ids: how the newest that passes a filter is found.
 */
import type { Query } from "../model.ts"

interface Tagged {
  readonly position: number
  readonly tags: ReadonlyArray<string>
}

/** Rows, and what is looked up in them. */
export interface Lookup<Row extends Tagged> {
  readonly rows: Array<Row>
  readonly byTag: Map<string, Array<Row>>
  /** A row that is alone stands by itself: most correlation ids have few events, and there are as many of them as commands. */
  readonly byCorrelation: Map<string, Row | Array<Row>>
  /** The correlation id of a row; absent where rows do not say it. */
  readonly correlationOf: ((row: Row) => string | undefined) | undefined
}

export const makeLookup = <Row extends Tagged>(correlationOf?: (row: Row) => string | undefined): Lookup<Row> => ({
  rows: [],
  byTag: new Map(),
  byCorrelation: new Map(),
  correlationOf
})

/** Adds the row with the newest position. */
export const addRow = <Row extends Tagged>({ byCorrelation, byTag, correlationOf, rows }: Lookup<Row>, row: Row): void => {
  rows.push(row)
  for (const tag of row.tags) {
    const tagged = byTag.get(tag)
    if (tagged === undefined) byTag.set(tag, [row])
    else tagged.push(row)
  }
  const correlationId = correlationOf?.(row)
  if (correlationId === undefined) return
  const correlated = byCorrelation.get(correlationId)
  if (correlated === undefined) byCorrelation.set(correlationId, row)
  else if (Array.isArray(correlated)) correlated.push(row)
  else byCorrelation.set(correlationId, [correlated, row])
}

/** Those rows among which are all that pass a query: of its tags and its correlation id the rarest decides. */
export const candidatesOf = <Row extends Tagged>(
  { byCorrelation, byTag, correlationOf, rows }: Lookup<Row>,
  { correlationId, tags = [] }: Query
): ReadonlyArray<Row> => {
  let rarest: ReadonlyArray<Row> = rows
  for (const tag of tags) {
    const tagged = byTag.get(tag)
    if (tagged === undefined) return []
    if (tagged.length < rarest.length) rarest = tagged
  }
  if (correlationId === undefined || correlationOf === undefined) return rarest
  const correlated = byCorrelation.get(correlationId)
  if (correlated === undefined) return []
  if (!Array.isArray(correlated)) return [correlated]
  return correlated.length < rarest.length ? correlated : rarest
}

/** The position of the newest row beyond `after` that passes the filter. */
export const newestAmong = <Row extends Tagged>(
  lookup: Lookup<Row>,
  passes: (filter: ReadonlyArray<Query>, row: Row) => boolean,
  filter: ReadonlyArray<Query>,
  after: number
): number | undefined => {
  let found = after
  for (const query of filter) {
    const last = candidatesOf(lookup, query).findLast((row) => row.position <= found || passes([query], row))
    found = Math.max(found, last?.position ?? 0)
  }
  return found === after ? undefined : found
}
