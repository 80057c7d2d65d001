/** An order: placed, perhaps extended, paid and shipped, or cancelled. */
import { Result, Schema } from "effect"
import { Aggregate, Event } from "eventfold"
import { Cents, CustomerId, Line, Lines, OrderId, PaymentId, totalOf } from "./values.ts"

// events

export const OrderPlaced = Event.make(
  "OrderPlaced",
  { order: OrderId, customer: CustomerId, lines: Lines, total: Cents },
  { published: true, tags: ({ customer }) => [`customer:${customer}`] }
)

export const LineAdded = Event.make("LineAdded", { order: OrderId, line: Line, total: Cents })

export const OrderPaid = Event.make("OrderPaid", { order: OrderId, payment: PaymentId }, { published: true })

export const OrderShipped = Event.make(
  "OrderShipped",
  { order: OrderId, carrier: Schema.NonEmptyString, parcel: Schema.NonEmptyString, arrives: Schema.DateTimeUtc },
  { published: true }
)

export const OrderCancelled = Event.make(
  "OrderCancelled",
  { order: OrderId, reason: Schema.NonEmptyString, refund: Schema.optionalKey(PaymentId) },
  { published: true }
)

// state and fold

export interface State {
  readonly status: "absent" | "open" | "paid" | "shipped" | "cancelled"
  readonly customer: CustomerId | undefined
  readonly lines: ReadonlyArray<Line>
  readonly total: Cents
  readonly payment: PaymentId | undefined
}

const initial: State = { status: "absent", customer: undefined, lines: [], total: Cents.make(0), payment: undefined }

export const Order = Aggregate.make("Order", {
  id: OrderId,
  events: [OrderPlaced, LineAdded, OrderPaid, OrderShipped, OrderCancelled],
  initial,
  evolve: {
    OrderPlaced: (state, { customer, lines, total }) => ({ ...state, status: "open", customer, lines, total }),
    LineAdded: (state, { line, total }) => ({ ...state, lines: [...state.lines, line], total }),
    OrderPaid: (state, { payment }) => ({ ...state, status: "paid", payment }),
    OrderShipped: (state) => ({ ...state, status: "shipped" }),
    OrderCancelled: (state) => ({ ...state, status: "cancelled" })
  }
})

// decisions

type Decision<E> = Result.Result<ReadonlyArray<Aggregate.EventOf<typeof Order>>, E>

export const place = (
  state: State,
  { customer, lines, order }: Pick<typeof OrderPlaced.Type, "order" | "customer" | "lines">
): Decision<OrderExists> =>
  state.status === "absent"
    ? Result.succeed([OrderPlaced.make({ order, customer, lines, total: totalOf(lines) })])
    : Result.fail(new OrderExists({ order }))

export const addLine = (state: State, order: OrderId, line: Line): Decision<UnknownOrder | OrderClosed> => {
  if (state.status === "absent") return Result.fail(new UnknownOrder({ order }))
  if (state.status !== "open") return Result.fail(new OrderClosed({ order, status: state.status }))
  return Result.succeed([LineAdded.make({ order, line, total: totalOf([...state.lines, line]) })])
}

/** Whether a payment of `amount` settles the order. */
export const acceptPayment = (
  state: State,
  order: OrderId,
  amount: Cents
): Decision<UnknownOrder | OrderClosed | AlreadyPaid | WrongAmount> => {
  if (state.status === "absent") return Result.fail(new UnknownOrder({ order }))
  if (state.status === "cancelled") return Result.fail(new OrderClosed({ order, status: state.status }))
  if (state.status !== "open") return Result.fail(new AlreadyPaid({ order }))
  if (amount !== state.total) return Result.fail(new WrongAmount({ order, due: state.total, received: amount }))
  return Result.succeed([])
}

/** The money is there: a fact, which cannot be refused. */
export const recordPayment = (state: State, order: OrderId, payment: PaymentId) =>
  state.status === "open" ? [OrderPaid.make({ order, payment })] : []

export const ship = (
  state: State,
  parcel: Omit<typeof OrderShipped.Type, "_tag">
): Decision<UnknownOrder | OrderClosed | NotPaid> => {
  const { order } = parcel
  if (state.status === "absent") return Result.fail(new UnknownOrder({ order }))
  if (state.status === "open") return Result.fail(new NotPaid({ order, due: state.total }))
  if (state.status !== "paid") return Result.fail(new OrderClosed({ order, status: state.status }))
  return Result.succeed([OrderShipped.make(parcel)])
}

export const cancel = (state: State, order: OrderId, reason: string): Decision<UnknownOrder | OrderClosed> => {
  if (state.status === "absent") return Result.fail(new UnknownOrder({ order }))
  if (state.status === "shipped" || state.status === "cancelled") {
    return Result.fail(new OrderClosed({ order, status: state.status }))
  }
  return Result.succeed([
    OrderCancelled.make({ order, reason, ...(state.payment === undefined ? {} : { refund: state.payment }) })
  ])
}

/** Whether the order still is at the version that somebody had before their eyes when they asked for a change. */
export const unchanged = (order: OrderId, version: number, seen: number | undefined): Decision<OrderChanged> =>
  seen === undefined || seen === version ? Result.succeed([]) : Result.fail(new OrderChanged({ order, seen, version }))

// errors

export class UnknownOrder extends Schema.TaggedError<UnknownOrder>()("UnknownOrder", { order: OrderId }) {
  override get message() {
    return `There is no order ${this.order}`
  }
}

export class OrderExists extends Schema.TaggedError<OrderExists>()("OrderExists", { order: OrderId }) {
  override get message() {
    return `Order ${this.order} has been placed already`
  }
}

export class OrderChanged extends Schema.TaggedError<OrderChanged>()("OrderChanged", {
  order: OrderId,
  seen: Schema.Int,
  version: Schema.Int
}) {
  override get message() {
    return `Order ${this.order} is at version ${this.version}, and version ${this.seen} was seen: look again`
  }
}

export class OrderClosed extends Schema.TaggedError<OrderClosed>()("OrderClosed", {
  order: OrderId,
  status: Schema.Literals(["paid", "shipped", "cancelled"])
}) {
  override get message() {
    return `Order ${this.order} is ${this.status}`
  }
}

export class AlreadyPaid extends Schema.TaggedError<AlreadyPaid>()("AlreadyPaid", { order: OrderId }) {
  override get message() {
    return `Order ${this.order} has been paid already`
  }
}

export class WrongAmount extends Schema.TaggedError<WrongAmount>()("WrongAmount", {
  order: OrderId,
  due: Cents,
  received: Cents
}) {
  override get message() {
    return `Order ${this.order} costs ${this.due} cents, not ${this.received}`
  }
}

export class NotPaid extends Schema.TaggedError<NotPaid>()("NotPaid", { order: OrderId, due: Cents }) {
  override get message() {
    return `Order ${this.order} waits for a payment of ${this.due} cents`
  }
}
