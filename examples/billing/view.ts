/** A view: all invoices of a customer, in a table that follows the log. */
import { Schema } from "effect"
import { Projection } from "eventfold"
import { InvoiceIssued, InvoicePaid, InvoiceReminded } from "./domain/Invoice.ts"
import { Cents, CustomerId, InvoiceId } from "./domain/values.ts"

export const InvoiceTable = Projection.table("invoice", {
  key: "invoice",
  fields: {
    invoice: InvoiceId,
    customer: CustomerId,
    cents: Cents,
    status: Schema.Literals(["open", "reminded", "paid"])
  }
})

export const Invoices = Projection.make("Invoices", {
  version: 1,
  tables: [InvoiceTable],
  events: [InvoiceIssued, InvoiceReminded, InvoicePaid],
  handlers: {
    InvoiceIssued: ({ cents, customer, invoice }) => InvoiceTable.upsert({ invoice, customer, cents, status: "open" }),
    InvoiceReminded: ({ invoice }) => InvoiceTable.patch(invoice, () => ({ status: "reminded" })),
    InvoicePaid: ({ invoice }) => InvoiceTable.patch(invoice, () => ({ status: "paid" }))
  }
})
