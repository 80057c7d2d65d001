import { Effect, Fiber } from "effect"
import { makeSql } from "../../src/postgres/sql.ts"
import { appends, type Job, rawAppends } from "./cases.ts"
import { rawAppend, serverConnection, serverStore } from "./lab.ts"

// A process of its own that appends, for the cases of two processes. It is sent a job, warms up and answers "ready"; sent "go",
// it measures and answers with its sample.

const received = <A>(): Effect.Effect<A> =>
  Effect.callback((resume) => {
    process.once("message", (message) => resume(Effect.succeed(message as A)))
  })

/** Ends when the whole message is on its way: a process that disconnects before takes it along. */
const send = (message: object | string): Effect.Effect<void> =>
  Effect.callback((resume) => {
    process.send?.(message, undefined, undefined, () => resume(Effect.void))
  })

const program = Effect.gen(function* () {
  const { address, shape, who } = yield* received<Job>()
  const between = Effect.suspend(() => {
    const go = Effect.runFork(received<"go">())
    return Effect.andThen(send("ready"), Fiber.join(go))
  })
  const work =
    who === "ours"
      ? Effect.provide(appends(shape, between), serverStore(address))
      : Effect.flatMap(serverConnection(address.url), (connection) =>
          rawAppends(shape, shape.callers, rawAppend(connection, makeSql({ schema: address.schema, prefix: "" })), between)
        )
  yield* send(yield* work)
})

await Effect.runPromise(Effect.scoped(program))
process.disconnect()
