import type { MigrationError } from "effect/sql/Migrator"
import { isSqlError, type SqlError } from "effect/sql/SqlError"
import {
  EventStoreError,
  OutcomeUnknown,
  StoreCorrupted,
  StoreFailure,
  StoreUnavailable,
  TransactionConflict
} from "../store/EventStore.ts"

/** What a failure of SQLite means for whoever asked. */
type Kind = "busy" | "unavailable" | "corrupted" | "io" | "failure"

/** SQLite's primary result codes, and what they mean. All others are a `failure`. */
const resultCodes: Readonly<Record<string, readonly [code: number, kind: Kind]>> = {
  BUSY: [5, "busy"],
  LOCKED: [6, "busy"],
  IOERR: [10, "io"],
  CORRUPT: [11, "corrupted"],
  CANTOPEN: [14, "unavailable"],
  NOTADB: [26, "corrupted"]
}

const kinds = new Map(Object.values(resultCodes))

/** Clients tell the code as a number (`errno`) or by its name (`code`). */
const kindOf = (cause: unknown): Kind => {
  if (typeof cause !== "object" || cause === null) return "failure"
  if ("errno" in cause && typeof cause.errno === "number") return kinds.get(cause.errno & 0xff) ?? "failure"
  if ("code" in cause && typeof cause.code === "string") return resultCodes[cause.code.split("_")[1] ?? ""]?.[1] ?? "failure"
  return "failure"
}

/**
 * The store's error for one of SQLite. In a transaction of the caller's a lock that cannot be had ends that transaction:
 * waiting is no use once it has read.
 */
export const toEventStoreError = (
  operation: string,
  error: SqlError | MigrationError,
  inTransaction = false
): EventStoreError => {
  const root = error._tag === "MigrationError" ? error.cause : error
  const cause = isSqlError(root) ? root.reason.cause : root
  const fields = { operation, detail: cause instanceof Error ? cause.message : error.message, cause: error }
  switch (kindOf(cause)) {
    case "busy":
      return new EventStoreError({ reason: inTransaction ? new TransactionConflict(fields) : new StoreUnavailable(fields) })
    case "unavailable":
      return new EventStoreError({ reason: new StoreUnavailable(fields) })
    case "corrupted":
      return new EventStoreError({ reason: new StoreCorrupted(fields) })
    case "io":
      // A commit that the disk has not confirmed may have reached it all the same.
      return new EventStoreError({ reason: operation === "append" ? new OutcomeUnknown(fields) : new StoreFailure(fields) })
    case "failure":
      return new EventStoreError({ reason: new StoreFailure(fields) })
  }
}
