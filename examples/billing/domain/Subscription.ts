/** A subscription: periods that begin one after the other, as long as they are paid for. */
import { Effect, Layer, Schema } from "effect"
import { Command, Decider, Event, MessageBus, Repository } from "eventfold"
import { Customer } from "./Customer.ts"
import { Cents, CustomerId, Plan, prices, SubscriptionId } from "./values.ts"

// events

/** Each period is paid in advance: that it begins is why there is an invoice. */
export const PeriodBegan = Event.make("PeriodBegan", {
  subscription: SubscriptionId,
  customer: CustomerId,
  period: Schema.Int,
  price: Cents
})
export const SubscriptionSuspended = Event.make("SubscriptionSuspended", { subscription: SubscriptionId })

// errors

export class UnknownCustomer extends Schema.TaggedError<UnknownCustomer>()(
  "UnknownCustomer",
  { customer: CustomerId },
  { httpApiStatus: 422 }
) {}

export class SubscriptionExists extends Schema.TaggedError<SubscriptionExists>()(
  "SubscriptionExists",
  { subscription: SubscriptionId },
  { httpApiStatus: 409 }
) {}

// commands

const payload = { subscription: SubscriptionId }

export const Subscribe = Command.make("Subscribe", {
  payload: { ...payload, customer: CustomerId, plan: Plan },
  error: Schema.Union([UnknownCustomer, SubscriptionExists])
})
export const Renew = Command.make("Renew", { payload })
export const Suspend = Command.make("Suspend", { payload })
export const Resume = Command.make("Resume", { payload })

// state, fold and decisions

export const Subscription = Decider.make("Subscription", {
  id: SubscriptionId,
  events: [PeriodBegan, SubscriptionSuspended],
  state: Schema.Struct({
    status: Schema.Literals(["none", "active", "suspended"]),
    last: Schema.UndefinedOr(Schema.Struct({ customer: CustomerId, period: Schema.Int, price: Cents }))
  }),
  initial: { status: "none", last: undefined },
  evolve: {
    PeriodBegan: (_, { customer, period, price }) => ({ status: "active", last: { customer, period, price } }),
    SubscriptionSuspended: (state) => ({ ...state, status: "suspended" })
  },
  commands: [Subscribe, Renew, Suspend, Resume],
  decide: {
    Subscribe: ({ customer, plan, subscription }, { status }) =>
      status === "none"
        ? PeriodBegan.make({ subscription, customer, period: 1, price: prices[plan] })
        : new SubscriptionExists({ subscription }),
    Renew: ({ subscription }, { last, status }) =>
      status === "active" && last ? PeriodBegan.make({ subscription, ...last, period: last.period + 1 }) : [],
    Suspend: ({ subscription }, { status }) => (status === "active" ? SubscriptionSuspended.make({ subscription }) : []),
    Resume: ({ subscription }, { last, status }) =>
      status === "suspended" && last ? PeriodBegan.make({ subscription, ...last, period: last.period + 1 }) : []
  }
})

// handlers

export const handlers = Layer.mergeAll(
  MessageBus.handle(Subscribe, (command) =>
    Effect.gen(function* () {
      const { state } = yield* Repository.load(Customer, command.customer)
      if (state.status !== "registered") return yield* new UnknownCustomer({ customer: command.customer })
      yield* Repository.execute(Subscription, command.subscription, Subscription.decide.Subscribe(command))
    })
  ),
  MessageBus.handle(Renew, (command) =>
    Effect.asVoid(Repository.execute(Subscription, command.subscription, Subscription.decide.Renew(command)))
  ),
  MessageBus.handle(Suspend, (command) =>
    Effect.asVoid(Repository.execute(Subscription, command.subscription, Subscription.decide.Suspend(command)))
  ),
  MessageBus.handle(Resume, (command) =>
    Effect.asVoid(Repository.execute(Subscription, command.subscription, Subscription.decide.Resume(command)))
  )
)
