/** The ordering service, on PostgreSQL: takes orders, and hears when their parcels leave. */
import { PgClient } from "@effect/sql-pg"
import { Effect, Layer, Redacted, Schema } from "effect"
import {
  Aggregate,
  Command,
  Consumer,
  DeadLetters,
  Event,
  Inbox,
  MessageBus,
  Relay,
  Repository,
  type Transport,
  UnitOfWork
} from "eventfold"
import { PgCheckpoints, PgEventStore } from "eventfold/postgres"
import { OrderPlaced, ParcelShipped } from "./messages.ts"

const OrderDispatched = Event.make("OrderDispatched", { tracking: Schema.String })

export const Order = Aggregate.make("Order", {
  events: [OrderPlaced, OrderDispatched],
  initial: { placed: false, parcels: 0 },
  evolve: {
    OrderPlaced: (order) => ({ ...order, placed: true }),
    // One that counts shows what comes twice.
    OrderDispatched: (order) => ({ ...order, parcels: order.parcels + 1 })
  }
})

const PlaceOrder = Command.make("PlaceOrder", { payload: { order: Schema.NonEmptyString, weight: Schema.Int } })
const DispatchOrder = Command.make("DispatchOrder", { payload: { order: Schema.NonEmptyString, tracking: Schema.String } })

const Handlers = Layer.mergeAll(
  MessageBus.handle(PlaceOrder, ({ order, weight }) =>
    Effect.asVoid(
      Repository.execute(Order, order, ({ placed }) => Effect.succeed(placed ? [] : [OrderPlaced.make({ order, weight })]))
    )
  ),
  MessageBus.handle(DispatchOrder, ({ order, tracking }) =>
    Effect.asVoid(Repository.execute(Order, order, () => Effect.succeed([OrderDispatched.make({ tracking })])))
  )
)

/** The inbox, the message and what it brings about are one transaction: however often it is delivered, it takes effect once. */
const Parcels = Consumer.layer(
  [ParcelShipped],
  { ParcelShipped: ({ order, tracking }) => MessageBus.execute(DispatchOrder, { order, tracking }) },
  { group: "ordering", inbox: true, concurrency: 16 }
)

/** Customers: so many orders, one after the other. Orders that stand already are not placed again. */
const Customers = (orders: number) =>
  Layer.effectDiscard(
    Effect.forkScoped(
      Effect.forEach(
        Array.from({ length: orders }, (_, n) => n + 1),
        (n) => MessageBus.execute(PlaceOrder, { order: String(n), weight: n % 30 }),
        { discard: true }
      )
    )
  )

export const store = (database: string) =>
  Layer.merge(PgEventStore.layer, PgCheckpoints.layer).pipe(Layer.provideMerge(PgClient.layer({ url: Redacted.make(database) })))

export const layer = <E, R>(options: {
  readonly database: string
  readonly orders: number
  readonly transport: Layer.Layer<Transport.Transport, E, R>
}) =>
  Layer.mergeAll(Customers(options.orders), Parcels, Relay.layer({ name: "ordering", lease: "3 seconds" })).pipe(
    Layer.provide(Handlers),
    Layer.provide(MessageBus.layer),
    Layer.provide(UnitOfWork.layerSql),
    Layer.provide(Layer.merge(Inbox.layerSql, DeadLetters.layerSql)),
    Layer.provide(Layer.merge(store(options.database), options.transport))
  )
