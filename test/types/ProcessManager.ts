/** What must and what must not compile; checked by `tsc`, never run. */
import { type Effect, type Layer, Schema, type Stream } from "effect"
import { type Checkpoints, Command, Event, type EventStore, MessageBus, type ParkedEvents, ProcessManager } from "eventfold"
import { Scenario } from "eventfold/testing"
import { exactly, notAny } from "./support.ts"

class Closed extends Schema.TaggedError<Closed>()("Closed", { order: Schema.String }) {}

const OrderId = Schema.NonEmptyString.pipe(Schema.brand("OrderId"))
const Placed = Event.make("Placed", { order: OrderId })
const Paid = Event.make("Paid", { order: OrderId, amount: Schema.Int })
const PaymentDue = Event.make("PaymentDue", { reminders: Schema.Int })
const Retry = Event.make("Retry")
const Foreign = Event.make("Foreign", { text: Schema.String })

const Remind = Command.make("Remind", { payload: { order: OrderId } })
const Cancel = Command.make("Cancel", { payload: { order: OrderId, reason: Schema.String }, error: Closed })
const Alert = Command.make("Alert")

const { cancelDeadline, send, setDeadline } = ProcessManager

const correlate = { Placed: ({ order }: typeof Placed.Type) => order, Paid: () => undefined }
const evolve = {
  Placed: (state: { paid: boolean }) => state,
  Paid: () => ({ paid: true }),
  PaymentDue: (state: { paid: boolean }) => state,
  Retry: (state: { paid: boolean }) => state
}
const nothing = () => []

const Process = ProcessManager.make("Process", {
  events: [Placed, Paid],
  correlate: {
    Placed: (event) => {
      exactly<typeof event, typeof Placed.Type>()
      return event.order
    },
    Paid: ({ amount, order }) => (amount > 0 ? order : undefined)
  },
  deadlines: [PaymentDue, Retry],
  initial: { paid: false },
  evolve: {
    Placed: (state, event) => {
      exactly<typeof state, { paid: boolean }>()
      exactly<typeof event, typeof Placed.Type>()
      return state
    },
    Paid: () => ({ paid: true }),
    PaymentDue: (state, { reminders }) => ({ paid: state.paid && reminders > 0 }),
    Retry: (state) => state
  },
  react: {
    Placed: (state, { order }, { key, recorded }) => {
      exactly<typeof state, { paid: boolean }>()
      exactly<typeof order, typeof OrderId.Type>()
      exactly<typeof key, string>()
      exactly<typeof recorded, EventStore.RecordedEvent>()
      return [setDeadline(PaymentDue.make({ reminders: 0 }), "1 day")]
    },
    Paid: ({ paid }) => (paid ? [] : [cancelDeadline(PaymentDue), cancelDeadline(Retry)]),
    PaymentDue: (_, { reminders }, { key }) => {
      const order = OrderId.make(key)
      if (reminders < 3) return [send(Remind, { order }), setDeadline(PaymentDue.make({ reminders: reminders + 1 }), "1 day")]
      return [
        send(Cancel, { order, reason: "not paid" }, (error) => {
          exactly<typeof error, Closed>()
          return [send(Alert, undefined), setDeadline(Retry.make({}), "1 hour")]
        })
      ]
    },
    Retry: nothing
  }
})

exactly<typeof Process.name, "Process">()
exactly<typeof Process.initial, { paid: boolean }>()
exactly<ProcessManager.Commands<typeof Process>, "Remind" | "Cancel" | "Alert">()
notAny<typeof Process.react>()

const state = ProcessManager.read(Process, "1")
exactly<Effect.Services<typeof state>, EventStore.EventStore>()
exactly<Effect.Success<typeof state>["state"], { paid: boolean }>()
exactly<Effect.Success<typeof state>["deadlines"] extends ReadonlyMap<"PaymentDue" | "Retry", unknown> ? true : false, true>()

// -----------------------------------------------------------------------------
// the Layer needs the handlers of all commands, those of rejections included
// -----------------------------------------------------------------------------

/** Exactly these requirements, neither more nor fewer. */
const needs =
  <R>() =>
  <L>(_layer: Layer.Layer<never, never, L> & ([L] extends [R] ? ([R] extends [L] ? unknown : never) : never)): void =>
    undefined

type Basic = EventStore.EventStore | Checkpoints.Checkpoints | MessageBus.MessageBus
type Handlers = MessageBus.Handler<"Remind"> | MessageBus.Handler<"Cancel"> | MessageBus.Handler<"Alert">

needs<Basic | Handlers>()(ProcessManager.layer(Process))
needs<Basic | Handlers | ParkedEvents.ParkedEvents>()(ProcessManager.layer(Process, { onFailure: "park", lease: "5 seconds" }))
needs<Basic | Handlers | ParkedEvents.ParkedEvents>()(ProcessManager.layer(Process, { onFailure: "park-stream" }))
// @ts-expect-error nowhere to park streams
needs<Basic | Handlers>()(ProcessManager.layer(Process, { onFailure: "park-stream" }))
// @ts-expect-error a handler is missing
needs<Basic | MessageBus.Handler<"Remind"> | MessageBus.Handler<"Cancel">>()(ProcessManager.layer(Process))

