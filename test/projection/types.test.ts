import assert from "node:assert/strict"
import { describe, it } from "@effect/vitest"
import { BigDecimal, DateTime, Effect, Equal, Schema, Stream } from "effect"
import { SqlClient } from "effect/sql"
import { Event, EventStore, Projection } from "eventfold"
import { numbers } from "../support/words.ts"
import { makeEverywhere, Prefix } from "./everywhere.ts"

const everywhere = makeEverywhere()
const Began = Event.make("Began")
const began = EventStore.append("Thing-1", [{ type: "Began", payload: {} }])

const Int16 = Schema.Int.check(Schema.isBetween({ minimum: -32768, maximum: 32767 }))
const Int64 = Schema.BigInt.check(Schema.isBetweenBigInt({ minimum: -(2n ** 63n), maximum: 2n ** 63n - 1n }))
const instant = (text: string) => DateTime.makeUnsafe(text)
const decimal = BigDecimal.fromStringUnsafe
const edges = ["2030-02-03T04:05:06.789Z", "1970-01-01T00:00:00.000Z", "0001-01-01T00:00:00.000Z", "9999-12-31T23:59:59.999Z"]

let seed = 7
/** Numbers from 0 to below 1, the same in each run. */
const random = () => {
  seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0
  return seed / 2 ** 32
}
const some = <A>(make: (random: number) => A) => numbers(40).map(() => make(random()))

/** Of each kind of field: its type on PostgreSQL, values that it holds, and values that it does not. */
const kinds: ReadonlyArray<{
  readonly name: string
  readonly field: Schema.Top
  readonly type: string
  readonly told?: Projection.ColumnType
  readonly holds: ReadonlyArray<unknown>
  readonly refuses?: ReadonlyArray<unknown>
}> = [
  { name: "text", field: Schema.String, type: "text", holds: ["", "A", "a", "é", "💶", "null", "'\"\\"] },
  {
    name: "instant",
    field: Schema.DateTimeUtc,
    type: "timestamp with time zone",
    holds: [...edges.map(instant), ...some((random) => DateTime.makeUnsafe(Math.floor(random * 250e12)))],
    refuses: [DateTime.makeUnsafe(8.64e15), DateTime.makeUnsafe(-8.64e15), DateTime.makeUnsafe(-62_135_596_800_001)]
  },
  {
    name: "date",
    field: Schema.Date,
    type: "timestamp with time zone",
    holds: edges.map((text) => new Date(text)),
    refuses: [new Date(8.64e15)]
  },
  {
    name: "asText",
    field: Schema.DateTimeUtc,
    told: "text",
    type: "text",
    holds: [instant(edges[0] ?? ""), DateTime.makeUnsafe(8.64e15)]
  },
  {
    name: "fromText",
    field: Schema.DateTimeUtcFromString,
    told: "timestamptz",
    type: "timestamp with time zone",
    holds: edges.map(instant)
  },
  {
    name: "int",
    field: Schema.Int,
    type: "bigint",
    holds: [0, -1, Number.MAX_SAFE_INTEGER, Number.MIN_SAFE_INTEGER, ...some((random) => Math.floor((random - 0.5) * 2 ** 53))]
  },
  { name: "small", field: Int16, type: "integer", holds: [0, -32768, 32767] },
  { name: "signed", field: Schema.Finite.check(Schema.isInt32()), type: "integer", holds: [-(2 ** 31), 2 ** 31 - 1] },
  {
    name: "told",
    field: Schema.Int,
    told: "integer",
    type: "integer",
    holds: [1, -(2 ** 31)],
    refuses: [2 ** 31, -(2 ** 31) - 1]
  },
  {
    name: "long",
    field: Int64,
    type: "bigint",
    holds: [0n, 2n ** 63n - 1n, -(2n ** 63n), 9007199254740993n]
  },
  {
    name: "big",
    field: Schema.BigInt,
    type: "numeric",
    holds: [0n, -1n, 2n ** 70n, -(10n ** 400n), ...some((random) => BigInt(Math.floor(random * 2 ** 53)) ** 3n)],
    refuses: [10n ** 131_072n]
  },
  {
    name: "decimal",
    field: Schema.BigDecimal,
    type: "numeric",
    holds: ["0", "-0.1", "0.12345678901234567891", "1e30", "123456789012345678901234567890.5"].map(decimal),
    refuses: [decimal("1e131073"), decimal("1e-16384")]
  },
  {
    name: "finite",
    field: Schema.Finite,
    type: "double precision",
    holds: [0, 0.1, -1.5, 5e-324, Number.MAX_VALUE, 2 ** 53, ...some((random) => random * 1e10)]
  },
  { name: "number", field: Schema.Number, type: "jsonb", holds: [1.5, Number.NaN, Number.POSITIVE_INFINITY] },
  {
    name: "double",
    field: Schema.Number,
    told: "double precision",
    type: "double precision",
    holds: [1.5, -2],
    refuses: [Number.NaN, Number.NEGATIVE_INFINITY]
  },
  { name: "flag", field: Schema.Boolean, type: "boolean", holds: [true, false] },
  { name: "words", field: Schema.Literals(["big", "small"]), type: "text", holds: ["big", "small"] },
  { name: "list", field: Schema.Array(Schema.Int), type: "jsonb", holds: [[], [1, 2]] },
  {
    name: "maybe",
    field: Schema.NullOr(Schema.DateTimeUtc),
    type: "timestamp with time zone",
    holds: [null, instant(edges[0] ?? "")]
  },
  { name: "absent", field: Schema.optionalKey(Schema.Int), type: "bigint", holds: [3] },
  { name: "undefinedOr", field: Schema.UndefinedOr(Schema.BigDecimal), type: "numeric", holds: [undefined, decimal("1.5")] }
]

