/** Handlers of a batch, whose rows are kept in memory meanwhile, leave what handlers leave whose events come one by one. */
import assert from "node:assert/strict"
import { describe } from "@effect/vitest"
import { BigDecimal, Data, Effect, Layer, Option, Schedule, Schema, Stream } from "effect"
import { SqlClient, Statement } from "effect/sql"
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
  const unusual = (): Step => {
    switch (random(8)) {
      case 0:
      case 1:
        return [oneOf(["count", "list", "page", "sum"] as const), key()]
      case 2:
        return ["raw", random(5)]
      case 3:
      case 4:
        return ["nested", numbers(1 + random(3)).map(step), random(2) === 0]
      case 5:
        return mailed()
      case 6:
        return ["json", key(), json()]
      default:
        return ["price", key(), oneOf(["1.50", "0", "-0.0", "100000", "12e3", "1e-9"])]
    }
  }
  const mailed = (): Step => {
    const own = key()
    return random(3) === 0 ? ["swap", own, key()] : ["mail", own, random(4) === 0 ? null : `${own}@${random(2)}`]
  }
  /** What fails, or may fail. */
  const failing = (): Step => {
    switch (random(5)) {
      case 0:
        return ["mail", key(), `${key()}@${random(2)}`]
      case 1:
        return ["tolerant", key(), `${key()}@${random(2)}`]
      case 2:
        return ["long", key(), oneOf([100, 700, 9000])]
      case 3:
        return ["bad", key()]
      default:
        return ["fail"]
    }
  }
  const step = (): Step => (random(60) === 0 ? failing() : random(3) === 0 ? unusual() : usual())
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
        assert.deepEqual(yield* outcome("Together", oneOf([5, 20, 200])), alone)
      })
    )
  }
})

// -----------------------------------------------------------------------------
// one thing after the other
// -----------------------------------------------------------------------------

const Happened = Event.make("Happened", { to: Schema.String, n: Schema.Int })

/** What statements do, and to which table, as they reach the database. */
const heard = (
  table: string,
  onStatement: (text: string, parameters: ReadonlyArray<unknown>) => string | undefined = () => undefined
) => {
  const texts: Array<string> = []
  const transformer: Statement.Transformer = (statement, sql) =>
    Effect.sync(() => {
      const [text, parameters] = statement.compile()
      if (!text.includes(table)) return statement
      texts.push(text.trim().slice(0, 6))
      const instead = onStatement(text, parameters)
      return instead === undefined ? statement : sql.unsafe(instead)
    })
  return {
    count: (kind: string) => texts.filter((text) => text === kind).length,
    hears: Effect.provideService(Statement.CurrentTransformer, transformer)
  }
}

type Item = ReturnType<typeof makeTables>["Item"]
type Mail = ReturnType<typeof makeTables>["Mail"]
type Happening = Projection.Envelope<(typeof Happened)["Type"]>

/** Appends events, runs a projection until it has handled them, in one batch unless something fails, and tells what was parked. */
const handle = Effect.fnUntraced(function* (
  count: number,
  make: (tables: {
    readonly Item: Item
    readonly Mail: Mail
  }) => (envelope: Happening) => Effect.Effect<unknown, unknown, SqlClient.SqlClient | Projection.Run>,
  before: (tables: { readonly Item: Item; readonly Mail: Mail }) => Effect.Effect<unknown, unknown, SqlClient.SqlClient> = () =>
    Effect.void
) {
  const tables = makeTables(yield* Prefix)
  const handler = make(tables)
  const projection = Projection.make("Happenings", {
    version: 1,
    tables: [tables.Item, tables.Mail],
    events: [Happened],
    handlers: { Happened: (_, envelope) => handler(envelope) }
  })
  for (const n of numbers(count)) {
    yield* EventStore.append(`Thing-${n}`, [{ type: "Happened", payload: { to: `to ${n}`, n } }])
  }
  yield* Projection.prepare(projection)
  yield* before(tables)
  return yield* Effect.gen(function* () {
    const parked = yield* ParkedEvents.ParkedEvents
    yield* Layer.build(Projection.layer(projection, { onFailure: "park", retry: Schedule.recurs(0) }))
    yield* Projection.whenCaughtUp(projection, { timeout: "20 seconds" })
    const list = yield* parked.list(projection.subscription)
    return { ...tables, parked: list.map(({ position }) => position) }
  }).pipe(Effect.scoped, Effect.provide(ParkedEvents.layerMemory))
})

const item = (id: string, amount: number) => ({ id, amount, note: null, json: null, price: BigDecimal.fromNumberUnsafe(0) })

const keys: Readonly<Record<string, (envelope: Happening) => string>> = {
  "its stream": ({ stream }) => stream,
  "what comes behind the category": ({ stream }) => stream.slice("Thing-".length),
  "what stands in the event": ({ event }) => event.to
}

