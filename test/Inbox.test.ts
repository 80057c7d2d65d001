import assert from "node:assert/strict"
import { describe, it } from "@effect/vitest"
import { DateTime, Deferred, Duration, Effect, Fiber, Layer, Option, Schedule, type Schema } from "effect"
import { SqlClient } from "effect/sql"
import { TestClock } from "effect/testing"
import { Consumer, DeadLetters, Event, Inbox, ParkedEvents, Snapshots, Transport } from "eventfold"
import { SqliteClient } from "eventfold/sqlite"
import { client, freshSchema, pgLiteOfFile } from "./postgres/support.ts"
import { parseJson, writeJson } from "../src/internal/exactJson.ts"
import { inBackground as inNoTransaction } from "../src/sql/transaction.ts"
import { logs } from "./support/logs.ts"
import { until } from "./support/words.ts"
import { declared, servers } from "./support/wirings.ts"
import { recordingSpans } from "./support/spans.ts"

const pgLite = pgLiteOfFile()

/** The databases. Each test has tables of its own. */
const databases: Readonly<Record<string, () => Layer.Layer<SqlClient.SqlClient, unknown>>> = {
  PostgreSQL: () => client(),
  PGlite: () => pgLite,
  SQLite: () => SqliteClient.layer({ filename: ":memory:" })
}
const table = (what: string) => `${what}_${freshSchema()}`

const inboxes = {
  memory: () => Inbox.layerMemory,
  ...Object.fromEntries(
    Object.entries(databases).map(([name, database]) => [
      name,
      () => Layer.suspend(() => Inbox.layerSqlWith({ table: table("inbox") }).pipe(Layer.provide(database())))
    ])
  )
}

for (const [name, inbox] of declared(inboxes)) {
  describe(`an inbox on ${name}`, () => {
    it.effect(
      "lets a message in once a group, if its effect succeeds",
      () =>
        Effect.gen(function* () {
          let runs = 0
          const run = Effect.sync(() => ++runs)
          assert.equal(yield* Effect.flip(Inbox.once("a", "1", Effect.fail("no"))), "no")
          assert.equal((yield* Effect.exit(Inbox.once("a", "1", Effect.die("broken"))))._tag, "Failure")
          assert.deepEqual(yield* Inbox.once("a", "1", run), Option.some(1))
          assert.deepEqual(yield* Inbox.once("a", "1", run), Option.none())
          assert.deepEqual(yield* Inbox.once("b", "1", run), Option.some(2))
          assert.deepEqual(yield* Inbox.once("a", "2'\" é\u0000", run), Option.some(3))
          assert.deepEqual(yield* Inbox.once("a", "2'\" é\u0000", run), Option.none())
        }).pipe(Effect.provide(inbox())),
      60_000
    )

    it.effect(
      "has one effect when two come with one message at once; the second goes on when the first one fails",
      () =>
        Effect.gen(function* () {
          for (const fails of [false, true]) {
            const id = `${fails}`
            const begun = yield* Deferred.make<void>()
            const go = yield* Deferred.make<void>()
            const first = yield* Effect.forkChild(
              Inbox.once(
                "g",
                id,
                Deferred.succeed(begun, undefined).pipe(
                  Effect.andThen(Deferred.await(go)),
                  Effect.andThen(fails ? Effect.fail("no") : Effect.succeed("first"))
                )
              ).pipe(Effect.exit)
            )
            yield* Deferred.await(begun)
            const second = yield* Effect.forkChild(Inbox.once("g", id, Effect.succeed("second")))
            yield* Effect.yieldNow
            yield* Deferred.succeed(go, undefined)
            assert.equal((yield* Fiber.join(first))._tag, fails ? "Failure" : "Success")
            assert.deepEqual(yield* Fiber.join(second), fails ? Option.some("second") : Option.none())
          }
        }).pipe(Effect.provide(inbox())),
      60_000
    )

    it.effect(
      "forgets after a week",
      () =>
        Effect.gen(function* () {
          yield* Inbox.once("g", "1", Effect.void)
          yield* TestClock.adjust(Duration.days(6))
          assert.deepEqual(yield* Inbox.once("g", "1", Effect.void), Option.none())
          yield* TestClock.adjust(Duration.days(2))
          yield* Inbox.once("g", "2", Effect.void)
          yield* until(Effect.map(Inbox.once("g", "1", Effect.void), Option.isSome))
        }).pipe(Effect.provide(inbox())),
      60_000
    )
  })
}

