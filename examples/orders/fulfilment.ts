/**
 * What becomes of an order in time: a process over all three aggregates, pure as they are. It has patience with the customer until the
 * order is paid, then with the warehouse until it is shipped. When that is at its end the order is cancelled, and what follows from
 * this (stock released, money refunded) is the business of the listeners.
 */
import { Duration, Schema } from "effect"
import { Event, ProcessManager } from "eventfold"
import { CancelOrder } from "./application.ts"
import { Order, OrderId } from "./domain.ts"

const { OrderCancelled, OrderPaid, OrderPlaced, OrderShipped } = Order

export const patience = Duration.days(7)

/** Nothing has happened to the order for too long. */
const Overdue = Event.make("Overdue")

export const Fulfilment = ProcessManager.make("Fulfilment", {
  events: [OrderPlaced, OrderPaid, OrderShipped, OrderCancelled],
  correlate: {
    OrderPlaced: ({ order }) => order,
    OrderPaid: ({ order }) => order,
    OrderShipped: ({ order }) => order,
    OrderCancelled: ({ order }) => order
  },
  deadlines: [Overdue],
  state: Schema.Struct({ waitsFor: Schema.Literals(["payment", "shipment", "nothing"]) }),
  initial: { waitsFor: "nothing" },
  evolve: {
    OrderPlaced: () => ({ waitsFor: "payment" }),
    OrderPaid: () => ({ waitsFor: "shipment" }),
    OrderShipped: () => ({ waitsFor: "nothing" }),
    OrderCancelled: () => ({ waitsFor: "nothing" }),
    Overdue: (state) => state
  },
  react: {
    OrderPlaced: () => [ProcessManager.setDeadline(Overdue.make({}), patience)],
    // Set again: this one takes the place of the one before.
    OrderPaid: () => [ProcessManager.setDeadline(Overdue.make({}), patience)],
    OrderShipped: () => [ProcessManager.cancelDeadline(Overdue)],
    OrderCancelled: () => [ProcessManager.cancelDeadline(Overdue)],
    Overdue: ({ waitsFor }, _, { key }) => [
      ProcessManager.send(
        CancelOrder,
        { order: OrderId.make(key), reason: `the ${waitsFor} did not come in time` },
        // Closed by somebody at this very moment: nothing is left to be done.
        () => []
      )
    ]
  }
})
