import { describe, expect, it } from "@effect/vitest"
import { Effect } from "effect"
import { event, holdHead } from "./harness.ts"
import { arena } from "./together.ts"

describe("appends behind a batch that the database does not answer", () => {
  it.live(
    "do not wait as often as there are batches before them: they are not sent, and nothing of them is written",
    () =>
      Effect.gen(function* () {
        const { admin, join, schema } = yield* arena
        const { store } = yield* join({ timeout: "300 millis", maxBatch: 5 })
        yield* store.append("Acc-0", [event()])
        const lock = yield* holdHead(admin, schema)
        const errors = yield* Effect.forEach(
          Array.from({ length: 40 }, (_, n) => `Acc-${n}`),
          (stream) => Effect.flip(store.append(stream, [event()])),
          { concurrency: "unbounded" }
        )
        const unsent = errors.filter(({ message }) => message.includes("was not sent"))
        expect(unsent.length).toBeGreaterThanOrEqual(30)
        expect(new Set(unsent.map((error) => error._tag === "EventStoreError" && error.reason._tag))).toEqual(
          new Set(["StoreUnavailable"])
        )
        yield* lock.rollback
        const { position } = yield* store.append("Acc-0", [event()])
        expect(position).toBeLessThanOrEqual(2 + errors.length - unsent.length)
      }),
    60_000
  )
})