describe("an inbox in SQL", () => {
  for (const [name, database] of declared(databases)) {
    it.effect(
      `is one transaction with what the effect writes, on ${name}`,
      () =>
        Effect.gen(function* () {
          const sql = yield* SqlClient.SqlClient
          const notes = table("note")
          yield* sql`create table ${sql(notes)} (text text)`
          const note = sql`insert into ${sql(notes)} (text) values ('x')`
          const count = Effect.map(sql`select text from ${sql(notes)}`, (rows) => rows.length)
          const inbox = Inbox.layerSqlWith({ table: table("inbox") })
          yield* Effect.gen(function* () {
            yield* Effect.flip(Inbox.once("g", "1", Effect.andThen(note, Effect.fail("no"))))
            assert.equal(yield* count, 0)
            yield* Inbox.once("g", "1", note)
            yield* Inbox.once("g", "1", note)
            assert.equal(yield* count, 1)
            const failed = yield* Effect.flip(Inbox.once("g", "2", sql`insert into nowhere values (1)`))
            assert.equal(failed._tag, "SqlError", "a failure of the effect stays what it is")
          }).pipe(Effect.provide(inbox))
          const bad = yield* Effect.flip(Effect.scoped(Layer.build(Inbox.layerSqlWith({ table: "in;box" }))))
          assert.equal(bad._tag, "InboxError")
        }).pipe(Effect.provide(database())),
      60_000
    )

    it.effect(
      `deletes what is old by pages, and keeps what is not, on ${name}`,
      () =>
        Effect.gen(function* () {
          const sql = yield* SqlClient.SqlClient
          const name = table("inbox")
          const options = { table: name, keep: "1 day" } as const
          yield* Effect.scoped(Layer.build(Inbox.layerSqlWith(options)))
          yield* TestClock.adjust("2 days")
          const rows = Array.from({ length: 2500 }, (_, n) => `('g', '${n}', ${n < 2400 ? n : Duration.toMillis("36 hours")})`)
          yield* sql.unsafe(`insert into ${name} (consumer_group, id, handled_at) values ${rows.join(", ")}`)
          const { spans, tracer } = recordingSpans()
          const left = Effect.map(sql<{ n: number }>`select cast(count(*) as integer) as n from ${sql(name)}`, ([row]) => row?.n)
          yield* Effect.gen(function* () {
            assert.deepEqual(yield* Inbox.once("g", "new", Effect.void), Option.some(undefined))
            yield* until(Effect.map(left, (n) => n === 101))
          }).pipe(Effect.provide(Inbox.layerSqlWith(options)), Effect.withTracer(tracer))
          const statements = spans.map(({ attributes }) => String(attributes.get("db.query.text")))
          assert.equal(statements.filter((text) => text.startsWith("delete")).length, 3)
        }).pipe(Effect.provide(database())),
      60_000
    )

    it.effect(
      `and the other tables beside the events may be called by any word, on ${name}`,
      () =>
        Effect.gen(function* () {
          const sql = yield* SqlClient.SqlClient
          const schema = freshSchema()
          const isPostgres = sql.onDialectOrElse({ pg: () => true, orElse: () => false })
          if (isPostgres) yield* sql.unsafe(`create schema ${schema}`)
          const inSchema = (word: string) => (isPostgres ? `${schema}.${word}` : word)
          // As 0.1.0 made it, which did not quote it.
          yield* sql.unsafe(
            `create table ${inSchema("Inbox")} (consumer_group text, id text, handled_at double precision, primary key (consumer_group, id))`
          )
          yield* sql.unsafe(`insert into ${inSchema("Inbox")} values ('g', 'old', 9e15)`)
          const once = (table: string, id: string) =>
            Effect.provide(Inbox.once("g", id, Effect.void), Inbox.layerSqlWith({ table: inSchema(table) }))
          assert.deepEqual(yield* once("Inbox", "old"), Option.none())
          assert.deepEqual(yield* once("Inbox", "new"), Option.some(undefined))
          assert.deepEqual(yield* once("order", "1"), Option.some(undefined))
          assert.deepEqual(yield* once("Order", "1"), Option.none())
          const lists = Effect.all([
            ParkedEvents.ParkedEvents.use(({ list }) => list("s")),
            DeadLetters.DeadLetters.use(({ list }) => list("g")),
            Snapshots.Snapshots.use(({ load }) => load("s", "f"))
          ])
          assert.deepEqual(
            yield* Effect.provide(lists, [
              ParkedEvents.layerSqlWith({ table: inSchema("group") }),
              DeadLetters.layerSqlWith({ table: inSchema("Select") }),
              Snapshots.layerSqlWith({ table: inSchema("user") })
            ]),
            [[], [], Option.none()]
          )
          const long = "x".repeat(64)
          const layers: ReadonlyArray<Layer.Layer<never, { readonly message: string }, SqlClient.SqlClient>> = [
            Inbox.layerSqlWith({ table: long }),
            ParkedEvents.layerSqlWith({ table: long }),
            DeadLetters.layerSqlWith({ table: long }),
            Snapshots.layerSqlWith({ table: long })
          ]
          for (const layer of layers) {
            const error = yield* Effect.flip(Effect.scoped(Layer.build(layer)))
            assert.ok(error.message.includes(long) && error.message.includes("PostgreSQL"), error.message)
          }
        }).pipe(Effect.provide(database())),
      60_000
    )
  }
})

