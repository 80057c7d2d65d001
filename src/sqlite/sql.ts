/**
 * All SQL of the SQLite store, and the rows that it returns.
 */
import { limits, type Query } from "../store/EventStore.ts"
import { pageBytes, tombstoneType } from "../store/kit/index.ts"
import { askedParam, fitting, limitOf, makeAsking, sized } from "./asking.ts"
import { makeCheckpointSql } from "./checkpointSql.ts"
import { eventIndexes, type EventIndex, singly } from "./indexes.ts"

/** An event as `select` gives it. */
export interface EventRow {
  readonly position: number
  readonly stream: string
  readonly version: number
  readonly id: string
  readonly type: string
  readonly schema_version: number
  readonly published: number
  /** JSON text of an array. */
  readonly tags: string
  /** JSON text. */
  readonly payload: string
  /** JSON text of an object. */
  readonly metadata: string
  /** Milliseconds since the epoch. */
  readonly recorded_at: number
}

/** A row of `standing`: of a stream, of an id, or (with neither) of the head. */
export interface StandingRow {
  readonly id: string | null
  readonly stream: string | null
  readonly version: number
  readonly position: number
  /** Of an id alone. */
  readonly type: string | null
  /** JSON text; of an id alone. */
  readonly payload: string | null
}

/** Where an event stands. */
export interface PlaceRow {
  readonly stream: string
  readonly version: number
  readonly position: number
}

/** A row of `newestMatches`: null where nothing passes. */
export interface MatchRow {
  readonly query: number
  readonly position: number | null
}

/** A row of `boundary`: an event that passes a query, or (without one) the position that all of them are as of. */
export type BoundaryRow = (EventRow & { readonly query: number }) | { readonly query: null; readonly position: number }

/** A row of `streams`: a stream and its newest event. */
export interface StreamRow extends PlaceRow {
  readonly type: string
  readonly recorded_at: number
}

/** The tags of an {@link EventRow}. */
export const parseTags = (text: string): ReadonlyArray<string> => JSON.parse(text) as ReadonlyArray<string>

export type Param = string | number

export interface Statement {
  readonly text: string
  readonly params: ReadonlyArray<Param>
}

const columnNames = [
  "position",
  "stream",
  "version",
  "id",
  "type",
  "schema_version",
  "published",
  "tags",
  "payload",
  "metadata",
  "recorded_at"
]
const columns = columnNames.join(", ")

export type Sql = ReturnType<typeof makeSql>