describe("rows that are kept", () => {
  for (const [what, key] of Object.entries(keys)) {
    everywhere(`are read ahead where the key is ${what}, and written once`, () =>
      Effect.gen(function* () {
        const { count, hears } = heard("item_v1")
        const { Item } = yield* hears(
          handle(
            400,
            ({ Item }) =>
              (envelope) =>
                Effect.flatMap(Item.get(key(envelope)), (row) =>
                  Item.upsert(item(key(envelope), Option.match(row, { onNone: () => 0, onSome: ({ amount }) => amount }) + 1))
                )
          )
        )
        assert.equal(yield* Item.count({ where: [["amount", "=", 1]] }), 400)
        assert.ok(count("select") < 12, `${count("select")} reads`)
        assert.ok(count("insert") < 5, `${count("insert")} writes`)
      })
    )
  }

  everywhere("are seen by SQL of one's own, whatever it is sent with", () =>
    Effect.gen(function* () {
      const totals: Array<number> = []
      yield* handle(
        5,
        ({ Item }) =>
          ({ event: { n }, stream }) =>
            Effect.gen(function* () {
              const sql = yield* SqlClient.SqlClient
              yield* Item.upsert(item(stream, n))
              const total = sql`select sum(amount) as total from ${yield* Item.identifier}`
              const ways = [total, total.withoutTransform, total.unprepared, Stream.runCollect(total.stream)]
              const rows = yield* ways[n % ways.length] as (typeof ways)[number]
              totals.push(Number(rows[0]?.["total"]))
            }).pipe(Effect.provideService(Statement.CurrentTransformer, Effect.succeed))
      )
      assert.deepEqual(totals, [1, 3, 6, 10, 15])
    })
  )

  everywhere("are read again behind SQL of one's own", () =>
    Effect.gen(function* () {
      const seen: Array<number> = []
      yield* handle(
        6,
        ({ Item }) =>
          () =>
            Effect.gen(function* () {
              const sql = yield* SqlClient.SqlClient
              const row = Option.getOrElse(yield* Item.get("a"), () => item("a", 1))
              seen.push(row.amount)
              yield* Item.upsert(row)
              yield* sql`update ${yield* Item.identifier} set amount = amount * 2`
            })
      )
      assert.deepEqual(seen, [1, 2, 4, 8, 16, 32])
    })
  )

  everywhere("are in lists, pages and counts", () =>
    Effect.gen(function* () {
      const seen: Array<ReadonlyArray<number>> = []
      yield* handle(
        4,
        ({ Item }) =>
          ({ event: { n }, stream }) =>
            Effect.gen(function* () {
              yield* Item.upsert(item(stream, n))
              const { rows } = yield* Item.page({ order: [["amount", "desc"]] })
              seen.push([(yield* Item.list()).length, rows[0]?.amount ?? 0, yield* Item.count()])
            })
      )
      assert.deepEqual(seen, [
        [1, 1, 1],
        [2, 2, 2],
        [3, 3, 3],
        [4, 4, 4]
      ])
    })
  )

  everywhere("go back with the transaction inside a handler that wrote them", () =>
    Effect.gen(function* () {
      const seen: Array<unknown> = []
      const { Item } = yield* handle(
        3,
        ({ Item }) =>
          ({ event: { n } }) =>
            Effect.gen(function* () {
              const sql = yield* SqlClient.SqlClient
              yield* Item.patch("a", ({ amount }) => ({ amount: amount + 1 }))
              if (n === 1) yield* Item.upsert(item("a", 1))
              const undone = Effect.andThen(Item.upsert(item("a", 100), item(`b${n}`, n)), Effect.fail("undone" as const))
              yield* Effect.catchCause(sql.withTransaction(undone), () => Effect.void)
              yield* sql.withTransaction(Item.upsert(item(`c${n}`, n)))
              seen.push(Option.map(yield* Item.get("a"), ({ amount }) => amount))
            })
      )
      assert.deepEqual(seen, [1, 2, 3].map(Option.some))
      assert.deepEqual(
        (yield* Item.list()).map(({ amount, id }) => [id, amount]),
        [
          ["a", 3],
          ["c1", 1],
          ["c2", 2],
          ["c3", 3]
        ]
      )
    })
  )

  everywhere("meet the rules of their table in the order of the events", () =>
    Effect.gen(function* () {
      logs(/has parked the event at position 2 /)
      const { Mail, parked } = yield* handle(
        4,
        ({ Mail }) =>
          ({ event: { n } }) =>
            n === 3 ? Mail.delete("1") : Mail.upsert({ id: String(n), mail: n === 4 ? "bob@x" : "ada@x" })
      )
      assert.deepEqual(parked, [2])
      assert.deepEqual(yield* Mail.list(), [{ id: "4", mail: "bob@x" }])
    })
  )

  everywhere("may swap what is unique", () =>
    Effect.gen(function* () {
      const { Mail, parked } = yield* handle(4, ({ Mail }) => ({ event: { n } }) => {
        if (n <= 2) return Mail.upsert({ id: String(n), mail: `${n}@x` })
        if (n === 3) return Mail.upsert({ id: "1", mail: null })
        return Effect.andThen(
          Mail.upsert({ id: "2", mail: "1@x" }),
          Mail.patch("1", () => ({ mail: "2@x" }))
        )
      })
      assert.deepEqual(parked, [])
      assert.deepEqual(yield* Mail.list(), [
        { id: "1", mail: "2@x" },
        { id: "2", mail: "1@x" }
      ])
    })
  )

  everywhere("meet what was added to their table by hand, each time that they are written", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const prefix = yield* Prefix
      const [table, log] = [`${prefix}item_v1`, `${prefix}item_log`]
      const trigger = sql.onDialectOrElse({
        pg: () => [
          `create function ${prefix}noted() returns trigger language plpgsql as
            $$ begin insert into ${log} values (new.amount); return new; end $$`,
          `create trigger noted after insert or update on ${table} for each row execute function ${prefix}noted()`
        ],
        orElse: () =>
          ["insert", "update"].map(
            (kind) => `create trigger noted_${kind} after ${kind} on ${table} begin insert into ${log} values (new.amount); end`
          )
      })
      yield* handle(
        3,
        ({ Item }) =>
          ({ event: { n } }) =>
            Item.upsert(item("a", n)),
        () => Effect.forEach([`create table ${log} (amount integer)`, ...trigger], (text) => sql.unsafe(text).raw)
      )
      assert.deepEqual((yield* sql.unsafe(`select amount from ${log} order by amount`).values).flat().map(Number), [1, 2, 3])
    })
  )

  everywhere("begin anew with what was added to their table by hand when they were deleted", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const table = `${yield* Prefix}item_v1`
      yield* handle(
        4,
        ({ Item }) =>
          ({ event: { n } }) =>
            Effect.gen(function* () {
              if (n === 2) yield* sql.unsafe(`update ${table} set mark = 'old'`)
              if (n === 3) yield* Item.delete("a")
              else yield* Item.upsert(item("a", n))
            }),
        () => sql.unsafe(`alter table ${table} add column mark text default 'new'`)
      )
      assert.deepEqual(
        yield* sql.unsafe(`select id, amount, mark from ${table}`).values.pipe(Effect.map((rows) => rows.flat().map(String))),
        ["a", "4", "new"]
      )
    })
  )

  everywhere("are handled one by one where the database refuses them together, and the fault is that of its event", () =>
    Effect.gen(function* () {
      logs(/has parked the event at position 3 /)
      const { hears } = heard("item_v1", (text, [rows]) =>
        text.startsWith("insert") && String(rows).includes("refused") ? "select 1 from there_is_no_such_table" : undefined
      )
      const { Item, parked } = yield* hears(
        handle(
          5,
          ({ Item }) =>
            ({ event: { n } }) =>
              // What a handler makes of it is its own affair; the rows are not.
              Effect.ignore(
                Effect.andThen(
                  Item.upsert({ ...item(String(n), n), note: n === 3 ? "refused" : null }),
                  n === 3 ? Effect.void : Item.count()
                )
              ).pipe(Effect.andThen(n === 3 ? Item.upsert({ ...item("3", n), note: "refused" }) : Effect.void))
        )
      )
      assert.deepEqual(parked, [3])
      assert.deepEqual(
        (yield* Item.list()).map(({ id }) => id),
        ["1", "2", "4", "5"]
      )
    })
  )

  everywhere("leave what is to be done after the commit until then", () =>
    Effect.gen(function* () {
      logs(/has parked the event at position 2 /)
      const done: Array<number> = []
      yield* handle(
        3,
        ({ Item }) =>
          ({ event: { n }, stream }) =>
            Effect.gen(function* () {
              const sql = yield* SqlClient.SqlClient
              yield* Item.upsert(item(stream, n))
              yield* sql.afterCommit(Effect.sync(() => void done.push(n)))
              if (n === 2) return yield* Effect.fail("no")
            })
      )
      assert.deepEqual(done, [1, 3])
    })
  )

  everywhere("are not more than memory holds", () =>
    Effect.gen(function* () {
      const { count, hears } = heard("item_v1")
      const { Item } = yield* hears(
        handle(
          13,
          ({ Item }) =>
            ({ event: { n } }) =>
              Item.upsert(...numbers(1000).map((k) => item(`${n}/${k}`, k)))
        )
      )
      assert.equal(yield* Item.count(), 13_000)
      assert.equal(count("insert"), 2)
    })
  )
})
