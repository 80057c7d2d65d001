import assert from "node:assert/strict"
import { PgClient } from "@effect/sql-pg"
import { describe, it } from "@effect/vitest"
import { Context, Effect, Layer, Redacted } from "effect"
import { Checkpoints, EventStore, Subscription } from "eventfold"
import { PgEventStore } from "eventfold/postgres"
import { inject } from "vitest"
import { numbers } from "../support/words.ts"
import { event, open, until } from "./harness.ts"
import { freshSchema } from "./support.ts"

describe("a store that may only be read, as on a standby", () => {
  it.live("is followed without a hole while others append, and says why it takes no event", () =>
    Effect.gen(function* () {
      const schema = freshSchema()
      const url = inject("postgresUrl")
      const { store } = yield* open({ url, schema })
      const readOnly = new URL(url)
      readOnly.searchParams.set("options", "-c default_transaction_read_only=on")
      const replica = Layer.provide(
        PgEventStore.layerWith({ schema, migrate: false }),
        Layer.fresh(PgClient.layer({ url: Redacted.make(readOnly.href), maxConnections: 2 }))
      )
      const seen: Array<number> = []
      const built = yield* Layer.build(
        Subscription.layerLogs(
          { replica },
          { name: "view", handler: ({ position }) => Effect.sync(() => seen.push(position)) }
        ).pipe(Layer.provideMerge(Checkpoints.layerMemory))
      )
      assert.ok(built.mapUnsafe.size > 0)
      yield* Effect.forEach(numbers(60), (n) => store.append(`Count-${n % 7}`, [event(), event()]), { concurrency: 6 })
      yield* until(
        "all is seen",
        Effect.sync(() => seen.length === 120)
      )
      assert.deepEqual(seen, numbers(120))

      const reading = Context.get(yield* Layer.build(replica), EventStore.EventStore)
      assert.equal(yield* reading.head, 120)
      const refused = yield* Effect.flip(reading.append("Count-1", [event()]))
      assert.ok(refused._tag === "EventStoreError" && refused.reason._tag === "StoreUnavailable")
      assert.match(refused.message, /read-only transaction/)
    }).pipe(Effect.scoped)
  )
})
