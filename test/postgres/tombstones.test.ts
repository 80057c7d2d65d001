import assert from "node:assert/strict"
import { inspect } from "node:util"
import { PgClient } from "@effect/sql-pg"
import { describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Stream } from "effect"
import { EventStore } from "eventfold"
import { PgEventStore, PgRights } from "eventfold/postgres"
import { inject } from "vitest"
import { fill, findingsOf, remove } from "../support/tampering.ts"
import { connect, open, untilWaiting } from "./harness.ts"
import { freshSchema, serverOfFile } from "./support.ts"

describe("what was changed behind the store's back", () => {
  const server = serverOfFile()

  it.live("on PostgreSQL, by a superuser with the triggers off: verify names the position", () =>
    Effect.gen(function* () {
      const schema = freshSchema()
      const sql = yield* PgClient.PgClient
      const store = yield* PgEventStore.make({ schema, chain: true })
      yield* fill(store)
      yield* remove(store, 2)
      yield* Effect.provideService(EventStore.verify(), EventStore.EventStore, store)
      yield* sql.unsafe(`alter table "${schema}".event disable trigger refuse_change`)
      yield* sql.unsafe(`update "${schema}".event set payload = '{"n":5,"secret":"y"}' where position = 5`)
      assert.deepEqual(yield* findingsOf(store), [5])
      yield* sql.unsafe(`update "${schema}".event set payload = '{"n":5,"secret":"x"}' where position = 5`)
      yield* Effect.provideService(EventStore.verify(), EventStore.EventStore, store)
      // Inserted past the chain, and found out; the next link takes it in.
      yield* sql.unsafe(`alter table "${schema}".event disable trigger add_link`)
      yield* store.append("Account-9", [{ type: "Said", payload: {} }])
      assert.deepEqual(yield* findingsOf(store), [7])
      yield* sql.unsafe(`alter table "${schema}".event enable trigger add_link`)
      yield* store.append("Account-9", [{ type: "Said", payload: {} }])
      yield* Effect.provideService(EventStore.verify(), EventStore.EventStore, store)
    }).pipe(Effect.scoped, Effect.provide(server))
  )

  it.live("on PostgreSQL an append that commits while a closed stream is being removed keeps it", () =>
    Effect.gen(function* () {
      const schema = freshSchema()
      const url = inject("postgresUrl")
      const { sql, store } = yield* open({ url, schema })
      const admin = yield* connect(url)
      yield* fill(store)
      const events = yield* Stream.runCollect(store.readAll())
      const { maintenance } = store
      assert.ok(maintenance !== undefined)
      const closed = new Map([
        ["Account-0", 3],
        ["Account-1", 3]
      ])
      const [go, begun] = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
      const appending = yield* Effect.forkChild(
        sql.withTransaction(
          Effect.gen(function* () {
            yield* store.append("Account-1", [{ type: "Said", payload: {} }], { expected: 3 })
            yield* Deferred.succeed(begun, undefined)
            yield* Deferred.await(go)
          })
        )
      )
      yield* Deferred.await(begun)
      const removing = yield* Effect.forkChild(maintenance.tombstone(events, { reason: "over", closed }))
      yield* untilWaiting(admin, schema, 1, "tombstone")
      yield* Deferred.succeed(go, undefined)
      yield* Fiber.join(appending)
      assert.equal(yield* Fiber.join(removing), 3)
      const removed = (yield* Stream.runCollect(store.readAll())).filter(EventStore.isTombstone)
      assert.deepEqual(Array.from(new Set(removed.map(({ stream }) => stream))), ["Account-0"])
    }).pipe(Effect.scoped)
  )

  it.live("on PostgreSQL only a tombstone with the event's own digest passes, and only where it may be made", () =>
    Effect.gen(function* () {
      const schema = freshSchema()
      const sql = yield* PgClient.PgClient
      const store = yield* PgEventStore.make({ schema })
      yield* fill(store)
      const refused = (text: string) =>
        Effect.gen(function* () {
          const whole = sql.withTransaction(
            Effect.andThen(sql.unsafe("select set_config('eventfold.maintaining', 'on', true)"), sql.unsafe(text))
          )
          const error = yield* Effect.flip(whole)
          assert.match(inspect(error, { depth: 8 }), /events are never changed/)
        })
      const digest = "0".repeat(64)
      for (const change of [
        `update "${schema}".event set payload = '{}' where position = 1`,
        `update "${schema}".event set type = '$Tombstone', tags = '{}', metadata = '{}', payload = '{"type":"Said","digest":"${digest}"}' where position = 1`,
        `delete from "${schema}".event where position = 6`,
        `delete from "${schema}".tag where position = 1`
      ]) {
        yield* refused(change)
      }
      const role = `${schema}_app`
      const run = (script: string) =>
        Effect.forEach(script.split(";\n").filter(Boolean), (text) => sql.unsafe(text), { discard: true })
      yield* sql.unsafe(`create role "${role}"`)
      yield* run(PgRights.grants({ role, schema, modules: ["store"] }))
      const asRole = <A, E>(effect: Effect.Effect<A, E>) =>
        sql.withTransaction(Effect.andThen(sql.unsafe(`set local role "${role}"`), effect))
      const tombstoning = sql.unsafe(
        `select "${schema}".tombstone('{1}', array[(select id from "${schema}".event where position = 1)], 'x', null)`
      )
      assert.match(inspect(yield* Effect.flip(asRole(tombstoning)), { depth: 8 }), /permission denied for function tombstone/)
      yield* run(PgRights.grants({ role, schema, modules: ["retention"] }))
      yield* asRole(tombstoning)
      const [event] = yield* Stream.runCollect(store.readAll())
      assert.ok(event !== undefined && EventStore.isTombstone(event))
      yield* sql.unsafe(`drop owned by "${role}"`)
      yield* sql.unsafe(`drop role "${role}"`)
    }).pipe(Effect.scoped, Effect.provide(server))
  )
})
