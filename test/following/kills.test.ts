import assert from "node:assert/strict"
import { describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { inject } from "vitest"
import { connect, event, open, until } from "../postgres/harness.ts"
import { freshSchema } from "../postgres/support.ts"
import { killing, kills, killsTimeout } from "../support/kills.ts"
import { numbers } from "../support/words.ts"

const names = numbers(6).map((n) => `follower${n}`)

describe(`kill -9 of processes that follow the log under ${names.length} names, ${kills} times`, () => {
  it.live(
    "loses no event of any follower, handles none twice, and the names spread over those that are left",
    () =>
      Effect.gen(function* () {
        const url = inject("postgresUrl")
        const schema = freshSchema()
        const { store } = yield* open({ url, schema })
        const sql = yield* connect(url)
        yield* sql`create table ${sql(schema)}.seen (name text, position int, who int)`
        let appended = 0
        const left = yield* killing(new URL("processes/many.ts", import.meta.url), { url, schema, names }, () =>
          Effect.gen(function* () {
            for (let n = 0; n < 10; n++) {
              yield* store.append("Count-1", [event(), event()])
              appended += 2
              yield* Effect.sleep(Math.random() * 40)
            }
          })
        )
        const seen = sql<{ name: string; count: number; events: number; newest: number }>`
          select name, count(*)::int count, count(distinct position)::int events, max(position) newest
          from ${sql(schema)}.seen group by name order by name`
        yield* until(
          "all is handled",
          Effect.map(seen, (rows) => rows.length === names.length && rows.every(({ newest }) => newest === appended)),
          "60 seconds"
        )
        assert.deepEqual(
          yield* seen,
          names.map((name) => ({ name, count: appended, events: appended, newest: appended }))
        )
        // Three processes are left: each comes to hold two of six.
        const holders = sql<{ n: number }>`select count(*)::int n from ${sql(schema)}.checkpoint
          where name like 'subscription:follower%' and name not like '%join%' and expires_at > now()
          group by split_part(owner, '/', 1) order by n`
        yield* until(
          "they are spread",
          Effect.map(holders, (rows) => rows.map(({ n }) => n).join(" ") === "2 2 2"),
          "30 seconds"
        )
        for (const child of left) yield* child.kill
      }),
    killsTimeout
  )
})
