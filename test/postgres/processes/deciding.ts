/**
 * A process that decides and appends until its input ends: callers who enrol for a course, take a name, or take the next number. Prints
 * "ready", and each event once its append has succeeded.
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
  readonly mode: "enrol" | "claim" | "number"
  /** How many decisions of each caller; without end if absent. */
  readonly times?: number
}

let open = true
process.stdin.on("end", () => (open = times !== undefined)).resume()

/** What is decided: the events of a page are read, and the append is refused if there are more by then. */
const decide = Effect.fnUntraced(function* (
  filter: EventStore.Query,
  decide: (events: number) => { readonly stream: string; readonly event: EventStore.NewEvent } | undefined,
  newest = false
) {
  const store = yield* EventStore.EventStore
  const attempt = Effect.gen(function* () {
    const { answers, position } = yield* store.readBoundary([{ filter, newest }])
    const [last] = (answers[0]?.events ?? []).slice(-1)
    const decided = decide(newest ? ((last?.payload as number | undefined) ?? 0) : (answers[0]?.events.length ?? 0))
    if (decided === undefined) return
    yield* store.appendAll([{ stream: decided.stream, events: [decided.event] }], { unless: { filter, after: position } })
    console.log(decided.event.id ?? String(decided.event.payload))
  })
  yield* Effect.retry(attempt, { while: ({ _tag }) => _tag === "AppendConditionError" })
})

const enrol = (id: string) =>
  decide({ tags: ["course:1"], types: ["Enrolled"] }, (taken) =>
    taken >= 3 ? undefined : { stream: `Student-${id}`, event: { type: "Enrolled", payload: id, id, tags: ["course:1"] } }
  )

const claim = (id: string) =>
  decide({ tags: ["name:ada"] }, (taken) =>
    taken > 0 ? undefined : { stream: `Account-${id}`, event: { type: "Claimed", payload: id, id, tags: ["name:ada"] } }
  )

const number = (id: string) =>
  decide(
    { tags: ["series:1"] },
    (last) => ({ stream: `Invoice-${id}`, event: { type: "Numbered", payload: last + 1, tags: ["series:1"] } }),
    true
  )

const program = Effect.gen(function* () {
  console.log("ready")
  yield* Effect.forEach(
    Array.from({ length: callers }, (_, caller) => caller),
    Effect.fnUntraced(function* (caller) {
      for (let n = 0; open && n < (times ?? Infinity); n++) {
        const id = `${mode}-${name}-${caller}-${n}`
        yield* mode === "enrol" ? enrol(id) : mode === "claim" ? claim(id) : number(id)
      }
    }),
    { concurrency: "unbounded", discard: true }
  )
})

await Effect.runPromise(
  Effect.provide(
    program,
    PgEventStore.layerWith({ schema }).pipe(Layer.provide(PgClient.layer({ url: Redacted.make(url), maxConnections: 4 })))
  )
)
process.stdin.destroy()
