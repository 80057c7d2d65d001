import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import { Effect, Layer } from "effect"
import { Checkpoints, EventStore } from "eventfold"
import { JsonlCheckpoints, JsonlEventStore } from "eventfold/jsonl"
import { SqliteCheckpoints, SqliteClient, SqliteEventStore } from "eventfold/sqlite"
import { join } from "node:path"
import { temporaryDirectory } from "../support/files.ts"
import { refusesWhatWasRemoved } from "../support/removed.ts"

refusesWhatWasRemoved("memory", Layer.merge(EventStore.layerMemory, Checkpoints.layerMemory))

refusesWhatWasRemoved(
  "SQLite",
  Layer.merge(SqliteEventStore.layer, SqliteCheckpoints.layer).pipe(Layer.provide(SqliteClient.layer({ filename: ":memory:" })))
)

refusesWhatWasRemoved(
  "JSON lines",
  Layer.unwrap(
    Effect.map(temporaryDirectory, (directory) =>
      Layer.merge(
        JsonlEventStore.layer({ path: join(directory, "events.jsonl") }),
        JsonlCheckpoints.layer({ path: join(directory, "checkpoints.jsonl") })
      )
    )
  ).pipe(Layer.provide(NodeFileSystem.layer))
)
