import assert from "node:assert/strict"
import { describe, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { SqlClient } from "effect/sql"
import { SqliteCheckpoints, SqliteEventStore } from "eventfold/sqlite"
import { failureOf, openings, sideTables, writes } from "../support/failing.ts"

const client = SqliteEventStore.layerFile({ filename: ":memory:", tablePrefix: "" })
const everything = Layer.mergeAll(SqliteCheckpoints.layerWith({ tablePrefix: "" }), sideTables("")).pipe(
  Layer.provideMerge(client)
)

const sabotaged = (statements: (table: string) => ReadonlyArray<string>) =>
  Effect.forEach(Object.values(writes), ([table, write]) =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      for (const statement of statements(table)) yield* sql.unsafe(statement)
      return yield* failureOf<unknown, unknown, Layer.Success<typeof everything>>(write)
    })
  ).pipe(Effect.provide(everything))

const said = (reason: (table: string) => string) => [
  `EventStoreError: StoreFailure during append: ${reason("event")}`,
  `CheckpointError: The checkpoint "emails" failed to claim: ${reason("checkpoint")}`,
  `SnapshotError: Snapshots failed to save: ${reason("snapshot")}`,
  `ParkedEventsError: The parked events failed to park: ${reason("parked")}`,
  `DeadLettersError: The dead letters failed to park: ${reason("letter")}`,
  `InboxError: The inbox failed to handle a message once: ${reason("inbox")}`
]

describe("a message says what SQLite said", () => {
  it.live("of a table that is missing", () =>
    Effect.map(
      sabotaged((table) => [`drop table ${table}`]),
      (messages) =>
        assert.deepEqual(
          messages,
          said((table) => `no such table: ${table} [SQLITE_ERROR]`)
        )
    )
  )

  it.live("of a constraint", () =>
    Effect.map(
      sabotaged((table) => [
        `create trigger ${table}_refuses before insert on ${table} begin select raise(abort, 'not today'); end`
      ]),
      (messages) =>
        assert.deepEqual(
          messages,
          said(() => "not today [SQLITE_CONSTRAINT]")
        )
    )
  )

  it.live("of a database that may not be written", () =>
    Effect.map(
      sabotaged(() => ["pragma query_only = on"]),
      (messages) =>
        assert.deepEqual(
          messages,
          said(() => "attempt to write a readonly database [SQLITE_READONLY]")
        )
    )
  )

  it.live("when a table cannot be made", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      yield* sql`pragma query_only = on`
      const reason = "failed to open: attempt to write a readonly database [SQLITE_READONLY]"
      assert.deepEqual(yield* openings, [
        `SnapshotError: Snapshots ${reason}`,
        `ParkedEventsError: The parked events ${reason}`,
        `DeadLettersError: The dead letters ${reason}`,
        `InboxError: The inbox ${reason}`
      ])
    }).pipe(Effect.provide(client))
  )
})
