/** Invoices are numbered without a gap. Only the newest one is read, and only a newer one spoils the decision. */
import { Schema } from "effect"
import { Decision, Event, Tag } from "eventfold"

const series = Tag.make("invoice-series") // one counter a series: a tenant, a year

export const InvoiceCreated = Event.make(
  "InvoiceCreated",
  { series: Schema.String, number: Schema.Int, total: Schema.Int },
  {
    tags: (e) => [series(e.series)]
  }
)

const NextNumber = Decision.make("NextNumber", {
  tags: { series },
  events: [InvoiceCreated],
  initial: 1,
  evolve: { InvoiceCreated: (_, { number }) => number + 1 },
  read: "last"
})

export const createInvoice = (invoice: string, of: string, total: number) =>
  Decision.execute(NextNumber({ series: of }), `Invoice-${invoice}`, (number) =>
    InvoiceCreated.make({ series: of, number, total })
  )
