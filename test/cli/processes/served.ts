/**
 * A program that serves its operations, acts among them, until its input ends. It prints the address. A retry of the one event that
 * it has parked prints "retrying" and takes `slow` milliseconds.
 */
import { NodeHttpServer } from "@effect/platform-node"
import { Effect, Layer, Schedule } from "effect"
import { HttpRouter, HttpServer } from "effect/http"
import { Checkpoints, EventStore, ParkedEvents, Subscription } from "eventfold"
import { Operate } from "eventfold/operate"
import { createServer } from "node:http"

const { slow } = JSON.parse(process.argv[2] as string) as { readonly slow: number }

const Mails = Subscription.layer({
  name: "mails",
  onFailure: "park",
  retry: Schedule.recurs(0),
  filter: { types: ["Placed"] },
  handler: (_, { attempt }) =>
    Effect.gen(function* () {
      if (attempt === 1) return yield* Effect.fail("no mail server")
      console.log("retrying")
      yield* Effect.sleep(slow)
    })
})

const Live = HttpRouter.serve(Operate.layer({ acts: true }), { disableLogger: true, disableListenLog: true }).pipe(
  Layer.provideMerge(NodeHttpServer.layer(createServer, { host: "127.0.0.1", port: 0 })),
  Layer.provideMerge(Mails),
  Layer.provideMerge(Layer.mergeAll(EventStore.layerMemory, Checkpoints.layerMemory, ParkedEvents.layerMemory))
)

const isParked = ParkedEvents.ParkedEvents.use(({ counts }) => Effect.map(counts, (all) => all.has("mails")))

const inputEnds = Effect.callback<void>((resume) => {
  process.stdin.once("end", () => resume(Effect.void)).resume()
})

const program = Effect.gen(function* () {
  yield* EventStore.append("Order-1", [{ type: "Placed", payload: {} }])
  yield* Effect.repeat(isParked, { until: (parked) => parked, schedule: Schedule.spaced("20 millis") })
  const { address } = yield* HttpServer.HttpServer
  console.log(HttpServer.formatAddress(address))
  yield* inputEnds
})

await Effect.runPromise(Effect.provide(program, Live))
