/** What follows in time: process managers. They are pure; how long things take is told to them. */
import { Config, Duration } from "effect"
import { Event, ProcessManager } from "eventfold"
import { InvoiceIssued, InvoicePaid, RemindOfInvoice } from "./domain/Invoice.ts"
import { PeriodBegan, Renew, Suspend } from "./domain/Subscription.ts"
import { InvoiceId, SubscriptionId } from "./domain/values.ts"

export interface Terms {
  /** From an invoice to its reminder. */
  readonly payment: Duration.Duration
  /** From the reminder to the suspension. */
  readonly grace: Duration.Duration
  /** From one invoice of a subscription to the next. */
  readonly period: Duration.Duration
}

/** `PAYMENT_TERM="14 days"` and so on. */
export const terms: Config.Config<Terms> = Config.all({
  payment: Config.Duration("PAYMENT_TERM").pipe(Config.withDefault(Duration.days(14))),
  grace: Config.Duration("GRACE").pipe(Config.withDefault(Duration.days(7))),
  period: Config.Duration("PERIOD").pipe(Config.withDefault(Duration.days(30)))
})

// The deadlines carry what is needed when they come, so the processes need no memory of their own.
const PaymentDue = Event.make("PaymentDue", { subscription: SubscriptionId })
const GraceEnded = Event.make("GraceEnded", { subscription: SubscriptionId })
const PeriodEnded = Event.make("PeriodEnded")
const nothing = () => ({})

/** One process for each invoice: who does not pay is reminded, then suspended. */
export const dunning = ({ grace, payment }: Pick<Terms, "payment" | "grace">) =>
  ProcessManager.make("Dunning", {
    events: [InvoiceIssued, InvoicePaid],
    correlate: { InvoiceIssued: ({ invoice }) => invoice, InvoicePaid: ({ invoice }) => invoice },
    deadlines: [PaymentDue, GraceEnded],
    initial: {},
    evolve: { InvoiceIssued: nothing, InvoicePaid: nothing, PaymentDue: nothing, GraceEnded: nothing },
    react: {
      InvoiceIssued: (_, { subscription }) => [ProcessManager.setDeadline(PaymentDue.make({ subscription }), payment)],
      InvoicePaid: () => [ProcessManager.cancelDeadline(PaymentDue), ProcessManager.cancelDeadline(GraceEnded)],
      PaymentDue: (_, { subscription }, { key }) => [
        ProcessManager.send(RemindOfInvoice, { invoice: InvoiceId.make(key) }),
        ProcessManager.setDeadline(GraceEnded.make({ subscription }), grace)
      ],
      GraceEnded: (_, { subscription }) => [ProcessManager.send(Suspend, { subscription })]
    }
  })

/** One process for each subscription: when a period ends, the next one begins. */
export const renewal = ({ period }: Pick<Terms, "period">) =>
  ProcessManager.make("Renewal", {
    events: [PeriodBegan],
    correlate: { PeriodBegan: ({ subscription }) => subscription },
    deadlines: [PeriodEnded],
    initial: {},
    evolve: { PeriodBegan: nothing, PeriodEnded: nothing },
    react: {
      PeriodBegan: () => [ProcessManager.setDeadline(PeriodEnded.make({}), period)],
      PeriodEnded: (_state, _event, { key }) => [ProcessManager.send(Renew, { subscription: SubscriptionId.make(key) })]
    }
  })
