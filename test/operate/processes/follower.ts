/**
 * A process that follows the log as "mails" and does what operators ask for, until its input ends. It prints "handled <position>" for each
 * event that it has handled, and "<state>" when it changes. A retry takes `slow` milliseconds, and prints "retrying" before.
 */
import { PgClient } from "@effect/sql-pg"
import { Effect, Layer, Redacted, Schedule, Stream } from "effect"
import { ParkedEvents, Subscription } from "eventfold"
import { Operate } from "eventfold/operate"
import { PgCheckpoints, PgEventStore } from "eventfold/postgres"

const { schema, slow, url } = JSON.parse(process.argv[2] as string) as {
  readonly url: string
  readonly schema: string
  readonly slow: number
}

const Mails = Subscription.layer({
  name: "mails",
  lease: "1 second",
  onFailure: "park",
  retry: Schedule.recurs(0),
  filter: { types: ["Placed", "Broken"] },
  handler: ({ position, type }, { attempt }) =>
    Effect.gen(function* () {
      if (type === "Broken") {
        if (attempt === 1) return yield* Effect.fail("broken")
        console.log("retrying")
        yield* Effect.sleep(slow)
      }
      console.log(`handled ${position}`)
    })
})

const Live = Layer.merge(Operate.layerHandlers({ acts: true }), Operate.layerOperator({ name: "worker" })).pipe(
  Layer.provideMerge(Mails),
  Layer.provideMerge(Layer.merge(ParkedEvents.layerSql, PgCheckpoints.layer)),
  Layer.provideMerge(PgEventStore.layerWith({ schema, pollInterval: "50 millis" })),
  Layer.provide(PgClient.layer({ url: Redacted.make(url), maxConnections: 6 }))
)

const inputEnds = Effect.callback<void>((resume) => {
  process.stdin.once("end", () => resume(Effect.void)).resume()
})

const program = Effect.raceFirst(
  inputEnds,
  Stream.runForEach(Subscription.changes("mails"), ({ state }) => Effect.sync(() => console.log(state)))
)

await Effect.runPromise(Effect.provide(program, Live))