/** `indexes` are those of events that there are beside those of its keys. */
export const makeSql = (prefix: string, indexes: ReadonlySet<EventIndex> = new Set()) => {
  const event = `${prefix}event`
  const tag = `${prefix}tag`
  const chain = `${prefix}chain`
  const checkpoints = makeCheckpointSql(prefix)

  const immutable = (table: string, change: "UPDATE" | "DELETE") => `
    CREATE TRIGGER ${table}_no_${change.toLowerCase()} BEFORE ${change} ON ${table}
    BEGIN SELECT RAISE(ABORT, '${table} is append-only: ${change} refused'); END`

  /** The conditions of a query, save its tags. */
  const conditions = (query: Query): Statement => {
    const clauses: Array<string> = []
    const params: Array<Param> = []
    const add = (clause: string, param: Param) => {
      clauses.push(clause)
      params.push(param)
    }
    for (const { index, key, of } of eventIndexes) {
      const { [key]: wanted } = query
      if (wanted === undefined) continue
      const values = typeof wanted === "string" ? [wanted] : wanted
      // With "+" no index is used: one of several values would have to sort all that it finds.
      if (values.length === 1 && values[0] !== undefined) add(`${indexes.has(index) ? "" : "+"}${of("")} = ?`, values[0])
      else add(`+${of("")} IN (SELECT value FROM json_each(?))`, JSON.stringify(values))
    }
    if (query.published !== undefined) add("published = ?", query.published ? 1 : 0)
    return { text: clauses.join(" AND "), params }
  }

  /** The first `size` positions in `(after, upTo]` that pass one query. */
  const positions = (query: Query, after: number, upTo: number, backward: boolean, size: number): Statement => {
    const [first, ...others] = new Set(query.tags)
    const own = conditions(query)
    const clauses = ["position > ?", "position <= ?"]
    const params: Array<Param> = [after, upTo]
    if (first === undefined) {
      if (own.text !== "") clauses.push(own.text)
    } else {
      clauses.push("tag = ?")
      params.push(first)
      if (others.length >= limits.tags) clauses.push("FALSE") // no event has so many
      for (const other of others.slice(0, limits.tags)) {
        clauses.push(`EXISTS (SELECT 1 FROM ${tag} WHERE tag = ? AND position = found.position)`)
        params.push(other)
      }
      if (own.text !== "") clauses.push(`EXISTS (SELECT 1 FROM ${event} WHERE position = found.position AND ${own.text})`)
    }
    return {
      text: `SELECT position FROM ${first === undefined ? event : tag} AS found WHERE ${clauses.join(" AND ")}
        ORDER BY position ${backward ? "DESC" : "ASC"} ${limitOf("?")}`,
      params: [...params, ...own.params, size]
    }
  }

  /** The events of a page. */
  const page = (found: string, direction: "ASC" | "DESC"): string =>
    `SELECT ${columns} FROM ${event} WHERE position IN (${fitting(found, `position ${direction}`)}) ORDER BY position ${direction}`

  /**
   * The same of a range of an index, which is gone along twice: first for all of the sizes together, and only where that is too much for those before each.
   */
  const pageOfRange = (range: string, order: string, size: string): string => {
    const found = (what: string) => `SELECT ${what} FROM ${event} WHERE ${range} ORDER BY ${order} ${limitOf(size)}`
    return `SELECT ${columns} FROM ${event} WHERE ${range} ORDER BY ${order} LIMIT iif(
      (SELECT sum(size) FROM (${found(sized)})) <= ${pageBytes}, ${size}, (SELECT count(*) FROM (${fitting(found(sized), order)})))`
  }

  const asking = makeAsking(event, tag, columnNames, indexes)

  return {
    migrationsTable: `${prefix}migrations`,

    migrations: {
      "1_events": [
        `CREATE TABLE ${event} (
          position INTEGER PRIMARY KEY,
          stream TEXT NOT NULL,
          version INTEGER NOT NULL,
          id TEXT NOT NULL UNIQUE,
          type TEXT NOT NULL,
          schema_version INTEGER NOT NULL,
          published INTEGER NOT NULL,
          tags TEXT NOT NULL,
          payload TEXT NOT NULL,
          metadata TEXT NOT NULL,
          recorded_at INTEGER NOT NULL,
          UNIQUE (stream, version)
        ) STRICT`,
        `CREATE TABLE ${tag} (
          tag TEXT NOT NULL,
          position INTEGER NOT NULL,
          PRIMARY KEY (tag, position)
        ) STRICT, WITHOUT ROWID`,
        immutable(event, "UPDATE"),
        immutable(event, "DELETE"),
        immutable(tag, "UPDATE"),
        immutable(tag, "DELETE")
      ],
      "2_checkpoints": checkpoints.createCheckpoints,
      "3_projection_versions": checkpoints.createVersions,
      "4_seen_events": checkpoints.addSeen,
      "6_deadlines": checkpoints.createDeadlines,
      "14_paused": checkpoints.addPaused,
      "15_tombstones": [
        `DROP TRIGGER IF EXISTS ${event}_no_update`,
        `DROP TRIGGER IF EXISTS ${tag}_no_delete`,
        `CREATE TRIGGER ${event}_no_update BEFORE UPDATE ON ${event} WHEN NOT (
          OLD.type <> '${tombstoneType}' AND NEW.type = '${tombstoneType}' AND NEW.tags = '[]' AND NEW.metadata = '{}' AND NEW.published = 0
          AND json_extract(NEW.payload, '$.type') IS OLD.type AND json_extract(NEW.payload, '$.digest') GLOB '${"[0-9a-f]".repeat(64)}'
          AND NEW.position = OLD.position AND NEW.version = OLD.version AND NEW.stream = OLD.stream AND NEW.id = OLD.id
          AND NEW.recorded_at = OLD.recorded_at AND NEW.schema_version = OLD.schema_version
        )
        BEGIN SELECT RAISE(ABORT, '${event} is append-only: UPDATE refused'); END`,
        `CREATE TRIGGER ${tag}_no_delete BEFORE DELETE ON ${tag}
          WHEN NOT EXISTS (SELECT 1 FROM ${event} WHERE position = OLD.position AND type = '${tombstoneType}')
        BEGIN SELECT RAISE(ABORT, '${tag} is append-only: DELETE refused'); END`,
        `CREATE INDEX ${event}_tombstone ON ${event} (position) WHERE type = '${tombstoneType}'`
      ],
      "16_chain": [
        `CREATE TABLE ${chain} (
          position INTEGER PRIMARY KEY,
          after INTEGER NOT NULL,
          digest TEXT NOT NULL
        ) STRICT`,
        immutable(chain, "UPDATE"),
        immutable(chain, "DELETE")
      ]
    },

    /** Of an event that is no tombstone, and is the one that is meant. */
    tombstone: `UPDATE ${event} SET type = '${tombstoneType}', payload = ?, tags = '[]', metadata = '{}', published = 0
      WHERE position = ? AND id = ? AND type <> '${tombstoneType}' RETURNING position`,

    /** The tags of an event, which are a JSON array. */
    untag: `DELETE FROM ${tag} WHERE position = ? AND tag IN (SELECT value FROM json_each(?))`,

    newestTombstone: `SELECT coalesce(max(position), 0) AS position FROM ${event} WHERE type = '${tombstoneType}'`,

    newestVersion: `SELECT version FROM ${event} WHERE stream = ? ORDER BY version DESC LIMIT 1`,

    tagsOf: `SELECT tags FROM ${event} WHERE position = ?`,

    /** What is removed is overwritten, and not merely left behind. */
    overwriting: "PRAGMA secure_delete = ON",
    checkpointed: "PRAGMA wal_checkpoint(TRUNCATE)",

    insertLink: `INSERT INTO ${chain} (after, position, digest) VALUES (?, ?, ?)`,
    links: `SELECT after, position, digest FROM ${chain} WHERE position > ? ORDER BY position ${limitOf("?")}`,
    linkBefore: `SELECT after, position, digest FROM ${chain} WHERE position <= ? ORDER BY position DESC LIMIT 1`,
    between: `SELECT ${columns} FROM ${event} WHERE position > ? AND position <= ? ORDER BY position`,

    /** Makes the indexes that are not there. */
    createIndexes: eventIndexes
      .filter(({ index }) => indexes.has(index))
      .map(({ index, of, where }) => `CREATE INDEX IF NOT EXISTS ${event}_${index}_idx ON ${event} (${of("")}) ${where ?? ""}`),

    /** The same filter, of queries that an index can be used for. */
    singly: (filter: ReadonlyArray<Query>): ReadonlyArray<Query> => filter.flatMap((query) => singly(indexes, query)),

    head: `SELECT ifnull(max(position), 0) AS head FROM ${event}`,

    /** Changes whenever another connection has committed. */
    dataVersion: "PRAGMA data_version",

    /**
     * What a batch must know, all at once: the newest event of each stream in a JSON array, the event of each id in another that
     * is in use, and at last the head. See `Standing`.
     */
    standing: `
      SELECT NULL AS id, e.stream, e.version, e.position, NULL AS type, NULL AS payload FROM json_each(?) AS asked CROSS JOIN ${event} AS e
        ON e.stream = asked.value AND e.version = (SELECT max(version) FROM ${event} WHERE stream = asked.value)
      UNION ALL
      SELECT e.id, e.stream, e.version, e.position, e.type, e.payload FROM json_each(?) AS asked CROSS JOIN ${event} AS e ON e.id = asked.value
      UNION ALL
      SELECT NULL, NULL, 0, ifnull(max(position), 0), NULL, NULL FROM ${event}`,

    /** Of queries: see `asking.ts`. */
    newestMatches: asking.newestMatches,
    boundary: asking.boundary,

    /** One event: SQLite takes many of these faster than one statement of many rows. */
    insertEvent: `INSERT INTO ${event} (${columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,

    /**
     * So many events behind the last one, if the version of each one's stream lies in the range of its last two parameters; otherwise none. A
     * transaction of its own outside of others: SQLite takes the write lock before the statement looks at anything. A row of parameters an event:
     * how many come before it, and in its stream, then what it is.
     */
    appendFew: (count: number): string => {
      const given = "nth, own, stream, id, type, schema_version, published, payload, metadata, recorded_at, least, most"
      const row = `(${given.replaceAll(/\w+/g, "?")})`
      const found = `SELECT ifnull((SELECT max(version) FROM ${event} WHERE stream = given.stream), 0)`
      return `
        WITH given (${given}) AS (VALUES ${Array.from({ length: count }, () => row).join(", ")})
        INSERT INTO ${event} (${columns})
        SELECT (SELECT ifnull(max(position), 0) FROM ${event}) + nth + 1, stream, (${found}) + own + 1, id, type, schema_version, published, '[]',
               payload, metadata, recorded_at
          FROM given
         WHERE NOT EXISTS (SELECT 1 FROM given WHERE (${found}) NOT BETWEEN least AND most)
        RETURNING position, version`
    },

    /** From a JSON array of pairs. */
    insertTags: `INSERT INTO ${tag} (tag, position) SELECT value ->> 0, value ->> 1 FROM json_each(?)`,

    version: `SELECT max(version) AS version FROM ${event} WHERE stream = ?`,

    find: `SELECT ${columns} FROM ${event} WHERE id = ?`,

    versionAt: `SELECT version FROM ${event} WHERE stream = ? AND recorded_at <= ? ORDER BY version DESC LIMIT 1`,

    stream: (backward: boolean) => {
      const direction = backward ? "DESC" : "ASC"
      return pageOfRange("stream = ?1 AND version >= ?2 AND version <= ?3", `version ${direction}`, "?4")
    },

    all: (wanted: ReadonlyArray<Query>, after: number, upTo: number, backward: boolean, size: number): Statement => {
      const filter = wanted.flatMap((query) => singly(indexes, query))
      const [only] = filter
      const direction = backward ? "DESC" : "ASC"
      if (only === undefined || filter.length > 1) {
        const asked = filter.map((query) => ({ query, after }))
        return { text: backward ? asking.allBackward : asking.all, params: [askedParam(asked), size, upTo] }
      }
      const order = `ORDER BY position ${direction} ${limitOf("?")}`
      if (only.tags === undefined) {
        const own = conditions(only)
        if (own.text === "") {
          return {
            text: pageOfRange("position > ?1 AND position <= ?2", `position ${direction}`, "?3"),
            params: [after, upTo, size]
          }
        }
        return {
          text: page(`SELECT ${sized} FROM ${event} WHERE position > ? AND position <= ? AND ${own.text} ${order}`, direction),
          params: [after, upTo, ...own.params, size]
        }
      }
      const { params, text } = positions(only, after, upTo, backward, size)
      return {
        text: page(`SELECT ${sized} FROM ${event} WHERE position IN (${text}) ${order}`, direction),
        params: [...params, size]
      }
    },

    /** Leaps from name to name through the index, whatever the number of events between. */
    streams: (category: string | undefined, after: string, size: number): Statement => {
      const within = category === undefined ? "" : "AND stream >= ? AND stream < ? AND (stream = ? OR stream >= ?)"
      // The names of a category: its own, and what begins with it and "-", which comes right before ".".
      const bounds = category === undefined ? [] : [category, `${category}.`, category, `${category}-`]
      return {
        text: `
          WITH RECURSIVE name (stream) AS (
            SELECT min(stream) FROM ${event} WHERE stream > ? ${within}
            UNION ALL
            SELECT (SELECT min(stream) FROM ${event} WHERE stream > name.stream ${within}) FROM name WHERE stream IS NOT NULL
            ${limitOf("?")}
          )
          SELECT stream, version, position, type, recorded_at FROM name JOIN ${event} USING (stream)
          WHERE version = (SELECT max(version) FROM ${event} WHERE stream = name.stream)
          ORDER BY stream`,
        params: [after, ...bounds, ...bounds, size]
      }
    }
  }
}