servers.it.effect("no message waits for what is old to be deleted", () =>
  Effect.gen(function* () {
    const sql = yield* SqlClient.SqlClient
    const name = table("inbox")
    const options = { table: name, keep: "1 day" } as const
    yield* Effect.scoped(Layer.build(Inbox.layerSqlWith(options)))
    yield* TestClock.adjust("2 days")
    yield* sql`insert into ${sql(name)} (consumer_group, id, handled_at) values ('g', 'old', 0)`
    const left = Effect.map(sql`select 1 from ${sql(name)}`, (rows) => rows.length)
    yield* Effect.gen(function* () {
      yield* sql.withTransaction(
        Effect.gen(function* () {
          yield* sql`select 1 from ${sql(name)} where id = 'old' for update`
          const other = Inbox.once("g", "new", Effect.void)
          assert.deepEqual(yield* inNoTransaction(sql)(other), Option.some(undefined))
        })
      )
      yield* until(Effect.map(left, (n) => n === 1))
    }).pipe(Effect.provide(Inbox.layerSqlWith(options)))
  }).pipe(Effect.provide(client()))
)

describe("what the database refuses to commit is a failure of the message, and not of the inbox", () => {
  const Placed = Event.make("Placed", {}, { published: true })

  /** Handles a message through an inbox, twice at most. What became of it: its tries, and its dead letter. */
  const consumed = Effect.fnUntraced(function* (work: (notes: string) => Effect.Effect<unknown, unknown, SqlClient.SqlClient>) {
    const sql = yield* SqlClient.SqlClient
    const notes = table("note")
    // Connections are had before time goes by in leaps.
    yield* Effect.all(
      Array.from({ length: 8 }, () => sql`select 1`),
      { concurrency: "unbounded" }
    )
    yield* sql`create table ${sql(notes)} (n integer primary key, next integer references ${sql(notes)} (n) deferrable initially deferred)`
    let tries = 0
    const letters = yield* DeadLetters.DeadLetters
    yield* Layer.build(
      Consumer.layer(
        [Placed],
        { Placed: () => Effect.suspend(() => (tries++, work(notes))) },
        { group: "g", inbox: true, maxAttempts: 2, retry: Schedule.forever }
      ).pipe(Layer.provide(Inbox.layerSqlWith({ table: table("inbox") })))
    )
    yield* Transport.publish([{ ...message("1"), data: {}, schemaversion: 1 }])
    let parked: ReadonlyArray<DeadLetters.DeadLetter> = []
    while (parked.length === 0 && tries < 5) {
      yield* TestClock.adjust("1 second")
      parked = yield* letters.list("g")
    }
    assert.deepEqual(yield* sql`select n from ${sql(notes)}`, [])
    return { tries, causes: parked.map(({ cause }) => cause) }
  })

  for (const [name, database] of declared(databases)) {
    const services = () => Layer.mergeAll(Transport.layerMemory, DeadLetters.layerMemory, database())

    it.effect(
      `a constraint that is checked at the end, on ${name}`,
      () =>
        Effect.gen(function* () {
          logs(/is a dead letter/)
          const sql = yield* SqlClient.SqlClient
          const { causes, tries } = yield* consumed((notes) => sql`insert into ${sql(notes)} (n, next) values (1, 2)`)
          assert.equal(tries, 2)
          assert.match(causes.join(), /foreign key/i)
        }).pipe(Effect.scoped, Effect.provide(services())),
      60_000
    )
  }

  servers.it.effect("a statement that failed on PostgreSQL, whatever the handler made of it", () =>
    Effect.gen(function* () {
      logs(/is a dead letter/)
      const sql = yield* SqlClient.SqlClient
      const { causes, tries } = yield* consumed((notes) =>
        Effect.andThen(
          sql`insert into ${sql(notes)} (n) values (1)`,
          Effect.ignore(sql`insert into ${sql(notes)} (n) values (1)`)
        )
      )
      assert.equal(tries, 2)
      assert.match(causes.join(), /aborted transaction/)
    }).pipe(Effect.scoped, Effect.provide(Layer.mergeAll(Transport.layerMemory, DeadLetters.layerMemory, client())))
  )
})

