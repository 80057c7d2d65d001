/**
 * A process that runs the projection "Counts": it counts the events and notes the position of each, and the side effects go to a
 * table of their own, outside the transaction. Prints the state of its subscription whenever that changes, and the position of each
 * event that it handles. Called "first", it stays in the handler of an event of the type "Held" until its process is stopped and goes on.
 */
import { PgClient } from "@effect/sql-pg"
import { Effect, Layer, Redacted, Stream } from "effect"
import { Projection, Subscription } from "eventfold"
import { PgCheckpoints, PgEventStore } from "eventfold/postgres"
import { definition } from "./projection-definition.ts"

const { mode, name, schema, url } = JSON.parse(process.argv[2] as string) as {
  readonly url: string
  readonly schema: string
  readonly name: string
  /** Whether it follows the log, or rebuilds the view and then ends. */
  readonly mode: "follow" | "rebuild"
}

const { projection } = definition(schema, {
  onEvent: ({ event, position }) =>
    Effect.callback<void>((resume) => {
      const held = name === "first" && event._tag === "Held"
      if (held) process.once("SIGCONT", () => resume(Effect.void))
      console.log(`at ${position}`)
      if (!held) resume(Effect.void)
    })
})

const options = { lease: "1500 millis", batch: 7 } as const

const follow = Effect.gen(function* () {
  yield* Layer.build(Projection.layer(projection, options))
  yield* Effect.forkScoped(
    Stream.runForEach(Stream.changes(Stream.map(Subscription.changes(projection.subscription), ({ state }) => state)), (state) =>
      Effect.sync(() => console.log(state))
    )
  )
  yield* Effect.callback<void>((resume) => {
    process.stdin.on("end", () => resume(Effect.void)).resume()
  })
})

const rebuild = Stream.runForEach(Projection.rebuild(projection, options), ({ head, position }) =>
  Effect.sync(() => console.log(`${position} of ${head}`))
).pipe(Effect.tap(() => Effect.sync(() => console.log("rebuilt"))))

await Effect.runPromise(
  Effect.scoped(
    Effect.provide(
      mode === "follow" ? follow : rebuild,
      Layer.mergeAll(PgEventStore.layerWith({ schema }), PgCheckpoints.layerWith({ schema })).pipe(
        Layer.provideMerge(PgClient.layer({ url: Redacted.make(url), maxConnections: 4 }))
      )
    )
  )
)
process.stdin.destroy()
