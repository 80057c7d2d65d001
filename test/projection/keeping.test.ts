/** Handlers of a batch, whose rows are kept in memory meanwhile, leave what handlers leave whose events come one by one. */
import assert from "node:assert/strict"
import { describe } from "@effect/vitest"
import { BigDecimal, Data, Effect, Layer, Option, Schedule, Schema, Stream } from "effect"
import { SqlClient } from "effect/sql"
import { Event, EventStore, ParkedEvents, Projection } from "eventfold"
import { logs } from "../support/logs.ts"
import { numbers } from "../support/words.ts"
import { makeEverywhere, Prefix } from "./everywhere.ts"

const everywhere = makeEverywhere()

// -----------------------------------------------------------------------------
// what handlers do, as it is drawn
// -----------------------------------------------------------------------------

type Step =
  | readonly ["add" | "patch" | "set", key: string, amount: number]
  | readonly ["delete" | "count" | "list" | "page" | "sum" | "bad" | "readd", key: string]
  | readonly ["fold", keys: ReadonlyArray<string>, amount: number]
  | readonly ["raw", amount: number]
  | readonly ["nested", steps: ReadonlyArray<Step>, fails: boolean]
  | readonly ["mail" | "tolerant", key: string, mail: string | null]
  | readonly ["swap", one: string, other: string]
  | readonly ["json", key: string, json: Schema.Json]
  | readonly ["price", key: string, price: string]
  | readonly ["long", key: string, length: number]
  | readonly ["fail"]

const Did = Event.make("Did", { steps: Schema.Json, about: Schema.String })
const Other = Event.make("Other", { inside: Schema.Struct({ keys: Schema.Array(Schema.String) }), amount: Schema.Int })

class Stop extends Data.TaggedError("Stop") {}

const makeTables = (prefix: string) => ({
  Item: Projection.table(`${prefix}item`, {
    key: "id",
    fields: {
      id: Schema.String,
      amount: Schema.Int,
      note: Schema.NullOr(Schema.String),
      weight: Schema.optionalKey(Schema.Finite),
      json: Schema.Json,
      price: Schema.BigDecimal
    },
    indexes: [["note"]]
  }),
  Mail: Projection.table(`${prefix}mail`, {
    key: "id",
    fields: { id: Schema.String, mail: Schema.NullOr(Schema.String) },
    indexes: [{ on: ["mail"], unique: true }]
  })
})