type AnyField = Schema.Codec<unknown>

const tableOf = (name: string, field: Schema.Top, told?: Projection.ColumnType) =>
  Projection.table(name, {
    key: "id",
    fields: { id: Schema.String, field: field as AnyField },
    columns: told === undefined ? {} : { field: told }
  })

/** The type of each column of a table of a view. */
const typesOf = (name: string) =>
  Effect.gen(function* () {
    const sql = yield* SqlClient.SqlClient
    const [schema, table] = name.split(".")
    const rows = yield* sql<{ column_name: string; data_type: string }>`
      select column_name, data_type from information_schema.columns where table_schema = ${schema} and table_name = ${table?.toLowerCase()}`
    return Object.fromEntries(rows.map(({ column_name, data_type }) => [column_name, data_type]))
  })

const isPostgres = Effect.map(SqlClient.SqlClient, (sql) => sql.onDialectOrElse({ pg: () => true, orElse: () => false }))

describe("the types of columns", () => {
  everywhere("are those of the Schemas, and every value comes back as it was and is found by it", () =>
    Effect.gen(function* () {
      const prefix = yield* Prefix
      const all = kinds.map((kind) => ({ ...kind, table: tableOf(`${prefix}${kind.name}`, kind.field, kind.told) }))
      const rowsOf = (holds: ReadonlyArray<unknown>) => holds.map((field, n) => ({ id: String(n).padStart(3, "0"), field }))
      const refused: Array<string> = []
      const projection = Projection.make("Kinds", {
        version: 1,
        tables: all.map(({ table }) => table),
        events: [Began],
        handlers: {
          Began: () =>
            Effect.forEach(all, ({ holds, name, refuses = [], table }) =>
              Effect.gen(function* () {
                yield* table.upsert(...rowsOf(holds))
                for (const field of refuses) {
                  const error = yield* Effect.flip(table.upsert({ id: "not", field }))
                  assert.ok(error._tag === "RowRefusedError", `${name}: ${error._tag}`)
                  assert.deepEqual([error.key, error.column], ["not", "field"])
                  refused.push(name)
                }
              })
            )
        }
      })
      yield* began
      yield* Stream.runDrain(Projection.rebuild(projection))
      assert.equal(refused.length, kinds.flatMap(({ refuses = [] }) => refuses).length)
      const pg = yield* isPostgres
      for (const { holds, name, refuses = [], table, type } of all) {
        if (pg) assert.deepEqual(yield* typesOf(`${table.name}_v1`), { id: "text", field: type }, name)
        const rows = yield* table.list()
        assert.equal(rows.length, holds.length, name)
        for (const [n, row] of rows.entries()) {
          const { field } = row
          assert.ok(Equal.equals(field, holds[n]) || Object.is(field, holds[n]), `${name}: ${String(field)}, ${String(holds[n])}`)
          const found = yield* table.list({ where: { field: holds[n] } })
          assert.ok(
            found.some(({ id }) => id === row.id),
            `${name}: ${String(holds[n])}`
          )
        }
        for (const field of refuses) {
          assert.equal((yield* Effect.flip(table.list({ where: { field } })))._tag, "RowRefusedError")
        }
      }
    })
  )

  it("are refused where the field is another thing", () => {
    const fields = { id: Schema.String, n: Schema.Int, flag: Schema.Boolean, json: Schema.Json }
    const table = (columns: { readonly [P in keyof typeof fields]?: Projection.ColumnType }) => () =>
      Projection.table("t", { key: "id", fields, columns })
    assert.throws(table({ id: "timestamptz" }), /the column id of the table t cannot be timestamptz: it can be text/)
    assert.throws(table({ n: "text" }), /it can be double precision, bigint, integer/)
    assert.throws(table({ flag: "integer" }), /it can be boolean/)
    assert.throws(table({ json: "double precision" }), /it can be jsonb/)
  })
})

