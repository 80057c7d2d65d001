/**
 * Many queries in one statement. They come as the rows of a JSON array, so the text of the statement is always the same, and what SQLite
 * allows of parameters and of terms bounds nothing.
 */
import { limits, type Query } from "../store/EventStore.ts"
import { pageBytes } from "../store/kit/index.ts"
import { categoryOf, eventIndexes, type EventIndex } from "./indexes.ts"

/** A query, and the position beyond which it is asked. */
export interface Asked {
  readonly query: Query
  readonly after: number
}

/** One of `boundary`. */
export interface AskedOfBoundary extends Asked {
  /** Whether the newest event alone is wanted. */
  readonly newest: boolean
  /** How many positions are looked through at most, from the end where it begins. */
  readonly window: number | undefined
}

/** The parameter of queries: most have tags and types alone, and SQLite takes its time for each field. */
export const askedParam = (asked: ReadonlyArray<Asked | AskedOfBoundary>): string =>
  JSON.stringify(
    asked.map((asked) => {
      const { categories, correlationId, published, tags = [], types } = asked.query
      const [tag, ...others] = tags.length > 1 ? new Set(tags) : tags
      const isPlain = others.length === 0 && categories === undefined && published === undefined && correlationId === undefined
      const rest = isPlain
        ? undefined
        : { others: others.length === 0 ? undefined : others, categories, published, correlationId }
      // No event has more tags than that.
      const row = [asked.after, tag, others.length < limits.tags ? types : [], rest]
      return "newest" in asked ? [...row, asked.newest, asked.window] : row
    })
  )

/**
 * A parameter as the limit of a statement. Where it stands alone, SQLite plans the statement anew each time that it is bound: that takes
 * longer than most statements.
 */
export const limitOf = (parameter: string): string => `LIMIT ${parameter} + 0`

/** Where an event stands, and how large it is: SQLite tells that without reading what is large. */
export const sized = "position, version, octet_length(payload) + octet_length(metadata) AS size"

/** The first of the positions that `found` gives with sizes, in an order: those before which there is no more than a page may hold. */
export const fitting = (found: string, order: string): string => `
  SELECT position FROM (
    SELECT position, sum(size) OVER (ORDER BY ${order} ROWS UNBOUNDED PRECEDING) - size AS before FROM (${found})
  ) WHERE before < ${pageBytes}`

