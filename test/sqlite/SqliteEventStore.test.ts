import assert from "node:assert/strict"
import { readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { DatabaseSync } from "node:sqlite"
import { describe, it } from "@effect/vitest"
import { Context, Deferred, Effect, Exit, Fiber, Layer, Stream } from "effect"
import { Reactivity } from "effect/reactivity"
import { SqlClient, Statement } from "effect/sql"
import { EventStore, UnitOfWork } from "eventfold"
import { SqliteClient, SqliteEventStore } from "eventfold/sqlite"
import { conforms } from "../support/conformance.ts"
import { child } from "../support/embedded.ts"
import { temporaryDirectory } from "../support/files.ts"

const temporaryFile = Effect.map(temporaryDirectory, (directory) => join(directory, "events.db"))

conforms("the SQLite store in a file", {
  storage: Effect.map(temporaryFile, (filename) => SqliteEventStore.layerFile({ filename })),
  abilities: { durable: true, shared: true }
})

const memory = SqliteEventStore.layerFile({ filename: ":memory:" })

/** Opens a store, each time anew, until the scope closes. */
const open = <E>(layer: Layer.Layer<EventStore.EventStore | SqlClient.SqlClient, E>) =>
  Effect.flatMap(Effect.scope, (scope) => Layer.buildWithMemoMap(layer, Layer.makeMemoMapUnsafe(), scope))

const openStore = <E>(layer: Layer.Layer<EventStore.EventStore | SqlClient.SqlClient, E>) =>
  Effect.map(open(layer), Context.get(EventStore.EventStore))

/** A store that notes the statements of its appends. */
const noting = Effect.gen(function* () {
  const sql = yield* SqlClient.SqlClient
  const statements: Array<string> = []
  const client: SqlClient.SqlClient = Object.assign((...args: Parameters<SqlClient.SqlClient>) => sql(...args), sql, {
    reserve: Effect.map(sql.reserve, (connection) => ({
      ...connection,
      execute: (...args: Parameters<typeof connection.execute>) => {
        statements.push(args[0])
        return connection.execute(...args)
      }
    }))
  }) as SqlClient.SqlClient
  const store = yield* Effect.map(
    Layer.build(Layer.provide(Layer.fresh(SqliteEventStore.layer), Layer.succeed(SqlClient.SqlClient, client))),
    Context.get(EventStore.EventStore)
  )
  return { statements, store }
})

const event = (more: Partial<EventStore.NewEvent> = {}): EventStore.NewEvent => ({ type: "Happened", payload: {}, ...more })

const positions = Effect.map(Stream.runCollect(EventStore.readAll()), (events) => events.map(({ position }) => position))

const reasonOf = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.map(Effect.flip(effect), (error) => {
    assert.ok(error instanceof EventStore.EventStoreError, `not an EventStoreError: ${error}`)
    return error.reason
  })

describe("a store that is made within a transaction", () => {
  it.live("writes in nobody's when that has ended, so what it has acknowledged is not undone with another", () =>
    Effect.gen(function* () {
      const own = yield* SqlClient.SqlClient
      // As any other client than that of eventfold.
      const sql = Object.assign((...args: Parameters<SqlClient.SqlClient>) => own(...args), own, {
        driver: undefined
      }) as SqlClient.SqlClient
      const made = Layer.build(Layer.fresh(SqliteEventStore.layer)).pipe(
        Effect.map(Context.get(EventStore.EventStore)),
        Effect.provideService(SqlClient.SqlClient, sql)
      )
      const store = yield* sql.withTransaction(Effect.tap(made, (store) => store.append("Acc-1", [event()])))
      const [inside, end] = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
      const undone = Effect.andThen(Deferred.succeed(inside, undefined), Effect.andThen(Deferred.await(end), Effect.fail("no")))
      const other = yield* Effect.forkChild(Effect.flip(sql.withTransaction(undone)))
      yield* Deferred.await(inside)
      const append = yield* Effect.forkChild(store.append("Acc-1", [event()]), { startImmediately: true })
      for (let turn = 0; turn < 20; turn++) yield* Effect.yieldNow
      yield* Deferred.succeed(end, undefined)
      assert.equal(yield* Fiber.join(other), "no")
      assert.equal((yield* Fiber.join(append)).position, 2)
      assert.equal(yield* store.version("Acc-1"), 2)
    }).pipe(Effect.provide(memory))
  )
})

describe("several processes", () => {
  it.live("append to one new file at once: all succeed, versions and positions are dense, a subscriber sees all in order", () =>
    Effect.gen(function* () {
      const [processes, events, streams] = [3, 400, 5]
      const filename = yield* temporaryFile
      const children = yield* Effect.forEach(Array.from({ length: processes }), () => child)
      for (const { line } of children) assert.equal(yield* Effect.promise(line), "ready")
      for (const { begin } of children) begin("append", "sqlite", filename, `${events}`, "16", `${streams}`)
      const store = yield* openStore(SqliteEventStore.layerFile({ filename }))
      const followed = yield* Effect.forkChild(Stream.runCollect(Stream.take(store.subscribe(), processes * events)))
      for (const { rest } of children) assert.deepEqual(yield* Effect.promise(rest), ["done"])

      const all = yield* Stream.runCollect(store.readAll())
      assert.deepEqual(
        all.map(({ position }) => position),
        Array.from({ length: processes * events }, (_, n) => n + 1)
      )
      assert.deepEqual(yield* Fiber.join(followed), all)
      for (let n = 0; n < streams; n++) {
        const stream = yield* Stream.runCollect(store.read(`Shared-${n}`))
        assert.deepEqual(
          stream.map(({ version }) => version),
          Array.from({ length: (processes * events) / streams }, (_, index) => index + 1)
        )
      }
    })
  )

  it.live("append while this one reads boundaries: each is as of its position, whole", () =>
    Effect.gen(function* () {
      const [processes, events] = [2, 300]
      const filename = yield* temporaryFile
      const children = yield* Effect.forEach(Array.from({ length: processes }), () => child)
      for (const { line } of children) assert.equal(yield* Effect.promise(line), "ready")
      const store = yield* openStore(SqliteEventStore.layerFile({ filename }))
      for (const { begin } of children) begin("append", "sqlite", filename, `${events}`, "4", "3")
      const questions = [
        { filter: {} },
        { filter: { categories: ["Shared"] } },
        { filter: [{ types: ["Absent"] }, { categories: ["Shared"] }] },
        { filter: {}, newest: true }
      ]
      const seen = new Set<number>()
      while (!seen.has(processes * events)) {
        const { answers, position } = yield* store.readBoundary(questions, { size: 10_000 })
        const lengths = answers.map(({ events }) => events.length)
        assert.deepEqual(lengths, [position, position, position, Math.min(1, position)])
        assert.equal(answers[3]?.events[0]?.position ?? 0, position)
        seen.add(position)
        yield* Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))
      }
      assert.ok(seen.size > 2, "it has read in the midst of it")
      for (const { rest } of children) assert.deepEqual(yield* Effect.promise(rest), ["done"])
    })
  )
})

