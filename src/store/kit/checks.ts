/**
 * What is wrong with names, numbers and filters, in words: `undefined` where nothing is.
 */
import { nameFault } from "../../definitions/names.ts"
import type { Filter, Query } from "../model.ts"

export { nameFault } from "../../definitions/names.ts"

export const isCount = (value: number): boolean => Number.isSafeInteger(value) && value >= 0

export const countFault = (field: string, value: number): string | undefined =>
  isCount(value) ? undefined : `${field} must be a whole number from 0 to 2^53 - 1, not ${value}`

/** The filter as a list of queries. */
export const queriesOf = (filter: Filter): ReadonlyArray<Query> =>
  Array.isArray(filter) ? (filter as ReadonlyArray<Query>) : [filter as Query]

export const filterFault = (queries: ReadonlyArray<Query>): string | undefined => {
  for (const query of queries) {
    if (typeof query !== "object" || query === null) return `must be a query or a list of queries, not ${String(query)}`
    for (const key of ["categories", "types", "tags"] as const) {
      const names = query[key]
      if (names === undefined) continue
      if (!Array.isArray(names)) return `has ${key} that are no list`
      for (const name of names) {
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
  return undefined
}
