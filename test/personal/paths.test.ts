import { Effect, Layer } from "effect"
import { Transport } from "eventfold"
import { SqliteCheckpoints, SqliteEventStore } from "eventfold/sqlite"
import { readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { temporaryDirectory } from "../support/files.ts"
import { keepsOffPaths } from "./paths.ts"

keepsOffPaths(
  "in the files of SQLite",
  Effect.map(temporaryDirectory, (directory) => ({
    base: SqliteCheckpoints.layer.pipe(Layer.provideMerge(SqliteEventStore.layerFile({ filename: join(directory, "store.db") }))),
    transport: Transport.layerMemory,
    holding: (text) =>
      Effect.sync(() => readdirSync(directory).filter((name) => readFileSync(join(directory, name)).includes(text)))
  }))
)