describe("the write lock of another connection", () => {
  const locked = (filename: string) =>
    Effect.acquireRelease(
      Effect.sync(() => {
        const other = new DatabaseSync(filename)
        other.exec("BEGIN IMMEDIATE")
        return other
      }),
      (other) => Effect.sync(() => other.close())
    )

  it.live("is waited for, and the thread goes on meanwhile", () =>
    Effect.gen(function* () {
      const filename = yield* temporaryFile
      const store = yield* openStore(SqliteEventStore.layerFile({ filename }))
      const other = yield* locked(filename)
      const waiting = yield* Effect.forkChild(store.append("A-1", [event()]))
      for (let turn = 0; turn < 20; turn++) yield* Effect.promise(() => new Promise((resolve) => setTimeout(resolve, 1)))
      assert.equal(waiting.pollUnsafe(), undefined)
      other.exec("ROLLBACK")
      assert.equal((yield* Fiber.join(waiting)).position, 1)
    })
  )

  it.live("that outlasts busyTimeout is StoreUnavailable, nothing is written, and the store goes on", () =>
    Effect.gen(function* () {
      const filename = yield* temporaryFile
      const context = yield* open(SqliteEventStore.layerFile({ filename, busyTimeout: "30 millis" }))
      const store = Context.get(context, EventStore.EventStore)
      const sql = Context.get(context, SqlClient.SqlClient)
      yield* Effect.scoped(
        Effect.gen(function* () {
          yield* locked(filename)
          const error = yield* Effect.flip(store.append("A-1", [event()]))
          assert.ok(error instanceof EventStore.EventStoreError)
          assert.equal(error.reason._tag, "StoreUnavailable")
          assert.equal(error.reason.operation, "append")
          assert.match(error.reason.detail, /locked/)
          assert.equal(error.isRetryable, true)
          assert.equal((yield* Effect.flip(sql.withTransaction(Effect.void))).reason._tag, "LockTimeoutError")
          assert.equal(yield* store.head, 0, "reading needs no lock")
        })
      )
      assert.equal((yield* store.append("A-1", [event()])).position, 1)
    })
  )

  it.live("taken while a deferred transaction reads is a TransactionConflict", () =>
    Effect.gen(function* () {
      const filename = yield* temporaryFile
      const context = yield* open(SqliteEventStore.layerFile({ filename }))
      const sql = Context.get(context, SqlClient.SqlClient)
      const rival = yield* openStore(SqliteEventStore.layerFile({ filename }))
      let attempts = 0
      const decision = Effect.gen(function* () {
        attempts++
        const version = yield* EventStore.version("A-1")
        if (attempts === 1) yield* rival.append("A-1", [event()])
        return yield* EventStore.append("A-1", [event()], { expected: version })
      }).pipe(sql.withTransaction, Effect.provideService(SqlClient.BeginTransaction, "BEGIN DEFERRED"), Effect.provide(context))
      const error = yield* Effect.flip(decision)
      assert.ok(error._tag === "EventStoreError")
      assert.equal(error.reason._tag, "TransactionConflict")
      assert.equal(error.isRetryable, true)
      assert.equal((yield* decision).version, 2)
    })
  )
})

