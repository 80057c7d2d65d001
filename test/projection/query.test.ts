import assert from "node:assert/strict"
import { describe } from "@effect/vitest"
import { Cause, DateTime, Effect, Exit, Option, Schema, Stream } from "effect"
import { SqlClient } from "effect/sql"
import { Event, EventStore, Projection } from "eventfold"
import { numbers } from "../support/words.ts"
import { makeEverywhere, Prefix } from "./everywhere.ts"

const everywhere = makeEverywhere()
const Began = Event.make("Began")

const fields = {
  id: Schema.String,
  owner: Schema.NullOr(Schema.String),
  amount: Schema.Int,
  weight: Schema.optionalKey(Schema.Finite),
  open: Schema.Boolean,
  at: Schema.NullOr(Schema.DateTimeUtc),
  price: Schema.BigDecimal,
  json: Schema.Json
}
type Thing = Projection.Row<typeof fields>

const owners = ["", "A", "a", "é", "\uffee", "💶", "'; drop table x; --", null]
let seed = 3
const random = (below: number) => {
  seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0
  return Math.floor((seed / 2 ** 32) * below)
}
const things: ReadonlyArray<Thing> = numbers(150).map((n) => ({
  id: `${random(1000)}-${n}`,
  owner: owners[random(owners.length)] ?? null,
  amount: random(7) - 3,
  ...(random(3) === 0 ? {} : { weight: random(4) / 4 }),
  open: random(2) === 0,
  at: random(4) === 0 ? null : DateTime.makeUnsafe(Date.UTC(2030, 0, 1 + random(5))),
  price: Schema.decodeSync(Schema.BigDecimalFromString)("1.5"),
  json: null
}))

/** A view of all things, with indexes. */
const world = Effect.gen(function* () {
  const Thing = Projection.table(`${yield* Prefix}thing`, { key: "id", fields, indexes: [["owner", "amount"], ["at"]] })
  const projection = Projection.make("Things", {
    version: 1,
    tables: [Thing],
    events: [Began],
    handlers: { Began: () => Thing.upsert(...things) }
  })
  yield* EventStore.append("Thing-1", [{ type: "Began", payload: {} }])
  yield* Stream.runDrain(Projection.rebuild(projection))
  return Thing
})

/** What the database must do, in plain terms: less than 0, 0, or more. */
const compare = (a: unknown, b: unknown): number => {
  const plain = (value: unknown) => (DateTime.isDateTime(value) ? DateTime.toEpochMillis(value) : (value ?? undefined))
  const [left, right] = [plain(a), plain(b)]
  if (left === right) return 0
  if (left === undefined || right === undefined) return left === undefined ? -1 : 1
  if (typeof left === "string" && typeof right === "string") return Buffer.compare(Buffer.from(left), Buffer.from(right))
  return Number(left) < Number(right) ? -1 : 1
}

type Field = Projection.Orderable<typeof fields>
const fieldsInOrder = ["id", "owner", "amount", "weight", "open", "at"] as const

const sorted = (order: ReadonlyArray<readonly [Field, "asc" | "desc"]>) => {
  const last = order.at(-1)?.[1] ?? "asc"
  return things.toSorted((a, b) => {
    for (const [field, direction] of [...order, ["id", last] as const]) {
      const sign = compare(a[field], b[field])
      if (sign !== 0) return direction === "asc" ? sign : -sign
    }
    return 0
  })
}
const ids = (rows: ReadonlyArray<Thing>) => rows.map(({ id }) => id)

