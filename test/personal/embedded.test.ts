import { NodeFileSystem } from "@effect/platform-node"
import { Effect, Layer } from "effect"
import { JsonlEventStore } from "eventfold/jsonl"
import { SqliteEventStore } from "eventfold/sqlite"
import { join } from "node:path"
import { conforms } from "../support/conformance.ts"
import { temporaryDirectory } from "../support/files.ts"
import { keepsPersonalData } from "./personal.ts"
import { sealedStorage } from "./support.ts"

const stores = {
  "the JSONL store": Effect.map(temporaryDirectory, (directory) =>
    Layer.provide(JsonlEventStore.layer({ path: join(directory, "events.jsonl") }), NodeFileSystem.layer)
  ),
  "the SQLite store": Effect.map(temporaryDirectory, (directory) =>
    SqliteEventStore.layerFile({ filename: join(directory, "events.db") })
  )
}

for (const [name, storage] of Object.entries(stores)) {
  conforms(`${name} with personal data`, { storage: sealedStorage(storage), abilities: { durable: true, shared: false } })
  keepsPersonalData(name, storage)
}
