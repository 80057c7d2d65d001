/**
 * The shop as it trades, to be looked at: what follows its events, and customers, a bank and a warehouse that never rest. Not everything
 * goes well: some mailboxes refuse mails for a while, and the label printer does not know every carrier.
 */
import { DateTime, Effect, Layer, Random, Schedule, Schema, Stream } from "effect"
import { EventStore, MessageBus, ParkedEvents, ProcessManager, Projection, Relay, Subscription, UnitOfWork } from "eventfold"
import { AddLine, CancelOrder, PlaceOrder, ReceivePayment, ReceiveStock, ShipOrder } from "./application.ts"
import { Cents, CustomerId, type Line, Order, OrderId, PaymentId, Quantity, Sku, totalOf } from "./domain.ts"
import { Fulfilment } from "./fulfilment.ts"
import { makeSales, makeTurnover } from "./sales.ts"

/** The mailbox does not take this mail now. */
class MailRefused extends Schema.TaggedError<MailRefused>()("MailRefused", { customer: CustomerId }) {
  override get message() {
    return `550 mailbox unavailable: ${this.customer}@example.test`
  }
}

class NoTemplate extends Schema.TaggedError<NoTemplate>()("NoTemplate", { carrier: Schema.String }) {
  override get message() {
    return `label printer: no template for carrier ${this.carrier}`
  }
}

/** Tells each customer of the order. What a mailbox refuses is parked: a full one takes mails again the third time. */
const ConfirmationMails = Layer.unwrap(
  Effect.sync(() => {
    const tries = new Map<OrderId, number>()
    return Subscription.layer({
      name: "confirmation-mails",
      events: [Order.OrderPlaced],
      retry: Schedule.recurs(1),
      onFailure: "park",
      handlers: {
        OrderPlaced: ({ customer, order }) => {
          const before = tries.get(order) ?? 0
          tries.set(order, before + 1)
          return customer.startsWith("guest") && before < 2 ? Effect.fail(new MailRefused({ customer })) : Effect.void
        }
      }
    })
  })
)

/** Prints labels. A carrier without a template halts it; whoever lets it go on has put the template in. */
const WarehouseLabels = Layer.unwrap(
  Effect.sync(() => {
    const tries = new Map<string, number>()
    return Subscription.layer({
      name: "warehouse-labels",
      events: [Order.OrderShipped],
      retry: Schedule.recurs(1),
      handlers: {
        OrderShipped: ({ carrier }) => {
          const before = tries.get(carrier) ?? 0
          tries.set(carrier, before + 1)
          return carrier === "DPD" && before < 2 ? Effect.fail(new NoTemplate({ carrier })) : Effect.void
        }
      }
    })
  })
)

/** The versions of the view of what was sold. */
export const projections = [makeSales().projection, makeTurnover()] as const

/** A view in memory begins empty, whatever its checkpoint says: it is built when the program starts. */
const inMemory = (projection: (typeof projections)[number]) =>
  Layer.unwrap(
    Effect.as(
      Stream.runDrain(Projection.rebuild(projection, { transactional: false })),
      Projection.layer(projection, { transactional: false })
    )
  )

/** All that follows the shop's events. Of the views the first to start is the one that readers see. */
export const followers = Layer.mergeAll(
  ConfirmationMails,
  WarehouseLabels,
  inMemory(projections[1]).pipe(Layer.provide(inMemory(projections[0]))),
  ProcessManager.layer(Fulfilment),
  Relay.layer({ name: "orders", source: "/shop" })
).pipe(Layer.provideMerge(ParkedEvents.layerMemory))

const articles = ["mug-blue", "mug-red", "teapot", "kettle", "tea-assam-250g", "tea-sencha-100g", "honey-500g", "infuser"]
const people = ["ana.silva", "noah.kowalski", "mia.rossi", "liam.obrien", "guest.7", "emma.berg", "guest.12", "jonas.weber"]
const carriers = ["DHL", "Hermes", "GLS", "DHL", "Hermes", "GLS", "DHL", "DPD"]

const pick = <A>(all: readonly [A, ...ReadonlyArray<A>] | ReadonlyArray<A>): Effect.Effect<A> =>
  Effect.map(Random.nextIntBetween(0, all.length), (index) => all[index % all.length] as A)

