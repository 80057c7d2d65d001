/** The option `indexes` of the store. */
import assert from "node:assert/strict"
import { describe, it } from "@effect/vitest"
import { Effect, Stream } from "effect"
import { SqlClient } from "effect/sql"
import type { EventStore } from "eventfold"
import { SqliteClient, SqliteEventStore } from "eventfold/sqlite"
import { makeSql } from "../../src/sqlite/sql.ts"

const all = ["type", "category", "correlation"] as const

const filters: ReadonlyArray<EventStore.Filter> = [
  { types: ["T1"] },
  { types: ["T1", "T2", "T1", "None"] },
  { types: Array.from({ length: 20 }, (_, n) => `T${n}`) },
  { types: [] },
  { types: ["None"] },
  { categories: ["A"] },
  { categories: ["A", "B", "None"] },
  { categories: [] },
  { correlationId: 'c"3' },
  { correlationId: "none" },
  { types: ["T1"], categories: ["A"], published: true },
  { types: ["T1", "T2"], correlationId: 'c"3', categories: ["A", "C"] },
  { tags: ["four"], types: ["T1"], correlationId: 'c"3' },
  [{ types: ["T1"] }, { correlationId: 'c"3' }, { tags: ["four"] }, { published: true, categories: ["B"] }]
]

const reads = (store: EventStore.EventStore["Service"]) =>
  Effect.forEach(filters, (filter) =>
    Effect.all([
      Stream.runCollect(store.readAll({ filter })),
      Stream.runCollect(store.readAll({ filter, direction: "backward", limit: 7 })),
      Stream.runCollect(store.readAll({ filter, after: 40, upTo: 90 })),
      Effect.map(store.readBoundary([{ filter }, { filter, newest: true }], { size: 9 }), ({ answers }) => answers),
      Effect.map(
        Effect.exit(
          store.appendAll([{ stream: "X-1", events: [{ type: "X", payload: 0 }], expected: 99 }], { unless: { filter } })
        ),
        String
      )
    ])
  )

describe("indexes", () => {
  it.effect("change nothing of what is read, and stay where they are no longer asked for", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const plain = yield* SqliteEventStore.make()
      for (let n = 0; n < 120; n++) {
        const stream = `${["A", "B", "AB", "A.", "C"][n % 5]}${n % 11 === 0 ? "" : `-${n % 3}`}`
        const metadata = n % 5 === 0 ? {} : { correlationId: `c"${n % 7}` }
        const tags = n % 4 === 0 ? ["four"] : []
        yield* plain.append(stream, [{ type: `T${n % 3}`, payload: n, published: n % 2 === 0, tags, metadata }])
      }
      const expected = yield* reads(plain)
      for (const indexes of [["type"], ["correlation"], all, []] as const) {
        assert.deepEqual(yield* reads(yield* SqliteEventStore.make({ indexes })), expected)
      }
      const names = yield* sql<{
        name: string
      }>`select name from sqlite_schema where type = 'index' and name like '%idx' order by name`
      assert.deepEqual(
        names.map(({ name }) => name),
        ["eventfold_event_category_idx", "eventfold_event_correlation_idx", "eventfold_event_type_idx"]
      )
    }).pipe(Effect.provide(SqliteClient.layer({ filename: ":memory:" })))
  )

  it.effect("are what a page of one value is found by, and conditions", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      yield* SqliteEventStore.make({ indexes: all })
      const texts = makeSql("eventfold_", new Set(all))
      const planOf = (text: string, params: ReadonlyArray<string | number>) =>
        Effect.map(sql.unsafe<{ detail: string }>(`explain query plan ${text}`, params), (rows) =>
          rows.map(({ detail }) => detail).join("\n")
        )
      for (const [filter, index] of [
        [{ types: ["T"] }, "type"],
        [{ categories: ["A"] }, "category"],
        [{ correlationId: "c", types: ["T"] }, "correlation"]
      ] as const) {
        for (const backward of [false, true]) {
          const { params, text } = texts.all([filter], 5, 100_000, backward, 64)
          const plan = yield* planOf(text, params)
          assert.match(plan, new RegExp(`SEARCH eventfold_event USING INDEX eventfold_event_${index}_idx`))
          assert.doesNotMatch(plan, /TEMP B-TREE/)
        }
      }
      const plan = yield* planOf(texts.newestMatches, ["[]"])
      for (const index of all)
        assert.match(plan, new RegExp(`SEARCH found_event USING (COVERING )?INDEX eventfold_event_${index}_idx`))
    }).pipe(Effect.provide(SqliteClient.layer({ filename: ":memory:" })))
  )

  it.effect("that there are not are refused", () =>
    Effect.gen(function* () {
      const indexes = ["tag"] as unknown as SqliteEventStore.Options["indexes"]
      const error = yield* Effect.flip(SqliteEventStore.make({ indexes }))
      assert.match(error.message, /indexes has "tag", which is none of correlation, type, category/)
    }).pipe(Effect.provide(SqliteClient.layer({ filename: ":memory:" })))
  )
})
