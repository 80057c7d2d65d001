/**
 * What the cases of streams come to: accounts of ten deposits each, which stand one after the other in the log.
 *
 * - *append*: one event to a stream of the caller's own, whatever its version.
 * - *command*: loads an account, folds it, and appends one event unless somebody else has.
 */
import { type Effect } from "effect"
import { type Deed } from "./contest.ts"

export type Kind = "append" | "command"

/** How many events each account begins with. */
export const perStream = 10

/** What a store does with an account; it answers whether an event was appended. */
interface Accounts {
  readonly append: (account: string) => Effect.Effect<boolean, unknown>
  readonly deposit: (account: string) => Effect.Effect<boolean, unknown>
}

/** What the kinds of work come to. */
export const deedsOf = (
  { append, deposit }: Accounts,
  { callers, events }: { readonly events: number; readonly callers: number }
): Readonly<Record<Kind, Deed>> => ({
  append: (caller) => append(`own-${caller}`),
  command: (caller, nth) => deposit(`${(nth * callers + caller) % (events / perStream)}`)
})
