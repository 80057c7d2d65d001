import { Effect } from "effect"
import { SqliteEventStore } from "eventfold/sqlite"
import { join } from "node:path"
import { conforms } from "../support/conformance.ts"
import { temporaryDirectory } from "../support/files.ts"

conforms("the SQLite store in a file", {
  storage: Effect.map(temporaryDirectory, (directory) => SqliteEventStore.layerFile({ filename: join(directory, "events.db") })),
  abilities: { durable: true, shared: true }
})

conforms("the SQLite store in memory", {
  storage: Effect.succeed(SqliteEventStore.layerFile({ filename: ":memory:" })),
  abilities: { durable: false, shared: false }
})
