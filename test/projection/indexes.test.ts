import assert from "node:assert/strict"
import { describe, it } from "@effect/vitest"
import { Effect, Schema, Schedule, Stream } from "effect"
import { SqlClient } from "effect/sql"
import { isSqlError } from "effect/sql/SqlError"
import { Event, EventStore, ParkedEvents, Projection, UnitOfWork } from "eventfold"
import { logs } from "../support/logs.ts"
import { start } from "../support/words.ts"
import { makeEverywhere, Prefix } from "./everywhere.ts"

const everywhere = makeEverywhere()
const Joined = Event.make("Joined", { mail: Schema.NullOr(Schema.String) })
const joined = (mail: string | null): EventStore.NewEvent => ({ type: "Joined", payload: { mail } })
const fields = {
  id: Schema.String,
  mail: Schema.NullOr(Schema.String),
  team: Schema.optionalKey(Schema.String),
  json: Schema.Json
}

const members = (prefix: string, version: number, indexes: NonNullable<Parameters<typeof table>[1]>) => {
  const Member = table(`${prefix}member`, indexes)
  const projection = Projection.make("Members", {
    version,
    tables: [Member],
    events: [Joined],
    handlers: { Joined: ({ mail }, { stream }) => Member.upsert({ id: stream, mail, json: null }) }
  })
  return { Member, projection }
}

const table = (name: string, indexes: ReadonlyArray<Projection.IndexOptions<keyof typeof fields>>) =>
  Projection.table(name, { key: "id", fields, indexes })

const unique = [["team", "mail"], { on: ["mail"], unique: true }] as const

/** The definitions of the indexes of a table beside that of its key. */
const indexesOf = (name: string) =>
  Effect.gen(function* () {
    const sql = yield* SqlClient.SqlClient
    const [schema = "", table = ""] = name.split(".")
    const rows = yield* sql.onDialectOrElse({
      pg: () =>
        sql`select indexname, indexdef from pg_indexes where schemaname = ${schema} and tablename = ${table}
        and indexname not like '%_pkey' order by indexname`.values,
      orElse: () =>
        sql`select name, sql from sqlite_schema where type = 'index' and tbl_name = ${schema} and sql is not null order by name`
          .values
    })
    return rows.map(([name, text]) => [String(name), String(text)] as const)
  })

