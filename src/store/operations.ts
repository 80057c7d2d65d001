/** The table of what operators have asked for, until it is done: its one definition, for whoever makes it. */

/** What it is called behind the prefix of a store. */
export const operationTable = "operation"

/**
 * The statements that make it, by its name as it stands in SQL and the name of its index: for PostgreSQL and SQLite alike. Times are
 * milliseconds since the epoch.
 */
export const createOperations = (table: string, index: string): ReadonlyArray<string> => [
  `create table if not exists ${table} (
    id text not null primary key,
    target text not null,
    act text not null,
    kind text not null,
    by_whom text not null,
    reason text,
    asked_at double precision not null,
    patience double precision not null,
    owner text,
    turn double precision not null,
    lease_until double precision not null,
    at double precision,
    upto double precision,
    state text,
    outcome text,
    ended_at double precision
  )`,
  // Of two requests about one thing one is under way.
  `create unique index if not exists "${index}" on ${table} (target) where owner is not null and ended_at is null`
]
