/** What appends cost beside what happens elsewhere on the server: a snapshot that stays open, and writers that share nothing with them. */
import * as PgClient from "@effect/sql-pg/PgClient"
import { Context, Effect, Layer, Redacted } from "effect"
import { EventStore } from "eventfold"
import { PgEventStore } from "eventfold/postgres"
import { layerWith } from "./adapter.ts"
import { collectGarbage, concurrently, type Case, type Run } from "./harness.ts"
import { databaseCopy, type Services } from "./lab.ts"

const event = (n: number) => ({ type: "MoneyDeposited", payload: { amount: n } })

/** One caller, behind so many appends that have come under a snapshot, or under none. */
const behind =
  (isHeld: boolean, before: number, times: number): Run =>
  ({ connect, store }) =>
    Effect.gen(function* () {
      const services = yield* Layer.build(store)
      const [log, sql] = [Context.get(services, EventStore.EventStore), Context.get(services, PgClient.PgClient)]
      const { query } = yield* connect
      if (isHeld) {
        yield* query("begin isolation level repeatable read")
        yield* query("select 1")
      }
      const append = (phase: string) => (_: number, nth: number) => log.append(`Account-${phase}-${nth % 100}`, [event(nth)])
      // In one transaction they need no flush each, and leave behind as much.
      yield* sql.withTransaction(concurrently(1, before, append("before")))
      yield* collectGarbage
      const measured = yield* concurrently(1, times, append("run"))
      if (isHeld) yield* query("rollback")
      return { ...measured, units: times, events: before + times }
    })

const writers = 16

const schemaOf = (writer: number) => `writer_${writer}`

const storeOf = (url: string, writer: number, hints: boolean): Layer.Layer<Services, unknown> => {
  const client = PgClient.layer({ url: Redacted.make(url), maxConnections: 2 })
  const silent = Layer.effect(
    PgClient.PgClient,
    Effect.map(
      PgClient.PgClient,
      (sql) =>
        new Proxy(sql, {
          get: (target, key, receiver) =>
            key === "unsafe"
              ? (text: string, parameters?: ReadonlyArray<unknown>) =>
                  text.includes("pg_notify") ? target.unsafe("select 1") : target.unsafe(text, parameters)
              : Reflect.get(target, key, receiver)
        })
    )
  )
  const options = { schema: schemaOf(writer), listen: false }
  const used = hints ? client : Layer.provideMerge(silent, client)
  return Layer.fresh(layerWith(PgEventStore)(options).pipe(Layer.provideMerge(used)))
}

/** Writers that share nothing but the server, each with a store and a client of its own; with or without their hints. */
const apart =
  (hints: boolean, times: number): Run =>
  ({ address }) =>
    Effect.gen(function* () {
      const all = Array.from({ length: writers }, (_, writer) => writer)
      const url = yield* databaseCopy(address.url, "writers", (url) =>
        Effect.forEach(all, (writer) => Layer.build(storeOf(url, writer, true)), { discard: true })
      )
      const stores = yield* Effect.forEach(all, (writer) =>
        Effect.map(Layer.build(storeOf(url, writer, hints)), (services) => Context.get(services, EventStore.EventStore))
      )
      const append = (writer: number, nth: number) =>
        (stores[writer] as EventStore.EventStore["Service"]).append(`Account-${nth % 100}`, [event(nth)])
      const warm = Math.ceil(times / 10)
      yield* concurrently(writers, warm, append)
      yield* collectGarbage
      const measured = yield* concurrently(writers, times, append)
      return { ...measured, units: writers * times, events: writers * (times + warm) }
    })

/** The cases; `some` makes runs shorter. */
export const appendingCases = (some: (count: number) => number): ReadonlyArray<Case> => [
  {
    name: "append, 1 caller, 60 000 appends under an open snapshot; raw has none",
    place: "postgres",
    unit: "appends",
    ours: behind(true, some(60_000), some(1_000)),
    raw: behind(false, some(60_000), some(1_000))
  },
  {
    name: `append, ${writers} writers that share nothing; raw sends no hints`,
    place: "databases",
    unit: "appends",
    ours: apart(true, some(300)),
    raw: apart(false, some(300))
  }
]