const Silent = ProcessManager.make("Silent", {
  events: [Placed],
  correlate: { Placed: ({ order }) => order },
  initial: 0,
  evolve: { Placed: (count) => count + 1 },
  react: { Placed: nothing }
})
needs<Basic>()(ProcessManager.layer(Silent))
exactly<ProcessManager.Commands<typeof Silent>, never>()

// -----------------------------------------------------------------------------
// what must not compile
// -----------------------------------------------------------------------------

const initial: { paid: boolean } = { paid: false }
const options = { events: [Placed, Paid], correlate, deadlines: [PaymentDue, Retry], initial, evolve } as const

ProcessManager.make("P", { ...options, react: { Placed: nothing, Paid: nothing, PaymentDue: nothing, Retry: nothing } })
// @ts-expect-error the reaction to an event is missing
ProcessManager.make("P", { ...options, react: { Placed: nothing, PaymentDue: nothing, Retry: nothing } })
// @ts-expect-error the reaction to a deadline is missing
ProcessManager.make("P", { ...options, react: { Placed: nothing, Paid: nothing, PaymentDue: nothing } })
ProcessManager.make("P", {
  ...options,
  // @ts-expect-error a reaction to an event that is not listed
  react: { Placed: nothing, Paid: nothing, PaymentDue: nothing, Retry: nothing, Foreign: nothing }
})
ProcessManager.make("P", {
  ...options,
  react: {
    // @ts-expect-error a deadline that is not listed
    Placed: () => [setDeadline(Foreign.make({ text: "" }), "1 day")],
    Paid: nothing,
    PaymentDue: nothing,
    Retry: nothing
  }
})
ProcessManager.make("P", {
  ...options,
  react: {
    // @ts-expect-error a deadline that is not listed, set when a command is rejected
    Placed: ({ order }: typeof Placed.Type) => [
      send(Cancel, { order, reason: "" }, () => [setDeadline(Foreign.make({ text: "" }), "1 day")])
    ],
    Paid: nothing,
    PaymentDue: nothing,
    Retry: nothing
  }
})
ProcessManager.make("P", {
  ...options,
  // @ts-expect-error the cancelling of a deadline that is not listed
  react: { Placed: () => [cancelDeadline(Foreign)], Paid: nothing, PaymentDue: nothing, Retry: nothing }
})
ProcessManager.make("P", {
  ...options,
  // @ts-expect-error an event is no action
  react: { Placed: () => [Retry.make({})], Paid: nothing, PaymentDue: nothing, Retry: nothing }
})
ProcessManager.make("P", {
  ...options,
  // @ts-expect-error a correlation is missing
  correlate: { Placed: correlate.Placed },
  react: { Placed: nothing, Paid: nothing, PaymentDue: nothing, Retry: nothing }
})
ProcessManager.make("P", {
  ...options,
  // @ts-expect-error a fold is missing
  evolve: { Placed: evolve.Placed, Paid: evolve.Paid, Retry: evolve.Retry },
  react: { Placed: nothing, Paid: nothing, PaymentDue: nothing, Retry: nothing }
})

// One reaction that sends this or that needs the handlers of both.
const eitherWay = ProcessManager.make("P", {
  ...options,
  react: {
    Placed: (state: { paid: boolean }, { order }: typeof Placed.Type) =>
      state.paid
        ? [send(Remind, { order }), setDeadline(Retry.make({}), "1 day")]
        : [send(Cancel, { order, reason: "" }, () => [send(Alert, undefined)])],
    Paid: nothing,
    PaymentDue: nothing,
    Retry: nothing
  }
})
exactly<ProcessManager.Commands<typeof eitherWay>, "Remind" | "Cancel" | "Alert">()
Scenario.process(eitherWay).then([Scenario.command(Remind, { order: OrderId.make("1") }), Scenario.command(Alert, undefined)])
// @ts-expect-error a command that it cannot send
Scenario.process(eitherWay).then([Scenario.command(Command.make("Other"), undefined)])
// @ts-expect-error an event that it does not react to
Scenario.process(eitherWay).given([Foreign.make({ text: "" })])

const order = OrderId.make("1")
// @ts-expect-error a command that may be rejected says what is done then
send(Cancel, { order, reason: "" })
// @ts-expect-error a field of the payload is missing
send(Remind, {})

// -----------------------------------------------------------------------------
// replay
// -----------------------------------------------------------------------------

const replayed = MessageBus.replay({ after: 3, until: 5, filter: { types: ["Placed"] } })
exactly<Stream.Services<typeof replayed>, MessageBus.MessageBus | EventStore.EventStore>()
notAny<Stream.Error<typeof replayed>>()
