/** A small shop that is to be observed. Nothing in it knows of telemetry. */
import { Effect, Layer, Schema } from "effect"
import {
  Aggregate,
  Checkpoints,
  Command,
  Event,
  EventStore,
  MessageBus,
  Relay,
  Repository,
  Transport,
  UnitOfWork
} from "eventfold"

const OrderPlaced = Event.make("OrderPlaced", { total: Schema.Int }, { published: true })
const OrderShipped = Event.make("OrderShipped", {})

const Order = Aggregate.make("Order", {
  events: [OrderPlaced, OrderShipped],
  initial: { status: "new" },
  evolve: { OrderPlaced: () => ({ status: "placed" }), OrderShipped: () => ({ status: "shipped" }) }
})

export const PlaceOrder = Command.make("PlaceOrder", { payload: { order: Schema.NonEmptyString, total: Schema.Int } })
const ShipOrder = Command.make("ShipOrder", { payload: { order: Schema.NonEmptyString } })

const PlaceOrderLive = MessageBus.handle(PlaceOrder, ({ order, total }) =>
  Effect.asVoid(Repository.execute(Order, order, () => Effect.succeed([OrderPlaced.make({ total })])))
)
const ShipOrderLive = MessageBus.handle(ShipOrder, ({ order }) =>
  Effect.gen(function* () {
    yield* Effect.log("packing")
    yield* Repository.execute(Order, order, () => Effect.succeed([OrderShipped.make({})]))
  })
)
const WhenPlaced = MessageBus.listen(OrderPlaced, (_, { stream }) =>
  MessageBus.execute(ShipOrder, { order: stream.slice("Order-".length) })
)

export const layer = Layer.mergeAll(PlaceOrderLive, WhenPlaced, Relay.layer({ name: "shop" })).pipe(
  Layer.provideMerge(ShipOrderLive),
  Layer.provideMerge(MessageBus.layer),
  Layer.provideMerge(UnitOfWork.layer),
  Layer.provideMerge(Layer.mergeAll(EventStore.layerMemory, Transport.layerMemory, Checkpoints.layerMemory))
)
