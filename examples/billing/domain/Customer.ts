/**
 * A customer: known, and perhaps forgotten. Name and address stand in the event, sealed with a key of the customer's own, and nowhere else: without
 * the key they are gone from the log, its backups and all that is made of it.
 */
import { Effect, Layer, Schema } from "effect"
import { Command, Decider, Event, MessageBus, Personal, Repository } from "eventfold"
import { CustomerId } from "./values.ts"

const fields = { name: Schema.NonEmptyString, email: Schema.NonEmptyString }

/** How to reach somebody. */
export const Contact = Schema.Struct(fields)

// events

export const CustomerRegistered = Event.make("CustomerRegistered", {
  customer: CustomerId,
  name: Personal.field(fields.name, { subject: "customer" }),
  email: Personal.field(fields.email, { subject: "customer" })
})
export const CustomerForgotten = Event.make("CustomerForgotten", { customer: CustomerId })

// errors

export class CustomerExists extends Schema.TaggedError<CustomerExists>()(
  "CustomerExists",
  { customer: CustomerId },
  { httpApiStatus: 409 }
) {}

// commands

export const RegisterCustomer = Command.make("RegisterCustomer", {
  payload: { customer: CustomerId, ...fields },
  error: CustomerExists
})

export const ForgetCustomer = Command.make("ForgetCustomer", { payload: { customer: CustomerId } })

// state, fold and decisions

export const Customer = Decider.make("Customer", {
  id: CustomerId,
  events: [CustomerRegistered, CustomerForgotten],
  state: Schema.Struct({
    status: Schema.Literals(["unknown", "registered", "forgotten"]),
    contact: Schema.UndefinedOr(Contact)
  }),
  initial: { status: "unknown", contact: undefined },
  evolve: {
    CustomerRegistered: (_, { email, name }) => ({
      status: "registered",
      contact: Personal.isForgotten(name) || Personal.isForgotten(email) ? undefined : { name, email }
    }),
    CustomerForgotten: () => ({ status: "forgotten", contact: undefined })
  },
  commands: [RegisterCustomer, ForgetCustomer],
  decide: {
    RegisterCustomer: ({ customer, email, name }, { status }) =>
      status === "unknown" ? CustomerRegistered.make({ customer, name, email }) : new CustomerExists({ customer }),
    ForgetCustomer: ({ customer }, { status }) => (status === "registered" ? CustomerForgotten.make({ customer }) : [])
  }
})

// handlers

export const handlers = Layer.merge(
  MessageBus.handle(RegisterCustomer, (command) =>
    Effect.asVoid(Repository.execute(Customer, command.customer, Customer.decide.RegisterCustomer(command)))
  ),
  MessageBus.handle(ForgetCustomer, (command) =>
    Effect.asVoid(Repository.execute(Customer, command.customer, Customer.decide.ForgetCustomer(command)))
  )
)
