/**
 * Rows in the order of their positions, and the same by their tags: how the newest that passes a filter is found.
 */
import type { Query } from "../model.ts"

interface Tagged {
  readonly position: number
  readonly tags: ReadonlyArray<string>
}

/** Adds the row with the newest position. */
export const addTagged = <Row extends Tagged>(byTag: Map<string, Array<Row>>, rows: Array<Row>, row: Row): void => {
  rows.push(row)
  for (const tag of row.tags) {
    const tagged = byTag.get(tag)
    if (tagged === undefined) byTag.set(tag, [row])
    else tagged.push(row)
  }
}

/** Those rows among which are all that pass a query: of its tags the rarest decides. */
export const candidatesOf = <Row extends Tagged>(
  rows: ReadonlyArray<Row>,
  byTag: ReadonlyMap<string, ReadonlyArray<Row>>,
  { tags = [] }: Query
): ReadonlyArray<Row> => {
  let rarest = rows
  for (const tag of tags) {
    const tagged = byTag.get(tag)
    if (tagged === undefined) return []
    if (tagged.length < rarest.length) rarest = tagged
  }
  return rarest
}

/** The position of the newest row beyond `after` that passes the filter. */
export const newestAmong = <Row extends Tagged>(
  {
    byTag,
    passes,
    rows
  }: {
    readonly rows: ReadonlyArray<Row>
    readonly byTag: ReadonlyMap<string, ReadonlyArray<Row>>
    readonly passes: (filter: ReadonlyArray<Query>, row: Row) => boolean
  },
  filter: ReadonlyArray<Query>,
  after: number
): number | undefined => {
  let found = after
  for (const query of filter) {
    const last = candidatesOf(rows, byTag, query).findLast((row) => row.position <= found || passes([query], row))
    found = Math.max(found, last?.position ?? 0)
  }
  return found === after ? undefined : found
}
