import { readFileSync } from "node:fs"
import { PgClient } from "@effect/sql-pg"
import { describe, expect, it } from "@effect/vitest"
import { Context, Effect, Layer, Redacted, Stream } from "effect"
import { Checkpoints, type EventStore, Transport } from "eventfold"
import { PgCheckpoints, PgTransport } from "eventfold/postgres"
import { inject } from "vitest"
import { assertSound, connect, event, open } from "./harness.ts"
import { freshSchema } from "./support.ts"

const url = () => inject("postgresUrl")
const tablePrefix = "shop_"

const statementsOf = (schema: string): ReadonlyArray<string> =>
  readFileSync(new URL("first-release.sql", import.meta.url), "utf8")
    .replaceAll("first_release", schema)
    .split(/;\n\n?(?=\S|$)/)
    .filter((statement) => statement.trim() !== "")

/** What 0.1.0 has left, in a schema of its own. */
const left = Effect.gen(function* () {
  const schema = freshSchema()
  const admin = yield* connect(url())
  for (const statement of statementsOf(schema)) yield* admin.unsafe(statement)
  return { admin, schema }
})

/** The functions of a schema, without its name and with no more white space than there must be. */
const functions = (schema: string) =>
  Effect.gen(function* () {
    const admin = yield* connect(url())
    const rows = yield* admin<{ name: string; definition: string }>`
      select proname as name, pg_get_functiondef(oid) as definition from pg_proc
       where pronamespace = (select oid from pg_namespace where nspname = ${schema})`
    return Object.fromEntries(
      rows.map(({ definition, name }) => [name, definition.replaceAll(schema, "SCHEMA").replace(/\s+/g, " ")])
    )
  })

