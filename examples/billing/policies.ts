/** What follows at once, in the same commit: listeners. And what is forgotten for good, once that has committed. */
import { Layer } from "effect"
import { MessageBus, Personal, Subscription } from "eventfold"
import { CustomerForgotten } from "./domain/Customer.ts"
import { InvoicePaid, IssueInvoice } from "./domain/Invoice.ts"
import { PeriodBegan, Resume } from "./domain/Subscription.ts"
import { InvoiceId } from "./domain/values.ts"

export const layer = Layer.merge(
  // No period without an invoice.
  MessageBus.listen(PeriodBegan, ({ customer, period, price, subscription }) =>
    MessageBus.execute(IssueInvoice, {
      invoice: InvoiceId.make(`${subscription}-${period}`),
      subscription,
      customer,
      cents: price
    })
  ),
  // Who pays in the end is let in again.
  MessageBus.listen(InvoicePaid, ({ subscription }) => MessageBus.execute(Resume, { subscription }))
)

/** Whoever asked to be forgotten is so in all events: what a crash cuts off here is done again. */
export const erasures = Layer.merge(
  Personal.layerEraser,
  Subscription.layer({
    name: "erasures",
    events: [CustomerForgotten],
    handlers: { CustomerForgotten: ({ customer }) => Personal.forget(customer, { wait: false }) }
  })
)