describe("indexes of a view", () => {
  everywhere("are made with the table and for one that stands; of each version its own", () =>
    Effect.gen(function* () {
      const prefix = yield* Prefix
      yield* EventStore.append("Member-1", [joined("a@x")])
      const bare = members(prefix, 1, [])
      yield* Stream.runDrain(Projection.rebuild(bare.projection))
      assert.deepEqual(yield* indexesOf(`${bare.Member.name}_v1`), [])
      for (const version of [1, 2]) {
        for (let time = 0; time < 2; time++)
          yield* Stream.runDrain(Projection.rebuild(members(prefix, version, unique).projection))
        const found = yield* indexesOf(`${bare.Member.name}_v${version}`)
        assert.equal(found.length, 2)
        assert.deepEqual(
          found.map(([, text]) => /unique/i.test(text)),
          [true, false]
        )
        for (const [name] of found) assert.match(name, new RegExp(`^member_v${version}_(mail|team_mail_id)_[0-9a-f]{8}$`))
      }
    })
  )

  everywhere("have names of their own where those of the tables are long", () =>
    Effect.gen(function* () {
      const name = `${yield* Prefix}${"m".repeat(50)}`
      const Long = table(name, [
        ["mail"],
        ["team"],
        ["mail", "team"],
        { on: ["mail"], unique: true },
        { on: ["mail", "id"], unique: true }
      ])
      const projection = Projection.make("Long", {
        version: 1,
        tables: [Long],
        events: [Joined],
        handlers: { Joined: () => Effect.void }
      })
      yield* Stream.runDrain(Projection.rebuild(projection))
      const names = (yield* indexesOf(`${name}_v1`)).map(([name]) => name)
      assert.equal(new Set(names).size, 5)
      assert.ok(names.every((name) => name.length <= 63))
    })
  )

  everywhere("a second row under a unique one is the fault of its event, which an async projection parks", () =>
    Effect.gen(function* () {
      logs(/has parked the event/)
      const { Member, projection } = members(yield* Prefix, 1, unique)
      for (const [n, mail] of ["a@x", null, "a@x", null, "b@x"].entries()) yield* EventStore.append(`Member-${n}`, [joined(mail)])
      const ids = Effect.gen(function* () {
        yield* start(Projection.layer(projection, { onFailure: "park", retry: Schedule.recurs(0) }))
        yield* Projection.whenCaughtUp(projection, { timeout: "20 seconds" })
        return [
          (yield* Member.list()).map(({ id }) => id),
          (yield* ParkedEvents.ParkedEvents.use(({ list }) => list(projection.subscription))).map(({ stream }) => stream)
        ]
      })
      assert.deepEqual(yield* Effect.provide(ids, ParkedEvents.layerMemory), [
        ["Member-0", "Member-1", "Member-3", "Member-4"],
        ["Member-2"]
      ])
    })
  )

  everywhere("inline the unit of work fails, and nothing of it is written", () =>
    Effect.gen(function* () {
      const { Member, projection } = members(yield* Prefix, 1, unique)
      yield* start(Projection.inline(projection))
      const join = (stream: string, mail: string) => UnitOfWork.transact(UnitOfWork.stage(stream, [joined(mail)]))
      yield* join("Member-1", "a@x")
      const error = yield* Effect.flip(join("Member-2", "a@x"))
      assert.ok(error._tag === "EventStoreError" && error.reason._tag === "StoreFailure")
      const { cause } = error.reason
      assert.ok(isSqlError(cause) && cause.reason._tag === "UniqueViolation")
      assert.deepEqual(yield* EventStore.EventStore.use(({ version }) => version("Member-2")), 0)
      yield* join("Member-3", "c@x")
      assert.deepEqual(
        (yield* Member.list()).map(({ id }) => id),
        ["Member-1", "Member-3"]
      )
    })
  )

  everywhere("what a row gives back another may take in the same fold", () =>
    Effect.gen(function* () {
      const Member = table(`${yield* Prefix}handed`, unique)
      const projection = Projection.make("Handed", {
        version: 1,
        tables: [Member],
        events: [Joined],
        batch: (events) =>
          Member.fold(
            events.flatMap(({ stream }) => [`old ${stream}`, stream]),
            { key: (id) => id, evolve: (_, id) => (id.startsWith("old") ? undefined : { id, mail: "a@x", json: null }) }
          ).pipe(Effect.tap(Member.upsert({ id: "old Member-2", mail: "b@x", json: null })))
      })
      const follow = start(Projection.layer(projection))
      yield* EventStore.append("Member-1", [joined(null)])
      yield* follow
      yield* Projection.whenCaughtUp(projection, { timeout: "20 seconds" })
      assert.deepEqual(
        (yield* Member.list()).map(({ id }) => id),
        ["Member-1", "old Member-2"]
      )
    })
  )

  it("are refused by name where they make no sense", () => {
    const refused = (indexes: ReadonlyArray<unknown>, problem: RegExp) =>
      assert.throws(
        () => table("t", indexes as never),
        (error) => error instanceof RangeError && problem.test(error.message)
      )
    refused([["name"]], /the index on name of the table t names the column name, which the table has not/)
    refused([{ on: ["mail", "json"] }], /the column json, which is JSON/)
    refused([["mail", "mail"]], /names a column twice/)
    refused([["mail"], { on: ["mail"], unique: false }], /is there twice/)
    refused([["mail"], ["mail", "id"]], /is there twice/)
    refused([[]], /must have 1 to 32 columns/)
  })
})
