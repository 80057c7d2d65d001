import { NodeFileSystem } from "@effect/platform-node"
import { PgClient } from "@effect/sql-pg"
import { describe, expect, it } from "@effect/vitest"
import { Context, Effect, Fiber, FileSystem, Layer, Redacted, Ref, Schema, Stream } from "effect"
import { SqlClient } from "effect/sql"
import { Aggregate, Checkpoints, Event, EventStore, Repository, Tenants, UnitOfWork } from "eventfold"
import { JsonlEventStore } from "eventfold/jsonl"
import { PgCheckpoints, PgEventStore } from "eventfold/postgres"
import { SqliteEventStore } from "eventfold/sqlite"
import { inject } from "vitest"
import { client, freshSchema } from "./support.ts"

const opened = { type: "AccountOpened", payload: {} }

/** How many tenants a process has: `EVENTFOLD_TENANTS=1000` takes some minutes. */
const many = Number(process.env["EVENTFOLD_TENANTS"] ?? 100)

/** Registered tenants, each at the place of its name. */
const registered = (count: number, place: (id: string) => string = (id) => id) =>
  Effect.forEach(
    Array.from({ length: count }, (_, index) => `t${index}`),
    (id) => Effect.as(Tenants.add(id, place(id)), id)
  )

/** The same names, ids and tags for every tenant: what one appends, none of the others reads. */
const apart = Effect.fnUntraced(function* (one: string, other: string) {
  const event = (n: number) => ({ ...opened, id: "the-id", tags: ["the:tag"], payload: { n } })
  yield* EventStore.append("Account-1", [event(1)]).pipe(Tenants.provide(one))
  expect(yield* EventStore.version("Account-1").pipe(Tenants.provide(other))).toBe(0)
  yield* EventStore.append("Account-1", [event(2)]).pipe(Tenants.provide(other))
  const read = EventStore.readAll({ filter: { tags: ["the:tag"] } }).pipe(
    Stream.map(({ payload }) => payload),
    Stream.runCollect
  )
  expect(yield* read.pipe(Tenants.provide(one))).toEqual([{ n: 1 }])
  expect(yield* read.pipe(Tenants.provide(other))).toEqual([{ n: 2 }])
})

const folder = FileSystem.FileSystem.use((fs) => fs.makeTempDirectoryScoped())

describe("tenants with a file each", () => {
  it.live(
    "on SQLite: those of many that are used are open, and no more",
    () =>
      Effect.gen(function* () {
        const path = yield* folder
        const open = yield* Ref.make([0, 0] as readonly [now: number, most: number])
        const counted = Effect.acquireRelease(
          Ref.update(open, ([now, most]) => [now + 1, Math.max(most, now + 1)] as const),
          () => Ref.update(open, ([now, most]) => [now - 1, most] as const)
        )
        const stores = Tenants.layerMap({
          store: ({ place }) =>
            Layer.merge(SqliteEventStore.layerFile({ filename: `${path}/${place}.db` }), Layer.effectDiscard(counted)),
          idleTimeToLive: 0
        })
        yield* Effect.gen(function* () {
          const ids = yield* registered(many)
          yield* Effect.forEach(ids, (id) => EventStore.append("Account-1", [opened]).pipe(Tenants.provide(id)), {
            concurrency: 8,
            discard: true
          })
          const heads = yield* Effect.forEach(ids.slice(0, 50), (id) => EventStore.head.pipe(Tenants.provide(id)))
          expect(heads).toEqual(heads.map(() => 1))
          const [now, most] = yield* Ref.get(open)
          expect(now).toBe(0)
          expect(most).toBeLessThanOrEqual(8)
        }).pipe(Effect.provide(stores), Effect.provide(Tenants.layerRegistryMemory))
      }).pipe(Effect.scoped, Effect.provide(NodeFileSystem.layer)),
    120_000 + many * 100
  )

  it.live("on JSON lines: what was written is there when the file is opened again", () =>
    Effect.gen(function* () {
      const path = yield* folder
      const stores = Tenants.layerMap({
        store: ({ place }) => JsonlEventStore.layer({ path: `${path}/${place}` }),
        idleTimeToLive: 0
      })
      yield* Effect.gen(function* () {
        yield* registered(many)
        yield* apart("t0", "t1")
        expect(yield* EventStore.head.pipe(Tenants.provide("t0"))).toBe(1)
      }).pipe(Effect.provide(stores), Effect.provide(Tenants.layerRegistryMemory))
    }).pipe(Effect.scoped, Effect.provide(NodeFileSystem.layer))
  )
})

const Deposited = Event.make("Deposited", { amount: Schema.Int })
const Account = Aggregate.make("Account", {
  events: [Deposited],
  initial: 0,
  evolve: { Deposited: (balance, { amount }) => balance + amount }
})

class Bank extends Context.Service<
  Bank,
  Tenants.Stores<EventStore.EventStore | UnitOfWork.UnitOfWork | Checkpoints.Checkpoints, EventStore.EventStoreError>
>()("test/Bank") {}

/** How many connections the server has for an application of this name. */
const connectionsOf = (name: string) =>
  Effect.map(
    SqlClient.SqlClient.use((sql) =>
      sql.unsafe<{ n: number }>(`select count(*)::int as n from pg_stat_activity where application_name = $1`, [name])
    ),
    ([row]) => row?.n ?? 0
  )

