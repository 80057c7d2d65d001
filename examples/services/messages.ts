/** What the two services tell each other. Everything else is each one's own business. */
import { Schema } from "effect"
import { Event } from "eventfold"

export const OrderPlaced = Event.make("OrderPlaced", { order: Schema.NonEmptyString, weight: Schema.Int }, { published: true })

export const ParcelShipped = Event.make(
  "ParcelShipped",
  { order: Schema.NonEmptyString, tracking: Schema.NonEmptyString },
  { published: true }
)

/** Who asks for what. RabbitMQ wants to know it before the first message is published. */
export const groups = [
  { group: "shipping", types: [OrderPlaced.type] },
  { group: "ordering", types: [ParcelShipped.type] }
]