describe("a query of a table", () => {
  everywhere("puts rows in any order, page after page, alike on every database", () =>
    Effect.gen(function* () {
      const Thing = yield* world
      const directions = ["asc", "desc"] as const
      const single = fieldsInOrder.flatMap((field) => directions.map((direction) => [[field, direction] as const]))
      const several = numbers(12).map(() =>
        numbers(1 + random(3)).map(() => [fieldsInOrder[random(6)] ?? "id", directions[random(2)] ?? "asc"] as const)
      )
      for (const order of [[], ...single, ...several]) {
        const expected = ids(sorted(order))
        assert.deepEqual(ids(yield* Stream.runCollect(Thing.stream({ order, pageSize: 37 }))), expected, JSON.stringify(order))
        const first = yield* Thing.page({ order, limit: 149 })
        const last = yield* Thing.page({ order, limit: 149, cursor: Option.getOrThrow(first.cursor) })
        assert.deepEqual([...ids(first.rows), ...ids(last.rows)], expected)
        assert.ok(Option.isNone(last.cursor))
      }
      assert.deepEqual(ids((yield* Thing.page()).rows), ids(sorted([])).slice(0, 100))
      assert.ok(Option.isNone((yield* Thing.page({ limit: 150 })).cursor))
    })
  )

  everywhere("gives the rows that meet conditions, and counts them", () =>
    Effect.gen(function* () {
      const Thing = yield* world
      const at = things.find(({ at }) => at !== null)?.at ?? DateTime.makeUnsafe(0)
      const later = DateTime.add(at, { days: 1 })
      const cases: ReadonlyArray<readonly [ReadonlyArray<Projection.Condition<typeof fields>>, (thing: Thing) => boolean]> = [
        [[], () => true],
        ...owners.map((owner) => [[["owner", "=", owner]], (thing: Thing) => thing.owner === owner] as const),
        ...owners.map((owner) => [[["owner", "!=", owner]], (thing: Thing) => thing.owner !== owner] as const),
        [[["owner", "in", ["A", "💶", null]]], ({ owner }) => ["A", "💶", null].includes(owner)],
        [[["owner", "in", []]], () => false],
        [[["owner", ">", "A"]], ({ owner }) => owner !== null && compare(owner, "A") > 0],
        [[["amount", ">=", 1]], ({ amount }) => amount >= 1],
        [
          [
            ["amount", "<", 1],
            ["amount", ">", -2]
          ],
          ({ amount }) => amount < 1 && amount > -2
        ],
        [
          [
            ["amount", "between", -1, 1],
            ["open", "=", true]
          ],
          ({ amount, open }) => Math.abs(amount) <= 1 && open
        ],
        [[["amount", "in", [1, 2]]], ({ amount }) => amount === 1 || amount === 2],
        [[["weight", "=", undefined]], ({ weight }) => weight === undefined],
        [[["weight", "<=", 0.25]], ({ weight }) => weight !== undefined && weight <= 0.25],
        [[["open", "in", [false]]], ({ open }) => !open],
        [[["at", "=", at]], (thing) => thing.at !== null && compare(thing.at, at) === 0],
        [
          [["at", "between", at, later]],
          (thing) => thing.at !== null && compare(thing.at, at) >= 0 && compare(thing.at, later) <= 0
        ],
        [
          [
            ["price", "=", Schema.decodeSync(Schema.BigDecimalFromString)("1.50")],
            ["json", "=", null]
          ],
          () => true
        ]
      ]
      for (const [where, meets] of cases) {
        const expected = ids(sorted([["amount", "desc"]]).filter(meets))
        const found = yield* Stream.runCollect(Thing.stream({ where, order: [["amount", "desc"]], pageSize: 20 }))
        assert.deepEqual(ids(found), expected, JSON.stringify(where))
        assert.equal(yield* Thing.count({ where }), expected.length)
      }
      assert.equal(yield* Thing.count(), 150)
    })
  )

  everywhere("takes no cursor but its own, and no order that there is not", () =>
    Effect.gen(function* () {
      const Thing = yield* world
      const { cursor } = yield* Thing.page({ order: ["amount", "at"], limit: 1 })
      const own = Option.getOrThrow(cursor)
      const signed = (place: ReadonlyArray<unknown>) =>
        Buffer.from(JSON.stringify(["amount asc,at asc,id asc", ...place])).toString("base64url")
      const bad = ["", "x", own.slice(2), Buffer.from("{}").toString("base64url"), signed([]), signed(["1", null, "a", "b"])]
      for (const place of [
        ["one", null, "a"],
        ["1", "yesterday", "a"],
        ["1", null, "\u0000"],
        ["1", null, 1]
      ])
        bad.push(signed(place))
      for (const cursor of bad) {
        const error = yield* Effect.flip(Thing.page({ order: ["amount", "at"], cursor }))
        assert.ok(error._tag === "InvalidCursorError", `${cursor}: ${error._tag}`)
        assert.match(error.message, /is no cursor of rows in this order/)
      }
      assert.equal(
        (yield* Effect.flip(Thing.page({ order: [["amount", "desc"], "at"], cursor: own })))._tag,
        "InvalidCursorError"
      )
      assert.equal(
        (yield* Thing.page({ order: ["amount", "at"], cursor: signed(["1", null, "'; drop table x"]) })).rows.length > 0,
        true
      )
      const defect = (options: unknown) =>
        Effect.map(Effect.exit(Thing.page(options as never)), (exit) => {
          assert.ok(Exit.isFailure(exit))
          return String(Cause.squash(exit.cause))
        })
      assert.match(yield* defect({ order: ["json"] }), /the field json of the table .* is jsonb and has no order/)
      assert.match(yield* defect({ order: ["price"] }), /is numeric and has no order/)
      assert.match(yield* defect({ order: ['id"; drop table x'] }), /has no field/)
      assert.match(yield* defect({ where: [["id", "or 1 = 1", "a"]] }), /there is no condition/)
      assert.match(yield* defect({ limit: 0 }), /a page has 1 to 1000000 rows, not 0/)
    })
  )

  everywhere("is answered by the indexes", () =>
    Effect.gen(function* () {
      const Thing = yield* world
      const sql = yield* SqlClient.SqlClient
      const name = Thing.name.split(".").at(-1) ?? ""
      const plans: Array<string> = []
      const explained = new Proxy(sql, {
        get: (target, property) =>
          property === "unsafe"
            ? (text: string, parameters?: ReadonlyArray<unknown>) =>
                text.startsWith("select")
                  ? {
                      values: Effect.andThen(
                        Effect.map(
                          sql.unsafe(
                            `${sql.onDialectOrElse({ pg: () => "explain", orElse: () => "explain query plan" })} ${text}`,
                            parameters
                          ).values,
                          (rows) => void plans.push(rows.map((row) => row.join(" ")).join("\n"))
                        ),
                        target.unsafe(text, parameters).values
                      )
                    }
                  : target.unsafe(text, parameters)
            : Reflect.get(target, property)
      })
      const run = Effect.gen(function* () {
        const { cursor } = yield* Thing.page({ where: [["owner", "=", "A"]], order: ["owner", "amount"], limit: 5 })
        yield* Thing.page({
          where: [["owner", "=", "A"]],
          order: ["owner", "amount"],
          limit: 5,
          cursor: Option.getOrThrow(cursor)
        })
        yield* Thing.page({
          order: [
            ["owner", "desc"],
            ["amount", "desc"]
          ],
          limit: 5
        })
        yield* Thing.page({ where: [["at", ">=", DateTime.makeUnsafe("2030-01-03T00:00:00Z")]], order: ["at"], limit: 5 })
        yield* Thing.page({ order: ["id"], limit: 5 })
      }).pipe(Effect.provideService(SqlClient.SqlClient, explained))
      yield* sql.onDialectOrElse({
        // So few rows are read all, and sorted, otherwise.
        pg: () =>
          sql.withTransaction(
            Effect.andThen(
              Effect.forEach(["seqscan", "bitmapscan", "sort"], (way) => sql.unsafe(`set local enable_${way} = off`)),
              run
            )
          ),
        orElse: () => run
      })
      assert.equal(plans.length, 5)
      const [owner, next, backwards, at, id] = plans
      for (const plan of [owner, next, backwards]) assert.match(String(plan), new RegExp(`${name}_v1_owner_amount_id_`))
      assert.match(String(at), new RegExp(`${name}_v1_at_id_`))
      assert.match(String(id), /_pkey|autoindex/)
      for (const plan of [owner, next, backwards, at, id]) assert.doesNotMatch(String(plan), /\bSort\b|TEMP B-TREE/i)
    })
  )
})
