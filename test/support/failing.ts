/** One write to each thing that keeps rows in a database, for tests of what its error says. */
import { DateTime, Effect, Layer } from "effect"
import { Checkpoints, DeadLetters, EventStore, Inbox, ParkedEvents, Snapshots, type Transport } from "eventfold"

const parkedAt = DateTime.makeUnsafe("2030-01-01T00:00:00Z")

export const message: Transport.Message = {
  specversion: "1.0",
  id: "1",
  source: "/shop",
  type: "OrderPlaced",
  subject: "Order-1",
  time: parkedAt,
  datacontenttype: "application/json",
  data: null,
  schemaversion: 1,
  position: 1
}

/** By the class of the error; with the table that is written. */
export const writes = {
  EventStoreError: ["event", EventStore.append("A-1", [{ type: "Counted", payload: null }])],
  CheckpointError: ["checkpoint", Checkpoints.Checkpoints.use((_) => _.claim("emails", { owner: "a", ttl: "1 second" }))],
  SnapshotError: [
    "snapshot",
    Snapshots.Snapshots.use((_) => _.save({ stream: "A-1", fingerprint: "f", version: 1, eventId: "e", state: null }))
  ],
  ParkedEventsError: [
    "parked",
    ParkedEvents.ParkedEvents.use((_) =>
      _.park({ subscription: "emails", position: 1, stream: "A-1", type: "Counted", cause: "", attempts: 1, parkedAt })
    )
  ],
  DeadLettersError: [
    "letter",
    DeadLetters.DeadLetters.use((_) => _.park({ group: "mail", message, cause: "", attempts: 1, parkedAt }))
  ],
  InboxError: ["inbox", Inbox.once("mail", "1", Effect.void)]
} as const

const snapshots = (schema: string) => Snapshots.layerSqlWith({ table: `${schema}snapshot` })
const parked = (schema: string) => ParkedEvents.layerSqlWith({ table: `${schema}parked` })
const letters = (schema: string) => DeadLetters.layerSqlWith({ table: `${schema}letter` })
const inbox = (schema: string) => Inbox.layerSqlWith({ table: `${schema}inbox` })

/** What is the same on every database, in the tables of {@link writes}. */
export const sideTables = (schema: string) => Layer.mergeAll(snapshots(schema), parked(schema), letters(schema), inbox(schema))

/** The class and the message of the error with which something fails. */
export const failureOf = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.map(Effect.flip(effect), (error) => {
    const { _tag, message } = error as { readonly _tag: string; readonly message: string }
    return `${_tag}: ${message}`
  })

/** How the opening of each of the {@link sideTables} fails. */
export const openings = Effect.all([
  failureOf(Effect.scoped(Layer.build(snapshots("")))),
  failureOf(Effect.scoped(Layer.build(parked("")))),
  failureOf(Effect.scoped(Layer.build(letters("")))),
  failureOf(Effect.scoped(Layer.build(inbox(""))))
])
