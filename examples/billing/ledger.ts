/** The ledger, a service of its own: it hears what customers owe and pay, and keeps their balances. It knows the messages alone. */
import { Effect, Layer } from "effect"
import { SqlClient } from "effect/sql"
import { Consumer } from "eventfold"
import { InvoiceIssued, InvoicePaid } from "./domain/Invoice.ts"
import type { CustomerId } from "./domain/values.ts"

const Table = Layer.effectDiscard(
  SqlClient.SqlClient.use(
    (sql) => sql`
    CREATE TABLE IF NOT EXISTS balance (customer TEXT PRIMARY KEY, cents INTEGER NOT NULL, bookings INTEGER NOT NULL)`
  )
)

/** Adds up: a message that took effect twice would show for ever. */
const book = (customer: CustomerId, cents: number) =>
  SqlClient.SqlClient.use(
    (sql) => sql`
    INSERT INTO balance (customer, cents, bookings) VALUES (${customer}, ${cents}, 1)
    ON CONFLICT (customer) DO UPDATE SET cents = balance.cents + excluded.cents, bookings = balance.bookings + 1`
  )

/** The note that a message was handled and the booking are one transaction, so each takes effect once, whatever crashes. */
export const layer = Consumer.layer(
  [InvoiceIssued, InvoicePaid],
  {
    InvoiceIssued: ({ cents, customer }) => book(customer, cents),
    InvoicePaid: ({ cents, customer }) => book(customer, -cents)
  },
  { group: "ledger", inbox: true }
).pipe(Layer.provide(Table))

export const balances = Effect.map(
  SqlClient.SqlClient.use(
    (sql) => sql<{ customer: string; cents: number; bookings: number }>`SELECT * FROM balance ORDER BY customer`
  ),
  (rows) => rows.map(({ bookings, cents, customer }) => ({ customer, cents, bookings }))
)
