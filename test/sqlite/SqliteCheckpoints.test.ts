import { join } from "node:path"
import { describe, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { SqliteCheckpoints, SqliteEventStore } from "eventfold/sqlite"
import { CheckpointsConformance } from "eventfold/testing"
import { temporaryDirectory } from "../support/files.ts"

describe("conformance of SqliteCheckpoints in a file", () => {
  const cases = CheckpointsConformance.cases({
    storage: Effect.map(temporaryDirectory, (directory) =>
      Layer.provide(SqliteCheckpoints.layer(), SqliteEventStore.layerFile({ filename: join(directory, "events.db") }))
    ),
    abilities: { clock: "test", durable: true, shared: true }
  })
  for (const { name, run } of cases) it.effect(name, () => run)
})
