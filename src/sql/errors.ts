/**
 * What a failure of the database means: the one classification for everything that has a `SqlClient`.
 *
 * A failure has one class:
 *
 * - **Conflict**: others were in the way (serialization failure, deadlock, a lock that did not come in time). Nothing was written;
 *   running the whole transaction again may succeed.
 * - **Outage**: the database can do it for nobody just now: it cannot be reached, starts or stops, is read-only during a failover, has
 *   no connection, memory or disk space left, or broke off what took too long. It is the fault of no statement, and passes by itself or
 *   when the operator acts. Where the connection was *lost* on the way, it is not known whether the statement was carried out.
 * - **Refusal**: the statement or its data are at fault: a constraint, a wrong type, a missing right, a table that is not there. The
 *   same will fail again.
 *
 * What the driver says is read in this order: its code (SQLSTATE of PostgreSQL, result code of SQLite), then the reason of the `SqlError`.
 */
import * as Predicate from "effect/Predicate"
import { isSqlError, type SqlError, type SqlErrorReason } from "effect/sql/SqlError"

/**
 * The class of a failure. `lost` is an outage whose outcome is not known; `corrupted` is a refusal, because what is stored is damaged,
 * whose outcome is not known.
 */
export type Kind = "conflict" | "refusal" | "outage" | "lost" | "corrupted"

/**
 * Codes that are no plain refusal: a SQLSTATE or its class (the first two characters), a result code of SQLite or the primary one that
 * it belongs to. What is more precise comes first; all codes that are not here are refusals.
 */
export const codes: Readonly<Record<string, Kind>> = {
  "08": "lost", // connection exception
  "25006": "outage", // read-only transaction: a standby, or a primary that has been demoted
  "25P03": "outage", // idle-in-transaction time-out: the session was ended before a COMMIT
  "25P04": "outage", // transaction time-out: likewise
  "40": "conflict", // transaction rollback: serialization failure, deadlock
  "40002": "refusal", // transaction rollback: integrity constraint
  "53": "outage", // insufficient resources: disk (53100), memory (53200), connections (53300)
  "55P03": "conflict", // lock not available: NOWAIT or lock_timeout
  "57014": "outage", // query cancelled, statement_timeout
  "57P01": "lost", // an administrator ended the session
  "57P02": "lost", // crash shutdown
  "57P03": "outage", // cannot connect now: starting up, shutting down
  "57P05": "lost", // idle session time-out
  "58000": "outage", // system error
  "58030": "outage", // input/output error
  SQLITE_BUSY: "conflict", // another connection holds the lock, for longer than the client waits
  SQLITE_LOCKED: "conflict",
  SQLITE_NOMEM: "outage",
  SQLITE_READONLY: "outage", // the file, its folder or the disk
  SQLITE_INTERRUPT: "outage",
  SQLITE_IOERR: "lost", // a commit that the disk has not confirmed may have reached it all the same
  SQLITE_CORRUPT: "corrupted",
  SQLITE_FULL: "outage", // no disk space
  SQLITE_CANTOPEN: "outage",
  SQLITE_PROTOCOL: "outage", // the locks of the file are in disorder
  SQLITE_NOTADB: "corrupted"
}

/** For drivers that tell no code that is known here. */
const reasons: Readonly<Record<SqlErrorReason["_tag"], Kind>> = {
  ConnectionError: "lost",
  AuthenticationError: "refusal",
  AuthorizationError: "refusal",
  SqlSyntaxError: "refusal",
  UniqueViolation: "refusal",
  ConstraintError: "refusal",
  DeadlockError: "conflict",
  SerializationError: "conflict",
  LockTimeoutError: "conflict",
  StatementTimeoutError: "outage",
  UnknownError: "refusal"
}

/** SQLite's primary result codes, by their numbers. */
const resultCodes = (
  "OK ERROR INTERNAL PERM ABORT BUSY LOCKED NOMEM READONLY INTERRUPT IOERR CORRUPT NOTFOUND FULL CANTOPEN PROTOCOL EMPTY SCHEMA " +
  "TOOBIG CONSTRAINT MISMATCH MISUSE NOLFS AUTH FORMAT RANGE NOTADB"
).split(" ")

/** Drivers of SQLite tell the result code as a number, as `errcode`, `code` or `errno`, or by its name. */
const resultCodeOf = (cause: object): string | undefined => {
  for (const key of ["errcode", "code", "errno"]) {
    const value = Predicate.hasProperty(cause, key) ? cause[key] : undefined
    // Node's `errno` of a system call is negative.
    if (typeof value === "number" && value > 0) {
      const name = resultCodes[value & 0xff]
      if (name !== undefined) return `SQLITE_${name}`
    }
  }
  return undefined
}

/** The code of a failure, as the driver tells it: an SQLSTATE, the name of a result code of SQLite, or of an error of the network. */
export const codeOf = ({ reason: { cause } }: SqlError): string | undefined => {
  if (typeof cause !== "object" || cause === null) return undefined
  const code = Predicate.hasProperty(cause, "code") && typeof cause.code === "string" ? cause.code : undefined
  return code === undefined || code === "ERR_SQLITE_ERROR" ? resultCodeOf(cause) : code
}

const groupOf = (code: string): string => (code.startsWith("SQLITE_") ? code.split("_").slice(0, 2).join("_") : code.slice(0, 2))

/** The class of a failure of the database. */
export const kindOf = (error: SqlError): Kind => {
  const { reason } = error
  // Whoever is not connected has sent nothing.
  if (reason._tag === "ConnectionError" && reason.operation === "connect") return "outage"
  const code = codeOf(error)
  return (code === undefined ? undefined : (codes[code] ?? codes[groupOf(code)])) ?? reasons[reason._tag]
}

