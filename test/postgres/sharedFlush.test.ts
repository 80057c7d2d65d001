/**
 * Units of work that share flushes: what is committed and not yet on the disk, who may be told of it, and what a crash in between takes back. The server's
 * own process for the log is slow here, so nothing gets to the disk but by who waits for it.
 */
import { assert, describe, it } from "@effect/vitest"
import { PgClient } from "@effect/sql-pg"
import { Context, Effect, Fiber, Latch, Layer, Option, References, Stream } from "effect"
import { SqlClient } from "effect/sql"
import { EventStore, Inbox, Keys, Personal, Transport, UnitOfWork } from "eventfold"
import { PgEventStore, PgLite, PgTransport } from "eventfold/postgres"
import { afterAll, beforeAll } from "vitest"
import { createFlush } from "../../src/postgres/sql/flush.ts"
import { render } from "../../src/postgres/sql/statement.ts"
import { type PostgresServer, startPostgres } from "../support/postgres-server.ts"
import { logs } from "../support/logs.ts"
import { startProxy } from "./proxy.ts"
import { masters } from "../personal/order.ts"
import { begin, connect, event, message, open, type Opened, terminate, until } from "./harness.ts"
import { freshSchema } from "./support.ts"

let server: PostgresServer
beforeAll(async () => {
  server = await startPostgres({ wal_writer_delay: "10s" })
})
afterAll(() => server.dispose())

/** A flush waits while somebody else holds this lock. */
const gate = 4711

const world = (options: PgEventStore.Options = {}) =>
  Effect.gen(function* () {
    const schema = freshSchema()
    const admin = yield* connect(server.url)
    const opened = yield* open({
      url: server.url,
      schema,
      sharedFlush: true,
      listen: false,
      pollInterval: "20 millis",
      ...options
    })
    yield* admin.unsafe(`create table "${schema}".own (nth int)`)
    const flush = render(createFlush, { schema, prefix: "" })
    yield* admin.unsafe(
      flush.replace("begin", `begin perform pg_advisory_lock_shared(${gate}); perform pg_advisory_unlock_shared(${gate});`)
    )
    const unit = (nth: number, more: Effect.Effect<unknown, never, UnitOfWork.Transaction> = Effect.void) =>
      opened.units.transact(
        Effect.gen(function* () {
          yield* Effect.orDie(opened.sql.unsafe(`insert into "${schema}".own values (${nth})`))
          yield* more
          yield* UnitOfWork.stage(`A-${nth}`, [event(`e-${nth}`)], { expected: 0 })
        })
      )
    const count = (table: string) => Effect.map(admin.unsafe(`select * from "${schema}"."${table}"`), (rows) => rows.length)
    const flushing = Effect.map(
      admin<{
        n: number
      }>`select count(*)::int as n from pg_locks where locktype = 'advisory' and objid = ${gate} and not granted`,
      ([row]) => row?.n ?? 0
    )
    return { ...opened, admin, schema, unit, count, flushing }
  })

/** Another process: it is told nothing, and finds out by itself what the database has been told. */
const another = (schema: string, pool: Partial<PgClient.PgPoolConfig> = {}) =>
  open({ url: server.url, schema, listen: false, pollInterval: "20 millis", pool })

/** Those that listen, or flush. */
const sessionsOf = (admin: SqlClient.SqlClient, schema: string) =>
  Effect.map(
    admin<{ pid: number }>`select pid from pg_stat_activity
      where query like ${`%"${schema}"."flush_commits"%`} or query ilike ${`listen%${schema}%`}`,
    (rows) => rows.map(({ pid }) => pid)
  )

const isWaiting = (fiber: Fiber.Fiber<unknown, unknown>) => assert.isUndefined(fiber.pollUnsafe())

/** Who follows says that the server is away: how often is a matter of chance. */
const quietly = Effect.provideService(References.MinimumLogLevel, "Error" as const)

