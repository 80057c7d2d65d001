/** What must and what must not compile; checked by `tsc`, never run. */
import { Effect, type Layer, Schema } from "effect"
import type { SqlClient } from "effect/sql"
import { type Checkpoints, Event, type EventStore, type ParkedEvents, Subscription } from "eventfold"

const A = Event.make("A", { n: Schema.Int })
const B = Event.make("B", { text: Schema.String })
const nothing = () => Effect.void

type Basic = EventStore.EventStore | Checkpoints.Checkpoints

/** Exactly these requirements, neither more nor fewer. */
const needs =
  <R>() =>
  <L>(_layer: Layer.Layer<never, never, L> & ([L] extends [R] ? ([R] extends [L] ? unknown : never) : never)): void =>
    undefined

needs<Basic>()(Subscription.layer({ name: "s", handler: ({ position }) => Effect.succeed(position) }))
needs<Basic>()(
  Subscription.layer({
    name: "s",
    events: [A, B],
    handlers: { A: ({ n }) => Effect.succeed(n + 1), B: ({ text }, { attempt }) => Effect.succeed(text.length + attempt) }
  })
)

needs<Basic>()(Subscription.layer({ name: "s", partitions: 4, events: [A], handlers: { A: nothing } }))

// Parking needs somewhere to park, a transaction its client, and a handler what it asks for.
needs<Basic | ParkedEvents.ParkedEvents>()(Subscription.layer({ name: "s", onFailure: "park", handler: nothing }))
needs<Basic | SqlClient.SqlClient>()(
  Subscription.layer({ name: "s", transactional: true, events: [A], handlers: { A: nothing } })
)
declare const send: Effect.Effect<void, "offline", SqlClient.SqlClient>
needs<Basic | SqlClient.SqlClient>()(Subscription.layer({ name: "s", events: [A, B], handlers: { A: () => send, B: nothing } }))
// @ts-expect-error nowhere to park
needs<Basic>()(Subscription.layer({ name: "s", onFailure: "park", handler: nothing }))
needs<Basic | ParkedEvents.ParkedEvents>()(Subscription.layer({ name: "s", onFailure: "park-stream", handler: nothing }))
// @ts-expect-error nowhere to park streams
needs<Basic>()(Subscription.layer({ name: "s", onFailure: "park-stream", handler: nothing }))

// @ts-expect-error a handler is missing
Subscription.layer({ name: "s", events: [A, B], handlers: { A: nothing } })

// @ts-expect-error a handler for an event that is not listed
Subscription.layer({ name: "s", events: [A], handlers: { A: nothing, B: nothing } })

// @ts-expect-error a handler that takes another event
Subscription.layer({ name: "s", events: [A], handlers: { A: (event: { readonly text: string }) => Effect.succeed(event) } })

// @ts-expect-error no handler at all
Subscription.layer({ name: "s" })
