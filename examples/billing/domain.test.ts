/** The rules of billing, told as scenarios: no server, no clock, no database. */
import { it } from "@effect/vitest"
import { Duration, Layer } from "effect"
import { MessageBus } from "eventfold"
import { Scenario } from "eventfold/testing"
import { describe } from "vitest"
import { Customer, CustomerExists, CustomerForgotten, CustomerRegistered } from "./domain/Customer.ts"
import * as Invoices from "./domain/Invoice.ts"
import { Invoice, InvoiceIssued, InvoicePaid, NothingOwed, PayInvoice, RemindOfInvoice, WrongAmount } from "./domain/Invoice.ts"
import * as Subscriptions from "./domain/Subscription.ts"
import {
  PeriodBegan,
  Subscribe,
  Subscription,
  SubscriptionExists,
  SubscriptionSuspended,
  Suspend,
  UnknownCustomer
} from "./domain/Subscription.ts"
import { Cents, CustomerId, InvoiceId, SubscriptionId } from "./domain/values.ts"
import * as Policies from "./policies.ts"
import { dunning, renewal } from "./processes.ts"

const customer = CustomerId.make("c-7")
const subscription = SubscriptionId.make("s-1")
const price = Cents.make(900)
const ada = { name: "Ada", email: "ada@example.com" }
const invoice = (period: number) => ({
  invoice: InvoiceId.make(`s-1-${period}`),
  subscription,
  customer,
  cents: price
})
const began = (period: number) => PeriodBegan.make({ subscription, customer, period, price })

describe("a customer", () => {
  const registered = Scenario.aggregate(Customer).given([CustomerRegistered.make({ customer, ...ada })])
  const register = Customer.decide.RegisterCustomer({ customer, ...ada })

  it.effect("is registered with what is personal, and that is all there is", () =>
    Scenario.aggregate(Customer)
      .when(register)
      .then([CustomerRegistered.make({ customer, ...ada })])
  )
  it.effect("is registered once", () => registered.when(register).thenFails(new CustomerExists({ customer })))
  it.effect("is forgotten, and stays so", () =>
    registered.when(Customer.decide.ForgetCustomer({ customer })).then([CustomerForgotten.make({ customer })])
  )
})

describe("an invoice", () => {
  const issued = Scenario.aggregate(Invoice).given([InvoiceIssued.make(invoice(1))])
  const pay = (cents: number) => Invoice.decide.PayInvoice({ invoice: invoice(1).invoice, cents: Cents.make(cents) })

  it.effect("is paid in full", () => issued.when(pay(900)).then([InvoicePaid.make(invoice(1))]))
  it.effect("is not paid in part", () =>
    issued.when(pay(5)).thenFails(new WrongAmount({ invoice: invoice(1).invoice, owed: price }))
  )
  it.effect("is paid once", () =>
    issued
      .given([InvoicePaid.make(invoice(1))])
      .when(pay(900))
      .thenFails(new NothingOwed({ invoice: invoice(1).invoice }))
  )
})

describe("a subscription", () => {
  const bus = Scenario.bus(Policies.layer.pipe(Layer.provideMerge(Layer.merge(Subscriptions.handlers, Invoices.handlers))))
  const subscribe = MessageBus.execute(Subscribe, { subscription, customer, plan: "small" })
  const known = Scenario.stream(Customer, customer, [CustomerRegistered.make({ customer, ...ada })])

  it.effect("is that of a customer", () => bus.when(subscribe).thenFails(new UnknownCustomer({ customer })))
  it.effect("is made once", () =>
    bus
      .given(known, Scenario.stream(Subscription, subscription, [began(1)]))
      .when(subscribe)
      .thenFails(new SubscriptionExists({ subscription }))
  )
  it.effect("begins with its first invoice, in one commit", () =>
    bus
      .given(known)
      .when(subscribe)
      .then(
        Scenario.stream(Subscription, subscription, [began(1)]),
        Scenario.stream(Invoice, invoice(1).invoice, [InvoiceIssued.make(invoice(1))])
      )
  )
  it.effect("goes on with a new period when a debt is paid", () =>
    bus
      .given(
        known,
        Scenario.stream(Subscription, subscription, [began(1), SubscriptionSuspended.make({ subscription })]),
        Scenario.stream(Invoice, invoice(1).invoice, [InvoiceIssued.make(invoice(1))])
      )
      .when(MessageBus.execute(PayInvoice, { invoice: invoice(1).invoice, cents: price }))
      .then(
        Scenario.stream(Invoice, invoice(1).invoice, [InvoicePaid.make(invoice(1))]),
        Scenario.stream(Subscription, subscription, [began(2)]),
        Scenario.stream(Invoice, invoice(2).invoice, [InvoiceIssued.make(invoice(2))])
      )
  )
})

describe("in time", () => {
  const unpaid = Scenario.process(dunning({ payment: Duration.days(14), grace: Duration.days(7) })).given([
    InvoiceIssued.make(invoice(1))
  ])
  const remind = Scenario.command(RemindOfInvoice, { invoice: invoice(1).invoice })

  it.effect("who does not pay is reminded after two weeks", () => unpaid.at("14 days").then([remind]))
  it.effect("and suspended a week later", () =>
    unpaid
      .at("14 days")
      .at("21 days")
      .then([Scenario.command(Suspend, { subscription })])
  )
  it.effect("who pays hears nothing", () =>
    unpaid
      .at("13 days")
      .given([InvoicePaid.make(invoice(1))])
      .at("60 days")
      .then([])
  )
  it.effect("who pays after the reminder is not suspended", () =>
    unpaid
      .at("15 days")
      .given([InvoicePaid.make(invoice(1))])
      .at("60 days")
      .then([])
  )
  it.effect("a period follows the other", () =>
    Scenario.process(renewal({ period: Duration.days(30) }))
      .given([began(1)])
      .at("30 days")
      .then([Scenario.command(Subscriptions.Renew, { subscription })])
  )
})