describe("units of work that share flushes", () => {
  const committed = (options: PgEventStore.Options = {}) =>
    Effect.gen(function* () {
      const one = yield* world(options)
      // Transactions of its sessions wait for no disk of themselves.
      const other = yield* another(one.schema, { startupParameters: { synchronous_commit: "off" } })
      const ready = yield* Latch.make()
      let begun = 0
      const meet = Effect.suspend(() => (++begun === 2 ? ready.open : ready.await))
      const hooks: Array<number> = []
      const lock = yield* begin(one.admin, `select pg_advisory_lock(${gate})`)
      const committing = yield* Effect.forEach([1, 2], (nth) =>
        Effect.forkScoped(
          Effect.exit(one.unit(nth, Effect.andThen(meet, UnitOfWork.afterCommit(Effect.sync(() => void hooks.push(nth))))))
        )
      )
      yield* until(
        "both are committed",
        Effect.map(one.count("event"), (count) => count === 2)
      )
      const release = Effect.andThen(lock.run(`select pg_advisory_unlock(${gate})`), lock.commit)
      return { ...one, other, hooks, committing, release }
    })

  const ofStore: Readonly<Record<string, (store: EventStore.EventStore["Service"]) => Effect.Effect<unknown, unknown>>> = {
    head: ({ head }) => head,
    version: (store) => store.version("A-1"),
    exists: (store) => store.exists("A-1"),
    find: (store) => store.find("e-1"),
    read: (store) => Stream.runCount(store.read("A-1")),
    "read backward": (store) => Stream.runCount(store.read("A-1", { direction: "backward", limit: 1 })),
    readAll: (store) => Stream.runCount(store.readAll()),
    "readAll by a type": (store) => Stream.runCount(store.readAll({ filter: { types: ["Counted"] } })),
    readPage: (store) => Effect.map(store.readPage({ after: 0, size: 10 }), ({ events }) => events.length),
    readBoundary: (store) => store.readBoundary([{ filter: { types: ["Counted"] }, after: 0 }]),
    streams: (store) => Stream.runCount(store.streams()),
    subscribe: (store) => Stream.runCount(Stream.take(store.subscribe({ after: 0 }), 2)),
    "an append that is refused": (store) => Effect.flip(store.append("A-1", [event("e-3")], { expected: 0 })),
    "a condition that is broken": (store) =>
      Effect.flip(store.appendAll([{ stream: "B-1", events: [event("e-3")] }], { unless: { filter: { types: ["Counted"] } } })),
    "an append that stands already": (store) => store.append("A-1", [event("e-1")], { expected: 0 })
  }
  const again = UnitOfWork.stage("A-1", [event("e-1")], { expected: 0 })
  const ofUnits: Readonly<Record<string, (opened: Opened) => Effect.Effect<unknown, unknown>>> = {
    "a unit of work that stands already": ({ units }) => units.transact(again),
    "a unit of work that reads": ({ store, units }) => units.transact(Stream.runCount(store.read("A-1"))),
    "a unit of work whose append is refused": ({ store, units }) =>
      units.transact(Effect.flip(store.append("A-1", [event("e-3")], { expected: 0 }))),
    "a unit of work that undoes what it has appended": ({ sql, store, units }) =>
      units.transact(
        Effect.andThen(
          store.exists("A-1"),
          Effect.exit(sql.withTransaction(Effect.andThen(store.append("D-1", [event()]), Effect.fail("undone"))))
        )
      )
  }
  const questions: typeof ofUnits = {
    ...Object.fromEntries(Object.entries(ofStore).map(([question, ask]) => [question, ({ store }: Opened) => ask(store)])),
    ...ofUnits
  }

  for (const [question, ask] of Object.entries(questions)) {
    it.live(`nobody is told before the disk has it: ${question}`, () =>
      Effect.gen(function* () {
        const { committing, flushing, hooks, other, release, ...one } = yield* committed()
        const asked = yield* Effect.forEach([one, other], (opened) => Effect.forkScoped(ask(opened)))
        // One flush a process, for all that wait in it.
        yield* until(
          "both wait for the disk",
          Effect.map(flushing, (count) => count === 2)
        )
        for (const fiber of [...committing, ...asked]) isWaiting(fiber)
        assert.deepEqual(hooks, [])
        yield* release
        for (const fiber of asked) yield* Fiber.join(fiber)
        for (const fiber of committing) assert.equal((yield* Fiber.join(fiber))._tag, "Success")
        assert.sameMembers(hooks, [1, 2])
        assert.equal(yield* Stream.runCount(other.store.readAll()), 2)
      })
    )
  }

  it.live(
    "a crash before the flush takes back what nobody was told of, and followers miss nothing of what comes in its place",
    () =>
      Effect.gen(function* () {
        logs(/whoever subscribes to the store waits for the database/)
        const { committing, count, flushing, hooks, other, store } = yield* committed()
        const seen: Array<string> = []
        yield* Effect.forkScoped(
          Stream.runForEach(other.store.subscribe({ after: 0 }), ({ id }) => Effect.sync(() => void seen.push(id)))
        )
        const asked = yield* Effect.forkScoped(Effect.exit(other.store.head))
        yield* until(
          "both wait for the disk",
          Effect.map(flushing, (count) => count === 2)
        )
        yield* Effect.promise(() => server.stop("immediate"))
        yield* Effect.promise(() => server.restart())
        for (const fiber of committing) {
          const error = yield* Effect.flip(Effect.flatten(Fiber.join(fiber)))
          assert.equal((error as EventStore.EventStoreError).reason._tag, "OutcomeUnknown")
        }
        assert.equal((yield* Fiber.join(asked))._tag, "Failure")
        assert.deepEqual(hooks, [])
        const after = yield* connect(server.url)
        yield* until(
          "the server is back",
          Effect.orElseSucceed(
            Effect.map(after`select 1`, () => true),
            () => false
          )
        )
        assert.equal(yield* count("event").pipe(Effect.retry({ times: 100 })), 0)
        assert.equal(yield* count("own"), 0)
        const append = (id: string) => Effect.retry(store.append("C-1", [event(id)]), { times: 100 })
        yield* append("c-1")
        yield* append("c-2")
        yield* until(
          "the follower has both",
          Effect.sync(() => seen.length >= 2)
        )
        assert.deepEqual(seen, ["c-1", "c-2"])
        assert.equal(yield* other.store.head, 2)
        assert.equal(yield* Stream.runCount(other.store.read("A-1")), 0)
      })
  )

  const inTransactions: Readonly<Record<string, EventStore.StreamAppend>> = {
    "that stands already": { stream: "A-1", events: [event("e-1")], expected: 0 },
    "that only guards": { stream: "A-1", events: [], expected: 1 }
  }
  for (const [which, append] of Object.entries(inTransactions)) {
    it.live(`nobody is told before the disk has it: an append ${which}, in a transaction of one's own`, () =>
      Effect.gen(function* () {
        const { flushing, other, release } = yield* committed()
        const asked = yield* Effect.forkScoped(other.sql.withTransaction(other.store.appendAll([append])))
        yield* until(
          "both wait for the disk",
          Effect.map(flushing, (count) => count === 2)
        )
        isWaiting(asked)
        yield* release
        assert.equal((yield* Fiber.join(asked))[0]?.version, 1)
      })
    )
  }

  it.live("one that is alone is on the disk with its commit", () =>
    Effect.gen(function* () {
      const { admin, count, store, unit } = yield* world()
      const lock = yield* begin(admin, `select pg_advisory_lock(${gate})`)
      yield* unit(1)
      assert.equal(yield* count("own"), 1)
      yield* lock.run(`select pg_advisory_unlock(${gate})`)
      assert.equal(yield* store.head, 1)
    })
  )

  it.live("one that wrote nothing, or was rolled back, has not been answered either while what it saw is not on the disk", () =>
    Effect.gen(function* () {
      const { flushing, other, release, schema } = yield* committed()
      const look = Effect.map(other.sql.unsafe(`select * from "${schema}".own`), (rows) => rows.length)
      const looked = yield* Effect.forkScoped(other.units.transact(Effect.orDie(look)))
      const failed = yield* Effect.forkScoped(Effect.flip(other.units.transact(Effect.flatMap(Effect.orDie(look), Effect.fail))))
      yield* until(
        "both wait for the disk",
        Effect.map(flushing, (count) => count === 2)
      )
      for (const fiber of [looked, failed]) isWaiting(fiber)
      yield* release
      assert.deepEqual([yield* Fiber.join(looked), yield* Fiber.join(failed)], [2, 2])
    })
  )

  it.live("are told in themselves of nothing that is not on the disk, so nothing of that is kept in memory", () =>
    Effect.gen(function* () {
      const { flushing, other, release } = yield* committed()
      const seen: Array<number> = []
      const read = Effect.map(Stream.runCount(other.store.read("A-1")), (count) => void seen.push(count))
      const reading = yield* Effect.forkScoped(other.units.transact(read))
      yield* until(
        "both wait for the disk",
        Effect.map(flushing, (count) => count === 2)
      )
      isWaiting(reading)
      assert.deepEqual(seen, [])
      yield* release
      yield* Fiber.join(reading)
      assert.deepEqual(seen, [1])
    })
  )

  it.live("go on where the session that they hold has been ended", () =>
    Effect.gen(function* () {
      const { admin, count, schema, unit } = yield* world({ listen: true })
      const sessions = Effect.map(
        admin<{
          pid: number
        }>`select pid from pg_stat_activity where query like ${`%"${schema}"."flush_commits"%`} or query ilike ${`listen%${schema}%`}`,
        (rows) => rows.map(({ pid }) => pid)
      )
      yield* Effect.forEach([1, 2, 3], (nth) => unit(nth), { concurrency: "unbounded" })
      const before = yield* sessions
      assert.isAbove(before.length, 0)
      yield* terminate(admin, before)
      yield* until(
        "another is held",
        Effect.map(sessions, (now) => now.length > 0 && now.every((pid) => !before.includes(pid)))
      )
      yield* Effect.forEach([4, 5, 6], (nth) => unit(nth), { concurrency: "unbounded" })
      assert.equal(yield* count("event"), 6)
    })
  )

  it.live("wait for no connection of the pool where that session is lost", () =>
    Effect.gen(function* () {
      const schema = freshSchema()
      const pool = { maxConnections: 2 }
      const { sql, store } = yield* open({
        url: server.url,
        schema,
        sharedFlush: true,
        listen: false,
        timeout: "3 seconds",
        pool
      })
      const admin = yield* connect(server.url)
      const appends = Effect.forEach(
        Array.from({ length: 12 }, (_, index) => index),
        (index) => sql.withTransaction(store.append(`A-${index}`, [event()])),
        { concurrency: "unbounded" }
      )
      yield* appends
      const lock = yield* begin(admin, `select "${schema}".append_lock()`)
      const waiting = yield* Effect.forkScoped(appends)
      yield* terminate(admin, yield* sessionsOf(admin, schema))
      yield* lock.commit
      yield* Fiber.join(waiting)
      assert.equal(yield* store.head, 24)
    })
  )

  it.live("that write beside the events what others act upon are on the disk with their commit", () =>
    Effect.gen(function* () {
      const { admin, count, schema, ...one } = yield* world()
      const context = yield* Layer.build(
        Layer.mergeAll(Inbox.layerSql, PgTransport.layerWith({ schema, listen: false }), Keys.layerSql({ masters })).pipe(
          Layer.provide(Layer.succeed(EventStore.EventStore, one.store)),
          Layer.provide(Layer.succeed(SqlClient.SqlClient, one.sql)),
          Layer.provide(Layer.succeed(PgClient.PgClient, one.sql)),
          Layer.provide(Personal.layerCrypto)
        )
      )
      const plain = yield* PgEventStore.make({ schema: freshSchema(), listen: false }).pipe(
        Effect.provideService(PgClient.PgClient, one.sql)
      )
      const beside: Readonly<Record<string, (nth: number) => Effect.Effect<unknown, unknown>>> = {
        inbox: (nth) => Context.get(context, Inbox.Inbox).once("g", message(nth), Effect.void),
        transport: (nth) => Context.get(context, Transport.Transport).publish([message(nth)]),
        keys: (nth) => Context.get(context, Keys.Keys).sealing(new Set([`person-${nth}`])),
        "an append before the last one": (nth) => one.store.append(`B-${nth}`, [event()]),
        "an append in a savepoint": (nth) => one.sql.withTransaction(one.store.append(`B-${nth}`, [event()])),
        "a unit of work within it": (nth) => one.units.transact(UnitOfWork.stage(`B-${nth}`, [event()])),
        "an append to another store": (nth) => plain.append(`B-${nth}`, [event()]),
        "an append to another store, in a savepoint": (nth) => one.sql.withTransaction(plain.append(`B-${nth}`, [event()])),
        "a unit of work within it, before a message": (nth) =>
          Effect.andThen(one.units.transact(Effect.void), Context.get(context, Transport.Transport).publish([message(nth)]))
      }
      const lock = yield* begin(admin, `select pg_advisory_lock(${gate})`)
      let nth = 0
      for (const write of Object.values(beside)) {
        const ready = yield* Latch.make()
        let begun = 0
        const meet = Effect.suspend(() => (++begun === 2 ? ready.open : ready.await))
        yield* Effect.forEach([++nth, ++nth], (nth) => one.unit(nth, Effect.andThen(meet, Effect.orDie(write(nth)))), {
          concurrency: 2
        })
      }
      assert.equal(yield* count("own"), nth)
      yield* lock.run(`select pg_advisory_unlock(${gate})`)
    })
  )

  it.live("leave nothing of it to transactions of their hooks, or of fibers that outlive them", () =>
    Effect.gen(function* () {
      const { schema, sql, store, unit } = yield* world()
      const settings: Array<unknown> = []
      const later = sql.withTransaction(
        Effect.gen(function* () {
          yield* store.append(`H-${settings.length}`, [event()])
          const [row] = yield* sql.unsafe<{ readonly waits: string }>("select current_setting('synchronous_commit') as waits")
          settings.push(row?.waits)
        })
      )
      const hook = Effect.orDie(Effect.andThen(later, Effect.flatMap(Effect.forkDetach(later), Fiber.join)))
      yield* Effect.forEach([1, 2, 3, 4], (nth) => unit(nth, UnitOfWork.afterCommit(hook)), { concurrency: "unbounded" })
      assert.deepEqual(
        settings,
        Array.from({ length: 8 }, () => "on")
      )
      assert.equal(yield* store.head, 12)
      assert.isDefined(schema)
    })
  )

  it.live("leave a standby of their database readable", () =>
    Effect.gen(function* () {
      const started = (make: () => Promise<PostgresServer>) =>
        Effect.acquireRelease(Effect.promise(make), ({ dispose }) => Effect.promise(dispose))
      const primary = yield* started(() => startPostgres())
      const schema = freshSchema()
      yield* Effect.scoped(
        Effect.flatMap(open({ url: primary.url, schema, sharedFlush: true }), ({ store }) => store.append("A-1", [event("e-1")]))
      )
      const standby = yield* started(() => startPostgres({}, { standbyOf: primary }))
      for (const listen of [true, false]) {
        const { store } = yield* open({ url: standby.url, schema, migrate: false, listen, pollInterval: "20 millis" })
        assert.equal(yield* store.head, 1)
        assert.equal(yield* Stream.runCount(store.read("A-1")), 1)
      }
    })
  )

  it.live("can be interrupted while they wait for a session that does not come, or, where they have failed, for the disk", () =>
    Effect.gen(function* () {
      const { flushing, other, release } = yield* committed()
      const refused = yield* Effect.forkScoped(other.units.transact(Effect.fail("refused")))
      yield* until(
        "it waits for the disk",
        Effect.map(flushing, (count) => count === 2)
      )
      yield* Fiber.interrupt(refused)
      yield* release

      const proxy = yield* startProxy(server.url)
      const schema = freshSchema()
      const pool = { connectTimeout: "20 seconds", maxConnections: 2 } as const
      const { store, units } = yield* open({ url: proxy.url, schema, sharedFlush: true, listen: false, pool })
      // Connections that are asked for from now on are accepted, and never answered.
      proxy.silence({ forGood: true })
      const admin = yield* connect(server.url)
      yield* terminate(admin, yield* sessionsOf(admin, schema))
      proxy.drop()
      yield* until(
        "a session is waited for",
        Effect.map(Effect.timeoutOption(Effect.exit(store.head), "100 millis"), Option.isNone)
      )
      const waiting = yield* Effect.forkScoped(units.transact(UnitOfWork.stage("A-1", [event()])))
      yield* Effect.yieldNow
      assert.isTrue(Option.isSome(yield* Effect.timeoutOption(Fiber.interrupt(waiting), "5 seconds")))
    })
  )

  it.live("are heard of by polling, also by several stores of one client, which are asked about together", () =>
    Effect.gen(function* () {
      const schemas = [freshSchema(), freshSchema()]
      const writers = yield* Effect.forEach(schemas, (schema) =>
        open({ url: server.url, schema, sharedFlush: true, listen: false })
      )
      const { sql } = yield* open({ url: server.url, schema: freshSchema(), listen: false })
      const hearing = yield* Effect.forEach(schemas, (schema) =>
        Effect.gen(function* () {
          const made = PgEventStore.make({ schema, listen: false, pollInterval: "20 millis" })
          const store = yield* Effect.provideService(made, PgClient.PgClient, sql)
          return yield* Effect.forkScoped(Stream.runCount(Stream.take(store.subscribe({ after: 0 }), 8)))
        })
      )
      yield* Effect.forEach(writers, ({ units }) =>
        Effect.forEach(
          Array.from({ length: 8 }, (_, nth) => nth),
          (nth) => units.transact(UnitOfWork.stage(`A-${nth}`, [event()])),
          { concurrency: "unbounded" }
        )
      )
      for (const fiber of hearing) assert.equal(yield* Fiber.join(fiber), 8)
    })
  )

  it.live("are refused by name where they cannot be: in an embedded database, and by a role that may not flush", () =>
    Effect.gen(function* () {
      const embedded = Layer.build(PgEventStore.layerWith({ sharedFlush: true }).pipe(Layer.provide(PgLite.layer)))
      assert.match((yield* Effect.flip(embedded)).message, /sharedFlush is for a server/)

      const schema = freshSchema()
      const role = `user_${schema}`
      const admin = yield* connect(server.url)
      yield* Effect.scoped(open({ url: server.url, schema, sharedFlush: true }))
      yield* admin.unsafe(`create role ${role} login password '${role}'`)
      yield* admin.unsafe(`grant usage on schema "${schema}" to ${role}`)
      yield* admin.unsafe(`grant select, insert on all tables in schema "${schema}" to ${role}`)
      yield* admin.unsafe(`revoke execute on function "${schema}".flush_commits() from public`)
      const url = new URL(server.url)
      url.username = role
      url.password = role
      const options = { url: url.href, schema, migrate: false }
      assert.match((yield* Effect.flip(Effect.scoped(open(options)))).message, /the role may not: run PgRights.grants/)
      yield* admin.unsafe(`grant execute on function "${schema}".flush_commits() to ${role}`)
      assert.equal(yield* (yield* open(options)).store.head, 0)
    })
  )

  it.live("of a client with one connection flush over one beside it", () =>
    Effect.gen(function* () {
      const schema = freshSchema()
      const { store, units } = yield* open({ url: server.url, schema, sharedFlush: true, pool: { maxConnections: 1 } })
      yield* Effect.forEach([1, 2, 3, 4], (nth) => units.transact(UnitOfWork.stage(`A-${nth}`, [event()])), {
        concurrency: "unbounded"
      })
      assert.equal(yield* store.head, 4)
    })
  )

  it.live("are asked for with a role that makes no tables only where the database says so", () =>
    Effect.gen(function* () {
      const schema = freshSchema()
      yield* Effect.scoped(open({ url: server.url, schema }))
      const refused = yield* Effect.flip(Effect.scoped(open({ url: server.url, schema, migrate: false, sharedFlush: true })))
      const statement = /run (comment on function .*)$/.exec(refused.message)?.[1]
      assert.isDefined(statement)
      const admin = yield* connect(server.url)
      yield* admin.unsafe(statement as string)
      yield* Effect.scoped(open({ url: server.url, schema, migrate: false, sharedFlush: true }))
    })
  )

  it.live("crashed time after time under load: what was acknowledged is there, and so is what anybody was told", () =>
    Effect.gen(function* () {
      const schema = freshSchema()
      const acknowledged: Array<string> = []
      const told = new Map<number, string>()
      let lost = 0
      for (let round = 0; round < 5; round++) {
        yield* Effect.scoped(
          Effect.gen(function* () {
            const [writer, reader] = [
              yield* open({ url: server.url, schema, sharedFlush: true, pool: { maxConnections: 8 } }),
              yield* open({ url: server.url, schema, listen: false, pollInterval: "5 millis" })
            ]
            yield* Effect.forkScoped(
              Stream.runForEach(reader.store.subscribe({ after: told.size }), ({ id, position }) =>
                Effect.sync(() => void told.set(position, id))
              )
            )
            const begun = acknowledged.length
            const writing = yield* Effect.forEach(
              Array.from({ length: 8 }, (_, index) => index),
              (index) =>
                Effect.forkScoped(
                  Effect.gen(function* () {
                    for (let nth = 0; ; nth++) {
                      const id = `${round}-${index}-${nth}`
                      yield* writer.units.transact(UnitOfWork.stage(`W-${id}`, [event(id)]))
                      acknowledged.push(id)
                    }
                  })
                )
            )
            yield* until(
              "many are acknowledged, and the reader keeps up",
              Effect.sync(() => acknowledged.length > begun + 200 && told.size > begun + 50)
            )
            yield* Effect.promise(() => server.stop("immediate"))
            for (const fiber of writing) if ((yield* Effect.exit(Fiber.join(fiber)))._tag === "Failure") lost++
          })
        )
        yield* Effect.promise(() => server.restart())
      }
      assert.isAbove(lost, 0)
      const { store } = yield* open({ url: server.url, schema })
      const events = yield* Stream.runCollect(store.readAll())
      assert.deepEqual(
        events.map(({ position }) => position),
        events.map((_, index) => index + 1)
      )
      const ids = new Set(events.map(({ id }) => id))
      assert.deepEqual(
        acknowledged.filter((id) => !ids.has(id)),
        []
      )
      for (const [position, id] of told) assert.equal(events[position - 1]?.id, id)
    }).pipe(quietly)
  )
})
