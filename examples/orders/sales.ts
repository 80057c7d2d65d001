/** A view: how many pieces of each article were ordered. It is kept in memory, so its checkpoint belongs there, too. */
import { Effect } from "effect"
import { Projection } from "eventfold"
import { type Line, Order, type Sku } from "./domain.ts"

export const makeSales = () => {
  const pieces = new Map<Sku, number>()
  /** As a view that lives in another system, this one takes a moment for each event. */
  const add = (...lines: ReadonlyArray<Line>) =>
    Effect.delay(
      Effect.sync(() => lines.forEach(({ quantity, sku }) => pieces.set(sku, (pieces.get(sku) ?? 0) + quantity))),
      "4 millis"
    )
  const projection = Projection.make("Sales", {
    version: 1,
    events: [Order.OrderPlaced, Order.LineAdded],
    reset: Effect.sync(() => pieces.clear()),
    handlers: {
      OrderPlaced: ({ lines }) => add(...lines),
      LineAdded: ({ line }) => add(line)
    }
  })
  return { pieces, projection }
}

/** The same view at its next version: what was ordered for, in cents, by article. */
export const makeTurnover = () => {
  const cents = new Map<Sku, number>()
  const add = (...lines: ReadonlyArray<Line>) =>
    Effect.sync(() => lines.forEach(({ price, quantity, sku }) => cents.set(sku, (cents.get(sku) ?? 0) + price * quantity)))
  return Projection.make("Sales", {
    version: 2,
    events: [Order.OrderPlaced, Order.LineAdded],
    reset: Effect.sync(() => cents.clear()),
    handlers: {
      OrderPlaced: ({ lines }) => add(...lines),
      LineAdded: ({ line }) => add(line)
    }
  })
}