const message = (id: string): Transport.Message => ({
  specversion: "1.0",
  id,
  source: "/shop",
  type: "Placed",
  subject: "Order-1",
  time: DateTime.makeUnsafe("2026-01-01T00:00:00.123Z"),
  datacontenttype: "application/json",
  data: { text: "\u0000 é 😀", list: [1, null] },
  schemaversion: 2,
  correlationid: "c",
  position: 2 ** 40
})

const stores = {
  memory: () => DeadLetters.layerMemory,
  ...Object.fromEntries(
    Object.entries(databases).map(([name, database]) => [
      name,
      () => Layer.suspend(() => DeadLetters.layerSqlWith({ table: table("letter") }).pipe(Layer.provide(database())))
    ])
  )
}

for (const [name, store] of declared(stores)) {
  it.effect(
    `dead letters on ${name} come back as they were parked, by group and id`,
    () =>
      Effect.gen(function* () {
        const { discard, get, list, park } = yield* DeadLetters.DeadLetters
        const letter = (group: string, id: string, more: Partial<DeadLetters.DeadLetter> = {}): DeadLetters.DeadLetter => ({
          group,
          message: message(id),
          cause: "no\u0041dress 😀",
          attempts: 5,
          parkedAt: DateTime.makeUnsafe("2030-01-01T00:00:00.456Z"),
          ...more
        })
        for (const id of ["b", "c", "a"]) yield* park(letter("g", id))
        yield* park(letter("other", "a"))
        assert.deepEqual(yield* list("g"), [letter("g", "a"), letter("g", "b"), letter("g", "c")])
        assert.deepEqual(yield* list("g", { after: "a", limit: 1 }), [letter("g", "b")])
        yield* park(letter("g", "b", { cause: "again", attempts: 6 }))
        assert.deepEqual(yield* get("g", "b"), Option.some(letter("g", "b", { cause: "again", attempts: 6 })))
        assert.deepEqual(yield* get("nobody", "b"), Option.none())
        assert.equal(yield* discard("g", "b"), true)
        assert.equal(yield* discard("g", "b"), false)
        assert.deepEqual(yield* list("other"), [letter("other", "a")])
        assert.deepEqual(
          (yield* list("g")).map(({ message }) => message.id),
          ["a", "c"]
        )
        // No digit is lost.
        const data = parseJson(`{"a":[9007199254740993,0.12345678901234567891,-0]}`) as Schema.Json
        yield* park(letter("digits", "d", { message: { ...message("d"), data } }))
        const [kept] = yield* list("digits")
        assert.equal(writeJson(kept?.message.data), writeJson(data))
      }).pipe(Effect.provide(store())),
    60_000
  )
}
