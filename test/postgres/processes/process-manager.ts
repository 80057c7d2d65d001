/**
 * A process that runs a process manager with deadlines. Prints its state whenever that changes, and the number of each parcel that it
 * reminds of. If told to hold, it stays in the reaction to a parcel until its process is stopped and goes on.
 */
import { PgClient } from "@effect/sql-pg"
import { Effect, Layer, Redacted, Stream } from "effect"
import { MessageBus, ProcessManager, Subscription, UnitOfWork } from "eventfold"
import { PgCheckpoints, PgEventStore } from "eventfold/postgres"
import { collection, Handlers, Reminded } from "../../support/shipping.ts"

const { hold, schema, url } = JSON.parse(process.argv[2] as string) as {
  readonly url: string
  readonly schema: string
  readonly hold?: string
}

const program = Effect.gen(function* () {
  const states = Stream.map(Subscription.changes("process:Collection"), ({ state }) => state)
  yield* Effect.forkScoped(Stream.runForEach(Stream.changes(states), (state) => Effect.sync(() => console.log(state))))
  yield* Effect.callback<void>((resume) => {
    process.stdin.on("end", () => resume(Effect.void)).resume()
  })
})

const Reminders = MessageBus.listen(Reminded, ({ parcel }) =>
  Effect.callback<void>((resume) => {
    if (parcel === hold) process.once("SIGCONT", () => resume(Effect.void))
    else resume(Effect.void)
    console.log(`reminds ${parcel}`)
  })
)

await Effect.runPromise(
  Effect.scoped(
    Effect.provide(
      program,
      ProcessManager.layer(collection("100 millis"), {
        // A machine that is busy with other tests keeps a process from its work for a second or two: it shall not lose its turn by that.
        lease: "4 seconds",
        // Stopped while its neighbours commit, it would hold the lock of the head, and nobody could append until the server ends that.
        concurrency: hold === undefined ? undefined : 1
      }).pipe(
        Layer.provide(Layer.merge(Handlers, Reminders)),
        Layer.provide(MessageBus.layer),
        Layer.provide(UnitOfWork.layerSql),
        Layer.provide(Layer.mergeAll(PgEventStore.layerWith({ schema }), PgCheckpoints.layerWith({ schema }))),
        Layer.provide(PgClient.layer({ url: Redacted.make(url), maxConnections: 4 }))
      )
    )
  )
)
process.stdin.destroy()
