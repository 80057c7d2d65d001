/** The stock of one article: pieces come in, are reserved for orders, and are released or shipped. */
import { Result, Schema } from "effect"
import { Aggregate, Event } from "eventfold"
import { OrderId, Quantity, Sku } from "./values.ts"

// events

export const StockReceived = Event.make(
  "StockReceived",
  { sku: Sku, quantity: Quantity, supplier: Schema.NonEmptyString },
  {
    version: 2,
    // Version 1 called the quantity "pieces", and did not know the supplier.
    upcast: { 1: ({ pieces, sku }) => ({ sku, quantity: pieces, supplier: "unknown" }) }
  }
)

export const StockReserved = Event.make("StockReserved", { sku: Sku, order: OrderId, quantity: Quantity })

export const StockReleased = Event.make("StockReleased", { sku: Sku, order: OrderId, quantity: Quantity })

export const StockShipped = Event.make("StockShipped", { sku: Sku, order: OrderId, quantity: Quantity })

/** The last piece has been reserved. */
export const SoldOut = Event.make("SoldOut", { sku: Sku }, { published: true })

// state and fold

export interface State {
  /** Pieces in the warehouse; undefined until any came in. */
  readonly onHand: number | undefined
  /** Of these, the pieces reserved for each order. */
  readonly reserved: ReadonlyMap<OrderId, Quantity>
}

const initial: State = { onHand: undefined, reserved: new Map() }

const without = (reserved: State["reserved"], order: OrderId): State["reserved"] =>
  new Map([...reserved].filter(([other]) => other !== order))

export const Stock = Aggregate.make("Stock", {
  id: Sku,
  events: [StockReceived, StockReserved, StockReleased, StockShipped, SoldOut],
  initial,
  evolve: {
    StockReceived: (state, { quantity }) => ({ ...state, onHand: (state.onHand ?? 0) + quantity }),
    StockReserved: (state, { order, quantity }) => ({
      ...state,
      reserved: new Map(state.reserved).set(order, Quantity.make((state.reserved.get(order) ?? 0) + quantity))
    }),
    StockReleased: (state, { order }) => ({ ...state, reserved: without(state.reserved, order) }),
    StockShipped: (state, { order, quantity }) => ({
      onHand: (state.onHand ?? 0) - quantity,
      reserved: without(state.reserved, order)
    }),
    SoldOut: (state) => state
  }
})

/** Pieces that nobody has reserved. */
export const available = ({ onHand = 0, reserved }: State): number =>
  [...reserved.values()].reduce((left, quantity) => left - quantity, onHand)

// decisions

type Decision<E> = Result.Result<ReadonlyArray<Aggregate.EventOf<typeof Stock>>, E>

export const receive = (sku: Sku, quantity: Quantity, supplier: string) => [StockReceived.make({ sku, quantity, supplier })]

export const reserve = (state: State, sku: Sku, order: OrderId, quantity: Quantity): Decision<UnknownArticle | OutOfStock> => {
  if (state.onHand === undefined) return Result.fail(new UnknownArticle({ sku }))
  const left = available(state)
  if (quantity > left) return Result.fail(new OutOfStock({ sku, wanted: quantity, available: left }))
  const reserved = StockReserved.make({ sku, order, quantity })
  return Result.succeed(quantity === left ? [reserved, SoldOut.make({ sku })] : [reserved])
}

/** The order was cancelled: what was reserved for it, if anything, can be sold again. */
export const release = (state: State, sku: Sku, order: OrderId) => {
  const quantity = state.reserved.get(order)
  return quantity === undefined ? [] : [StockReleased.make({ sku, order, quantity })]
}

/** The order left the house: what was reserved for it went along. */
export const ship = (state: State, sku: Sku, order: OrderId) => {
  const quantity = state.reserved.get(order)
  return quantity === undefined ? [] : [StockShipped.make({ sku, order, quantity })]
}

// errors

export class UnknownArticle extends Schema.TaggedError<UnknownArticle>()("UnknownArticle", { sku: Sku }) {
  override get message() {
    return `${this.sku} has never been in stock`
  }
}

export class OutOfStock extends Schema.TaggedError<OutOfStock>()("OutOfStock", {
  sku: Sku,
  wanted: Quantity,
  available: Schema.Int
}) {
  override get message() {
    return `Not enough of ${this.sku}: ${this.wanted} wanted, ${this.available} left`
  }
}
