/** What must and what must not compile; checked by `tsc`, never run. */
import { Effect, type Layer, Schema } from "effect"
import {
  type Checkpoints,
  Consumer,
  type DeadLetters,
  Event,
  type EventStore,
  type Inbox,
  type ParkedEvents,
  Relay,
  type Transport
} from "eventfold"

const A = Event.make("A", { n: Schema.Int }, { published: true })
const B = Event.make("B", { text: Schema.String }, { published: true })
const nothing = () => Effect.void

type Basic = Transport.Transport | DeadLetters.DeadLetters

/** Exactly these requirements, neither more nor fewer. */
const needs =
  <R>() =>
  <L>(_layer: Layer.Layer<never, never, L> & ([L] extends [R] ? ([R] extends [L] ? unknown : never) : never)): void =>
    undefined

needs<Basic>()(
  Consumer.layer(
    [A, B],
    { A: ({ n }) => Effect.succeed(n + 1), B: ({ text }, { attempt }) => Effect.succeed(text.length + attempt) },
    { group: "g" }
  )
)

// An inbox must be there when it is asked for, and so must be what a handler asks for.
needs<Basic | Inbox.Inbox>()(Consumer.layer([A], { A: nothing }, { group: "g", inbox: true }))
declare const send: Effect.Effect<void, "offline", EventStore.EventStore>
needs<Basic | EventStore.EventStore>()(Consumer.layer([A, B], { A: () => send, B: nothing }, { group: "g" }))
// @ts-expect-error no inbox
needs<Basic>()(Consumer.layer([A], { A: nothing }, { group: "g", inbox: true }))

// @ts-expect-error a handler is missing
Consumer.run([A, B], { A: nothing }, { group: "g" })

// @ts-expect-error a handler for an event that is not listed
Consumer.run([A], { A: nothing, B: nothing }, { group: "g" })

// @ts-expect-error a handler that takes another event
Consumer.run([A], { A: (event: { readonly text: string }) => Effect.succeed(event) }, { group: "g" })

type Relayed = EventStore.EventStore | Checkpoints.Checkpoints | Transport.Transport
needs<Relayed>()(Relay.layer({ name: "r" }))
needs<Relayed>()(Relay.layer({ name: "r", onRefused: "halt" }))
needs<Relayed | ParkedEvents.ParkedEvents>()(Relay.layer({ name: "r", onRefused: "park" }))
// @ts-expect-error nowhere to park
needs<Relayed>()(Relay.layer({ name: "r", onRefused: "park" }))
