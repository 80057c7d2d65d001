/** What was archived, and restored elsewhere, verifies: against the heads that the archive has kept as well. */
import assert from "node:assert/strict"
import { readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import { describe, it } from "@effect/vitest"
import { Context, Effect, Layer, type Scope } from "effect"
import { Archive, Checkpoints, EventStore, Retention } from "eventfold"
import { JsonlArchive, JsonlEventStore } from "eventfold/jsonl"
import { PgEventStore } from "eventfold/postgres"
import { SqliteEventStore } from "eventfold/sqlite"
import { temporaryDirectory } from "../support/files.ts"

type Store = EventStore.EventStore["Service"]

const stores: Readonly<Record<string, Effect.Effect<Layer.Layer<EventStore.EventStore, unknown>, unknown, Scope.Scope>>> = {
  memory: Effect.map(EventStore.makeMemoryWith({ chain: true }), Layer.succeed(EventStore.EventStore)),
  SQLite: Effect.succeed(SqliteEventStore.layerFile({ filename: ":memory:", chain: true })),
  "JSON lines": Effect.map(temporaryDirectory, (directory) =>
    Layer.provide(JsonlEventStore.layer({ path: join(directory, "events.jsonl"), chain: true }), NodeFileSystem.layer)
  ),
  PGlite: Effect.succeed(PgEventStore.layerEmbeddedWith({ chain: true }))
}

const verifyOf = (store: Store, options?: EventStore.VerifyOptions) =>
  Effect.provideService(EventStore.verify(options), EventStore.EventStore, store)

const built = (storage: Effect.Effect<Layer.Layer<EventStore.EventStore, unknown>, unknown, Scope.Scope>) =>
  Effect.flatMap(storage, (layer) =>
    Effect.map(Layer.build(Layer.fresh(layer)), (context) => Context.get(context, EventStore.EventStore))
  )

/** Streams of several events, of which each is committed by itself, and some with others. */
const fill = (store: Store, total: number) =>
  Effect.gen(function* () {
    for (let n = 1; n <= 6; n++) {
      yield* store.append(`Order-${n % 2}`, [{ type: "Placed", payload: { n, total } }])
      yield* store.appendAll([1, 2].map((m) => ({ stream: `Cart-${m}`, events: [{ type: "Added", payload: { n, m } }] })))
    }
  })

describe("an archive's manifest keeps what the hash chain ended with", () => {
  for (const [name, storage] of Object.entries(stores)) {
    it.live(
      `on ${name}: after archive and restore it verifies, and a chain that was made anew does not`,
      () =>
        Effect.gen(function* () {
          const directory = join(yield* temporaryDirectory, "cold")
          const open = Layer.fresh(Layer.provide(JsonlArchive.layer({ name: "cold", directory }), NodeFileSystem.layer))
          const store = yield* built(storage)
          yield* fill(store, 5)
          const before = { ...(yield* verifyOf(store)).chain }
          yield* Retention.archive("Order-1", { reason: "closed" }).pipe(
            Effect.provide(Layer.mergeAll(open, Checkpoints.layerMemory, Layer.succeed(EventStore.EventStore, store)))
          )
          const [manifest] = readdirSync(directory).filter((file) => file.endsWith(".json"))
          assert.deepEqual(JSON.parse(readFileSync(join(directory, manifest ?? ""), "utf8")).chain, before)
          yield* store.append("Order-2", [{ type: "Placed", payload: {} }])
          // Opened by somebody else, and later.
          const heads = yield* Effect.flatMap(Archive.Archive, ({ heads = Effect.succeed([]) }) => heads).pipe(
            Effect.provide(open)
          )
          assert.deepEqual(heads, [before])
          assert.equal((yield* verifyOf(store, { heads })).removed, 3)

          const restored = yield* built(storage)
          yield* EventStore.copy(store, restored, { chain: "same" })
          const verified = yield* verifyOf(restored, { heads })
          assert.deepEqual([verified.removed, { ...verified.chain }], [3, { ...(yield* verifyOf(store)).chain }])

          // Whoever writes another history has a chain that is whole, and not the one that the archive knows.
          const forged = yield* built(storage)
          yield* fill(forged, 6)
          yield* verifyOf(forged)
          const error = yield* Effect.flip(verifyOf(forged, { heads }))
          assert.ok(error._tag === "IntegrityError")
          assert.match(error.message, /the head that was kept elsewhere is another one/)
        }).pipe(Effect.scoped),
      60_000
    )
  }

  it.effect("a chain that cannot be kept is refused: the target has none, or the source's begins later", () =>
    Effect.gen(function* () {
      const [source, plain] = [yield* EventStore.makeMemoryWith({ chain: true }), yield* EventStore.makeMemory]
      yield* source.append("Order-1", [{ type: "Placed", payload: {} }])
      const none = yield* Effect.flip(EventStore.copy(source, plain, { chain: "same" }))
      assert.match(none.message, /the target keeps no hash chain/)
      const chained = yield* EventStore.makeMemoryWith({ chain: true })
      const later = yield* Effect.flip(EventStore.copy(plain, chained, { chain: "same" }))
      assert.match(later.message, /no link of the hash chain of the source begins there/)
    })
  )
})