/** How many of them listen: what a session listens on only that session is told, but it says what it did last. */
const listeners = (name: string) =>
  Effect.map(
    SqlClient.SqlClient.use((sql) =>
      sql.unsafe<{ n: number }>(
        `select count(*)::int as n from pg_stat_activity where application_name = $1 and query ilike 'listen %'`,
        [name]
      )
    ),
    ([row]) => row?.n ?? 0
  )

describe("tenants with a schema each, over one client", () => {
  it.live(
    "many have one pool, and one connection of it that listens for all",
    () => {
      const name = freshSchema()
      const most = 8
      const place = (id: string) => `${name}_${id}`
      const url = Redacted.make(inject("postgresUrl"))
      const Database = Layer.fresh(PgClient.layer({ url, maxConnections: most, applicationName: name }))
      const stores = Tenants.layerMap({
        store: ({ place }) => PgEventStore.layerWith({ schema: place }),
        idleTimeToLive: "1 minute"
      })
      return Effect.gen(function* () {
        const ids = yield* registered(many, place)
        yield* Effect.forEach(ids, (id) => EventStore.head.pipe(Tenants.provide(id)), { concurrency: 6, discard: true })
        expect(yield* listeners(name)).toBe(1)
        yield* apart("t0", "t1")
        // Whoever waits is woken by what another process appends, whichever the tenant is.
        const waiting = yield* Effect.forEach(
          ids.slice(-20),
          (id) =>
            EventStore.subscribe().pipe(
              Stream.take(1),
              Stream.runCollect,
              Tenants.provide(id),
              Effect.forkScoped({ startImmediately: true })
            ),
          { concurrency: "unbounded" }
        )
        const elsewhere = Layer.fresh(Layer.provide(stores, Layer.fresh(client())))
        yield* Effect.forEach(ids.slice(-20), (id) => EventStore.append("Account-1", [opened]).pipe(Tenants.provide(id)), {
          discard: true
        }).pipe(Effect.provide(elsewhere))
        expect(yield* Effect.forEach(waiting, (fiber) => Effect.map(Fiber.join(fiber), ({ length }) => length))).toEqual(
          waiting.map(() => 1)
        )
        expect(yield* connectionsOf(name)).toBeLessThanOrEqual(most)
      }).pipe(Effect.provide(stores), Effect.provide(Tenants.layerRegistryMemory), Effect.provide(Database))
    },
    240_000 + many * 1_000
  )

  it.live("each has its own units of work, checkpoints and snapshots", () => {
    const name = freshSchema()
    const bank = Tenants.layerMapOf(Bank, {
      store: ({ place }) => PgEventStore.layerWith({ schema: place, listen: false }),
      beside: Layer.mergeAll(UnitOfWork.layerSql, PgCheckpoints.layer)
    })
    return Effect.gen(function* () {
      yield* Tenants.add("acme", `${name}_a`)
      yield* Tenants.add("globex", `${name}_b`)
      const deposit = (amount: number) => UnitOfWork.transact(Repository.append(Account, "ada", [Deposited.make({ amount })]))
      const balance = UnitOfWork.transact(Effect.map(Repository.load(Account, "ada"), ({ state }) => state))
      const claim = Checkpoints.Checkpoints.use(({ claim }) => claim("mailer", { owner: "me", ttl: "1 minute" }))
      const names = Checkpoints.Checkpoints.use(({ list }) => Effect.map(list, (all) => all.map(({ name }) => name)))
      yield* Effect.andThen(deposit(5), claim).pipe(Tenants.provideFrom(Bank, "acme"))
      yield* deposit(7).pipe(Tenants.provideFrom(Bank, "globex"))
      expect(yield* balance.pipe(Tenants.provideFrom(Bank, "acme"))).toBe(5)
      expect(yield* balance.pipe(Tenants.provideFrom(Bank, "globex"))).toBe(7)
      expect(yield* names.pipe(Tenants.provideFrom(Bank, "acme"))).toEqual(["mailer"])
      expect(yield* names.pipe(Tenants.provideFrom(Bank, "globex"))).toEqual([])
    }).pipe(
      Effect.provide(bank),
      Effect.provide(Tenants.layerRegistrySqlWith({ table: `${name}.tenant` })),
      Effect.provide(client())
    )
  })

  it.live("one that is first used within a transaction is in nobody's when that has ended", () => {
    const stores = Tenants.layerMap({ store: ({ place }) => PgEventStore.layerWith({ schema: place, listen: false }) })
    return Effect.gen(function* () {
      yield* Tenants.add("acme", freshSchema())
      const append = EventStore.append("Account-1", [opened]).pipe(Tenants.provide("acme"))
      const sql = yield* SqlClient.SqlClient
      yield* sql.withTransaction(append)
      expect((yield* append).position).toBe(2)
      const read = Effect.map(Stream.runCollect(EventStore.read("Account-1")), ({ length }) => length).pipe(
        Tenants.provide("acme")
      )
      expect(yield* Effect.all([read, read, read, read], { concurrency: "unbounded" })).toEqual([2, 2, 2, 2])
    }).pipe(Effect.provide(stores), Effect.provide(Tenants.layerRegistryMemory), Effect.provide(client()))
  })
})
