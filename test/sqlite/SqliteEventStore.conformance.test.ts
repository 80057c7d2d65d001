import { Effect } from "effect"
import { SqliteEventStore } from "eventfold/sqlite"
import { conforms } from "../support/conformance.ts"

conforms("the SQLite store in memory", {
  storage: Effect.succeed(SqliteEventStore.layerFile({ filename: ":memory:" })),
  abilities: { durable: false, shared: false }
})
