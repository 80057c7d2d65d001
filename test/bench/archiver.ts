import { NodeFileSystem } from "@effect/platform-node"
import { Duration, Effect, Fiber, Layer } from "effect"
import { Checkpoints, Retention } from "eventfold"
import { JsonlArchive } from "eventfold/jsonl"
import { serverStore } from "./lab.ts"
import type { Archiving } from "./retention.ts"

// A process of its own that archives, at the pace that is the default, or does nothing: it answers "ready" when it has begun, and the next message with
// how far it has come.

const received = <A>(): Effect.Effect<A> =>
  Effect.callback((resume) => {
    process.once("message", (message) => resume(Effect.succeed(message as A)))
  })

/** Ends when the whole message is on its way: a process that disconnects before takes it along. */
const send = (message: object | string): Effect.Effect<void> =>
  Effect.callback((resume) => {
    process.send?.(message, undefined, undefined, () => resume(Effect.void))
  })

const archiving = ({ address, category, directory }: Archiving) =>
  Effect.gen(function* () {
    const runs = yield* Retention.make({
      policies: { [category]: { keep: Duration.zero, afterwards: "archive" } },
      every: "never"
    })
    const run = yield* Effect.forkChild(runs.run)
    while ((yield* runs.status).removed === 0 && run.pollUnsafe() === undefined) yield* Effect.sleep("1 millis")
    yield* send("ready")
    yield* received()
    const status = yield* runs.status
    yield* Fiber.interrupt(run)
    yield* send(status)
  }).pipe(
    Effect.scoped,
    Effect.provide(
      Layer.mergeAll(
        serverStore(address),
        Checkpoints.layerMemory,
        Layer.provide(JsonlArchive.layer({ name: "bench", directory }), NodeFileSystem.layer)
      )
    )
  )

const sleeping = Effect.gen(function* () {
  yield* send("ready")
  yield* received()
  yield* send({})
})

const program = Effect.gen(function* () {
  const job = yield* received<Archiving>()
  yield* job.category === "" ? sleeping : archiving(job)
})

await Effect.runPromise(program)
process.disconnect()
