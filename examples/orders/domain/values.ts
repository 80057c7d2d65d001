/** The words that all aggregates of the shop share: ids, money, quantities. */
import { Schema } from "effect"

const id = Schema.String.check(Schema.isPattern(/^[a-z0-9][a-z0-9-]*$/i, { expected: "an id of letters, digits and dashes" }))

export const OrderId = id.pipe(Schema.brand("OrderId"))
export type OrderId = typeof OrderId.Type

export const PaymentId = id.pipe(Schema.brand("PaymentId"))
export type PaymentId = typeof PaymentId.Type

export const CustomerId = Schema.NonEmptyString.pipe(Schema.brand("CustomerId"))
export type CustomerId = typeof CustomerId.Type

/** What an article is called in the warehouse. */
export const Sku = id.pipe(Schema.brand("Sku"))
export type Sku = typeof Sku.Type

/** Money: whole cents, so that sums are exact. */
export const Cents = Schema.Int.check(Schema.isGreaterThanOrEqualTo(0)).pipe(Schema.brand("Cents"))
export type Cents = typeof Cents.Type

/** Pieces of an article. */
export const Quantity = Schema.Int.check(Schema.isGreaterThan(0)).pipe(Schema.brand("Quantity"))
export type Quantity = typeof Quantity.Type

export const Line = Schema.Struct({ sku: Sku, quantity: Quantity, price: Cents })
/** A line of an order: so many pieces, and the price of one. */
export type Line = typeof Line.Type

export const Lines = Schema.Array(Line).check(Schema.isMinLength(1, { expected: "at least one line" }))

export const totalOf = (lines: ReadonlyArray<Line>): Cents =>
  Cents.make(lines.reduce((sum, { price, quantity }) => sum + price * quantity, 0))