describe("a table that an earlier version has made", () => {
  const fields = {
    id: Schema.String,
    at: Schema.DateTimeUtc,
    n: Schema.Int,
    small: Int16,
    long: Int64,
    price: Schema.BigDecimal,
    weight: Schema.Number,
    gone: Schema.NullOr(Schema.Date)
  }

  everywhere("goes on with the types that it has; the next version of the projection has the new ones", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const pg = yield* isPostgres
      const Old = Projection.table(`${yield* Prefix}old`, { key: "id", fields })
      const projection = (version: number) =>
        Projection.make("Old", {
          version,
          tables: [Old],
          events: [Began],
          handlers: {
            Began: () =>
              Effect.andThen(
                Old.upsert({ ...row, id: "b" }),
                Old.patch("b", ({ n }) => ({ n: n + 1 }))
              )
          }
        })
      const row = {
        at: instant("2030-02-03T04:05:06.789Z"),
        n: Number.MAX_SAFE_INTEGER - 1,
        small: -7,
        long: 9007199254740993n,
        price: decimal("0.12345678901234567891"),
        weight: Number.NaN,
        gone: new Date("2031-02-03T04:05:06.789Z")
      }
      const [double, json] = pg ? ["double precision", "jsonb"] : ["real", "text"]
      yield* sql.unsafe(`create table ${Old.name}_v1 (id text ${pg ? 'collate "C"' : ""} primary key, "at" text, n ${double},
        small ${double}, long text, price text, weight ${json}, gone text)`)
      yield* began
      const written = { ...row, id: "b", n: Number.MAX_SAFE_INTEGER }
      yield* Stream.runDrain(Projection.rebuild(projection(1)))
      // As it was written before.
      yield* sql.unsafe(`insert into ${Old.name}_v1 values ('a', '2029-02-03T04:05:06.789Z', 9007199254740990, -7, '9007199254740993',
        '1.2345678901234567891e-1', '"NaN"', null)`)
      const left = { ...row, id: "a", at: instant("2029-02-03T04:05:06.789Z"), n: 9007199254740990, gone: null }
      assert.ok(Equal.equals(yield* Old.list(), [left, written]))
      for (const where of [{ at: row.at }, { n: written.n }, { gone: row.gone }]) {
        assert.equal((yield* Old.list({ where })).length, 1, JSON.stringify(Object.keys(where)))
      }
      for (const where of [{ small: -7 }, { long: row.long }, { price: row.price }, { weight: Number.NaN }]) {
        assert.equal((yield* Old.list({ where })).length, 2, JSON.stringify(Object.keys(where)))
      }
      const raw = yield* sql.unsafe<{ at: string }>(`select "at" from ${Old.name}_v1 order by id desc`)
      assert.deepEqual(raw[0]?.at, "2030-02-03T04:05:06.789Z")
      yield* Stream.runDrain(Projection.rebuild(projection(2)))
      yield* Projection.switchTo(projection(2))
      assert.ok(Equal.equals(yield* Old.list(), [written]))
      if (!pg) return
      const text = "text"
      const old = { at: text, n: double, small: double, long: text, price: text, weight: json, gone: text, id: text }
      assert.deepEqual(yield* typesOf(`${Old.name}_v1`), old)
      const instants = { at: "timestamp with time zone", gone: "timestamp with time zone" }
      assert.deepEqual(yield* typesOf(`${Old.name}_v2`), {
        ...old,
        ...instants,
        n: "bigint",
        small: "integer",
        long: "bigint",
        price: "numeric"
      })
    })
  )
})