export const makeAsking = (event: string, tag: string, columns: ReadonlyArray<string>, indexes: ReadonlySet<EventIndex>) => {
  /** What a row of the first parameter says. */
  const given = `key AS query, value ->> 1 AS tag, value ->> 2 AS types, value -> 3 ->> 'others' AS others, value ->> 3 IS NOT NULL AS rest,
    value -> 3 ->> 'categories' AS categories, value -> 3 ->> 'published' AS published, value -> 3 ->> 'correlationId' AS correlation_id`

  const asked = (upTo: string): string => `WITH
    asked AS MATERIALIZED (SELECT ${given}, value ->> 0 AS after, ${upTo} AS up_to FROM json_each(?1))`

  /** No position is beyond `bound`; a window begins at the end from which the query looks. */
  const askedOfBoundary = `WITH
    bound AS MATERIALIZED (SELECT min(?3, (SELECT ifnull(max(position), 0) FROM ${event})) AS position),
    asked AS MATERIALIZED (
      SELECT ${given}, value ->> 4 AS newest,
        iif(value ->> 4, max(value ->> 0, bound.position - ifnull(value ->> 5, bound.position)), value ->> 0) AS after,
        iif(value ->> 4, bound.position, min(bound.position, (value ->> 0) + ifnull(value ->> 5, bound.position))) AS up_to
      FROM json_each(?1), bound
    )`

  /** Whether an event passes the query of a row of `asked`, save its tags. */
  const passes = `
    (asked.types IS NULL OR EXISTS (SELECT 1 FROM json_each(asked.types) AS each WHERE each.value = found_event.type))
    AND (asked.categories IS NULL OR EXISTS (
      SELECT 1 FROM json_each(asked.categories) AS each WHERE each.value = ${categoryOf("found_event.stream")}
    ))
    AND (asked.published IS NULL OR found_event.published = asked.published)
    AND (asked.correlation_id IS NULL OR found_event.metadata ->> '$.correlationId' = asked.correlation_id)`

  const within = "position > asked.after AND position <= asked.up_to"

  /** The first positions that pass the query of a row of `asked` by its first tag. */
  const tagged = (direction: "ASC" | "DESC", limit: string): string =>
    `SELECT position FROM ${tag} AS found WHERE found.tag = asked.tag AND ${within}
          AND (asked.others IS NULL OR NOT EXISTS (
            SELECT 1 FROM json_each(asked.others) AS other
            WHERE NOT EXISTS (SELECT 1 FROM ${tag} AS beside WHERE beside.tag = other.value AND beside.position = found.position)
          ))
          AND (asked.types IS NULL AND NOT asked.rest
            OR EXISTS (SELECT 1 FROM ${event} AS found_event WHERE found_event.position = found.position AND ${passes}))
          ORDER BY position ${direction} ${limit}`

  /** The same of all events, or of those that are found by an index. */
  const untagged = (direction: "ASC" | "DESC", limit: string, found = "TRUE"): string =>
    `SELECT position FROM ${event} AS found_event WHERE ${found} AND ${within} AND ${passes} ORDER BY position ${direction} ${limit}`

  /** Of a query, the first way that there is. */
  const firstWay = (choose: (positions: string) => string, direction: "ASC" | "DESC", limit: string): string => {
    const byIndex = eventIndexes
      .filter(({ index }) => indexes.has(index))
      .map(
        ({ asked, of }) =>
          `WHEN ${asked} IS NOT NULL THEN (${choose(untagged(direction, limit, `${of("found_event.")} = ${asked}`))})`
      )
    return `CASE WHEN asked.tag IS NOT NULL THEN (${choose(tagged(direction, limit))}) ${byIndex.join(" ")}
      ELSE (${choose(untagged(direction, limit))}) END`
  }

  const newest = firstWay((positions) => positions, "DESC", "LIMIT 1")

  /** A JSON array of as many positions as the second parameter says. */
  const list = (direction: "ASC" | "DESC"): string =>
    firstWay((positions) => `SELECT json_group_array(position) FROM (${positions})`, direction, limitOf("?2"))

  const all = (direction: "ASC" | "DESC"): string => `${asked("?3")}
    SELECT ${columns.join(", ")} FROM ${event}
    WHERE position IN (${fitting(
      `SELECT ${sized} FROM ${event} WHERE position IN (SELECT each.value FROM asked, json_each(${list(direction)}) AS each)
       ORDER BY position ${direction} ${limitOf("?2")}`,
      `position ${direction}`
    )})
    ORDER BY position ${direction}`

  return {
    /** The queries. For each, by its place among them, the position of the newest event that passes, or null. */
    newestMatches: `${asked(`${Number.MAX_SAFE_INTEGER}`)} SELECT query, ${newest} AS position FROM asked`,

    /** The queries, a size, and the position that none goes beyond. The first events that pass any of them. */
    all: all("ASC"),

    /** The same. The last events, the newest first. */
    allBackward: all("DESC"),

    /**
     * The queries, the most events of each that does not ask for the newest, and the position that none goes beyond. For each query the
     * events that pass; and, without a query, the head or that position, whichever is less.
     */
    boundary: `${askedOfBoundary}
      SELECT asked.query, ${columns.map((column) => `event.${column}`).join(", ")}
      FROM asked, json_each(iif(asked.newest, json_array(${newest}), ${list("ASC")})) AS each
        CROSS JOIN ${event} AS event ON event.position = each.value
      UNION ALL
      SELECT NULL, ${columns.map((column) => (column === "position" ? column : "NULL")).join(", ")} FROM bound`
  }
}
