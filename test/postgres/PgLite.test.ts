import assert from "node:assert/strict"
import Fs from "node:fs"
import { mkdtemp, rm } from "node:fs/promises"
import { syncBuiltinESMExports } from "node:module"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { it } from "@effect/vitest"
import { Effect } from "effect"
import { EventStore } from "eventfold"
import { PgEventStore } from "eventfold/postgres"
import { event } from "./harness.ts"

it.live(
  "in a folder, PGlite flushes its log before an append is acknowledged",
  () =>
    Effect.gen(function* () {
      let flushed = 0
      const { fsyncSync } = Fs
      yield* Effect.acquireRelease(
        Effect.sync(() => {
          Fs.fsyncSync = (descriptor) => {
            flushed++
            fsyncSync(descriptor)
          }
          syncBuiltinESMExports()
        }),
        () =>
          Effect.sync(() => {
            Fs.fsyncSync = fsyncSync
            syncBuiltinESMExports()
          })
      )
      const dataDir = yield* Effect.acquireRelease(
        Effect.promise(() => mkdtemp(join(tmpdir(), "eventfold-pglite-"))),
        (folder) => Effect.promise(() => rm(folder, { recursive: true, force: true }))
      )
      yield* Effect.gen(function* () {
        for (let round = 0; round < 3; round++) {
          flushed = 0
          yield* EventStore.append("A-1", [event()])
          assert.ok(flushed > 0, `append ${round}`)
        }
      }).pipe(Effect.provide(PgEventStore.layerEmbeddedWith({ dataDir })))
    }),
  60_000
)
