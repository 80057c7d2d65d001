/** The words that all of billing shares: ids and money. Ids say nothing about the person. */
import { Schema } from "effect"

const id = Schema.String.check(
  Schema.isPattern(/^[a-z0-9][a-z0-9-]{0,60}$/, { expected: "an id of small letters, digits and dashes" })
)

export const CustomerId = id.pipe(Schema.brand("CustomerId"))
export type CustomerId = typeof CustomerId.Type

export const SubscriptionId = id.pipe(Schema.brand("SubscriptionId"))
export type SubscriptionId = typeof SubscriptionId.Type

export const InvoiceId = id.pipe(Schema.brand("InvoiceId"))
export type InvoiceId = typeof InvoiceId.Type

/** Money: whole cents, so that sums are exact. */
export const Cents = Schema.Int.check(Schema.isGreaterThanOrEqualTo(0)).pipe(Schema.brand("Cents"))
export type Cents = typeof Cents.Type

export const Plan = Schema.Literals(["small", "large"])
export const prices: Readonly<Record<typeof Plan.Type, Cents>> = { small: Cents.make(900), large: Cents.make(2900) }
