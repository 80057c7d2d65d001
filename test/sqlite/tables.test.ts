import assert from "node:assert/strict"
import { describe, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { SqlClient } from "effect/sql"
import { DeadLetters, EventStore, ParkedEvents } from "eventfold"
import { SqliteCheckpoints, SqliteClient, SqliteEventStore } from "eventfold/sqlite"
import { copyFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { readTables } from "../fixtures/0.1.0/facts.ts"
import { sqliteKind } from "../fixtures/opened.ts"
import { assertOwn, beside, type Beside, fill } from "../support/besideEvents.ts"
import { temporaryDirectory } from "../support/files.ts"

/** A store, and all that follows it, which is told nothing. */
const stack = (options: SqliteEventStore.Options & { readonly filename: string }): Layer.Layer<Beside, unknown> =>
  Layer.merge(beside, SqliteCheckpoints.layer).pipe(
    Layer.provideMerge(SqliteEventStore.layerFile({ pollInterval: "10 millis", ...options })),
    Layer.fresh
  )

describe("stores that share a file", () => {
  it.live("share nothing, and one was told nothing", () =>
    Effect.gen(function* () {
      const filename = join(yield* temporaryDirectory, "shared.sqlite")
      const places = [{ filename }, { filename, tablePrefix: "shop_" }, { filename, tablePrefix: "b" }]
      yield* Effect.forEach(places, (place, n) => Effect.scoped(Effect.provide(fill(`${n}`, n + 1), stack(place))), {
        discard: true
      })
      for (const [n, place] of places.entries()) yield* Effect.provide(assertOwn(`${n}`, n + 1), stack(place))
    })
  )
})

const { expected } = sqliteKind

const run = (filename: string, statements: ReadonlyArray<string>) =>
  Effect.provide(
    SqlClient.SqlClient.use((sql) => Effect.forEach(statements, (statement) => sql.unsafe(statement).values)),
    SqliteClient.layer({ filename })
  )

/** What 0.1.0 left in a file whose store had a prefix: that of its own tables alone. */
const leftBehind = Effect.gen(function* () {
  const filename = join(yield* temporaryDirectory, "old.sqlite")
  copyFileSync(fileURLToPath(new URL("../fixtures/0.1.0/store.sqlite", import.meta.url)), filename)
  const own = ["event", "tag", "checkpoint", "migrations"]
  yield* run(
    filename,
    own.map((name) => `alter table eventfold_${name} rename to shop_${name}`)
  )
  return filename
})

const named = (filename: string) =>
  Effect.map(
    run(filename, ["select name from sqlite_schema where type in ('table', 'view') and name not like 'shop%' order by name"]),
    ([rows = []]) => rows.map(([name]) => name)
  )

const assertKept = Effect.gen(function* () {
  const parked = yield* ParkedEvents.ParkedEvents.use(({ list }) => list("notices"))
  assert.deepEqual(
    parked.map(({ position }) => position),
    expected.facts.parked["notices"]?.map(({ position }) => position)
  )
  const letters = yield* DeadLetters.DeadLetters.use(({ list }) => list("mail"))
  assert.equal(letters.length, expected.facts.deadLetters.length)
  assert.deepEqual(yield* readTables, expected.tables)
})

describe("what 0.1.0 made without the prefix of the store", () => {
  it.live("has it from then on, however often the file is opened", () =>
    Effect.gen(function* () {
      const filename = yield* leftBehind
      for (let time = 0; time < 2; time++) {
        yield* Effect.provide(assertKept, stack({ filename, tablePrefix: "shop_" }))
        assert.deepEqual(yield* named(filename), [])
      }
    })
  )

  it.live("is none of a store that a later release has made", () =>
    Effect.gen(function* () {
      const filename = yield* leftBehind
      const had = yield* named(filename)
      yield* Effect.scoped(Effect.provide(fill("new", 1), stack({ filename, tablePrefix: "shop2_" })))
      assert.deepEqual(yield* named(filename), had)
      yield* Effect.provide(assertKept, stack({ filename, tablePrefix: "shop_" }))
      yield* Effect.provide(assertOwn("new", 1), stack({ filename, tablePrefix: "shop2_" }))
    })
  )

  it.live("is refused by name where two stores could be meant, and says what to do", () =>
    Effect.gen(function* () {
      const filename = yield* leftBehind
      // Another store of 0.1.0, which had no events yet.
      yield* Effect.scoped(Effect.provide(EventStore.head, SqliteEventStore.layerFile({ filename, tablePrefix: "other_" })))
      yield* run(filename, ["update other_migrations set created_at = '2020-01-01' where migration_id < 3"])
      const had = yield* named(filename)
      const open = Effect.scoped(
        Layer.build(
          ParkedEvents.layerSql.pipe(Layer.provide(SqliteEventStore.layerFile({ filename, tablePrefix: "shop_" })), Layer.fresh)
        )
      )
      const { message } = (yield* Effect.flip(open)) as Error
      assert.match(
        message,
        /"eventfold_parked_event" was made by eventfold 0\.1\.0 .* these stores: "other_", "shop_"|"shop_", "other_"/
      )
      assert.match(message, /alter table "eventfold_parked_event" rename to "shop_parked_event"/)
      assert.deepEqual(yield* named(filename), had)
      yield* run(filename, ['alter table "eventfold_parked_event" rename to "shop_parked_event"'])
      yield* open
    })
  )
})