const define = (name: string, { Item, Mail }: ReturnType<typeof makeTables>) => {
  type Row = Projection.Row<typeof Item.fields>
  const blank = (id: string): Row => ({ id, amount: 0, note: null, json: null, price: BigDecimal.fromNumberUnsafe(0) })
  const rowOf = (id: string) =>
    Effect.map(
      Item.get(id),
      Option.getOrElse(() => blank(id))
    )
  const change = (id: string, by: (row: Row) => Partial<Row>) =>
    Effect.flatMap(rowOf(id), (row) => Item.upsert({ ...row, ...by(row) }))
  const noting = <A, E, R>(id: string, found: Effect.Effect<A, E, R>) =>
    Effect.flatMap(found, (found) => change(id, () => ({ note: JSON.stringify(found) })))

  const carryOut = (step: Step): Effect.Effect<unknown, unknown, SqlClient.SqlClient | Projection.Run> => {
    switch (step[0]) {
      case "add":
        return change(step[1], ({ amount, weight = 0 }) => ({ amount: amount + step[2], weight: weight / 3 + step[2] }))
      case "patch":
        return Item.patch(step[1], ({ amount }) => ({ amount: 2 * amount + step[2], weight: -0 }))
      case "set":
        return Item.upsert({ ...blank(step[1]), amount: step[2] })
      case "delete":
        return Item.delete(step[1], `${step[1]}?`)
      case "readd":
        return Effect.andThen(Item.delete(step[1]), Item.upsert({ ...blank(step[1]), amount: 5 }))
      case "fold":
        return Item.fold([...step[1], ...step[1]], {
          key: (key) => key,
          evolve: (row, key) =>
            row !== undefined && row.amount > 40 ? undefined : { ...(row ?? blank(key)), amount: (row?.amount ?? 0) + step[2] }
        })
      case "count":
        return noting(step[1], Item.count({ where: [["amount", ">", 3]] }))
      case "list":
        return noting(
          step[1],
          Effect.map(Item.list({ limit: 5 }), (rows) => rows.map(({ amount, id }) => [id, amount]))
        )
      case "page":
        return noting(
          step[1],
          Effect.map(Stream.runCollect(Item.stream({ order: [["amount", "desc"]], pageSize: 3 })), (rows) =>
            rows.map(({ id }) => id)
          )
        )
      case "sum":
        return noting(
          step[1],
          Effect.gen(function* () {
            const sql = yield* SqlClient.SqlClient
            const rows = yield* sql`select sum(amount) as total, count(*) as rows from ${yield* Item.identifier}`.values
            return rows.flat().map(Number)
          })
        )
      case "raw":
        return Effect.gen(function* () {
          const sql = yield* SqlClient.SqlClient
          yield* sql`update ${yield* Item.identifier} set amount = amount + ${step[1]} where amount % 3 = 0`.raw
        })
      case "nested":
        return Effect.gen(function* () {
          const sql = yield* SqlClient.SqlClient
          const steps = Effect.forEach(step[1], carryOut, { discard: true })
          yield* Effect.catchTag(
            sql.withTransaction(step[2] ? Effect.andThen(steps, new Stop()) : steps),
            "Stop" as never,
            () => Effect.void
          )
        })
      case "mail":
        return Mail.upsert({ id: step[1], mail: step[2] })
      case "tolerant":
        return Effect.ignore(Mail.upsert({ id: step[1], mail: step[2] }))
      case "swap":
        return Effect.gen(function* () {
          const [one, other] = yield* Effect.all([Mail.get(step[1]), Mail.get(step[2])])
          if (Option.isNone(one) || Option.isNone(other) || step[1] === step[2]) return
          yield* Mail.upsert({ ...one.value, mail: null })
          yield* Mail.upsert({ ...other.value, mail: one.value.mail })
          yield* Mail.upsert({ ...one.value, mail: other.value.mail })
        })
      case "json":
        return Effect.andThen(
          change(step[1], () => ({ json: step[2] })),
          noting(
            step[1],
            Effect.map(rowOf(step[1]), ({ json }) => json)
          )
        )
      case "price":
        return Effect.andThen(
          change(step[1], () => ({ price: BigDecimal.fromStringUnsafe(step[2]) })),
          noting(
            step[1],
            Effect.map(rowOf(step[1]), ({ price }) => [String(price.value), price.scale])
          )
        )
      case "long":
        return Effect.andThen(
          change(step[1], () => ({ note: words(step[2]) })),
          change(step[1], () => ({ note: null }))
        )
      case "bad":
        return Item.upsert({ ...blank(step[1]), note: "\u0000" })
      case "fail":
        return Effect.fail(new Stop())
    }
  }
  return Projection.make(name, {
    version: 1,
    tables: [Item, Mail],
    events: [Did, Other],
    handlers: {
      Did: ({ steps }) => Effect.forEach(steps as unknown as ReadonlyArray<Step>, carryOut, { discard: true }),
      Other: ({ amount, inside }, { stream }) =>
        Effect.andThen(
          carryOut(["fold", inside.keys, amount]),
          change(stream, (row) => ({ amount: row.amount + 1 }))
        )
    }
  })
}

/** Text that no database makes shorter. */
const words = (length: number) => {
  let text = ""
  for (let n = length; text.length < length; n = Math.imul(n, 1664525) + 1013904223) text += (n >>> 0).toString(36)
  return text.slice(0, length)
}

// -----------------------------------------------------------------------------
// drawing
// -----------------------------------------------------------------------------

