import * as Predicate from "effect/Predicate"
import type { SqlError } from "effect/sql/SqlError"
import {
  EventStoreError,
  OutcomeUnknown,
  StoreCorrupted,
  StoreFailure,
  StoreUnavailable,
  TransactionConflict
} from "../store/EventStore.ts"

/** What a failure of the database means for whoever asked. */
export type Kind = "unavailable" | "lost" | "conflict" | "corrupted" | "failure"

/**
 * SQLSTATEs (or their class, the first two characters) and what they mean. `lost` is a connection that broke while a statement
 * was on its way: whether it was carried out is not known.
 */
export const sqlStates: Readonly<Record<string, Kind>> = {
  "08": "lost", // connection exception
  "28": "failure", // invalid authorization
  "3D000": "failure", // database does not exist
  "40001": "conflict", // serialization failure
  "40P01": "conflict", // deadlock detected
  "55P03": "conflict", // lock not available (lock_timeout)
  "53": "unavailable", // insufficient resources: connections, memory
  "53100": "failure", // disk full
  "57014": "unavailable", // query cancelled, statement_timeout
  "57P01": "lost", // administrator shut down or terminated the backend
  "57P02": "lost", // crash shutdown
  "57P03": "unavailable", // cannot connect now: starting up, shutting down
  "57P05": "lost", // idle session time-out
  "25P03": "lost", // idle in transaction time-out
  EF001: "corrupted", // the head row is missing
  EF002: "failure" // a change of events was refused
}

/** Constraints (without the prefix of the tables) whose violation means that what is stored contradicts itself. */
export const constraints: Readonly<Record<string, Kind>> = {
  event_pkey: "corrupted", // the head is behind the newest event
  event_stream_version_key: "corrupted",
  event_id_key: "corrupted"
}

const fields = (error: SqlError): { readonly code: string | undefined; readonly constraint: string | undefined } => {
  const cause = error.reason.cause
  const field = (name: "code" | "constraint") =>
    Predicate.hasProperty(cause, name) && typeof cause[name] === "string" ? cause[name] : undefined
  return { code: field("code"), constraint: field("constraint") }
}

/** What an error of the driver means. */
export const kindOf = (error: SqlError): Kind => {
  const { code, constraint } = fields(error)
  if (error.reason._tag === "ConnectionError" && error.reason.operation === "connect") return "unavailable"
  if (code === "23505" && constraint !== undefined) {
    const known = Object.keys(constraints).find((name) => constraint.endsWith(name))
    if (known !== undefined) return constraints[known] as Kind
  }
  const known = code === undefined ? undefined : (sqlStates[code] ?? sqlStates[code.slice(0, 2)])
  return known ?? (error.reason._tag === "ConnectionError" ? "lost" : "failure")
}

const hints: Readonly<Record<string, string>> = {
  "42P01": " (is it the right schema, and have the migrations run?)",
  event_pkey:
    " (the head counter is behind the newest event, as after restoring an old backup: set head.position to the highest position of the events)"
}

const describe = (error: SqlError): string => {
  const { code, constraint } = fields(error)
  const cause = error.reason.cause
  const message = cause instanceof Error ? cause.message : error.message
  const hint = hints[code ?? ""] ?? Object.entries(hints).find(([name]) => constraint?.endsWith(name))?.[1] ?? ""
  return `${message}${code === undefined ? "" : ` [${code}]`}${hint}`
}

/**
 * The error that a user of the store sees. `written` says whether the failed operation may have written something, so that a
 * lost connection leaves its outcome unknown.
 */
export const toEventStoreError = (operation: string, error: SqlError, written: boolean): EventStoreError => {
  const reason = { operation, detail: describe(error), cause: error }
  switch (kindOf(error)) {
    case "unavailable":
      return new EventStoreError({ reason: new StoreUnavailable(reason) })
    case "lost":
      return new EventStoreError({ reason: written ? new OutcomeUnknown(reason) : new StoreUnavailable(reason) })
    case "conflict":
      return new EventStoreError({ reason: new TransactionConflict(reason) })
    case "corrupted":
      return new EventStoreError({ reason: new StoreCorrupted(reason) })
    case "failure":
      return new EventStoreError({ reason: new StoreFailure(reason) })
  }
}
