/** A payment: received once, and perhaps refunded. */
import { Result, Schema } from "effect"
import { Aggregate, Event } from "eventfold"
import { Cents, OrderId, PaymentId } from "./values.ts"

// events

export const PaymentReceived = Event.make(
  "PaymentReceived",
  {
    payment: PaymentId,
    order: OrderId,
    amount: Cents,
    method: Schema.Literals(["card", "transfer", "voucher"]),
    valueDate: Schema.DateTimeUtc
  },
  { tags: ({ order }) => [`order:${order}`] }
)

export const PaymentRefunded = Event.make(
  "PaymentRefunded",
  { payment: PaymentId, order: OrderId, amount: Cents },
  { published: true, tags: ({ order }) => [`order:${order}`] }
)

// state and fold

export interface State {
  readonly status: "absent" | "received" | "refunded"
  readonly order: OrderId | undefined
  readonly amount: Cents
}

const initial: State = { status: "absent", order: undefined, amount: Cents.make(0) }

export const Payment = Aggregate.make("Payment", {
  id: PaymentId,
  events: [PaymentReceived, PaymentRefunded],
  initial,
  evolve: {
    PaymentReceived: (_, { amount, order }) => ({ status: "received", order, amount }),
    PaymentRefunded: (state) => ({ ...state, status: "refunded" })
  }
})

// decisions

type Decision<E> = Result.Result<ReadonlyArray<Aggregate.EventOf<typeof Payment>>, E>

export const receive = (state: State, received: Omit<typeof PaymentReceived.Type, "_tag">): Decision<PaymentExists> =>
  state.status === "absent"
    ? Result.succeed([PaymentReceived.make(received)])
    : Result.fail(new PaymentExists({ payment: received.payment }))

/** The order was cancelled: the money goes back, once. */
export const refund = ({ amount, order, status }: State, payment: PaymentId) =>
  status === "received" && order !== undefined ? [PaymentRefunded.make({ payment, order, amount })] : []

// errors

export class PaymentExists extends Schema.TaggedError<PaymentExists>()("PaymentExists", { payment: PaymentId }) {
  override get message() {
    return `Payment ${this.payment} has been booked already`
  }
}
