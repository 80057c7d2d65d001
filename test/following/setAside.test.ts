/** What could not be handled, and how it is kept: the same rules wherever it is kept. */
import assert from "node:assert/strict"
import { describe, it } from "@effect/vitest"
import { DateTime, Effect, Layer, Option } from "effect"
import { SqlClient } from "effect/sql"
import { DeadLetters, ParkedEvents } from "eventfold"
import { SqliteClient } from "eventfold/sqlite"
import { freshSchema, pgLiteOfFile, serverOfFile } from "../postgres/support.ts"
import { message } from "../support/failing.ts"
import { declared } from "../support/wirings.ts"
import { numbers } from "../support/words.ts"

type Places = ParkedEvents.ParkedEvents | DeadLetters.DeadLetters

const clients = { server: serverOfFile(), pglite: pgLiteOfFile() }
const sqlite = Layer.orDie(SqliteClient.layer({ filename: ":memory:" }))

const tables = (at: string) =>
  Layer.merge(ParkedEvents.layerSqlWith({ table: `${at}parked` }), DeadLetters.layerSqlWith({ table: `${at}letters` }))

/** The databases, and what the names of a test's tables begin with. */
const databases: Readonly<Record<string, () => readonly [Layer.Layer<SqlClient.SqlClient>, string]>> = {
  SQLite: () => [sqlite, ""],
  PostgreSQL: () => [Layer.orDie(clients.server), `${freshSchema()}.`],
  PGlite: () => [Layer.orDie(clients.pglite), `${freshSchema()}.`]
}

const inDatabase = (name: string) => () => {
  const [client, at] = databases[name]?.() ?? assert.fail()
  return Layer.orDie(tables(at)).pipe(Layer.provideMerge(client))
}

const wirings: Readonly<Record<string, () => Layer.Layer<Places>>> = {
  memory: () => Layer.merge(ParkedEvents.layerMemory, DeadLetters.layerMemory),
  ...Object.fromEntries(Object.keys(databases).map((name) => [name, inDatabase(name)]))
}

const at = (seconds: number) => DateTime.makeUnsafe(seconds * 1000)
const event = { subscription: "a", position: 4, stream: "A-1", type: "T", cause: "one", attempts: 1, parkedAt: at(1) }
const letter = { group: "a", message: { ...message, id: "4" }, cause: "one", attempts: 1, parkedAt: at(1) }
const again = { cause: "two", attempts: 2, parkedAt: at(2) }

