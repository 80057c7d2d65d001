/** An invoice: issued once, perhaps reminded of, paid once and in full. */
import { Effect, Layer, Schema } from "effect"
import { Command, Decider, Event, MessageBus, Repository } from "eventfold"
import { Cents, CustomerId, InvoiceId, SubscriptionId } from "./values.ts"

// events; those that are published are what the ledger is told

const facts = { invoice: InvoiceId, subscription: SubscriptionId, customer: CustomerId, cents: Cents }

export const InvoiceIssued = Event.make("InvoiceIssued", facts, { published: true })
export const InvoicePaid = Event.make("InvoicePaid", facts, { published: true })
export const InvoiceReminded = Event.make("InvoiceReminded", { invoice: InvoiceId })

// errors

export class NothingOwed extends Schema.TaggedError<NothingOwed>()(
  "NothingOwed",
  { invoice: InvoiceId },
  { httpApiStatus: 409 }
) {}

export class WrongAmount extends Schema.TaggedError<WrongAmount>()(
  "WrongAmount",
  { invoice: InvoiceId, owed: Cents },
  { httpApiStatus: 422 }
) {}

// commands

export const IssueInvoice = Command.make("IssueInvoice", { payload: facts })
export const RemindOfInvoice = Command.make("RemindOfInvoice", { payload: { invoice: InvoiceId } })
export const PayInvoice = Command.make("PayInvoice", {
  payload: { invoice: InvoiceId, cents: Cents },
  error: Schema.Union([NothingOwed, WrongAmount])
})

// state, fold and decisions

const Owed = Schema.Struct({ subscription: SubscriptionId, customer: CustomerId, cents: Cents })

export const Invoice = Decider.make("Invoice", {
  id: InvoiceId,
  events: [InvoiceIssued, InvoiceReminded, InvoicePaid],
  state: Schema.Struct({ status: Schema.Literals(["none", "open", "paid"]), owed: Schema.UndefinedOr(Owed) }),
  initial: { status: "none", owed: undefined },
  evolve: {
    InvoiceIssued: (_, { cents, customer, subscription }) => ({ status: "open", owed: { cents, customer, subscription } }),
    InvoiceReminded: (state) => state,
    InvoicePaid: () => ({ status: "paid", owed: undefined })
  },
  commands: [IssueInvoice, RemindOfInvoice, PayInvoice],
  decide: {
    IssueInvoice: (invoice, { status }) => (status === "none" ? InvoiceIssued.make(invoice) : []),
    RemindOfInvoice: ({ invoice }, { status }) => (status === "open" ? InvoiceReminded.make({ invoice }) : []),
    PayInvoice: ({ cents, invoice }, { owed }) => {
      if (owed === undefined) return new NothingOwed({ invoice })
      return cents === owed.cents ? InvoicePaid.make({ invoice, ...owed }) : new WrongAmount({ invoice, owed: owed.cents })
    }
  }
})

// handlers

export const handlers = Layer.mergeAll(
  MessageBus.handle(IssueInvoice, (command) =>
    Effect.asVoid(Repository.execute(Invoice, command.invoice, Invoice.decide.IssueInvoice(command)))
  ),
  MessageBus.handle(RemindOfInvoice, (command) =>
    Effect.asVoid(Repository.execute(Invoice, command.invoice, Invoice.decide.RemindOfInvoice(command)))
  ),
  MessageBus.handle(PayInvoice, (command) =>
    Effect.asVoid(Repository.execute(Invoice, command.invoice, Invoice.decide.PayInvoice(command)))
  )
)