/** The failure of the database that an error is, or was brought about by. */
const failureIn = (error: unknown): SqlError | undefined => {
  let found = error
  for (let depth = 0; depth < 8 && !isSqlError(found); depth++) {
    if (!Predicate.hasProperty(found, "cause")) return undefined
    found = found.cause
  }
  return isSqlError(found) ? found : undefined
}

const isOneOf =
  (...kinds: ReadonlyArray<Kind>) =>
  (error: unknown): boolean => {
    const failure = failureIn(error)
    return failure !== undefined && kinds.includes(kindOf(failure))
  }

/**
 * Whether others were in the way: nothing was written, and running the whole transaction again may succeed. Of an error that wraps a
 * `SqlError` as well; `false` for whatever did not come from a database.
 */
export const isConflict = isOneOf("conflict")

/** Whether the same will fail again, because of the statement or its data. As {@link isConflict} otherwise. */
export const isRefusal = isOneOf("refusal", "corrupted")

/** Whether the database could do it for nobody: it is not the fault of the statement, and passes. As {@link isConflict} otherwise. */
export const isOutage = isOneOf("outage", "lost")

/** Whether the connection was lost in the middle of something, or the server ended it. */
export const isLost = isOneOf("lost")

/**
 * Whether the outcome is known: nothing was written, and a transaction that was to be committed has been rolled back. `false` where
 * the answer was lost, and for whatever did not come from a database.
 */
export const wasRolledBack = (error: unknown): boolean => {
  const failure = failureIn(error)
  if (failure === undefined || isOneOf("lost", "corrupted")(failure)) return false
  const { reason } = failure
  const code = codeOf(failure) ?? ""
  const answered = code.startsWith("SQLITE_") || /^(?=.*\d)[0-9A-Z]{5}$/.test(code)
  // PostgreSQL answers COMMIT by rolling back when a statement had failed and the work went on.
  return (
    answered || reason._tag !== "UnknownError" || (reason.operation === "commit" && describe(failure).includes("rolled back"))
  )
}

/**
 * Whether the database broke off what took too long: a statement, a transaction, or a transaction in which nothing was asked of it.
 * That is an outage as others see it, for the database may be slow; whoever repeats one thing over and over must suspect that thing.
 */
export const isTimeLimit = (error: unknown): boolean => {
  const failure = failureIn(error)
  if (failure === undefined) return false
  return failure.reason._tag === "StatementTimeoutError" || ["25P03", "25P04", "57014"].includes(codeOf(failure) ?? "")
}

/** Whether a unique key stands already. */
export const isUniqueViolation = (error: unknown): boolean => failureIn(error)?.reason._tag === "UniqueViolation"

/** PostgreSQL: a table or index, a schema, a type or another object of that name stands already. */
const duplicates = ["42P07", "42P06", "42710"]

/**
 * Whether a statement that makes something "if not exists" failed because somebody else made it at the same time: PostgreSQL finds the
 * other's table, its type, or its row in the catalogue, whichever it comes upon first.
 */
export const isMadeMeanwhile = (error: unknown): boolean => {
  const failure = failureIn(error)
  return failure !== undefined && (isUniqueViolation(failure) || duplicates.includes(codeOf(failure) ?? ""))
}

/**
 * Whether a table is not there, as far as the session knows. On PostgreSQL one session may see what another has just made, and the next one
 * still hold that there is none: a commit is seen a moment before all sessions are told of it.
 */
export const isUnknownTable = (error: unknown): boolean => {
  const failure = failureIn(error)
  return failure !== undefined && codeOf(failure) === "42P01"
}

/** What to do about a right that is missing to what eventfold does by itself. */
export const forbiddenHint =
  " (the role lacks a right: PgRights.grants writes the script that gives it; tables are made and updated in a role that owns the schema)"

/** Whether the role lacks a right. */
export const isForbidden = (error: unknown): boolean => {
  const failure = failureIn(error)
  return failure !== undefined && codeOf(failure) === "42501"
}

/** Whether PostgreSQL refuses a statement because one before it, in the same transaction, has failed. */
export const isAborted = (error: unknown): boolean => {
  const failure = failureIn(error)
  return failure !== undefined && codeOf(failure) === "25P02"
}

/** Whether the data themselves are refused, and no rule about them: they cannot be stored (22), or are too large or too many (54). */
export const isUnstorable = (error: unknown): boolean => {
  const failure = failureIn(error)
  return failure !== undefined && /^(22|54)...$/.test(codeOf(failure) ?? "")
}

const textOf = (error: unknown): string => {
  if (!(error instanceof Error)) return error === undefined || error === null ? "" : String(error)
  // One for each address that was tried.
  if (error.message === "" && error instanceof AggregateError) return error.errors.map(textOf).join(", ")
  return error.message
}

/**
 * Why something failed, for the message of an error: of what a database brought about, what its driver said and the code
 * ("permission denied for schema public [42501]"), and not that a query failed; of everything else, its message.
 */
export const describe = (error: unknown): string => {
  const failure = failureIn(error)
  if (failure === undefined) return textOf(error)
  const text = textOf(failure.reason.cause) || failure.message
  const code = codeOf(failure)
  return code === undefined || text.includes(code) ? text : `${text} [${code}]`
}

/** {@link describe} of a statement of eventfold's own, and what to do where its role lacks a right. */
export const describeOwn = (error: unknown): string => `${describe(error)}${isForbidden(error) ? forbiddenHint : ""}`
