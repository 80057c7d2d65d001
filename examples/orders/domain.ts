/** The shop's domain: three aggregates, all pure. Each has the same silhouette: events, state and fold, decisions, errors. */
export * as Order from "./domain/Order.ts"
export * as Payment from "./domain/Payment.ts"
export * as Stock from "./domain/Stock.ts"
export * from "./domain/values.ts"
