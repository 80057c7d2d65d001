import * as Predicate from "effect/Predicate"
import { isSqlError, type SqlError } from "effect/sql/SqlError"
import { codeOf, describe as describeCause, forbiddenHint, kindOf as sqlKindOf, type Kind } from "../sql/errors.ts"
import {
  EventStoreError,
  OutcomeUnknown,
  StoreCorrupted,
  StoreFailure,
  StoreUnavailable,
  TransactionConflict
} from "../store/EventStore.ts"

/** What to do where a pooler loses prepared statements. */
export const prepareHint = "set prepare: false in the options of PgClient"

/** What these SQLSTATEs mean for the store, where that is not what they mean for every user of a database. */
const sqlStates: Readonly<Record<string, Kind>> = {
  // No space left: in a batch, what is smaller may still have room, so each request is tried by itself.
  "53100": "refusal",
  "58000": "refusal",
  "58030": "refusal",
  EF001: "corrupted", // the log ends before the head that an earlier release had counted
  EF002: "refusal" // a change of events was refused
}

/** Constraints (without the prefix of the tables) whose violation means that what is stored contradicts itself. */
export const constraints: ReadonlyArray<string> = ["event_pkey", "event_stream_version_key", "event_id_key"]

const constraintOf = ({ reason: { _tag, cause } }: SqlError): string | undefined =>
  _tag === "UniqueViolation" && Predicate.hasProperty(cause, "constraint") && typeof cause.constraint === "string"
    ? cause.constraint
    : undefined

/** What an error of the driver means for the store. */
export const kindOf = (error: SqlError): Kind => {
  const violated = constraintOf(error)
  if (violated !== undefined && constraints.some((name) => violated.endsWith(name))) return "corrupted"
  return sqlStates[codeOf(error) ?? ""] ?? sqlKindOf(error)
}

const unmigratedHint = " (is it the right schema, and have the migrations run?)"

const hints: Readonly<Record<string, string>> = {
  "25006": " (the server is a standby, or a primary that has been demoted: connect to the primary)",
  "42501": forbiddenHint,
  "26000": ` (a pooler has lost a prepared statement: ${prepareHint})`,
  "42P05": ` (a pooler has mixed up prepared statements: ${prepareHint})`,
  "3F000": unmigratedHint,
  "42883": unmigratedHint,
  "42P01": unmigratedHint,
  event_pkey: " (something else writes to the table of the events, without the lock that appends take)"
}

/** Why a statement of the store or the transport failed, with a hint where there is one. */
export const describe = (error: SqlError): string => {
  const violated = constraintOf(error)
  const hint = hints[codeOf(error) ?? ""] ?? Object.entries(hints).find(([name]) => violated?.endsWith(name))?.[1] ?? ""
  return `${describeCause(error)}${hint}`
}

/**
 * The error that a user of the store sees. `written` says whether the failed operation may have written something, so that a
 * lost connection leaves its outcome unknown.
 */
export const toEventStoreError = (operation: string, error: SqlError, written: boolean): EventStoreError => {
  const reason = { operation, detail: describe(error), cause: error }
  switch (kindOf(error)) {
    case "outage":
      return new EventStoreError({ reason: new StoreUnavailable(reason) })
    case "lost":
      return new EventStoreError({ reason: written ? new OutcomeUnknown(reason) : new StoreUnavailable(reason) })
    case "conflict":
      return new EventStoreError({ reason: new TransactionConflict(reason) })
    case "corrupted":
      return new EventStoreError({ reason: new StoreCorrupted(reason) })
    case "refusal":
      return new EventStoreError({ reason: new StoreFailure(reason) })
  }
}

const queryCanceled = "57014"

/** Whether the server has ended a statement that took too long. */
export const isCancelled = ({ reason: { cause } }: EventStoreError): boolean =>
  isSqlError(cause) && codeOf(cause) === queryCanceled
