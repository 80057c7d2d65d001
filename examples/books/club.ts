/** An evening of the reading club, on whichever store and transport. */
import { Effect, Layer, Stream } from "effect"
import { EventStore, MessageBus, Relay, Transport, UnitOfWork } from "eventfold"
import { SqliteCheckpoints, SqliteEventStore } from "eventfold/sqlite"
import { Isbn, RegisterBook } from "./messages.ts"
import * as Service from "./service.ts"

/** Events, the club's table and the relay's checkpoint are in one SQLite file; what is published goes to a transport in memory. */
export const layer = (filename: string) =>
  Layer.mergeAll(Service.layer, Relay.layer({ name: "library" })).pipe(
    Layer.provideMerge(MessageBus.layer),
    Layer.provideMerge(UnitOfWork.layerSql),
    Layer.provideMerge(Layer.effectDiscard(Service.createShelf)),
    Layer.provideMerge(Layer.merge(SqliteCheckpoints.layer, Transport.layerMemory)),
    Layer.provideMerge(SqliteEventStore.layerFile({ filename }))
  )

const emma = { isbn: Isbn.make("9780141439587"), title: "Emma", author: "Jane Austen" }

export const evening = Effect.gen(function* () {
  yield* MessageBus.execute(RegisterBook, emma, { correlationId: "evening-1" })
  const again = yield* MessageBus.execute(RegisterBook, emma).pipe(
    Effect.as("registered again"),
    Effect.catchTag("BookAlreadyRegistered", ({ title }) => Effect.succeed(`refused: "${title}" is on the shelf already`))
  )
  // Every message that the bus has handled and committed, the commands included.
  const local = yield* EventStore.readAll().pipe(
    Stream.map(({ published, stream, type }) => ({ stream, type, published })),
    Stream.runCollect
  )
  const [published] = yield* Transport.subscribe({ group: "mail" }).pipe(
    Stream.tap(({ ack }) => ack),
    Stream.map(({ message }) => ({ type: message.type, data: message.data })),
    Stream.take(1),
    Stream.runCollect
  )
  return { again, local, published, shelf: yield* Service.booksBy("Jane Austen") }
})
