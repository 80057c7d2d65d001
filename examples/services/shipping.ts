/** The shipping service, on SQLite: hears of orders, and sends parcels. */
import { Effect, Layer, Schema } from "effect"
import {
  Aggregate,
  Command,
  Consumer,
  DeadLetters,
  Inbox,
  MessageBus,
  Relay,
  Repository,
  type Transport,
  UnitOfWork
} from "eventfold"
import { SqliteCheckpoints, SqliteEventStore } from "eventfold/sqlite"
import { OrderPlaced, ParcelShipped } from "./messages.ts"

const Shipment = Aggregate.make("Shipment", {
  events: [ParcelShipped],
  initial: { parcels: 0 },
  // One that counts shows what comes twice.
  evolve: { ParcelShipped: ({ parcels }) => ({ parcels: parcels + 1 }) }
})

const Ship = Command.make("Ship", { payload: { order: Schema.NonEmptyString, weight: Schema.Int } })

const ShipLive = MessageBus.handle(Ship, ({ order, weight }) =>
  Effect.asVoid(
    Repository.execute(Shipment, order, () =>
      Effect.succeed([ParcelShipped.make({ order, tracking: `P${order.padStart(5, "0")}-${weight}` })])
    )
  )
)

const Orders = Consumer.layer(
  [OrderPlaced],
  { OrderPlaced: ({ order, weight }) => MessageBus.execute(Ship, { order, weight }) },
  { group: "shipping", inbox: true, concurrency: 16 }
)

export const store = (filename: string) =>
  SqliteCheckpoints.layer.pipe(Layer.provideMerge(SqliteEventStore.layerFile({ filename })))

export const layer = <E, R>(options: { readonly filename: string; readonly transport: Layer.Layer<Transport.Transport, E, R> }) =>
  Layer.merge(Orders, Relay.layer({ name: "shipping", lease: "3 seconds" })).pipe(
    Layer.provide(ShipLive),
    Layer.provide(MessageBus.layer),
    Layer.provide(UnitOfWork.layerSql),
    Layer.provide(Layer.merge(Inbox.layerSql, DeadLetters.layerSql)),
    Layer.provide(Layer.merge(store(options.filename), options.transport))
  )
