/** What processes share that write and forget personal data on PostgreSQL, with the keys beside the log. */
import { PgClient } from "@effect/sql-pg"
import { Layer, Redacted, Schema } from "effect"
import { Aggregate, Event, Keys, Personal, Repository } from "eventfold"
import { PgEventStore } from "eventfold/postgres"

const Registered = Event.make("Registered", {
  customer: Schema.String,
  email: Personal.field(Schema.String, { subject: "customer" })
})
export const Customer = Aggregate.make("Customer", {
  events: [Registered],
  initial: "nobody",
  evolve: { Registered: (_, { email }) => Personal.getOrElse(email, () => "forgotten") }
})
export const register = (customer: string) =>
  Repository.append(Customer, customer, [Registered.make({ customer, email: `${customer}@example.org` })])

/** Behind which step a process stops: behind the making of a key, by itself or in a transaction, or behind a step of `Personal.forget`. */
export const cuts = ["insert", "transaction", "close", "append", "destroy"] as const
export type Cut = (typeof cuts)[number]

/** How long a process keeps a key. */
const bound = 300

/** All that a process has. */
export const layerOf = ({ schema, url }: { readonly url: string; readonly schema: string }) =>
  Personal.layer.pipe(
    Layer.provideMerge(Keys.layerSql({ masters: { current: "a", keys: { a: Redacted.make(btoa("a".repeat(32))) } }, bound })),
    Layer.provideMerge(PgEventStore.layerWith({ schema, listen: false, pollInterval: "20 millis" })),
    Layer.provideMerge(PgClient.layer({ url: Redacted.make(url), maxConnections: 6 })),
    Layer.provideMerge(Personal.layerCrypto)
  )
