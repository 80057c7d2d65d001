/** What follows at once, in the same commit: listeners. */
import { Layer } from "effect"
import { MessageBus } from "eventfold"
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
