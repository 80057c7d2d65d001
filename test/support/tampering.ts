/** What tests have in common that change events behind the store's back. */
import assert from "node:assert/strict"
import { Effect, Stream } from "effect"
import { EventStore } from "eventfold"

/** What the third event says, and it alone. */
export const secret = "a-word-that-goes"

/** Six events, of two streams in turn. */
export const fill = (store: EventStore.EventStore["Service"]) =>
  Effect.forEach([1, 2, 3, 4, 5, 6], (n) =>
    store.append(`Account-${n % 2}`, [{ type: "Said", payload: { n, secret: n === 3 ? secret : "x" }, tags: [`n:${n}`] }])
  )

/** The positions at which `verify` finds fault. */
export const findingsOf = (store: EventStore.EventStore["Service"]) =>
  Effect.map(
    Effect.flip(Effect.provideService(EventStore.verify(), EventStore.EventStore, store)),
    (error) => error._tag === "IntegrityError" && error.findings.map(({ position }) => position)
  )
/** Makes a tombstone of the event at a position. */
export const remove = (store: EventStore.EventStore["Service"], position: number) =>
  Effect.gen(function* () {
    const { maintenance } = store
    assert.ok(maintenance !== undefined)
    const events = yield* Stream.runCollect(maintenance.readAll({ after: position - 1, limit: 1 }))
    return yield* maintenance.tombstone(events, { reason: "over" })
  })
