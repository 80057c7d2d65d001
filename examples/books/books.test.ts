import assert from "node:assert/strict"
import { NodeServices } from "@effect/platform-node"
import { it } from "@effect/vitest"
import { Effect, FileSystem, Layer, Stream } from "effect"
import { SqlClient } from "effect/sql"
import { EventStore, MessageBus } from "eventfold"
import * as Club from "./club.ts"
import { Isbn, RegisterBook } from "./messages.ts"

const OnFile = Layer.unwrap(
  Effect.gen(function* () {
    const fs = yield* FileSystem.FileSystem
    return Club.layer(`${yield* fs.makeTempDirectoryScoped()}/books.sqlite`)
  })
).pipe(Layer.provide(NodeServices.layer))

it.live("the local store holds the command and its event, the transport gets exactly the event, and the shelf fits", () =>
  Effect.gen(function* () {
    const { again, local, published, shelf } = yield* Club.evening
    assert.deepEqual(local, [
      { stream: "$bus-evening-1", type: "RegisterBook", published: false },
      { stream: "Book-9780141439587", type: "BookRegistered", published: true }
    ])
    const book = { isbn: "9780141439587", title: "Emma", author: "Jane Austen" }
    assert.deepEqual(published, { type: "BookRegistered", data: book })
    assert.deepEqual(shelf, [book])
    assert.equal(again, 'refused: "Emma" is on the shelf already')
  }).pipe(Effect.provide(OnFile))
)

it.live("what the shelf cannot take, the store does not take either", () =>
  Effect.gen(function* () {
    const sql = yield* SqlClient.SqlClient
    const persuasion = { isbn: Isbn.make("9780141439686"), title: "Persuasion", author: "Jane Austen" }
    yield* sql`insert into book (isbn, title, author) values (${persuasion.isbn}, 'taken', 'somebody')`
    const exit = yield* Effect.exit(MessageBus.execute(RegisterBook, persuasion))
    assert.equal(exit._tag, "Failure")
    assert.deepEqual(yield* Stream.runCollect(EventStore.readAll()), [])
  }).pipe(Effect.provide(OnFile))
)