describe("a transaction of the same client", () => {
  const table = Effect.gen(function* () {
    const sql = yield* SqlClient.SqlClient
    yield* sql`CREATE TABLE account (id TEXT PRIMARY KEY, balance INTEGER NOT NULL) STRICT`
    return sql
  })
  const accounts = Effect.flatMap(SqlClient.SqlClient, (sql) => sql<{ id: string }>`SELECT id FROM account`)

  it.effect("commits the events with the caller's own rows, and tells subscribers then", () =>
    Effect.gen(function* () {
      const sql = yield* table
      const pull = yield* Stream.toPull(EventStore.subscribe())
      const waiting = yield* Effect.forkChild(pull)
      yield* sql.withTransaction(
        Effect.gen(function* () {
          const first = yield* EventStore.append("A-1", [event()], { expected: 0 })
          yield* sql`INSERT INTO account VALUES ('A', 1)`
          assert.deepEqual([first.version, first.position], [1, 1])
          assert.equal(yield* EventStore.version("A-1"), 1, "a transaction sees what it has written")
          yield* EventStore.append("A-1", [event()], { expected: 1 })
          for (let turn = 0; turn < 20; turn++) yield* Effect.yieldNow
          assert.equal(waiting.pollUnsafe(), undefined, "not committed yet")
        })
      )
      assert.deepEqual(
        (yield* Fiber.join(waiting)).map(({ position }) => position),
        [1, 2]
      )
      assert.equal((yield* accounts).length, 1)
    }).pipe(Effect.provide(memory))
  )

  it.effect("rolls the events back with the caller's own rows, and the next position is dense", () =>
    Effect.gen(function* () {
      const sql = yield* table
      const failing = Effect.gen(function* () {
        yield* EventStore.append("A-1", [event(), event({ tags: ["a:1"] })])
        yield* sql`INSERT INTO account VALUES ('A', 1)`
        return yield* Effect.fail("no")
      })
      assert.deepEqual(yield* Effect.exit(sql.withTransaction(failing)), Exit.fail("no"))
      assert.equal(yield* EventStore.head, 0)
      assert.deepEqual(yield* accounts, [])
      assert.equal((yield* EventStore.append("A-1", [event()], { expected: 0 })).position, 1)
      assert.deepEqual(yield* positions, [1])
    }).pipe(Effect.provide(memory))
  )

  it.effect("reads a boundary with what it has written itself, and leaves nothing of it when it is rolled back", () =>
    Effect.gen(function* () {
      const sql = yield* table
      yield* EventStore.append("A-1", [event({ tags: ["a:1"] })])
      const boundary = Effect.map(
        EventStore.readBoundary([{ filter: { tags: ["a:1"] } }, { filter: { types: ["Happened"] }, newest: true }]),
        ({ answers, position }) => [position, ...answers.map(({ events }) => events.map(({ position }) => position))]
      )
      const failing = Effect.gen(function* () {
        assert.deepEqual(yield* boundary, [1, [1], [1]])
        yield* EventStore.append("A-1", [event(), event({ tags: ["a:1"] })])
        assert.deepEqual(yield* boundary, [3, [1, 3], [3]])
        const unless = { filter: { tags: ["a:1"] }, after: 1 }
        const refused = yield* Effect.flip(EventStore.appendAll([{ stream: "B-1", events: [event()] }], { unless }))
        assert.ok(refused._tag === "AppendConditionError" && refused.position === 3, "its own events count")
        const guard = { stream: "A-1", expected: 1, events: [] }
        const guarded = yield* Effect.flip(EventStore.appendAll([guard, { stream: "B-1", events: [event()] }]))
        assert.ok(guarded._tag === "OptimisticLockError" && guarded.actual === 3)
        return yield* Effect.fail("no")
      })
      assert.deepEqual(yield* Effect.exit(sql.withTransaction(failing)), Exit.fail("no"))
      assert.deepEqual(yield* boundary, [1, [1], [1]])
    }).pipe(Effect.provide(memory))
  )

  it.effect("goes on after a refused append that it has caught", () =>
    Effect.gen(function* () {
      const sql = yield* table
      yield* sql.withTransaction(
        Effect.gen(function* () {
          yield* EventStore.append("A-1", [event({ id: "a" })])
          assert.equal((yield* Effect.flip(EventStore.append("A-1", [event()], { expected: 0 })))._tag, "OptimisticLockError")
          assert.equal((yield* Effect.flip(EventStore.append("B-1", [event({ id: "a" })])))._tag, "DuplicateEventError")
          assert.equal((yield* EventStore.append("A-1", [event({ id: "a" })])).deduplicated, true)
          yield* EventStore.append("B-1", [event()])
        })
      )
      assert.deepEqual(yield* positions, [1, 2])
    }).pipe(Effect.provide(memory))
  )

  it.effect("holds nothing of an append that the database refused in the middle", () =>
    Effect.gen(function* () {
      const sql = yield* table
      yield* sql`CREATE TRIGGER picky BEFORE INSERT ON eventfold_event WHEN NEW.type = 'Unwanted'
        BEGIN SELECT RAISE(ABORT, 'not wanted'); END`
      const many = Array.from({ length: 40 }, (_, n) => event({ type: n === 39 ? "Unwanted" : "Happened", tags: ["a:1"] }))
      yield* sql.withTransaction(
        Effect.gen(function* () {
          yield* EventStore.append("A-1", [event()])
          const reason = yield* reasonOf(EventStore.append("A-1", many))
          assert.deepEqual([reason._tag, reason.detail], ["StoreFailure", "not wanted [SQLITE_CONSTRAINT]"])
          yield* EventStore.append("A-1", [event()], { expected: 1 })
        })
      )
      assert.deepEqual(yield* positions, [1, 2])
      assert.deepEqual(yield* sql`SELECT * FROM eventfold_tag`, [])
    }).pipe(Effect.provide(memory))
  )
})