const makeDraw = (seed: number) => {
  const random = (below: number) => {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0
    return Math.floor((seed / 2 ** 32) * below)
  }
  const oneOf = <A>(all: ReadonlyArray<A>): A => all[random(all.length)] as A
  const key = () => oneOf(["a", "b", "c", "Thing-1", "Thing-2", "é", "", "'"])
  const mail = () => oneOf(["x", "y", "z", null])
  const json = (): Schema.Json =>
    oneOf<Schema.Json>([
      null,
      1.5,
      1e21,
      -0,
      "x",
      [],
      { b: 1, aa: { z: 1, ä: 2, a: 3 }, a: [{ d: 1, c: 2 }] },
      { 2: 1, 10: 2, "-1": 3 },
      1e-7
    ])
  const usual = (): Step => {
    switch (random(9)) {
      case 0:
        return ["patch", key(), random(9)]
      case 1:
        return ["set", key(), random(9)]
      case 2:
        return ["delete", key()]
      case 3:
        return ["fold", [key(), key()], random(20)]
      case 4:
        return ["readd", key()]
      default:
        return ["add", key(), random(9) - 3]
    }
  }
  const rare = (): Step => {
    switch (random(13)) {
      case 0:
        return [oneOf(["count", "list", "page", "sum"] as const), key()]
      case 1:
        return ["raw", random(5)]
      case 2:
      case 3:
        return ["nested", numbers(1 + random(3)).map(step), random(2) === 0]
      case 4:
        return ["mail", key(), mail()]
      case 5:
        return ["swap", key(), key()]
      case 6:
        return ["json", key(), json()]
      case 7:
        return ["price", key(), oneOf(["1.50", "0", "-0.0", "100000", "12e3", "1e-9"])]
      case 8:
        return ["tolerant", key(), mail()]
      case 9:
        return random(4) === 0 ? ["long", key(), oneOf([100, 700, 9000])] : usual()
      case 10:
        return random(4) === 0 ? ["bad", key()] : usual()
      case 11:
        return random(4) === 0 ? ["fail"] : usual()
      default:
        return usual()
    }
  }
  const step = (): Step => (random(6) === 0 ? rare() : usual())
  const event = (): EventStore.NewEvent =>
    random(4) === 0
      ? { type: "Other", payload: { inside: { keys: numbers(random(3)).map(key) }, amount: random(9) } }
      : { type: "Did", payload: { steps: numbers(1 + random(3)).map(step) as unknown as Schema.Json, about: key() } }
  return { random, oneOf, event }
}

/** Runs a projection to the end of the log, and tells what it leaves. */
const outcome = Effect.fnUntraced(function* (name: string, batch: number) {
  const { Item, Mail } = makeTables(`${yield* Prefix}${name.toLowerCase()}_`)
  const projection = define(name, { Item, Mail })
  return yield* Effect.gen(function* () {
    const parked = yield* ParkedEvents.ParkedEvents
    yield* Layer.build(Projection.layer(projection, { batch, onFailure: "park", retry: Schedule.recurs(0) }))
    yield* Projection.whenCaughtUp(projection, { timeout: "25 seconds" })
    return {
      items: yield* Item.list(),
      mails: yield* Mail.list(),
      parked: (yield* parked.list(projection.subscription)).map(({ position }) => position)
    }
  }).pipe(Effect.scoped, Effect.provide(ParkedEvents.layerMemory))
})

describe("handlers of a batch", () => {
  for (const seed of numbers(6)) {
    everywhere(`leave what they leave one by one, whatever they do (${seed})`, () =>
      Effect.gen(function* () {
        logs(/has parked the event/)
        const { event, oneOf, random } = makeDraw(seed * 7919)
        for (const _ of numbers(60)) {
          yield* EventStore.append(oneOf(["Thing-1", "Thing-2"]), numbers(1 + random(3)).map(event))
        }
        yield* EventStore.append("Thing-1", [{ type: "Did", payload: { steps: [["set", "a", 1], ["fail"]], about: "" } }])
        const alone = yield* outcome("Alone", 1)
        assert.deepEqual(yield* outcome("Together", oneOf([3, 10, 40, 200])), alone)
      })
    )
  }
})
