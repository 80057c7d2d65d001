/** A program in memory, as a user exports it for the command line: its Layer and its definitions. */
import { Effect, Layer, Schema } from "effect"
import { Aggregate, Checkpoints, Event, EventStore, ParkedEvents, Subscription } from "eventfold"

const Placed = Event.make("Placed", { customer: Schema.String, total: Schema.Int }, { published: true })
const Paid = Event.make("Paid", { payment: Schema.String })

export const Order = Aggregate.make("Order", {
  events: [Placed, Paid],
  state: Schema.Struct({ status: Schema.String, total: Schema.Int }),
  initial: { status: "none", total: 0 },
  evolve: {
    Placed: (_, { total }) => ({ status: "open", total }),
    Paid: (state) => ({ ...state, status: "paid" })
  }
})

const Mails = Subscription.layer({ name: "mails", handler: () => Effect.fail("no mail server"), onFailure: "park" })

const seed = Layer.effectDiscard(
  EventStore.append("Order-1", [
    { type: "Placed", payload: { customer: "ada", total: 5 }, metadata: { correlationId: "c", by: "web" } },
    { type: "Paid", payload: { payment: "p" }, metadata: { correlationId: "c" } }
  ])
)

export const layer = Layer.mergeAll(seed, Mails).pipe(
  Layer.provideMerge(Layer.mergeAll(EventStore.layerMemory, Checkpoints.layerMemory, ParkedEvents.layerMemory))
)