describe("a caller who reads its own numbers as bigints", () => {
  it.effect("gets those of the store as numbers", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const [created, again] = [
        yield* EventStore.append("A-1", [event()]),
        yield* sql.withTransaction(EventStore.append("A-1", [event()]))
      ]
      assert.deepEqual([created.position, again.position], [1, 2])
      assert.deepEqual(yield* positions, [1, 2])
      assert.equal(yield* EventStore.version("A-1"), 2)
      const [info] = yield* Stream.runCollect(EventStore.streams())
      assert.deepEqual([info?.version, info?.position], [2, 2])
      assert.ok(info !== undefined && Number.isInteger(info.recordedAt.epochMilliseconds))
      assert.deepEqual(yield* sql`SELECT count(*) FROM eventfold_event`.values, [[2n]])
    }).pipe(Effect.provideService(SqlClient.SafeIntegers, true), Effect.provide(memory))
  )
})

describe("UnitOfWork.layerSql", () => {
  const layer = Layer.provideMerge(UnitOfWork.layerSql, memory)

  it.effect("commits events and the caller's rows together, and neither when it fails", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      yield* sql`CREATE TABLE account (id TEXT PRIMARY KEY) STRICT`
      const work = (id: string) =>
        Effect.gen(function* () {
          yield* UnitOfWork.stage(`Account-${id}`, [event()], { expected: 0 })
          yield* sql`INSERT INTO account VALUES (${id})`
        })
      const hooks: Array<string> = []
      const hook = (name: string) => UnitOfWork.afterCommit(Effect.sync(() => hooks.push(name)))
      yield* UnitOfWork.transact(Effect.andThen(work("a"), hook("a")))
      const failed = yield* Effect.exit(
        UnitOfWork.transact(Effect.andThen(work("b"), Effect.andThen(hook("b"), Effect.fail("no"))))
      )
      assert.deepEqual(failed, Exit.fail("no"))
      const conflict = yield* Effect.flip(
        UnitOfWork.transact(
          Effect.andThen(sql`INSERT INTO account VALUES ('c')`, UnitOfWork.stage("Account-a", [event()], { expected: 0 }))
        )
      )
      assert.equal(conflict._tag, "OptimisticLockError")
      assert.equal((yield* Effect.flip(UnitOfWork.transact(work("a"))))._tag, "SqlError")
      assert.deepEqual(yield* sql`SELECT id FROM account`.values, [["a"]])
      assert.deepEqual(yield* positions, [1])
      assert.deepEqual(hooks, ["a"])
    }).pipe(Effect.provide(layer))
  )
})

