import type { MigrationError } from "effect/sql/Migrator"
import { isSqlError, type SqlError } from "effect/sql/SqlError"
import { codeOf, describe, type Kind, kindOf } from "../sql/errors.ts"
import {
  EventStoreError,
  OutcomeUnknown,
  StoreCorrupted,
  StoreFailure,
  StoreUnavailable,
  TransactionConflict
} from "../store/EventStore.ts"

/** What these result codes mean for the store, where that is not what they mean for every user of a database. */
const resultCodes: Readonly<Record<string, Kind>> = {
  // No space left, or a file that may not be written: in a batch, each request is tried by itself.
  SQLITE_FULL: "refusal",
  SQLITE_READONLY: "refusal"
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
  const failure = isSqlError(error) ? error : error.cause
  const fields = { operation, detail: describe(error), cause: error }
  switch (isSqlError(failure) ? (resultCodes[codeOf(failure) ?? ""] ?? kindOf(failure)) : "refusal") {
    case "conflict":
      return new EventStoreError({ reason: inTransaction ? new TransactionConflict(fields) : new StoreUnavailable(fields) })
    case "outage":
      return new EventStoreError({ reason: new StoreUnavailable(fields) })
    case "corrupted":
      return new EventStoreError({ reason: new StoreCorrupted(fields) })
    case "lost":
      // A commit that the disk has not confirmed may have reached it all the same.
      return new EventStoreError({ reason: operation === "append" ? new OutcomeUnknown(fields) : new StoreFailure(fields) })
    case "refusal":
      return new EventStoreError({ reason: new StoreFailure(fields) })
  }
}