for (const [where, make] of declared(wirings)) {
  describe(`parked events in ${where}`, () => {
    const rules: ReadonlyArray<readonly [string, { keep?: boolean; ifParked?: boolean } | undefined, boolean, boolean]> = [
      // what is asked for, whether a new one is parked, whether an old one gets the new cause
      ["by default", undefined, true, true],
      ["keep", { keep: true }, true, false],
      ["ifParked", { ifParked: true }, false, true],
      ["both", { keep: true, ifParked: true }, false, false]
    ]
    it.effect.each(rules)("are parked by the rule: %s", ([, options, parksNew, changesOld]) =>
      Effect.gen(function* () {
        const { discard, list, park } = yield* ParkedEvents.ParkedEvents
        yield* park(event, options)
        assert.deepEqual(yield* list("a"), parksNew ? [event] : [])
        yield* park(event)
        yield* park({ ...event, ...again }, options)
        assert.deepEqual(yield* list("a"), [changesOld ? { ...event, ...again } : event])
        // Nothing is known of what has been discarded, nor of other subscriptions.
        assert.deepEqual([yield* discard("a", 4), yield* discard("a", 4), yield* discard("b", 4)], [true, false, false])
        yield* park({ ...event, subscription: "b" })
        yield* park(event, options)
        assert.deepEqual(yield* list("a"), parksNew ? [event] : [])
      }).pipe(Effect.provide(make()))
    )

    it.effect("tell which is the first of each stream, as it is now", () =>
      Effect.gen(function* () {
        const { discard, firstOf, park } = yield* ParkedEvents.ParkedEvents
        const first = (...streams: ReadonlyArray<string>) =>
          Effect.map(firstOf("a", streams), (all) => Object.fromEntries(all.map(({ position, stream }) => [stream, position])))
        for (const position of [30, 4, 200]) yield* park({ ...event, position })
        yield* park({ ...event, position: 7, stream: `B-"1` })
        yield* park({ ...event, position: 1, subscription: "b" })
        assert.deepEqual(yield* first("A-1", "A-1", `B-"1`, "C-1"), { "A-1": 4, [`B-"1`]: 7 })
        assert.deepEqual([yield* first(), yield* first("a-1", "A-", "A-11")], [{}, {}])
        yield* discard("a", 4)
        assert.deepEqual(yield* first("A-1"), { "A-1": 30 })
        yield* park({ ...event, position: 2 })
        assert.deepEqual(yield* first("A-1"), { "A-1": 2 })
        const many = numbers(1500).map((n) => `N-${n}`)
        for (const n of [1, 1500]) yield* park({ ...event, position: 1000 + n, stream: `N-${n}` })
        assert.deepEqual(yield* first(...many), { "N-1": 1001, "N-1500": 2500 })
      }).pipe(Effect.provide(make()))
    )

    it.effect("are listed by position, in pages", () =>
      Effect.gen(function* () {
        const { list, park } = yield* ParkedEvents.ParkedEvents
        for (const position of [100, 9, 20, 1]) yield* park({ ...event, position })
        const positions = (options?: Parameters<typeof list>[1]) =>
          Effect.map(list("a", options), (all) => all.map(({ position }) => position))
        assert.deepEqual(yield* positions(), [1, 9, 20, 100])
        assert.deepEqual([yield* positions({ after: 1, limit: 2 }), yield* positions({ after: 20 })], [[9, 20], [100]])
      }).pipe(Effect.provide(make()))
    )
  })

  describe(`dead letters in ${where}`, () => {
    it.effect("are parked, and changed, by the rule", () =>
      Effect.gen(function* () {
        const { discard, list, park } = yield* DeadLetters.DeadLetters
        yield* park(letter, { ifParked: true })
        assert.deepEqual(yield* list("a"), [])
        yield* park(letter)
        assert.deepEqual(yield* list("a"), [letter])
        yield* park({ ...letter, ...again }, { ifParked: true })
        assert.deepEqual(yield* list("a"), [{ ...letter, ...again }])
        yield* park(letter)
        assert.deepEqual(yield* list("a"), [letter])
        assert.deepEqual([yield* discard("b", "4"), yield* discard("a", "4"), yield* discard("a", "4")], [false, true, false])
        yield* park({ ...letter, group: "b" })
        yield* park(letter, { ifParked: true })
        assert.deepEqual([yield* list("a"), (yield* list("b")).length], [[], 1])
      }).pipe(Effect.provide(make()))
    )

    it.effect("of two sources are two, though they have one id", () =>
      Effect.gen(function* () {
        const { discard, get, list, park } = yield* DeadLetters.DeadLetters
        const other = { ...letter, message: { ...letter.message, source: "/other" } }
        yield* park(other, { ifParked: true })
        yield* park(letter)
        // That of another source is not parked.
        yield* park({ ...other, ...again }, { ifParked: true })
        assert.deepEqual(yield* list("a"), [letter])
        yield* park(other)
        yield* park({ ...other, ...again }, { ifParked: true })
        const all = yield* list("a")
        assert.deepEqual(
          new Map(all.map(({ cause, message }) => [message.source, cause])),
          new Map([
            [letter.message.source, "one"],
            ["/other", "two"]
          ])
        )
        const id = all.find(({ message }) => message.source === "/other")?.id ?? assert.fail()
        assert.equal(Option.getOrThrow(yield* get("a", id)).message.source, "/other")
        // The one that had the id first is gone: the other keeps its own.
        assert.equal(yield* discard("a", "4"), true)
        yield* park({ ...other, cause: "three" }, { ifParked: true })
        assert.deepEqual(
          (yield* list("a")).map(({ cause, id }) => [id, cause]),
          [[id, "three"]]
        )
      }).pipe(Effect.provide(make()))
    )
  })
}

for (const [where, make] of declared(databases)) {
  describe(`the table of parked events in ${where}`, () => {
    it.effect("has an index for the streams, one that was made without it too, and is opened again", () =>
      Effect.gen(function* () {
        const [client, at] = make()
        yield* Effect.gen(function* () {
          const sql = yield* SqlClient.SqlClient
          const open = Effect.scoped(Layer.build(Layer.fresh(ParkedEvents.layerSqlWith({ table: `${at}parked` }))))
          const isThere = Effect.map(
            sql.onDialectOrElse({
              pg: () => sql.unsafe(`select 1 where to_regclass('${at}parked_stream') is not null`).values,
              orElse: () => sql.unsafe(`select 1 from sqlite_schema where type = 'index' and name = 'parked_stream'`).values
            }),
            (rows) => rows.length > 0
          )
          yield* open
          assert.equal(yield* isThere, true)
          yield* sql.unsafe(`drop index ${at}parked_stream`)
          yield* open
          yield* open
          assert.equal(yield* isThere, true)
        }).pipe(Effect.provide(client))
      })
    )
  })
}
