import { readFileSync } from "node:fs"
import { PgClient } from "@effect/sql-pg"
import { describe, expect, it } from "@effect/vitest"
import { Context, Effect, Layer, Redacted, Stream } from "effect"
import { Checkpoints, Transport } from "eventfold"
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
      const names = ["append", "claim", "newest_match", "refuse_change", "settle"].map((name) => `${tablePrefix}${name}`)
      expect(Object.keys(made)).toEqual(expect.arrayContaining(names))
      const today = Object.fromEntries(names.map((name) => [name, made[name]]))
      // To 0.1.0 any event with an id in use was a repetition.
      const append = `${tablePrefix}append`
      const before = yield* functions(schema)
      expect(before[append]).not.toEqual(today[append])
      expect({ ...before, [append]: today[append] }).toEqual(today)
      yield* open({ url: url(), schema, tablePrefix })
      expect(yield* functions(schema)).toMatchObject(today)
    })
  )
})
