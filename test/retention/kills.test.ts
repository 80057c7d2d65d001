import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import { Effect, Layer } from "effect"
import { JsonlEventStore } from "eventfold/jsonl"
import { join } from "node:path"
import { survivesKills } from "../support/removing.ts"

survivesKills("JSON lines", (directory) => {
  const path = join(directory, "events.jsonl")
  const layer = Layer.provide(JsonlEventStore.layer({ path, chain: true }), NodeFileSystem.layer)
  return Effect.succeed({ input: { path }, layer })
})
