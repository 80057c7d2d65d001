import { Effect } from "effect"
import { SqliteEventStore } from "eventfold/sqlite"
import { join } from "node:path"
import { conforms } from "../support/conformance.ts"
import { temporaryDirectory } from "../support/files.ts"

conforms("the SQLite store in memory", {
  storage: Effect.succeed(SqliteEventStore.layerFile({ filename: ":memory:" })),
  abilities: { durable: false, shared: false }
})

conforms("the SQLite store with a hash chain", {
  storage: Effect.map(temporaryDirectory, (directory) =>
    SqliteEventStore.layerFile({ filename: join(directory, "events.db"), chain: true, synchronous: "NORMAL" })
  ),
  abilities: { durable: true, shared: true, chain: true }
})
