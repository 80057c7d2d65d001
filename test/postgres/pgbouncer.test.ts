/** Behind a real PgBouncer that hands out transactions. */
import { PgClient } from "@effect/sql-pg"
import { describe, expect, it } from "@effect/vitest"
import { Context, Effect, Fiber, Layer, Logger, Redacted, type Scope, Stream } from "effect"
import { Reactivity } from "effect/reactivity"
import { SqlClient } from "effect/sql"
import { SqlError, UnknownError } from "effect/sql/SqlError"
import { EventStore, UnitOfWork } from "eventfold"
import { PgCheckpoints, PgEventStore, PgTransport } from "eventfold/postgres"
import { CheckpointsConformance, TransportConformance } from "eventfold/testing"
import { afterAll, beforeAll, inject } from "vitest"
import { describe as describeError } from "../../src/postgres/errors.ts"
import { conforms } from "../support/conformance.ts"
import { isPgBouncerExpected, type PgBouncer, startPgBouncer } from "../support/pgbouncer.ts"
import { connect, event, until } from "./harness.ts"
import { freshSchema } from "./support.ts"

let bouncer: PgBouncer
let sessions: PgBouncer

describe.runIf(isPgBouncerExpected())("behind PgBouncer", () => {
  beforeAll(async () => {
    bouncer = await startPgBouncer(inject("postgresUrl"), { mode: "transaction" })
    sessions = await startPgBouncer(inject("postgresUrl"), { mode: "session" })
  })
  afterAll(() => Promise.all([bouncer.dispose(), sessions.dispose()]))

  /** As the guide says. */
  const client = (options: Partial<PgClient.PgPoolConfig> = {}) =>
    Layer.suspend(() => PgClient.layer({ url: Redacted.make(bouncer.url), maxConnections: 4, prepare: false, ...options }))

  const storage = Effect.sync(() => PgEventStore.layerWith({ schema: freshSchema() }).pipe(Layer.provide(Layer.fresh(client()))))
  conforms("PgEventStore", { storage, abilities: { durable: true, shared: true } })

  describe("conformance of PgCheckpoints", () => {
    const storage = Effect.sync(() =>
      PgCheckpoints.layerWith({ schema: freshSchema() }).pipe(Layer.provide(Layer.fresh(client())))
    )
    const abilities = { clock: "live", durable: true, shared: true, deadlines: true } as const
    for (const { name, run } of CheckpointsConformance.cases({ storage, abilities })) it.effect(name, () => run)
  })

  describe("conformance of PgTransport", () => {
    const storage = Effect.sync(() =>
      PgTransport.layerWith({ schema: freshSchema(), lease: "2 seconds" }).pipe(Layer.provide(Layer.fresh(client())))
    )
    const abilities = { clock: "live", deduplicates: true, history: true, durable: true, shared: true } as const
    for (const { name, run } of TransportConformance.cases({ storage, abilities })) it.live(name, () => run, 300_000)
  })

  describe("that hands out transactions", () => {
    const opening: Record<
      string,
      (schema: string) => Effect.Effect<unknown, unknown, PgClient.PgClient | SqlClient.SqlClient | Scope.Scope>
    > = {
      store: (schema) => PgEventStore.make({ schema }),
      checkpoints: (schema) => PgCheckpoints.make({ schema }),
      transport: (schema) => PgTransport.make({ schema })
    }
    for (const [name, make] of Object.entries(opening)) {
      it.live(`a client with prepared statements is refused when it is opened: ${name}`, () =>
        Effect.gen(function* () {
          const built = Effect.provide(make(freshSchema()), Layer.fresh(client({ prepare: true })))
          expect(String(yield* Effect.flip(built))).toMatch(
            /hands out transactions.*lose prepared statements: set prepare: false/
          )
        })
      )
    }

    it.live("indexes are made by several that open the store at once, and found by", () =>
      Effect.gen(function* () {
        const options: PgEventStore.Options = { schema: freshSchema(), indexes: ["type", "category", "correlation"] }
        const build = Effect.map(
          Layer.build(PgEventStore.layerWith(options).pipe(Layer.provide(Layer.fresh(client({ maxConnections: 1 }))))),
          Context.get(EventStore.EventStore)
        )
        const stores = yield* Effect.forEach([1, 2, 3], () => build, { concurrency: "unbounded" })
        for (const store of stores) {
          yield* store.append("A-1", [event()])
          for (const filter of [{ types: ["None"] }, { categories: ["None"] }, { correlationId: "none" }]) {
            expect(yield* Stream.runCollect(store.readAll({ filter }))).toEqual([])
          }
        }
      }).pipe(Effect.provide(Logger.layer([])))
    )

    it.live("units of work are transactions like any other", () =>
      Effect.gen(function* () {
        const schema = freshSchema()
        const live = UnitOfWork.layerSql.pipe(
          Layer.provideMerge(PgEventStore.layerWith({ schema })),
          Layer.provideMerge(client())
        )
        const append = (n: number) =>
          UnitOfWork.transact(
            Effect.andThen(
              PgClient.PgClient.use((sql) => sql`select 1`),
              EventStore.append(`A-${n % 20}`, [event()])
            )
          )
        const head = yield* Effect.gen(function* () {
          yield* Effect.forEach(Array.from({ length: 200 }).keys(), append, { concurrency: 16 })
          return yield* EventStore.head
        }).pipe(Effect.provide(live))
        expect(head).toBe(200)
      })
    )

    it.live("who insists on listening is refused; over a direct connection it is listened to", () =>
      Effect.gen(function* () {
        const [schema, url] = [freshSchema(), inject("postgresUrl")]
        const sql = yield* PgClient.make({ url: Redacted.make(bouncer.url), prepare: false, applicationName: schema })
        const open = (options: PgEventStore.Options) =>
          Effect.provideService(PgEventStore.make({ schema, ...options }), PgClient.PgClient, sql)
        expect(String(yield* Effect.flip(open({ listen: true })))).toMatch(
          /nobody can listen: set listen to false, or to the URL/
        )

        const store = yield* open({ listen: Redacted.make(url), pollInterval: "1 hour" })
        const admin = yield* connect(url)
        yield* until(
          "it listens",
          Effect.map(
            admin`select 1 from pg_stat_activity where application_name = ${schema} and query ilike 'listen%'`,
            (rows) => rows.length === 1
          )
        )
        const seen = yield* store.subscribe().pipe(Stream.take(1), Stream.runCollect, Effect.forkScoped)
        const other = yield* Effect.provideService(
          PgEventStore.make({ schema }),
          PgClient.PgClient,
          yield* PgClient.make({ url: Redacted.make(url) })
        )
        yield* other.append("A-1", [event()])
        expect(yield* Fiber.join(seen)).toMatchObject([{ position: 1 }])
      }).pipe(Effect.provide(Reactivity.layer), Effect.timeout("20 seconds"))
    )

    it.live("units of work share flushes over a direct connection, and without one are refused by name", () =>
      Effect.gen(function* () {
        const schema = freshSchema()
        const sql = yield* PgClient.make({ url: Redacted.make(bouncer.url), prepare: false, maxConnections: 4 })
        const open = (options: PgEventStore.Options = {}) =>
          Effect.provideService(PgEventStore.make({ schema, ...options }), PgClient.PgClient, sql)
        const listen = Redacted.make(inject("postgresUrl"))
        const refusal = /share flushes, which takes a session with the server: .*transaction mode/
        expect(String(yield* Effect.flip(open({ sharedFlush: true })))).toMatch(refusal)
        const store = yield* open({ sharedFlush: true, listen })
        // The database says so from now on, also to who does not ask for it.
        expect(String(yield* Effect.flip(open()))).toMatch(refusal)
        const context = yield* Layer.build(
          UnitOfWork.layerSql.pipe(
            Layer.provide(Layer.mergeAll(Layer.succeed(EventStore.EventStore, store), Layer.succeed(SqlClient.SqlClient, sql)))
          )
        )
        const { transact } = Context.get(context, UnitOfWork.UnitOfWork)
        yield* Effect.forEach([1, 2, 3, 4, 5, 6], (nth) => transact(UnitOfWork.stage(`A-${nth}`, [event()])), {
          concurrency: "unbounded"
        })
        expect(yield* store.head).toBe(6)
      }).pipe(Effect.provide(Reactivity.layer), Effect.timeout("20 seconds"))
    )
  })

  it.live("that hands out sessions, nothing has to be set", () =>
    Effect.gen(function* () {
      const schema = freshSchema()
      const sql = yield* PgClient.make({ url: Redacted.make(sessions.url), maxConnections: 2 })
      const store = yield* Effect.provideService(PgEventStore.make({ schema, listen: true }), PgClient.PgClient, sql)
      expect(yield* store.append("A-1", [event()])).toMatchObject({ position: 1 })
    }).pipe(Effect.provide(Reactivity.layer), Effect.timeout("20 seconds"))
  )

  for (const code of ["26000", "42P05"]) {
    it(`an error ${code} says what to do`, () => {
      const cause = Object.assign(new Error("prepared statement"), { code })
      const error = new SqlError({ reason: new UnknownError({ cause, message: "", operation: "query" }) })
      expect(describeError(error)).toMatch(/prepare: false/)
    })
  }
})
