import assert from "node:assert/strict"
import { join } from "node:path"
import { describe, it } from "@effect/vitest"
import { Context, Effect, Exit, Layer, Stream } from "effect"
import { SqlClient } from "effect/sql"
import type { SqlError } from "effect/sql/SqlError"
import { SqliteClient } from "eventfold/sqlite"
import { temporaryDirectory } from "../support/files.ts"

const memory = SqliteClient.layer({ filename: ":memory:" })

/** The numbers from 1 to `count`. */
const numbers = (sql: SqlClient.SqlClient, count: number) =>
  sql<{
    n: number
  }>`WITH RECURSIVE number (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number LIMIT ${count}) SELECT n FROM number`

describe("SqliteClient", () => {
  it.effect("runs statements: rows, values, changes, streams", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      yield* sql`CREATE TABLE thing (id INTEGER PRIMARY KEY, name TEXT, data BLOB) STRICT`
      yield* sql`INSERT INTO thing ${sql.insert([
        { id: 1, name: "one", data: null },
        { id: 2, name: "two", data: new Uint8Array([1, 2]) }
      ])}`
      assert.deepEqual(
        (yield* sql`SELECT id, name FROM thing ORDER BY id`).map((row) => ({ ...row })),
        [
          { id: 1, name: "one" },
          { id: 2, name: "two" }
        ]
      )
      assert.deepEqual(yield* sql`SELECT id, data FROM thing WHERE ${sql.in("id", [2])}`.values, [[2, new Uint8Array([1, 2])]])
      assert.deepEqual({ ...((yield* sql`UPDATE thing SET name = 'x'`.raw) as object) }, { changes: 2, lastInsertRowid: 2 })
      assert.deepEqual(
        yield* sql`SELECT count(*) FROM thing`.unprepared,
        [{ "count(*)": 2 }].map((row) => Object.assign(Object.create(null), row))
      )
      const streamed = yield* Stream.runCollect(numbers(sql, 300).stream)
      assert.deepEqual(
        streamed.map(({ n }) => n),
        Array.from({ length: 300 }, (_, n) => n + 1)
      )
    }).pipe(Effect.provide(memory))
  )

  it.effect("binds each parameter in its place, whatever it is", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      yield* sql`CREATE TABLE thing (at TEXT, n TEXT)`
      const stored = sql<{ at: unknown; n: unknown }>`SELECT at, n FROM thing`
      for (const [value, expected] of [
        [new Date(0), "1970-01-01T00:00:00.000Z"],
        [99, "99"],
        [-0.5, "-0.5"],
        [2 ** 53, "9007199254740992"],
        [2n ** 60n, "1152921504606846976"],
        [true, "1"],
        [false, "0"],
        [null, null],
        ["text", "text"]
      ] as const) {
        yield* sql`INSERT INTO thing (at, n) VALUES (${value}, ${1})`
        assert.deepEqual(
          (yield* stored).map(({ at, n }) => [at, n]),
          [[expected, "1"]]
        )
        assert.deepEqual(yield* stored.values, [[expected, "1"]])
        yield* sql`DELETE FROM thing`
      }
      yield* sql`INSERT INTO thing (at, n) VALUES (${new Uint8Array([1, 2])}, ${1})`
      assert.deepEqual(yield* stored.values, [[new Uint8Array([1, 2]), "1"]])
    }).pipe(Effect.provide(memory))
  )

  it.effect("refuses a parameter that cannot be stored, and says which", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      yield* sql`CREATE TABLE thing (a, b)`
      class Point {
        readonly x = 1
      }
      for (const [value, said] of [
        [[1, 2], "an object (Array)"],
        [new Map([[1, 2]]), "an object (Map)"],
        [{ a: 1 }, "an object (Object)"],
        [new Point(), "an object (Point)"],
        [new Date(Number.NaN), "an invalid Date"],
        [undefined, "undefined"],
        [Symbol("s"), "a symbol"]
      ] as const) {
        for (const [params, place] of [
          [[value, 1], 1],
          [[1, value], 2]
        ] as const) {
          const statement = sql.unsafe("INSERT INTO thing (a, b) VALUES (?, ?)", params)
          for (const run of [
            statement,
            statement.raw,
            statement.values,
            statement.unprepared,
            Stream.runDrain(statement.stream)
          ]) {
            const error = yield* Effect.flip(run as Effect.Effect<unknown, SqlError>)
            assert.equal(error._tag, "SqlError")
            assert.ok(error.message.includes(`Parameter ${place} is ${said}`), error.message)
          }
        }
      }
      assert.deepEqual(yield* sql`SELECT * FROM thing`.values, [])
    }).pipe(Effect.provide(memory))
  )

  it.effect("leaves nothing open behind a stream that ends early", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      yield* sql`CREATE TABLE thing (id INTEGER PRIMARY KEY) STRICT`
      assert.equal((yield* Stream.runCollect(Stream.take(numbers(sql, 100_000).stream, 3))).length, 3)
      yield* sql`INSERT INTO thing SELECT 1`
      assert.equal((yield* Stream.runCollect(Stream.take(sql`SELECT id FROM thing`.stream, 1))).length, 1)
      yield* sql`DROP TABLE thing` // refused while a statement still reads the table
    }).pipe(Effect.provide(memory))
  )

  it.effect("nests transactions as savepoints, and runs what waits for the commit once", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const told: Array<string> = []
      const insert = (id: number) =>
        Effect.andThen(sql`INSERT INTO thing VALUES (${id})`, sql.afterCommit(Effect.sync(() => told.push(`${id}`))))
      yield* sql`CREATE TABLE thing (id INTEGER PRIMARY KEY) STRICT`
      yield* sql.withTransaction(
        Effect.gen(function* () {
          yield* insert(1)
          const inner = yield* Effect.exit(sql.withTransaction(Effect.andThen(insert(2), Effect.fail("no"))))
          assert.deepEqual(inner, Exit.fail("no"))
          yield* sql.withTransaction(insert(3))
          assert.deepEqual(told, [])
        })
      )
      yield* Effect.exit(sql.withTransaction(Effect.andThen(insert(4), Effect.interrupt)))
      assert.deepEqual(told, ["1", "3"])
      assert.deepEqual(yield* sql`SELECT id FROM thing`.values, [[1], [3]])
    }).pipe(Effect.provide(memory))
  )

  it.effect("goes on after a commit that fails", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      yield* sql`CREATE TABLE parent (id INTEGER PRIMARY KEY) STRICT`
      yield* sql`CREATE TABLE child (parent INTEGER REFERENCES parent DEFERRABLE INITIALLY DEFERRED) STRICT`
      const error = yield* Effect.flip(sql.withTransaction(sql`INSERT INTO child VALUES (1)`))
      assert.equal(error.reason._tag, "ConstraintError")
      yield* sql.withTransaction(sql`INSERT INTO parent VALUES (1)`)
      assert.deepEqual(yield* sql`SELECT count(*) FROM child`.values, [[0]])
    }).pipe(Effect.provide(memory))
  )

  it.effect("tells what went wrong", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      yield* sql`CREATE TABLE thing (id INTEGER PRIMARY KEY, size INTEGER) STRICT`
      yield* sql`INSERT INTO thing VALUES (1, 1)`
      const reason = (statement: string, ...params: ReadonlyArray<unknown>) =>
        Effect.map(Effect.flip(sql.unsafe(statement, params)), (error) => [error.reason._tag, error.reason.message])
      assert.deepEqual(yield* reason("INSERT INTO thing VALUES (2, 'x')"), [
        "ConstraintError",
        "cannot store TEXT value in INTEGER column thing.size"
      ])
      assert.deepEqual((yield* reason("INSERT INTO thing VALUES (1, 1)"))[1], "UNIQUE constraint failed: thing.id")
      assert.deepEqual(yield* reason("SELECT absent"), ["UnknownError", "no such column: absent"])
      assert.match(
        (yield* reason("SELECT ?", { no: "value" }))[1] as string,
        /Parameter 1 is an object \(Object\), which SQLite cannot store/
      )
      const directory = yield* temporaryDirectory
      const opening = Layer.build(SqliteClient.layer({ filename: join(directory, "absent", "things.db") }))
      assert.equal((yield* Effect.flip(Effect.scoped(opening))).reason._tag, "ConnectionError")
    }).pipe(Effect.provide(memory))
  )

  it.effect("reads whole numbers beyond 2^53 where it is told to", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const largest = sql`SELECT 9223372036854775807 AS n`.values
      assert.deepEqual(yield* Effect.provideService(largest, SqlClient.SafeIntegers, true), [[9223372036854775807n]])
      assert.equal((yield* Effect.flip(largest)).reason._tag, "UnknownError")
      assert.deepEqual(yield* sql`SELECT 1 AS n`.values, [[1]])
    }).pipe(Effect.provide(memory))
  )

  it.effect("transforms names", () =>
    Effect.gen(function* () {
      const snake = (name: string) => name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)
      const camel = (name: string) => name.replaceAll(/_([a-z])/g, (_, letter: string) => letter.toUpperCase())
      const layer = SqliteClient.layer({ filename: ":memory:", transformQueryNames: snake, transformResultNames: camel })
      const sql = Context.get(yield* Layer.build(layer), SqlClient.SqlClient)
      yield* sql`CREATE TABLE ${sql("someThing")} (${sql("firstName")} TEXT)`
      yield* sql`INSERT INTO ${sql("someThing")} ${sql.insert({ firstName: "Ada" })}`
      assert.deepEqual(yield* sql`SELECT * FROM some_thing`, [{ firstName: "Ada" }])
      assert.deepEqual(Object.keys((yield* sql`SELECT * FROM some_thing`.withoutTransform)[0] as object), ["first_name"])
    })
  )

  it.effect("keeps no more than so many prepared statements, and forgets none that is in use", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      for (let round = 0; round < 2; round++) {
        for (let n = 0; n < 600; n++) assert.deepEqual(yield* sql.unsafe(`SELECT ${n}`).values, [[n]])
      }
      const rows = yield* sql.withTransaction(
        Effect.forEach(
          Array.from({ length: 300 }, (_, n) => n),
          (n) => sql.unsafe(`SELECT ${n} AS n`)
        )
      )
      assert.equal(rows.length, 300)
    }).pipe(Effect.provide(memory))
  )
})
