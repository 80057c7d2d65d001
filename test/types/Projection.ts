/** What must and what must not compile; checked by `tsc`, never run. */
import { Effect, type Layer, type Option, Schema, type Stream } from "effect"
import type { SqlClient } from "effect/sql"
import { type Checkpoints, Event, type EventStore, type ParkedEvents, Projection, type UnitOfWork } from "eventfold"
import { exactly, notAny } from "./support.ts"

const A = Event.make("A", { n: Schema.Int })
const B = Event.make("B", { text: Schema.String })
const nothing = () => Effect.void

const Count = Projection.table("count", { key: "id", fields: { id: Schema.String, n: Schema.Int, since: Schema.DateTimeUtc } })

interface Mailer {
  readonly _: unique symbol
}
declare const send: Effect.Effect<void, "offline", Mailer>

type Basic = EventStore.EventStore | Checkpoints.Checkpoints

/** What a Layer or an effect needs. */
type Needs<T> = T extends Layer.Layer<infer _A, infer _E, infer R> ? R : never

// The requirements are those of the handlers, without what whoever runs the projection brings.
const plain = Projection.make("p", {
  version: 1,
  events: [A, B],
  handlers: {
    A: ({ n }) => Effect.succeed(n + 1),
    B: ({ text }, { event, position }) => Effect.succeed([text, event.text, position])
  }
})
exactly<typeof plain, Projection.Projection<never, never>>()
const needy = Projection.make("p", {
  version: 1,
  tables: [Count],
  events: [A, B],
  handlers: {
    A: ({ n }, envelope) => Projection.sideEffect(envelope, Effect.andThen(send, Effect.succeed(n))),
    B: ({ text }) => Count.patch(text, ({ n }) => ({ n: n + 1 }))
  }
})
exactly<typeof needy, Projection.Projection<Mailer | SqlClient.SqlClient, SqlClient.SqlClient>>()

// One handler for a whole batch, typed by the union of the events.
const batch = Projection.make("p", {
  version: 1,
  events: [A, B],
  batch: (events) =>
    Effect.forEach(events, ({ event, stream }) => (event._tag === "A" ? send : Effect.succeed(event.text.length + stream.length)))
})
exactly<typeof batch, Projection.Projection<Mailer, never>>()

// Running needs the database, unless it is not to be transactional, and somewhere to park.
const async = Projection.layer(plain)
exactly<Needs<typeof async>, Basic | SqlClient.SqlClient>()
const loose = Projection.layer(plain, { transactional: false })
exactly<Needs<typeof loose>, Basic>()
const parking = Projection.layer(needy, { onFailure: "park", batch: 100 })
exactly<Needs<typeof parking>, Basic | SqlClient.SqlClient | Mailer | ParkedEvents.ParkedEvents>()
const streams = Projection.layer(needy, { onFailure: "park-stream" })
exactly<Needs<typeof streams>, Basic | SqlClient.SqlClient | Mailer | ParkedEvents.ParkedEvents>()
const inline = Projection.inline(needy)
exactly<Needs<typeof inline>, Basic | SqlClient.SqlClient | Mailer | UnitOfWork.UnitOfWork | UnitOfWork.SqlTransactions>()
const rebuild = Projection.rebuild(needy)
exactly<Stream.Services<typeof rebuild>, Basic | SqlClient.SqlClient | Mailer>()
exactly<Stream.Success<typeof rebuild>, Projection.Progress>()
const parkingRebuild = Projection.rebuild(needy, { onFailure: "park" })
exactly<Stream.Services<typeof parkingRebuild>, Basic | SqlClient.SqlClient | Mailer | ParkedEvents.ParkedEvents>()
const switching = Projection.switchTo(plain)
exactly<Effect.Services<typeof switching>, Basic>()
const switchingTables = Projection.switchTo(needy)
exactly<Effect.Services<typeof switchingTables>, Basic | SqlClient.SqlClient>()

// @ts-expect-error a view has one checkpoint
Projection.layer(plain, { partitions: 4 })

// @ts-expect-error a handler is missing
Projection.make("p", { version: 1, events: [A, B], handlers: { A: nothing } })

// @ts-expect-error a handler for an event that is not listed
Projection.make("p", { version: 1, events: [A], handlers: { A: nothing, B: nothing } })

// @ts-expect-error a handler that takes another event
Projection.make("p", { version: 1, events: [A], handlers: { A: (event: { readonly text: string }) => Effect.succeed(event) } })

// @ts-expect-error neither handlers nor a batch
Projection.make("p", { version: 1, events: [A] })

// @ts-expect-error both handlers and a batch
Projection.make("p", { version: 1, events: [A], handlers: { A: nothing }, batch: nothing })

// @ts-expect-error no version
Projection.make("p", { events: [A], handlers: { A: nothing } })

// Rows are typed by their fields; the key is one of them, and text.
const rows = Count.list({ where: { n: 1 }, after: "a" })
notAny<Effect.Success<typeof rows>>()
exactly<Effect.Success<typeof rows>, ReadonlyArray<Projection.Row<(typeof Count)["fields"]>>>()
const one = Count.get("a")
exactly<Effect.Success<typeof one>, Option.Option<Projection.Row<(typeof Count)["fields"]>>>()
exactly<Effect.Services<typeof one>, SqlClient.SqlClient>()

// Other orders and conditions: of fields that have an order, with values of their fields.
const page = Count.page({
  where: [
    ["n", ">=", 1],
    ["id", "in", ["a", "b"]]
  ],
  order: [["since", "desc"], "n"],
  limit: 5
})
exactly<Effect.Success<typeof page>, Projection.Page<Projection.Row<(typeof Count)["fields"]>>>()
const streamed = Count.stream({ order: ["n"] })
exactly<Stream.Success<typeof streamed>, Projection.Row<(typeof Count)["fields"]>>()

const Odd = Projection.table("odd", {
  key: "id",
  fields: { id: Schema.String, json: Schema.Json, price: Schema.BigDecimal, tags: Schema.Array(Schema.String) },
  columns: { price: "text" }
})
exactly<Projection.Orderable<(typeof Odd)["fields"]>, "id">()
// @ts-expect-error a field that has no order
Odd.page({ order: ["price"] })
// @ts-expect-error a range of what has no order
Odd.page({ where: [["tags", ">", ["a"]]] })
// @ts-expect-error not a field
Count.page({ order: ["m"] })
// @ts-expect-error a value of another type
Count.page({ where: [["n", "=", "one"]] })
// @ts-expect-error a direction that there is not
Count.page({ order: [["n", "down"]] })
// @ts-expect-error `null` lies in no range
Count.count({ where: [["n", "<", null]] })
// @ts-expect-error an index on what is not a field
Projection.table("t", { key: "id", fields: { id: Schema.String }, indexes: [["name"]] })
// @ts-expect-error a type that there is not
Projection.table("t", { key: "id", fields: { id: Schema.String }, columns: { id: "varchar" } })

// Only a handler may write.
const written = Count.delete("a")
exactly<Effect.Services<typeof written>, SqlClient.SqlClient | Projection.Run>()

// @ts-expect-error not a field
Count.list({ where: { m: 1 } })
// @ts-expect-error a field is missing
Count.upsert({ id: "a", n: 1 })
// @ts-expect-error a value of another type
Count.patch("a", () => ({ n: "one" }))
// @ts-expect-error the key is text
Count.get(1)
// @ts-expect-error a key that is no field
Projection.table("t", { key: "name", fields: { id: Schema.String } })
// @ts-expect-error a key that is not text
Projection.table("t", { key: "id", fields: { id: Schema.Int } })