describe("one batch", () => {
  it.effect("answers each append by itself, also when the database refuses one of them", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      yield* sql`CREATE TRIGGER picky BEFORE INSERT ON eventfold_event WHEN NEW.type = 'Unwanted'
        BEGIN SELECT RAISE(ABORT, 'not wanted'); END`
      const exits = yield* Effect.forEach(
        Array.from({ length: 60 }, (_, n) => n),
        (n) => Effect.exit(EventStore.append(`A-${n}`, [event({ type: n % 20 === 7 ? "Unwanted" : "Happened" })])),
        { concurrency: "unbounded" }
      )
      assert.deepEqual(
        exits.flatMap((exit, n) => (Exit.isFailure(exit) ? [n] : [])),
        [7, 27, 47]
      )
      assert.deepEqual(
        yield* positions,
        Array.from({ length: 57 }, (_, n) => n + 1)
      )
    }).pipe(Effect.provide(memory))
  )

  it.effect("of few new events in several streams is one statement", () =>
    Effect.gen(function* () {
      const { statements, store } = yield* noting
      const two = (from: number) =>
        store.appendAll([
          { stream: "A-1", expected: from, events: [event({ payload: 1 }), event({ payload: 2 })] },
          { stream: "B-1", expected: "any", events: [event({ payload: 3 })] }
        ])
      yield* store.append("B-1", [event()])
      statements.length = 0
      assert.deepEqual(yield* two(0), [
        { stream: "A-1", version: 2, position: 3, deduplicated: false },
        { stream: "B-1", version: 2, position: 4, deduplicated: false }
      ])
      assert.equal(statements.length, 1)
      // What is refused is so as a whole, and says why.
      assert.deepEqual(
        { ...(yield* Effect.flip(two(0))) },
        { _tag: "OptimisticLockError", stream: "A-1", expected: 0, actual: 2 }
      )
      const absent = store.appendAll([
        { stream: "C-1", expected: "no-stream", events: [event()] },
        { stream: "D-1", expected: "exists", events: [event()] }
      ])
      assert.deepEqual(
        { ...(yield* Effect.flip(absent)) },
        { _tag: "OptimisticLockError", stream: "D-1", expected: "exists", actual: 0 }
      )
      const twice = yield* store.appendAll([
        { stream: "A-1", expected: 2, events: [event()] },
        { stream: "A-1", expected: 3, events: [event()] }
      ])
      assert.deepEqual(
        twice.map(({ position, version }) => [version, position]),
        [
          [3, 5],
          [4, 6]
        ]
      )
      const all = yield* Stream.runCollect(store.readAll())
      assert.deepEqual(
        all.map(({ payload, position, stream, version }) => [position, stream, version, payload]),
        [
          [1, "B-1", 1, {}],
          [2, "A-1", 1, 1],
          [3, "A-1", 2, 2],
          [4, "B-1", 2, 3],
          [5, "A-1", 3, {}],
          [6, "A-1", 4, {}]
        ]
      )
    }).pipe(Effect.provide(SqliteClient.layer({ filename: ":memory:" })))
  )

  it.effect("is one transaction, and asks once for what stands against all of its conditions", () =>
    Effect.gen(function* () {
      const { statements, store } = yield* noting
      for (const conditions of [0, 1, 2]) {
        statements.length = 0
        const all = Array.from({ length: 200 }, (_, n) => {
          const unless = [{ tags: [`thing:${n}`] }, { tags: ["all", `own:${n}`], types: ["Happened"] }]
          return store.appendAll([{ stream: `A-${n % 7}`, events: [event({ tags: ["all", `thing:${n}`] }), event()] }], {
            unless: unless.slice(0, conditions).map((filter) => ({ filter, after: conditions * 400 }))
          })
        })
        yield* Effect.all(all, { concurrency: "unbounded" })
        const begun = statements.filter((text) => text.startsWith("BEGIN")).length
        assert.ok(begun > 0 && begun <= 4, `${begun} transactions`)
        const others = statements.filter((text) => !/^(BEGIN|COMMIT|INSERT)/.test(text.trim())).length
        assert.ok(others <= begun * 2, `${others} questions in ${begun} transactions`)
      }
    }).pipe(Effect.provide(SqliteClient.layer({ filename: ":memory:" })))
  )
})