const lineOf = Effect.map(
  Effect.all([pick(articles), Random.nextIntBetween(1, 4), Random.nextIntBetween(4, 60)]),
  ([sku, quantity, price]): Line => ({
    sku: Sku.make(sku),
    quantity: Quantity.make(quantity),
    price: Cents.make(price * 100 - 10)
  })
)

/** An order on its way through the shop. */
interface OnItsWay {
  readonly order: OrderId
  readonly lines: ReadonlyArray<Line>
  readonly paid: boolean
}

/** All that is said about an order is one conversation. */
const said = (order: OrderId, by: string) => ({
  metadata: { by },
  correlationId: EventStore.streamName("Order", order)
})

const place = Effect.fnUntraced(function* (order: OrderId) {
  const lines = yield* Effect.replicateEffect(lineOf, yield* Random.nextIntBetween(1, 4))
  for (const { sku } of lines) {
    yield* MessageBus.execute(
      ReceiveStock,
      { sku, quantity: Quantity.make(4), supplier: "Nordstahl" },
      { metadata: { by: "warehouse/greta" } }
    )
  }
  const customer = CustomerId.make(yield* pick(people))
  yield* MessageBus.execute(PlaceOrder, { order, customer, lines }, said(order, "web shop"))
  return { order, lines, paid: false }
})

const pay = Effect.fnUntraced(function* ({ lines, order }: OnItsWay) {
  yield* MessageBus.execute(
    ReceivePayment,
    {
      payment: PaymentId.make(`p-${order}`),
      order,
      amount: totalOf(lines),
      method: yield* pick(["card", "transfer", "voucher"] as const),
      valueDate: yield* DateTime.now
    },
    said(order, "bank")
  )
  return { order, lines, paid: true }
})

const add = Effect.fnUntraced(function* ({ lines, order }: OnItsWay) {
  const line = { ...(yield* lineOf), sku: lines[0]?.sku ?? Sku.make("teapot"), quantity: Quantity.make(1) }
  yield* MessageBus.execute(AddLine, { order, line }, said(order, "web shop"))
  return { order, lines: [...lines, line], paid: false }
})

const ship = Effect.fnUntraced(function* ({ order }: OnItsWay) {
  const carrier = yield* pick(carriers)
  const parcel = `JJD${yield* Random.nextIntBetween(10_000, 99_999)}`
  const arrives = DateTime.add(yield* DateTime.now, { days: 2 })
  yield* MessageBus.execute(ShipOrder, { order, carrier, parcel, arrives }, said(order, "warehouse/jan"))
  return undefined
})

const cancel = Effect.fnUntraced(function* ({ order }: OnItsWay) {
  yield* MessageBus.execute(CancelOrder, { order, reason: "the customer has changed their mind" }, said(order, "support/ida"))
  return undefined
})

/** What happens to one order next: it moves on, and leaves when it is shipped or cancelled. */
const next = Effect.fnUntraced(function* (order: OnItsWay) {
  const dice = yield* Random.nextIntBetween(0, 10)
  if (dice === 0) return yield* cancel(order)
  if (order.paid) return yield* ship(order)
  return dice < 4 ? yield* add(order) : yield* pay(order)
})

/**
 * One step of trade: an order is placed, or one of those on their way moves on. What an earlier step has lost a race for is tried again;
 * what the domain refuses is left as it is.
 */
export const makeTrade = (prefix: string) => {
  const open: Array<OnItsWay> = []
  let placed = 0
  return Effect.gen(function* () {
    const dice = yield* Random.nextIntBetween(0, 3)
    const index = yield* Random.nextIntBetween(0, Math.max(1, open.length))
    const [moving] = open.length < 4 || (open.length < 30 && dice === 0) ? [] : open.splice(index, 1)
    const step = Effect.gen(function* () {
      return moving === undefined ? yield* place(OrderId.make(`${prefix}${2001 + placed++}`)) : yield* next(moving)
    })
    const after = yield* step.pipe(
      UnitOfWork.retryConflicts({ times: 20 }),
      Effect.catch((error) => (error._tag === "EventStoreError" ? Effect.fail(error) : Effect.succeed(undefined)))
    )
    if (after !== undefined) open.push(after)
  })
}
