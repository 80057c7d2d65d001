import assert from "node:assert/strict"
import { describe, it } from "@effect/vitest"
import { Effect, type Scope, Stream } from "effect"
import { type EventStore } from "eventfold"
import { inject } from "vitest"
import { assertSound, child, type Child, open, type Opened, until } from "./harness.ts"
import { freshSchema } from "./support.ts"

const parcels = Array.from({ length: 24 }, (_, index) => String(index + 1))

/** Two processes that run one process manager, the second standing by, while parcels arrive. */
const world = (
  input: { readonly hold?: string },
  test: (first: Child, second: Child, opened: Opened & { readonly schema: string }) => Effect.Effect<void, unknown, Scope.Scope>
) =>
  Effect.gen(function* () {
    const schema = freshSchema()
    const url = inject("postgresUrl")
    const opened = yield* open({ url, schema })
    const first = yield* child("process-manager", { url, schema, ...input })
    yield* first.says("live")
    const second = yield* child("process-manager", { url, schema })
    yield* second.says("standby")
    yield* opened.store.appendAll(
      parcels.map((parcel) => ({ stream: `Parcel-${parcel}`, events: [{ type: "Arrived", payload: { parcel } }] }))
    )
    yield* test(first, second, { ...opened, schema })
    yield* allReturned(opened.store)
    yield* assertSound(opened.store)
  }).pipe(Effect.scoped)

/** Every effect of the story of each parcel stands there once, whoever brought it about. */
const allReturned = Effect.fnUntraced(function* (store: EventStore.EventStore["Service"]) {
  const of = (stream: string) => Effect.map(Stream.runCollect(store.read(stream)), (events) => events.map(({ type }) => type))
  yield* until(
    "all reactions have been made",
    Effect.map(
      Stream.runCount(store.readAll({ filter: { categories: ["Collection"], types: ["$EventHandled"] } })),
      (count) => count >= 3 * parcels.length
    )
  )
  for (const parcel of parcels) {
    assert.deepEqual(yield* of(`Parcel-${parcel}`), ["Arrived", "Reminded", "Reminded", "Returned"])
    assert.deepEqual(
      (yield* of(`Collection-${parcel}`)).join(" "),
      "$EventHandled $DeadlineSet CollectionDue $EventHandled $DeadlineSet CollectionDue $EventHandled"
    )
  }
})

describe("two processes with one process manager", () => {
  it.live("the one at work is killed: the other takes over, and each event and each deadline has taken effect once", () =>
    world({}, (first, second) =>
      Effect.gen(function* () {
        yield* first.says("reminds 10")
        yield* first.kill
        yield* second.says("live")
      })
    )
  )

  it.live("the one at work is stopped, and goes on when the other has taken over: what it still does has no effect", () =>
    world({ hold: "10" }, (first, second, { schema, sql, store }) =>
      Effect.gen(function* () {
        yield* first.says("reminds 10")
        // Stopped while it keeps deadlines, or records one that is due, it would hold a lock until the server ends that.
        yield* until(
          "its watch over deadlines has come to rest",
          Effect.zipWith(
            store.head,
            sql<{
              position: string
              pending: string
            }>`select position::text, (select count(*)::text from ${sql(schema)}.deadline) as pending
              from ${sql(schema)}.checkpoint where name like 'deadlines:%'`,
            (head, [watch]) => Number(watch?.position) === head && watch?.pending === "0"
          )
        )
        first.process.kill("SIGSTOP")
        yield* second.says("live")
        yield* allReturned(store)
        first.process.kill("SIGCONT")
        yield* first.says("standby")
        yield* first.end
        yield* second.end
      })
    )
  )
})