describe("the database", () => {
  it.effect("refuses to change or delete what was recorded", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      yield* EventStore.append("A-1", [event({ tags: ["a:1"] })])
      const before = yield* Stream.runCollect(EventStore.readAll())
      for (const statement of [
        "UPDATE eventfold_event SET payload = '0'",
        "DELETE FROM eventfold_event",
        "INSERT OR REPLACE INTO eventfold_event SELECT * FROM eventfold_event",
        "INSERT INTO eventfold_event SELECT * FROM eventfold_event WHERE true ON CONFLICT DO UPDATE SET payload = '0'",
        "UPDATE eventfold_tag SET tag = 'b:1'",
        "DELETE FROM eventfold_tag"
      ]) {
        const error = yield* Effect.flip(sql.unsafe(statement))
        assert.match(error.message, /append-only: (UPDATE|DELETE) refused/, statement)
      }
      assert.deepEqual(yield* Stream.runCollect(EventStore.readAll()), before)
    }).pipe(Effect.provide(memory))
  )

  it.effect("is in WAL mode, waits for the disk unless told otherwise, and has STRICT tables", () =>
    Effect.gen(function* () {
      const pragma = (sql: SqlClient.SqlClient, name: string) =>
        Effect.map(sql.unsafe(`PRAGMA ${name}`).values, (rows) => rows[0]?.[0])
      for (const [synchronous, level] of [
        [undefined, 2],
        ["FULL", 2],
        ["NORMAL", 1]
      ] as const) {
        const context = yield* open(SqliteEventStore.layerFile({ filename: yield* temporaryFile, synchronous }))
        const sql = Context.get(context, SqlClient.SqlClient)
        assert.equal(yield* pragma(sql, "journal_mode"), "wal")
        assert.equal(yield* pragma(sql, "synchronous"), level)
        const tables = yield* sql<{ name: string; strict: number }>`
          SELECT name, strict FROM pragma_table_list WHERE name IN ('eventfold_event', 'eventfold_tag') ORDER BY name`
        assert.deepEqual(
          tables.map(({ name, strict }) => [name, strict]),
          [
            ["eventfold_event", 1],
            ["eventfold_tag", 1]
          ]
        )
      }
    })
  )

  it.effect("is migrated once, by however many at a time, and holds several stores side by side", () =>
    Effect.gen(function* () {
      const filename = yield* temporaryFile
      const layer = SqliteEventStore.layerFile({ filename })
      const stores = yield* Effect.forEach([1, 2, 3, 4], () => openStore(layer), { concurrency: "unbounded" })
      for (const store of stores) yield* store.append("A-1", [event()])
      const other = yield* openStore(SqliteEventStore.layerFile({ filename, tablePrefix: "other_" }))
      assert.equal((yield* other.append("A-1", [event()], { expected: 0 })).position, 1)
      const context = yield* open(layer)
      const sql = Context.get(context, SqlClient.SqlClient)
      assert.equal(yield* Context.get(context, EventStore.EventStore).head, 4)
      const migrations = yield* sql<{ name: string }>`SELECT name FROM eventfold_migrations`
      assert.deepEqual(
        migrations.map(({ name }) => name),
        [
          "events",
          "checkpoints",
          "projection_versions",
          "seen_events",
          "tables_of_projections",
          "deadlines",
          "paused",
          "tombstones",
          "chain"
        ]
      )
    })
  )

  it.effect("finds its rows through indexes", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const statements: Array<string> = []
      const transformer: Statement.Transformer = (statement) =>
        Effect.sync(() => {
          statements.push(statement.compile(true)[0])
          return statement
        })
      const look = Effect.gen(function* () {
        yield* Stream.runDrain(EventStore.read("A-1", { from: 2, until: (yield* first).recordedAt }))
        yield* Stream.runDrain(EventStore.read("A-1", { direction: "backward" }))
        yield* Stream.runDrain(EventStore.readAll({ after: 1 }))
        yield* Stream.runDrain(EventStore.readAll({ filter: [{ tags: ["a:1", "b:1"], types: ["Happened"] }, { tags: ["c:1"] }] }))
        yield* EventStore.readBoundary([
          { filter: { tags: ["a:1", "b:1"], types: ["Happened"] } },
          { filter: { types: ["Happened"] }, newest: true }
        ])
        yield* Stream.runDrain(EventStore.streams({ category: "A" }))
        yield* EventStore.version("A-1")
        yield* EventStore.head
      })
      const first = Effect.map(
        Stream.runCollect(EventStore.readAll({ limit: 1 })),
        (events) => events[0] as EventStore.RecordedEvent
      )
      yield* EventStore.append("A-1", [event({ tags: ["a:1", "b:1"] }), event()])
      yield* Effect.provideService(look, Statement.CurrentTransformer, transformer)
      assert.ok(statements.length >= 9)
      for (const statement of new Set(statements)) {
        const parameters = Array.from(
          new Set(Array.from(statement.matchAll(/\?\d+|\?/g), ([name], n) => (name === "?" ? n : name))),
          () => 1
        )
        const plan = yield* sql<{ detail: string }>`EXPLAIN QUERY PLAN ${sql.unsafe(statement, parameters)}`
        for (const { detail } of plan) {
          // Scanned are results that are as long as a page at most; a table of events is searched.
          assert.doesNotMatch(detail, /SCAN (eventfold_\w+|event|found\w*|beside|e)\b/, `${statement}\n${detail}`)
        }
      }
    }).pipe(Effect.provide(memory))
  )
})

