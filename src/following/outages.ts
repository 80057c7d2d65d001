/**
 * Whether what a handler needs was away when it failed: then the failure is none of the event's, or of the message's.
 *
 * It is an outage when a database could do it for nobody (`sql/errors.ts` says which failures these are), when a store or a transport
 * says that it could not be reached, or when the system has no room or no files left; however that has been wrapped by the handler.
 * What the database broke off because it took too long is none: the event may be what takes so long.
 */
import type * as Cause from "effect/Cause"
import * as Predicate from "effect/Predicate"
import { isSqlError } from "effect/sql/SqlError"
import { isLost, isOutage as isOutageOfDatabase, isTimeLimit } from "../sql/errors.ts"

/** What the system says where it can do it for nobody. */
const systemCodes: ReadonlyArray<unknown> = ["ENOSPC", "EDQUOT", "EROFS", "EIO", "EMFILE", "ENFILE", "ENOMEM"]

/** The reasons of errors of stores and transports that nobody gets past just now. */
const unavailable: ReadonlyArray<unknown> = ["StoreUnavailable", "OutcomeUnknown", "TransportUnavailable"]

/** What an error says itself; nothing where it only passes on what it wraps. */
const saying = (error: object): boolean | undefined => {
  if (isSqlError(error)) return isOutageOfDatabase(error) && !isTimeLimit(error)
  if (Predicate.hasProperty(error, "_tag") && unavailable.includes(error._tag)) return !isTimeLimit(error)
  return Predicate.hasProperty(error, "code") && systemCodes.includes(error.code) ? true : undefined
}

/** More than this is not looked at: an error may hold on to anything. */
const most = 1000

/** Whether something in a cause says so; what says nothing is looked into. */
const says = (cause: Cause.Cause<unknown>, saying: (error: object) => boolean | undefined): boolean => {
  const found = new Set<unknown>([cause])
  for (const value of found) {
    if (typeof value !== "object" || value === null || found.size > most) continue
    const said = saying(value)
    if (said === true) return true
    if (said === undefined) for (const part of partsOf(value)) found.add(part)
  }
  return false
}

/** Whether an outage has brought about a failure. */
export const isOutage = (cause: Cause.Cause<unknown>): boolean => says(cause, saying)

/** Whether a connection to a database broke in the middle of a statement. */
export const wasCutOff = (cause: Cause.Cause<unknown>): boolean =>
  says(cause, (error) => (isSqlError(error) ? isLost(error) : undefined))

/** What a value holds, without running any code of its. */
const partsOf = (value: object): ReadonlyArray<unknown> =>
  Object.values(Object.getOwnPropertyDescriptors(value)).map((property): unknown => property.value)
