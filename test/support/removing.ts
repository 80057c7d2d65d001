/** A process that removes events is killed at any moment, again and again; what it left is finished by the next. */
import assert from "node:assert/strict"
import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import { describe, it } from "@effect/vitest"
import { Context, Effect, Layer, type Scope, Stream } from "effect"
import { Archive, EventStore } from "eventfold"
import { JsonlArchive } from "eventfold/jsonl"
import { join } from "node:path"
import { startChild } from "./child.ts"
import { temporaryDirectory } from "./files.ts"

/** How often it is killed: `EVENTFOLD_ROUNDS=200` for a night. */
const rounds = Number(process.env["EVENTFOLD_ROUNDS"] ?? 3)
/** How long a run may take: it looks at every stream that there ever was, on a machine that does other things too. */
const aRun = "3 minutes"
const module = new URL("../retention/processes/remover.ts", import.meta.url)

/** Where the store is: what the process that removes is told, and how the test opens it. */
export interface Removing {
  readonly input: object
  readonly layer: Layer.Layer<EventStore.EventStore, unknown>
}

const said = (n: number) => ({ type: "Said", payload: { n, filler: "x".repeat(200) }, tags: [`n:${n % 7}`] })
const batchOf = (stream: string, size: number) => ({ stream, events: Array.from({ length: size }, (_, n) => said(n)) })

export const survivesKills = (
  name: string,
  storage: (directory: string) => Effect.Effect<Removing, unknown, Scope.Scope>
): void => {
  describe(`kill -9 of who removes, ${rounds} times, on ${name}`, () => {
    it.live(
      "nothing is lost that should stay, nothing is left that should go, and the chain verifies",
      () =>
        Effect.scoped(
          Effect.gen(function* () {
            const directory = yield* temporaryDirectory
            const cold = join(directory, "cold")
            const { input, layer } = yield* storage(directory)
            const opened = <A, E>(use: (store: EventStore.EventStore["Service"]) => Effect.Effect<A, E>) =>
              Effect.scoped(
                Effect.flatMap(Layer.build(Layer.fresh(layer)), (context) => use(Context.get(context, EventStore.EventStore)))
              )
            const archive = Layer.provide(JsonlArchive.layer({ name: "cold", directory: cold }), NodeFileSystem.layer)
            const archived = (stream: string) =>
              Effect.provide(
                Archive.Archive.use(({ read }) => read(stream, { from: 1, to: 100 })),
                Layer.fresh(archive)
              )
            const before = new Map<string, ReadonlyArray<EventStore.RecordedEvent>>()
            /** What was there before is there, or gone as it should: of these streams. */
            const check = (isDone: boolean, streams: ReadonlyArray<string>) =>
              opened((store) =>
                Effect.gen(function* () {
                  for (const stream of streams) {
                    const events = before.get(stream) ?? []
                    const there = yield* Stream.runCollect(store.read(stream))
                    assert.equal(there.length, events.length)
                    const moved = stream.startsWith("Archived-") ? yield* archived(stream) : []
                    for (const [index, event] of there.entries()) {
                      if (!EventStore.isTombstone(event)) {
                        assert.ok(!isDone || stream.startsWith("Stays-"), `version ${index + 1} of ${stream} is left`)
                        assert.deepEqual(event, events[index])
                        continue
                      }
                      assert.ok(!stream.startsWith("Stays-"))
                      if (stream.startsWith("Archived-")) {
                        assert.deepEqual(moved[index]?.payload, events[index]?.payload, "what is gone is in the archive")
                      }
                    }
                  }
                  // All of it at the end; before that the newest part.
                  const head = yield* store.head
                  const after = isDone ? 0 : Math.max(0, head - 900)
                  const { chain } = yield* Effect.provideService(EventStore.verify({ after }), EventStore.EventStore, store)
                  assert.equal(chain?.position, head)
                })
              )
            let cut = 0
            for (let round = 1; round <= rounds; round++) {
              const names = [1, 2, 3].flatMap((n) => [`Gone-${round}-${n}`, `Archived-${round}-${n}`, `Stays-${round}-${n}`])
              yield* opened((store) =>
                Effect.gen(function* () {
                  yield* store.appendAll(names.map((stream) => batchOf(stream, 100)))
                  for (const stream of names) before.set(stream, yield* Stream.runCollect(store.read(stream)))
                })
              )
              const child = yield* startChild(module, { ...input, archive: cold })
              yield* child.says("ready")
              yield* Effect.sleep(Math.random() * 40)
              yield* child.kill
              if (!child.lines.includes("done")) cut++
              yield* check(false, names)
              if (round % 10 > 0) continue
              // What has been left is not more than one run deals with.
              const next = yield* startChild(module, { ...input, archive: cold })
              yield* next.says("done", aRun)
              yield* check(true, names)
            }
            assert.ok(cut > 0, "one was killed before it had done")
            const last = yield* startChild(module, { ...input, archive: cold })
            yield* last.says("done", aRun)
            yield* check(true, Array.from(before.keys()))
          })
        ),
      60_000 + rounds * 10_000
    )
  })
}
