import assert from "node:assert/strict"
import { spawnSync } from "node:child_process"
import Fs from "node:fs"
import { mkdtemp, readdir, rm } from "node:fs/promises"
import { syncBuiltinESMExports } from "node:module"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import { it } from "@effect/vitest"
import { Config, ConfigProvider, Effect, Layer } from "effect"
import { SqlClient } from "effect/sql"
import { EventStore } from "eventfold"
import { PgEventStore, PgLite } from "eventfold/postgres"
import { event } from "./harness.ts"

const folder = Effect.acquireRelease(
  Effect.promise(() => mkdtemp(join(tmpdir(), "eventfold-pglite-"))),
  (folder) => Effect.promise(() => rm(folder, { recursive: true, force: true }))
)

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
      const dataDir = yield* folder
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

it.live(
  "its folder comes from the configuration",
  () =>
    Effect.gen(function* () {
      const dataDir = yield* folder
      const configured = (values: object) =>
        EventStore.append("A-1", [event()]).pipe(
          Effect.provide(PgEventStore.layer.pipe(Layer.provide(PgLite.layerConfig({ dataDir: Config.String("FOLDER") })))),
          Effect.provide(ConfigProvider.layer(ConfigProvider.fromUnknown(values)))
        )
      assert.equal((yield* Effect.flip(configured({})))._tag, "ConfigError")
      yield* configured({ FOLDER: dataDir })
      assert.ok((yield* Effect.promise(() => readdir(dataDir))).includes("PG_VERSION"))
    }),
  60_000
)

it.live(
  "its folder is open to one at a time, and what a process has left behind that is gone keeps nobody out",
  () =>
    Effect.gen(function* () {
      const dataDir = yield* folder
      const lock = join(dataDir, "eventfold.lock")
      const opened = Effect.provide(EventStore.head, PgEventStore.layerEmbeddedWith({ dataDir }))
      yield* Effect.gen(function* () {
        yield* EventStore.append("A-1", [event()])
        const second = yield* Effect.flip(opened)
        assert.match(second.message, new RegExp(`the process ${process.pid} has it open, and a second one would damage it`))
        assert.match(Fs.readFileSync(lock, "utf8"), process.platform === "linux" ? /^\d+ \d+$/ : /^\d+$/)
      }).pipe(Effect.provide(PgEventStore.layerEmbeddedWith({ dataDir })))
      assert.equal(Fs.existsSync(lock), false)
      Fs.writeFileSync(lock, String(process.ppid))
      assert.match((yield* Effect.flip(opened)).message, new RegExp(`the process ${process.ppid} has it open`))
      if (process.platform === "linux") {
        // It is the process that was started then, or one that has got its number since.
        const started = Fs.readFileSync(`/proc/${process.ppid}/stat`, "utf8")
          .replace(/^.*\) /s, "")
          .split(" ")[19]
        Fs.writeFileSync(lock, `${process.ppid} ${started}`)
        assert.match((yield* Effect.flip(opened)).message, new RegExp(`the process ${process.ppid} has it open`))
        Fs.writeFileSync(lock, `${process.ppid} ${Number(started) + 1}`)
        assert.equal(yield* opened, 1)
      }
      const gone = spawnSync(process.execPath, ["-e", ""]).pid
      Fs.writeFileSync(lock, String(gone))
      assert.equal(yield* opened, 1)
    }),
  60_000
)

it.live(
  "what has been answered is not kept",
  () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      // A mebibyte, as text of one byte a letter.
      const read = sql`select repeat('x', 1024) as text from generate_series(1, 1024)`
      const used = Effect.sync(() => {
        setFlagsFromString("--expose-gc")
        ;(runInNewContext("gc") as () => void)()
        return process.memoryUsage().heapUsed
      })
      yield* read
      const before = yield* used
      yield* Effect.repeat(read, { times: 63 })
      const kept = ((yield* used) - before) / 2 ** 20
      assert.ok(kept < 32, `of 64 MiB that were read ${kept.toFixed()} are kept`)
    }).pipe(Effect.provide(PgLite.layer)),
  60_000
)
