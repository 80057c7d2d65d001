import assert from "node:assert/strict"
import { readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import { describe, it } from "@effect/vitest"
import { Context, Effect, Layer, Stream } from "effect"
import { SqlClient } from "effect/sql"
import { EventStore } from "eventfold"
import { JsonlEventStore } from "eventfold/jsonl"
import { SqliteEventStore } from "eventfold/sqlite"
import { temporaryDirectory } from "../support/files.ts"
import { fill, findingsOf, remove, secret } from "../support/tampering.ts"

describe("what was changed behind the store's back", () => {
  it.live("on SQLite, with the triggers dropped: verify names the position; what was removed is in no file", () =>
    Effect.gen(function* () {
      const filename = join(yield* temporaryDirectory, "events.db")
      const context = yield* Layer.build(SqliteEventStore.layerFile({ filename, chain: true }))
      const store = Context.get(context, EventStore.EventStore)
      const sql = Context.get(context, SqlClient.SqlClient)
      yield* fill(store)
      assert.equal(yield* remove(store, 3), 1)
      for (const file of [filename, `${filename}-wal`]) assert.ok(!readFileSync(file).includes(secret), file)
      yield* sql.unsafe("DROP TRIGGER eventfold_event_no_update")
      yield* sql.unsafe(`UPDATE eventfold_event SET payload = '{"n":4,"secret":"y"}' WHERE position = 4`)
      assert.deepEqual(yield* findingsOf(store), [4])
    }).pipe(Effect.scoped)
  )

  it.live("in a file of JSON lines, with its checksum: verify names the position; what was removed is in no file", () =>
    Effect.gen(function* () {
      const path = join(yield* temporaryDirectory, "events.jsonl")
      const layer = Layer.fresh(Layer.provide(JsonlEventStore.layer({ path, chain: true }), NodeFileSystem.layer))
      const reader = Layer.fresh(Layer.provide(JsonlEventStore.layer({ path, access: "read" }), NodeFileSystem.layer))
      const opened = <A, E>(use: (store: EventStore.EventStore["Service"]) => Effect.Effect<A, E>, of = layer) =>
        Effect.scoped(Effect.flatMap(Layer.build(of), (context) => use(Context.get(context, EventStore.EventStore))))
      yield* opened((store) =>
        Effect.gen(function* () {
          yield* fill(store)
          // A reader that is open meanwhile sees it, too.
          yield* opened(
            (other) =>
              Effect.gen(function* () {
                assert.equal(yield* other.head, 6)
                assert.equal(yield* remove(store, 3), 1)
                const events = yield* Stream.runCollect(other.readAll())
                assert.deepEqual(events.map(EventStore.isTombstone), [false, false, true, false, false, false])
              }),
            reader
          )
          yield* store.append("Account-1", [{ type: "Said", payload: {} }])
        })
      )
      const text = readFileSync(path, "utf8")
      assert.ok(!text.includes(secret))
      const lines = text.split("\n")
      const body = (lines[4] ?? "").replace('"n":5', '"n":6').replace(/,"crc":"\w+"\}$/, "")
      const { crc32 } = yield* Effect.promise(() => import("node:zlib"))
      lines[4] = `${body},"crc":"${crc32(body).toString(16).padStart(8, "0")}"}`
      writeFileSync(path, lines.join("\n"))
      assert.deepEqual(yield* opened(findingsOf), [5])
    })
  )
})
