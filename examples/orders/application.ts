/**
 * What the shop can be asked to do: commands, their handlers, and what follows from events.
 *
 * A handler asks: where another aggregate may refuse (the stock may be gone), it is asked in the handler, and its error is the
 * command's error. A listener reacts to facts, which nobody refuses any more. Both run in the one unit of work of the command,
 * so an order is never placed without its stock, nor paid without its payment.
 */
import { Effect, Layer, Schema } from "effect"
import { Command, MessageBus, Repository } from "eventfold"
import { Cents, CustomerId, Line, Lines, Order, OrderId, Payment, PaymentId, Quantity, Sku, Stock } from "./domain.ts"

// commands

/** The version of the order that somebody had before their eyes: if it has changed since, the command is refused. */
const seen = Schema.optionalKey(Schema.Int)

/** The version that the command left the order, or the article's stock, at. */
const success = Schema.Int

export const ReceiveStock = Command.make("ReceiveStock", {
  payload: { sku: Sku, quantity: Quantity, supplier: Schema.NonEmptyString },
  success
})

export const PlaceOrder = Command.make("PlaceOrder", {
  payload: { order: OrderId, customer: CustomerId, lines: Lines },
  success,
  error: Schema.Union([Order.OrderExists, Stock.UnknownArticle, Stock.OutOfStock])
})

export const AddLine = Command.make("AddLine", {
  payload: { order: OrderId, line: Line, seen },
  success,
  error: Schema.Union([Order.UnknownOrder, Order.OrderClosed, Order.OrderChanged, Stock.UnknownArticle, Stock.OutOfStock])
})

export const ReceivePayment = Command.make("ReceivePayment", {
  payload: {
    payment: PaymentId,
    order: OrderId,
    amount: Cents,
    method: Payment.PaymentReceived.fields.method,
    valueDate: Schema.DateTimeUtcFromString
  },
  success,
  error: Schema.Union([Order.UnknownOrder, Order.OrderClosed, Order.AlreadyPaid, Order.WrongAmount, Payment.PaymentExists])
})

export const ShipOrder = Command.make("ShipOrder", {
  payload: {
    order: OrderId,
    carrier: Schema.NonEmptyString,
    parcel: Schema.NonEmptyString,
    arrives: Schema.DateTimeUtcFromString
  },
  success,
  error: Schema.Union([Order.UnknownOrder, Order.OrderClosed, Order.NotPaid])
})

export const CancelOrder = Command.make("CancelOrder", {
  payload: { order: OrderId, reason: Schema.NonEmptyString, seen },
  success,
  error: Schema.Union([Order.UnknownOrder, Order.OrderClosed, Order.OrderChanged])
})

// handlers

const ReceiveStockLive = MessageBus.handle(ReceiveStock, ({ quantity, sku, supplier }) =>
  Repository.execute(Stock.Stock, sku, () => Effect.succeed(Stock.receive(sku, quantity, supplier))).pipe(
    Effect.map(({ version }) => version)
  )
)

const PlaceOrderLive = MessageBus.handle(
  PlaceOrder,
  Effect.fnUntraced(function* (placed) {
    const { order } = placed
    const { version } = yield* Repository.execute(Order.Order, order, (state) => Effect.fromResult(Order.place(state, placed)))
    yield* Effect.forEach(placed.lines, (line) => reserve(order, line), { discard: true })
    return version
  })
)

const AddLineLive = MessageBus.handle(
  AddLine,
  Effect.fnUntraced(function* ({ line, order, seen }) {
    yield* unchangedSince(order, seen)
    const { version } = yield* Repository.execute(Order.Order, order, (state) =>
      Effect.fromResult(Order.addLine(state, order, line))
    )
    yield* reserve(order, line)
    return version
  })
)

const ReceivePaymentLive = MessageBus.handle(
  ReceivePayment,
  Effect.fnUntraced(function* (received) {
    const { amount, order, payment } = received
    const { state, version } = yield* Repository.load(Order.Order, order)
    yield* Effect.fromResult(Order.acceptPayment(state, order, amount))
    yield* Repository.execute(Payment.Payment, payment, (state) => Effect.fromResult(Payment.receive(state, received)))
    return version
  })
)

const ShipOrderLive = MessageBus.handle(ShipOrder, (parcel) =>
  Repository.execute(Order.Order, parcel.order, (state) => Effect.fromResult(Order.ship(state, parcel))).pipe(
    Effect.map(({ version }) => version)
  )
)

const CancelOrderLive = MessageBus.handle(
  CancelOrder,
  Effect.fnUntraced(function* ({ order, reason, seen }) {
    yield* unchangedSince(order, seen)
    const { version } = yield* Repository.execute(Order.Order, order, (state) =>
      Effect.fromResult(Order.cancel(state, order, reason))
    )
    return version
  })
)

const reserve = (order: OrderId, { quantity, sku }: Line) =>
  Repository.execute(Stock.Stock, sku, (state) => Effect.fromResult(Stock.reserve(state, sku, order, quantity)))

const unchangedSince = (order: OrderId, seen: number | undefined) =>
  Repository.load(Order.Order, order).pipe(
    Effect.flatMap(({ version }) => Effect.fromResult(Order.unchanged(order, version, seen)))
  )

// listeners

const PaidOrders = MessageBus.listen(Payment.PaymentReceived, ({ order, payment }) =>
  Repository.execute(Order.Order, order, (state) => Effect.succeed(Order.recordPayment(state, order, payment)))
)

const ShippedStock = MessageBus.listen(Order.OrderShipped, ({ order }) => forArticlesOf(order, Stock.ship))

const ReleasedStock = MessageBus.listen(Order.OrderCancelled, ({ order }) => forArticlesOf(order, Stock.release))

const Refunds = MessageBus.listen(Order.OrderCancelled, ({ refund }) =>
  refund === undefined
    ? Effect.void
    : Repository.execute(Payment.Payment, refund, (state) => Effect.succeed(Payment.refund(state, refund)))
)

const forArticlesOf = Effect.fnUntraced(function* (order: OrderId, decide: typeof Stock.ship | typeof Stock.release) {
  const { state } = yield* Repository.load(Order.Order, order)
  for (const { sku } of state.lines) {
    yield* Repository.execute(Stock.Stock, sku, (stock) => Effect.succeed(decide(stock, sku, order)))
  }
})

/** All handlers and listeners. Leave one of the handlers out, and whoever executes its command does not compile. */
export const layer = Layer.mergeAll(
  ReceiveStockLive,
  PlaceOrderLive,
  AddLineLive,
  ReceivePaymentLive,
  ShipOrderLive,
  CancelOrderLive,
  PaidOrders,
  ShippedStock,
  ReleasedStock,
  Refunds
)