describe("what goes wrong is typed", () => {
  const opening = (options: Parameters<typeof SqliteEventStore.layerFile>[0]) =>
    reasonOf(Effect.scoped(Layer.build(SqliteEventStore.layerFile(options))))

  it.effect("a file that is no database, and a directory that is not there", () =>
    Effect.gen(function* () {
      const filename = yield* temporaryFile
      writeFileSync(filename, "This is a letter and no database, whatever its name may say. ".repeat(100))
      assert.equal((yield* opening({ filename }))._tag, "StoreCorrupted")
      assert.equal((yield* opening({ filename: join(filename, "..", "absent", "events.db") }))._tag, "StoreUnavailable")
    })
  )

  it.effect("a damaged database", () =>
    Effect.gen(function* () {
      const filename = yield* temporaryFile
      const layer = SqliteEventStore.layerFile({ filename })
      yield* Effect.scoped(Effect.flatMap(openStore(layer), (store) => store.append("A-1", [event()])))
      const bytes = readFileSync(filename)
      writeFileSync(filename, bytes.fill(0xff, 4096))
      const reason = yield* reasonOf(Effect.scoped(Effect.flatMap(openStore(layer), ({ head }) => head)))
      assert.equal(reason._tag, "StoreCorrupted")
    })
  )

  it.effect("a full disk: nothing is written, the neighbours in the batch are, and the store goes on", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const pages = (yield* sql.unsafe("PRAGMA page_count").values)[0]?.[0] as number
      yield* sql.unsafe(`PRAGMA max_page_count = ${pages + 20}`)
      const large = EventStore.append("Large-1", [event({ payload: "x".repeat(1_000_000) })])
      const small = (n: number) => EventStore.append(`Small-${n}`, [event()])
      const [, reason] = yield* Effect.all([small(1), reasonOf(large), small(2)], { concurrency: "unbounded" })
      assert.deepEqual([reason._tag, reason.detail], ["StoreFailure", "database or disk is full [SQLITE_FULL]"])
      assert.deepEqual(yield* positions, [1, 2])
      yield* sql.unsafe("PRAGMA max_page_count = 100000")
      assert.equal((yield* large).position, 3)
    }).pipe(Effect.provide(memory))
  )

  it.effect("a client of another database, and a prefix that is no name", () =>
    Effect.gen(function* () {
      const client = yield* SqlClient.make({
        acquirer: Effect.die("not to be used"),
        compiler: Statement.makeCompiler({
          dialect: "pg",
          placeholder: (index) => `$${index}`,
          onIdentifier: (name) => name,
          onRecordUpdate: () => ["", []],
          onCustom: () => ["", []]
        }),
        driver: "pg",
        spanAttributes: []
      })
      const layer = Layer.provide(SqliteEventStore.layer, Layer.succeed(SqlClient.SqlClient, client))
      const reason = yield* reasonOf(Effect.scoped(Layer.build(layer)))
      assert.deepEqual(
        [reason._tag, reason.operation, reason.detail],
        ["StoreFailure", "open", "the SqlClient is not one of SQLite"]
      )
      assert.equal((yield* opening({ filename: ":memory:", tablePrefix: "a b" }))._tag, "StoreFailure")
    }).pipe(Effect.provide(Reactivity.layer))
  )
})
