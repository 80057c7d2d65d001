/** The shop: articles of which pieces are sold, and a table of what was sold. It knows nothing of processes. */
import { Effect, Schema } from "effect"
import { SqlClient } from "effect/sql"
import { Aggregate, Command, Event, MessageBus, Repository, Subscription } from "eventfold"

const Sold = Event.make("Sold", { order: Schema.String, pieces: Schema.Int })

export const Article = Aggregate.make("Article", {
  events: [Sold],
  initial: 0,
  evolve: { Sold: (sold, { pieces }) => sold + pieces }
})

export const Sell = Command.make("Sell", {
  payload: { article: Schema.NonEmptyString, order: Schema.NonEmptyString, pieces: Schema.Int },
  /** How many pieces of the article have been sold. */
  success: Schema.Int
})

export const SellLive = MessageBus.handle(Sell, ({ article, order, pieces }) =>
  Effect.map(
    Repository.execute(Article, article, () => Sold.make({ order, pieces })),
    ({ state }) => state
  )
)

/** Which article a command is for: callers and owners have to agree on it. */
export const options = { id: { Sell: ({ article }: { readonly article: string }) => article } }

/** Writes what was sold, each order once. */
export const Ledger = Subscription.layer({
  name: "ledger",
  lease: "3 seconds",
  transactional: true,
  events: [Sold],
  handlers: {
    Sold: ({ order, pieces }) =>
      Effect.flatMap(SqlClient.SqlClient, (sql) => sql`insert into ledger (sale, pieces) values (${order}, ${pieces})`)
  }
})
