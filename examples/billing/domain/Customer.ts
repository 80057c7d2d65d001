/** A customer: known, and perhaps forgotten. The events hold the id alone; name and address are in a table, see `contacts.ts`. */
import { Effect, Layer, Schema } from "effect"
import { Command, Decider, Event, MessageBus, Repository } from "eventfold"
import * as Contacts from "../contacts.ts"
import { CustomerId } from "./values.ts"

// events

export const CustomerRegistered = Event.make("CustomerRegistered", { customer: CustomerId })
export const CustomerForgotten = Event.make("CustomerForgotten", { customer: CustomerId })

// errors

export class CustomerExists extends Schema.TaggedError<CustomerExists>()(
  "CustomerExists",
  { customer: CustomerId },
  { httpApiStatus: 409 }
) {}

// commands

export const RegisterCustomer = Command.make("RegisterCustomer", {
  payload: { customer: CustomerId, ...Contacts.fields },
  error: CustomerExists
})

export const ForgetCustomer = Command.make("ForgetCustomer", { payload: { customer: CustomerId } })

// state, fold and decisions

export const Customer = Decider.make("Customer", {
  id: CustomerId,
  events: [CustomerRegistered, CustomerForgotten],
  state: Schema.Struct({ status: Schema.Literals(["unknown", "registered", "forgotten"]) }),
  initial: { status: "unknown" },
  evolve: {
    CustomerRegistered: () => ({ status: "registered" }),
    CustomerForgotten: () => ({ status: "forgotten" })
  },
  commands: [RegisterCustomer, ForgetCustomer],
  decide: {
    RegisterCustomer: ({ customer }, { status }) =>
      status === "unknown" ? CustomerRegistered.make({ customer }) : new CustomerExists({ customer }),
    ForgetCustomer: ({ customer }, { status }) => (status === "registered" ? CustomerForgotten.make({ customer }) : [])
  }
})

// handlers: the row of the table and the event are one commit

export const handlers = Layer.merge(
  MessageBus.handle(RegisterCustomer, (command) =>
    Effect.andThen(
      Repository.execute(Customer, command.customer, Customer.decide.RegisterCustomer(command)),
      Contacts.put(command.customer, command)
    )
  ),
  MessageBus.handle(ForgetCustomer, (command) =>
    Effect.andThen(
      Repository.execute(Customer, command.customer, Customer.decide.ForgetCustomer(command)),
      Contacts.remove(command.customer)
    )
  )
)
