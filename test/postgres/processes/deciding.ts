/**
 * A process that decides and appends until its input ends: callers who enrol for a course, take a name, or take the next number, which they
 * do by hand or by what is kept in memory. Prints "ready", and each event once its append has succeeded.
 */
import { PgClient } from "@effect/sql-pg"
import { Effect, Layer, Redacted, Schema } from "effect"
import { Decision, Event, EventStore, Tag, UnitOfWork } from "eventfold"
import { PgEventStore } from "eventfold/postgres"

const { callers, mode, name, schema, times, url } = JSON.parse(process.argv[2] as string) as {
  readonly url: string
  readonly schema: string
  readonly name: string
  readonly callers: number
  readonly mode: "enrol" | "claim" | "number" | "optimistic"
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

const series = Tag.make("series")
const Numbered = Event.make(
  "Numbered",
  { series: Schema.String, number: Schema.Int },
  { tags: (event) => [series(event.series)] }
)
const Newest = Decision.make("Newest", {
  tags: { series },
  events: [Numbered],
  initial: 0,
  evolve: { Numbered: (_, { number }) => number }
})

const optimistic = (id: string) =>
  Decision.execute(Newest({ series: "1" }), `Invoice-${id}`, (last) => Numbered.make({ series: "1", number: last + 1 })).pipe(
    UnitOfWork.transact,
    UnitOfWork.retryConflicts({ times: Infinity }),
    Effect.map(({ state }) => console.log(String(state)))
  )

const program = Effect.gen(function* () {
  console.log("ready")
  yield* Effect.forEach(
    Array.from({ length: callers }, (_, caller) => caller),
    Effect.fnUntraced(function* (caller) {
      for (let n = 0; open && n < (times ?? Infinity); n++) {
        const id = `${mode}-${name}-${caller}-${n}`
        yield* { enrol, claim, number, optimistic }[mode](id)
      }
    }),
    { concurrency: "unbounded", discard: true }
  )
})

await Effect.runPromise(
  Effect.provide(
    program,
    Layer.merge(UnitOfWork.layer, Decision.layerCacheWith({ optimistic: true })).pipe(
      Layer.provideMerge(PgEventStore.layerWith({ schema })),
      Layer.provide(PgClient.layer({ url: Redacted.make(url), maxConnections: 4 }))
    )
  )
)
process.stdin.destroy()
