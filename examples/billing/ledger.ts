/**
 * The ledger, a service of its own: it hears what customers owe and pay, and keeps their balances. It knows the messages alone; whose each is
 * stands in it, and is a part of the key of whatever is kept.
 */
import { Effect, Layer } from "effect"
import { SqlClient } from "effect/sql"
import { Consumer, Tenants } from "eventfold"
import { InvoiceIssued, InvoicePaid } from "./domain/Invoice.ts"
import type { CustomerId } from "./domain/values.ts"

const Table = Layer.effectDiscard(
  SqlClient.SqlClient.use(
    (sql) => sql`
    CREATE TABLE IF NOT EXISTS balance (
      company TEXT NOT NULL, customer TEXT NOT NULL, cents INTEGER NOT NULL, bookings INTEGER NOT NULL, PRIMARY KEY (company, customer)
    )`
  )
)

/** Adds up: a message that took effect twice would show for ever. */
const book = (customer: CustomerId, cents: number) =>
  Effect.gen(function* () {
    const { id: company } = yield* Tenants.Tenant
    const sql = yield* SqlClient.SqlClient
    yield* sql`
      INSERT INTO balance (company, customer, cents, bookings) VALUES (${company}, ${customer}, ${cents}, 1)
      ON CONFLICT (company, customer) DO UPDATE SET cents = balance.cents + excluded.cents, bookings = balance.bookings + 1`
  })

/** The note that a message was handled and the booking are one transaction, so each takes effect once, whatever crashes. */
export const layer = Consumer.layer(
  [InvoiceIssued, InvoicePaid],
  {
    InvoiceIssued: ({ cents, customer }) => book(customer, cents),
    InvoicePaid: ({ cents, customer }) => book(customer, -cents)
  },
  { group: "ledger", inbox: true, tenant: true }
).pipe(Layer.provide(Table))

export const balances = Effect.map(
  SqlClient.SqlClient.use(
    (sql) =>
      sql<{
        company: string
        customer: string
        cents: number
        bookings: number
      }>`SELECT * FROM balance ORDER BY company, customer`
  ),
  (rows) => rows.map(({ bookings, cents, company, customer }) => ({ company, customer, cents, bookings }))
)
