/**
 * A process that appends until its input ends, as fast as it can. Prints "ready", and the id of each event once its append
 * has succeeded.
 */
import { PgClient } from "@effect/sql-pg"
import { Effect, Layer, Redacted } from "effect"
import { EventStore } from "eventfold"
import { PgEventStore } from "eventfold/postgres"

const { callers, mode, name, schema, times, url } = JSON.parse(process.argv[2] as string) as {
  readonly url: string
  readonly schema: string
  readonly name: string
  readonly callers: number
  /** One event to a stream of its own, one event to the one stream of all, or to two streams, in this order or the opposite. */
  readonly mode: "own" | "hot" | "forth" | "back"
  /** How many appends of each caller; without end if absent. */
  readonly times?: number
}

let open = true
process.stdin.on("end", () => (open = times !== undefined)).resume()

const program = Effect.gen(function* () {
  const store = yield* EventStore.EventStore
  console.log("ready")
  yield* Effect.forEach(
    Array.from({ length: callers }, (_, caller) => caller),
    Effect.fnUntraced(function* (caller) {
      for (let n = 0; open && n < (times ?? Infinity); n++) {
        const id = `${name}-${caller}-${n}`
        const events = [{ type: "Counted", payload: { n }, id }]
        if (mode === "own" || mode === "hot") {
          yield* store.append(mode === "own" ? `Own-${name}-${caller}` : "Hot-1", events)
        } else {
          const appends = [
            { stream: "Pair-left", events },
            { stream: "Pair-right", events: [{ type: "Counted", payload: { n }, id: `${id}-right` }] }
          ]
          yield* store.appendAll(mode === "forth" ? appends : appends.toReversed())
        }
        console.log(id)
      }
    }),
    { concurrency: "unbounded", discard: true }
  )
})

await Effect.runPromise(
  Effect.provide(
    program,
    PgEventStore.layerWith({ schema }).pipe(Layer.provide(PgClient.layer({ url: Redacted.make(url), maxConnections: 3 })))
  )
)
process.stdin.destroy()
