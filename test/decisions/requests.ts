/** A request that is sent twice takes effect once: its token is claimed by the event that it brought about. */
import { Effect, Schema } from "effect"
import { Decision, Event, Tag } from "eventfold"

const request = Tag.make("request")
export const OrderPlaced = Event.make(
  "OrderPlaced",
  { order: Schema.String, request: Schema.String },
  { tags: (e) => [request(e.request)] }
)

const Answered = Decision.make("Answered", {
  tags: { request },
  events: [OrderPlaced],
  state: Schema.UndefinedOr(Schema.String),
  initial: undefined,
  evolve: { OrderPlaced: (_, { order }) => order },
  read: "last"
})

/** The id of the order: of this one, or of the one that the same request has placed before. */
export const placeOrder = (order: string, request: string) =>
  Decision.execute(Answered({ request }), `Order-${order}`, (before) =>
    before === undefined ? OrderPlaced.make({ order, request }) : []
  ).pipe(Effect.map(({ state }) => state))
