import { NodeFileSystem } from "@effect/platform-node"
import { Effect, Layer } from "effect"
import { JsonlEventStore } from "eventfold/jsonl"
import { join } from "node:path"
import { conforms } from "../support/conformance.ts"
import { temporaryDirectory } from "../support/files.ts"

conforms("the JSONL store", {
  storage: Effect.map(temporaryDirectory, (directory) =>
    Layer.provide(JsonlEventStore.layer({ path: join(directory, "events.jsonl") }), NodeFileSystem.layer)
  ),
  abilities: { durable: true, shared: false }
})