describe("what 0.1.0 made", () => {
  it.live("is read, and appended to", () =>
    Effect.gen(function* () {
      const { schema } = yield* left
      const { store } = yield* open({ url: url(), schema, tablePrefix })
      expect(yield* Stream.runCollect(store.readAll())).toMatchObject([
        {
          position: 1,
          stream: "Order-1",
          version: 1,
          id: "a",
          type: "Placed",
          tags: ["customer:ada"],
          payload: { total: 5 },
          metadata: { correlationId: "x" }
        },
        { position: 2, stream: "Order-1", version: 2, id: "b", schemaVersion: 2, published: true, tags: [] },
        { position: 3, stream: "Order-2", version: 1, id: "c", recordedAt: { epochMilliseconds: 1767225600002 } }
      ])
      expect(yield* store.append("Order-1", [event("d")], { expected: 2 })).toMatchObject({ version: 3, position: 4 })
      const again = { id: "c", type: "Placed", payload: { total: 7 } }
      expect(yield* store.append("Order-2", [again])).toMatchObject({ version: 1, position: 3, deduplicated: true })
      const other = store.append("Order-2", [{ ...again, payload: { total: 8 } }])
      expect(yield* Effect.flip(other)).toMatchObject({ _tag: "DuplicateEventError", id: "c" })
      const taken = store.appendAll([{ stream: "Order-3", events: [event("e")] }], {
        unless: { filter: { tags: ["customer:bob"] } }
      })
      expect(yield* Effect.flip(taken)).toMatchObject({ _tag: "AppendConditionError", position: 3 })
      yield* assertSound(store)
    })
  )

  it.live("has its checkpoints and its messages", () =>
    Effect.gen(function* () {
      const { schema } = yield* left
      const names = { schema, tablePrefix }
      const context = yield* Layer.build(
        Layer.mergeAll(PgCheckpoints.layerWith(names), PgTransport.layerWith(names)).pipe(
          Layer.provide(Layer.fresh(PgClient.layer({ url: Redacted.make(url()), maxConnections: 4 })))
        )
      )
      const checkpoints = Context.get(context, Checkpoints.Checkpoints)
      expect(yield* checkpoints.claim("emails", { owner: "me", ttl: "1 minute" })).toMatchObject({ position: 2, epoch: 4 })
      const transport = Context.get(context, Transport.Transport)
      const [delivery] = yield* Stream.runCollect(Stream.take(transport.subscribe({ group: "mail" }), 1))
      expect(delivery).toMatchObject({ attempt: 1, message: { id: "m1", data: { total: 5 } } })
      yield* transport.publish([{ ...((delivery as Transport.Delivery).message as Transport.Message), id: "m2" }])
      const ids = transport.subscribe({ group: "ledger", concurrency: 2 }).pipe(
        Stream.map(({ message }) => message.id),
        Stream.take(2)
      )
      expect(yield* Stream.runCollect(ids)).toEqual(["m1", "m2"])
    })
  )

  it.live("has the functions that are made today, once it has been opened", () =>
    Effect.gen(function* () {
      const { schema } = yield* left
      const fresh = freshSchema()
      yield* open({ url: url(), schema: fresh, tablePrefix })
      yield* Layer.build(
        PgTransport.layerWith({ schema: fresh, tablePrefix }).pipe(
          Layer.provide(Layer.fresh(PgClient.layer({ url: Redacted.make(url()), maxConnections: 4 })))
        )
      )
      const made = yield* functions(fresh)
      const ofToday = [
        "add_link",
        "append",
        "append_batch",
        "append_event",
        "append_lock",
        "append_one",
        "event_digest",
        "head_position",
        "newest_position",
        "refuse_change",
        "tombstone",
        "update_head"
      ].map((name) => `${tablePrefix}${name}`)
      const names = [...ofToday, ...["claim", "newest_match", "settle"].map((name) => `${tablePrefix}${name}`)]
      expect(Object.keys(made)).toEqual(expect.arrayContaining(names))
      const today = Object.fromEntries(names.map((name) => [name, made[name]]))
      const appends = Object.fromEntries(ofToday.map((name) => [name, made[name]]))
      const before = yield* functions(schema)
      for (const [name, definition] of Object.entries(appends)) expect(before[name]).not.toEqual(definition)
      expect({ ...before, ...appends }).toEqual(today)
      yield* open({ url: url(), schema, tablePrefix })
      expect(yield* functions(schema)).toMatchObject(today)
    })
  )

  it.live("is appended to by programs of 0.1.0 that still run, whose conditions and expected versions hold", () =>
    Effect.gen(function* () {
      const { admin, schema } = yield* left
      const { store } = yield* open({ url: url(), schema, tablePrefix })
      /** The statement of 0.1.0: a batch of appends of one event each. */
      const append = (...requests: ReadonlyArray<Old>) => {
        const array = (type: string, value: (request: Old, index: number) => string) => `array[${requests.map(value)}]::${type}[]`
        const text = (value: string) => `'${value}'`
        return Effect.map(
          admin.unsafe<{ status: ReadonlyArray<number>; detail: ReadonlyArray<number>; version: ReadonlyArray<number> }>(
            `select o_status as status, o_detail as detail, o_version as version from "${schema}"."${tablePrefix}append"(
               ${array("text", ({ stream }) => text(stream))}, ${array("int4", (_, index) => `${index + 1}`)},
               ${array("float8", ({ expected = -1 }) => `${expected}`)}, ${array("int4", () => "1")}, ${array("int4", () => "1")},
               ${array("float8", ({ after = -1 }) => `${after}`)},
               ${array("text", ({ filter }) => (filter === undefined ? "null" : text(JSON.stringify(filter))))},
               ${array("int4", (_, index) => `${index + 1}`)}, ${array("int4", () => "1")}, ${array("text", ({ stream }) => text(stream))},
               ${array("text", ({ id }) => text(id))}, ${array("text", () => "'Seated'")}, ${array("int4", () => "1")},
               ${array("bool", () => "false")}, ${array("text", () => `'{"seat:1"}'`)}, ${array("text", () => "'{}'")},
               ${array("text", () => "'{}'")}, ${array("float8", () => "0")},
               ${array("int4", (_, index) => `${index + 1}`)}, ${array("text", ({ id }) => text(id))})`
          ),
          ([row]) => row ?? expect.unreachable()
        )
      }
      const free = { filter: [{ tags: ["seat:1"] }], after: 0 }
      expect(yield* append({ stream: "A-1", id: "o1", expected: 1 })).toEqual({ status: [2], detail: [1], version: [0] })
      expect(yield* append({ stream: "A-1", id: "o2", ...free })).toEqual({ status: [0], detail: [0], version: [1] })
      expect(
        yield* append(
          { stream: "A-1", id: "o2", ...free },
          { stream: "A-1", id: "o3", ...free },
          { stream: "A-2", id: "o4", filter: [{ types: ["Seated"], categories: ["B"] }], after: 0 },
          { stream: "A-3", id: "o5", filter: [{ types: ["Seated"] }], after: 3 },
          { stream: "Order-9", id: "a" },
          { stream: "A-3", id: "o6" }
        )
      ).toMatchObject({ status: [1, 4, 0, 4, 3, 0], detail: [0, 4, 0, 4, 5, 0] })
      yield* assertSound(store)
    })
  )
})

interface Old {
  readonly stream: string
  readonly id: string
  readonly expected?: number
  readonly after?: number
  readonly filter?: ReadonlyArray<EventStore.Query>
}
