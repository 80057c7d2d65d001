import * as Context from "effect/Context"
import type { EventStore } from "./service.ts"

/** Whether what is appended to the store would be part of a transaction that is open already. */
export const isInTransaction = ({ transactionService }: EventStore["Service"], context: Context.Context<never>): boolean =>
  transactionService !== undefined && Context.getOrUndefined(context, transactionService) !== undefined
