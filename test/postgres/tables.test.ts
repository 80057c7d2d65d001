import assert from "node:assert/strict"
import { describe, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import type { PgEventStore } from "eventfold/postgres"
import { assertOwn, fill } from "../support/besideEvents.ts"
import { clientOf, database, kinds, stack, tablesOf } from "./databases.ts"

const wholeStore = [
  "answer",
  "chain",
  "checkpoint",
  "dead_letter",
  "deadline",
  "event",
  "head",
  "inbox",
  "inline_total",
  "inline_total_v1",
  "migration",
  "operation",
  "parked_event",
  "projection_table",
  "projection_version",
  "snapshot",
  "tag",
  "total",
  "total_v1"
]

describe.each(Object.entries(kinds))("stores that share a database on %s", (_, kind) => {
  it.live(
    "share nothing, whether they differ by schema or by prefix, and one was told nothing",
    () =>
      Effect.gen(function* () {
        const client = yield* kind
        const places: ReadonlyArray<PgEventStore.Options> = [
          {},
          { schema: "Shop" },
          { schema: "Shop", tablePrefix: "a_" },
          { tablePrefix: "b_" }
        ]
        yield* Effect.forEach(places, (place, n) => Effect.scoped(Effect.provide(fill(`${n}`, n + 1), stack(place, client))), {
          discard: true
        })
        for (let time = 0; time < 2; time++) {
          for (const [n, place] of places.entries()) yield* Effect.provide(assertOwn(`${n}`, n + 1), stack(place, client))
        }
        assert.deepEqual(yield* tablesOf(client, "public"), [])
        const all = [...wholeStore, ...wholeStore.map((name) => `b_${name}`)].sort()
        assert.deepEqual(yield* tablesOf(client, "eventfold"), all)
      }),
    120_000
  )
})

it.live(
  "what stands beside the events is made once by many that start at the same time, in any database",
  () =>
    Effect.forEach(
      Array.from({ length: 8 }, (_, n) => n),
      () =>
        Effect.scoped(
          Effect.gen(function* () {
            const client = clientOf(yield* database)
            const processes = Array.from({ length: 6 }, () => Layer.build(stack({}, client)))
            yield* Effect.all(processes, { concurrency: "unbounded", discard: true })
            const made = ["answer", "dead_letter", "inbox", "parked_event", "snapshot"]
            assert.deepEqual(
              (yield* tablesOf(client, "eventfold")).filter((name) => made.includes(name)),
              made
            )
          })
        ),
      { discard: true }
    ),
  120_000
)
