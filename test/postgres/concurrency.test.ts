import { describe, expect, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Layer, Schema, Stream } from "effect"
import { SqlClient } from "effect/sql"
import { Decision, Event, EventStore, Tag, UnitOfWork } from "eventfold"
import { inject } from "vitest"
import {
  assertSound,
  begin,
  child,
  connect,
  event,
  everything,
  holdHead,
  open,
  type OpenOptions,
  reasonOf,
  until,
  untilWaiting
} from "./harness.ts"
import { freshSchema } from "./support.ts"

/** A schema of its own, with a look at it from outside. */
const arena = Effect.gen(function* () {
  const url = inject("postgresUrl")
  const schema = freshSchema()
  return {
    url,
    schema,
    admin: yield* connect(url),
    /** Another process, as far as the database can tell. */
    join: (options: OpenOptions = {}) => open({ url, schema, ...options })
  }
})

const pollQuickly = { pollInterval: "20 millis" } as const

describe("order of positions", () => {
  it.live("a slow append that commits late: readers stop before it, then see all, once, in order", () =>
    Effect.gen(function* () {
      const { admin, join, schema } = yield* arena
      const [slow, quick] = [yield* join(), yield* join(pollQuickly)]
      const seen: Array<[number, string]> = []
      yield* quick.store.subscribe().pipe(
        Stream.runForEach(({ position, stream }) => Effect.sync(() => void seen.push([position, stream]))),
        Effect.forkScoped
      )
      const appended = yield* Deferred.make<void>()
      const finish = yield* Deferred.make<void>()
      const slowly = yield* slow.store
        .append("Slow-1", [event("slow-1"), event("slow-2")])
        .pipe(
          Effect.andThen(Deferred.succeed(appended, undefined)),
          Effect.andThen(Deferred.await(finish)),
          slow.sql.withTransaction,
          Effect.forkScoped
        )
      yield* Deferred.await(appended)

      const quickly = yield* Effect.forkScoped(quick.store.append("Quick-1", [event("quick")]))
      yield* untilWaiting(admin, schema)
      expect(yield* everything(quick.store)).toEqual([])
      expect(yield* quick.store.head).toBe(0)

      yield* Deferred.succeed(finish, undefined)
      yield* Fiber.join(slowly)
      expect(yield* Fiber.join(quickly)).toMatchObject({ position: 3 })
      yield* until(
        "the subscriber has seen all",
        Effect.sync(() => seen.length >= 3)
      )
      expect(seen).toEqual([
        [1, "Slow-1"],
        [2, "Slow-1"],
        [3, "Quick-1"]
      ])
      yield* assertSound(quick.store)
    })
  )

  it.live("a rollback between two commits, whole or to a savepoint, leaves no hole", () =>
    Effect.gen(function* () {
      const { join } = yield* arena
      const { sql, store } = yield* join()
      yield* store.append("A-1", [event()])
      const rolledBack = yield* store.append("B-1", [event(), event()]).pipe(
        Effect.andThen((result) => Effect.fail(result)),
        sql.withTransaction,
        Effect.flip
      )
      expect(rolledBack).toMatchObject({ position: 3 })
      yield* store.append("A-1", [event()])
      yield* sql.withTransaction(
        Effect.gen(function* () {
          yield* store.append("A-1", [event()])
          yield* Effect.ignore(sql.withTransaction(Effect.andThen(store.append("B-1", [event()]), Effect.fail("no"))))
          yield* store.append("A-1", [event()])
        })
      )
      const events = yield* assertSound(store)
      expect(events.map(({ stream }) => stream)).toEqual(["A-1", "A-1", "A-1", "A-1"])
    })
  )

  it.live("write transactions that stay open elsewhere, in this database and another, do not delay delivery", () =>
    Effect.gen(function* () {
      const { admin, join, schema, url } = yield* arena
      const { store } = yield* join(pollQuickly)
      yield* admin`create table ${admin(`${schema}.elsewhere`)} (n int)`
      const other = `other_${schema}`
      yield* Effect.acquireRelease(admin.unsafe(`create database "${other}"`), () =>
        Effect.orDie(admin.unsafe(`drop database "${other}" with (force)`))
      )
      const elsewhere = new URL(url)
      elsewhere.pathname = `/${other}`
      yield* begin(admin, `insert into "${schema}".elsewhere values (1)`)
      yield* begin(yield* connect(elsewhere.href), "create table elsewhere (n int)")

      const subscriber = yield* store.subscribe().pipe(Stream.take(10), Stream.runCollect, Effect.forkScoped)
      yield* Effect.forEach(Array.from({ length: 10 }), () => store.append("A-1", [event()]))
      const events = yield* Fiber.join(subscriber)
      expect(events.map(({ position }) => position)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
      const [stillOpen] = yield* admin<{ count: number }>`select count(*)::int as count from pg_stat_activity
        where state = 'idle in transaction' and backend_xid is not null and (datname = ${other} or query like ${`%${schema}%`})`
      expect(stillOpen).toEqual({ count: 2 })
    })
  )

  it.live(
    "a reader that follows four writing processes sees every position once, in order",
    () =>
      Effect.gen(function* () {
        const { join, schema, url } = yield* arena
        const { store } = yield* join(pollQuickly)
        const seen: Array<number> = []
        const ids = new Set<string>()
        yield* store.subscribe().pipe(
          Stream.runForEach(({ id, position }) =>
            Effect.sync(() => {
              seen.push(position)
              ids.add(id)
            })
          ),
          Effect.forkScoped
        )
        const writers = yield* Effect.forEach(["a", "b", "c", "d"], (name, index) =>
          child("writer", { url, schema, name, callers: 4, mode: index % 2 === 0 ? "own" : "hot" })
        )
        const acknowledged = () => writers.reduce((sum, { lines }) => sum + lines.length - 1, 0)
        yield* until(
          "every writer has appended",
          Effect.sync(() => writers.every(({ lines }) => lines.length > 100))
        )
        yield* until(
          "much is written",
          Effect.sync(() => acknowledged() > 6_000)
        )
        yield* Effect.forEach(writers, ({ end }) => end, { concurrency: "unbounded" })
        const head = yield* store.head
        expect(head).toBe(acknowledged())
        yield* until(
          "the subscriber has caught up",
          Effect.sync(() => seen.length >= head)
        )
        expect(seen).toEqual(Array.from({ length: head }, (_, index) => index + 1))
        expect(ids.size).toBe(head)
        yield* assertSound(store)
      }),
    60_000
  )
})

describe("verdicts in one batch", () => {
  /** Appends all at once so that they become one batch, and says how each ended. */
  const together = Effect.fnUntraced(function* (
    { admin, schema }: { readonly admin: SqlClient.SqlClient; readonly schema: string },
    store: EventStore.EventStore["Service"],
    appends: ReadonlyArray<Effect.Effect<unknown, EventStore.AppendError>>
  ) {
    const head = yield* holdHead(admin, schema)
    const before = yield* Effect.forkScoped(store.append("Before-1", [event()]))
    yield* untilWaiting(admin, schema)
    const batch = yield* Effect.forEach(appends, (append) => Effect.forkScoped(append, { startImmediately: true }))
    yield* head.commit
    yield* Fiber.join(before)
    return yield* Effect.forEach(batch, (fiber) => Fiber.await(fiber))
  })

  const transactions = (admin: SqlClient.SqlClient, schema: string) =>
    Effect.map(
      admin.unsafe<{ count: number }>(
        `select count(distinct xmin::text)::int as count from "${schema}".event where stream like 'Good-%'`
      ),
      ([row]) => row?.count
    )

  const cases = (store: EventStore.EventStore["Service"]) => [
    store.append("Good-1", [event("good-1")]),
    store.append("Taken-1", [event("late")], { expected: EventStore.ExpectedVersion.NoStream }),
    store.append("Good-2", [event("stands-too")]),
    store.append("Taken-1", [event("stands")]),
    store.appendAll([{ stream: "Cond-1", events: [event("conditional")] }], { unless: { filter: { tags: ["seat:1"] } } }),
    store.append("Bad-1", [{ type: "Counted", payload: "\u0000" }]),
    store.append("Bad-2", [{ type: "Counted", payload: "x".repeat(EventStore.limits.payloadBytes) }]),
    store.append("Good-3", [event("good-3"), event("good-4")], { expected: 0 })
  ]

  const standing = [{ ...event("stands"), tags: ["seat:1"] }, event("stands-too")]

  const expected = [
    { value: { version: 1, deduplicated: false } },
    { error: { _tag: "OptimisticLockError", expected: "no-stream", actual: 2 } },
    { error: { _tag: "DuplicateEventError", stream: "Good-2", id: "stands-too" } },
    { value: { version: 1, position: 1, deduplicated: true } },
    { error: { _tag: "AppendConditionError", position: 1 } },
    { error: { _tag: "InvalidAppendError" } },
    { error: { _tag: "InvalidAppendError" } },
    { value: { version: 2, deduplicated: false } }
  ]

  const outcome = (exit: Exit.Exit<unknown, EventStore.AppendError>) =>
    Exit.match(exit, {
      onSuccess: (value) => ({ value }),
      onFailure: (cause) => ({ error: cause.reasons.find((reason) => reason._tag === "Fail")?.error })
    })

  it.live("a good, a conflicting, a duplicate, a conditional, an invalid and a too large request get their own each", () =>
    Effect.gen(function* () {
      const here = yield* arena
      const { store } = yield* here.join()
      yield* store.append("Taken-1", standing)
      const exits = yield* together(here, store, cases(store))
      expect(exits.map(outcome)).toMatchObject(expected)
      expect(yield* transactions(here.admin, here.schema)).toBe(1)
      const events = yield* assertSound(store)
      expect(events.map(({ id }) => id)).toEqual(expect.arrayContaining(["stands", "good-1", "good-3", "good-4"]))
      expect(events).toHaveLength(6)
    })
  )

  it.live.each([
    ["a check constraint", "alter table SCHEMA.event add constraint refuses check (type <> 'Refused')", "23514"],
    ["a data error", "22P05", "22P05"],
    ["a full disk", "53100", "53100"]
  ] as const)("what the database itself refuses (%s) fails alone", ([, how, code]) =>
    Effect.gen(function* () {
      const here = yield* arena
      const { store } = yield* here.join()
      const text = how.startsWith("alter")
        ? how
        : `create function SCHEMA.refuse() returns trigger language plpgsql as $$ begin
             raise exception 'refused' using errcode = '${how}'; end $$;
           create trigger refuses before insert on SCHEMA.event for each row when (new.type = 'Refused') execute function SCHEMA.refuse()`
      for (const statement of text.replaceAll("SCHEMA", `"${here.schema}"`).split(/;\s*(?=create trigger)/)) {
        yield* here.admin.unsafe(statement)
      }
      yield* store.append("Taken-1", standing)
      const exits = yield* together(here, store, [
        ...cases(store),
        store.append("Refused-1", [event("refused", "Refused")]),
        store.append("Good-5", [event("good-5")])
      ])
      expect(exits.map(outcome)).toMatchObject([
        ...expected,
        { error: { _tag: "EventStoreError", reason: { _tag: "StoreFailure", detail: expect.stringContaining(`[${code}]`) } } },
        { value: { version: 1 } }
      ])
      // Each by itself: three transactions and not one.
      expect(yield* transactions(here.admin, here.schema)).toBe(3)
      const events = yield* assertSound(store)
      expect(events).toHaveLength(7)
    })
  )

  it.live("a batch sees what it accepts itself: conditions that overlap are in one transaction, and the later is refused", () =>
    Effect.gen(function* () {
      const here = yield* arena
      const { store } = yield* here.join()
      yield* store.append("Taken-1", [{ ...event("stands"), tags: ["seat:9"] }])
      const seat = (stream: string, tags: ReadonlyArray<string>, unless: EventStore.Filter, after = 1, expected?: number) =>
        store.appendAll([{ stream, events: [{ ...event(), tags }], ...(expected === undefined ? {} : { expected }) }], {
          unless: [{ filter: { tags: ["none"] } }, { filter: unless, after }]
        })
      const seat1 = { tags: ["seat:1"] }
      const exits = yield* together(here, store, [
        seat("Good-1", ["seat:1"], seat1), // position 3: one has been appended before the batch
        seat("Good-2", ["seat:1"], seat1),
        seat("Good-3", ["seat:2"], { types: ["Absent"], tags: ["seat:1"] }),
        seat("Good-4", ["seat:1"], [{ tags: ["absent"] }, { types: ["Counted"], categories: ["Good"] }]),
        seat("Good-5", ["seat:3"], { tags: ["seat:9"] }, 0),
        seat("Good-6", ["seat:4"], {}, 99),
        seat("Good-7", ["seat:5"], { tags: ["seat:6"] }, 1, 7),
        // What was refused is in nobody's way.
        seat("Good-8", ["seat:6"], [{ tags: ["seat:5"] }, { tags: ["seat:3"] }]),
        seat("Good-9", ["seat:7"], { tags: ["seat:2", "seat:1"] }),
        store.append("Good-10", [{ ...event(), tags: ["seat:1"] }]),
        seat("Good-11", ["seat:1"], [{ tags: ["seat:4"], types: ["Counted"] }, seat1])
      ])
      const condition = (filter: EventStore.Filter, after = 1) => ({ filter: [filter].flat(), after })
      expect(exits.map(outcome)).toMatchObject([
        { value: [{ position: 3 }] },
        { error: { _tag: "AppendConditionError", position: 3, condition: condition(seat1) } },
        { value: [{ position: 4 }] },
        { error: { _tag: "AppendConditionError", position: 4 } },
        { error: { _tag: "AppendConditionError", position: 1, condition: condition({ tags: ["seat:9"] }, 0) } },
        { value: [{ position: 5 }] },
        { error: { _tag: "OptimisticLockError", expected: 7, actual: 0 } },
        { value: [{ position: 6 }] },
        { value: [{ position: 7 }] },
        { value: { position: 8 } },
        { error: { _tag: "AppendConditionError", position: 8 } }
      ])
      expect(yield* transactions(here.admin, here.schema)).toBe(1)
      yield* assertSound(store)
    })
  )

  it.live("what is larger than one batch may be is still one batch after another, and nobody is forgotten", () =>
    Effect.gen(function* () {
      const here = yield* arena
      const { store } = yield* here.join({ maxBatch: 7, capacity: 50 })
      const results = yield* Effect.forEach(
        Array.from({ length: 300 }),
        (_, n) => store.append(`Many-${n % 9}`, [event(`many-${n}`)]),
        { concurrency: "unbounded" }
      )
      expect(new Set(results.map(({ position }) => position)).size).toBe(300)
      yield* assertSound(store)
    })
  )
})

describe("competing appends", () => {
  it.live(
    "Any never conflicts and opposite orders of streams never deadlock, whatever processes append",
    () =>
      Effect.gen(function* () {
        const { admin, join, schema, url } = yield* arena
        const { store } = yield* join()
        const deadlocks = Effect.map(
          admin<{ count: number }>`select deadlocks::int as count from pg_stat_database where datname = current_database()`,
          ([row]) => row?.count
        )
        const before = yield* deadlocks
        const modes = ["forth", "back", "forth", "hot"]
        const writers = yield* Effect.forEach(modes, (mode, index) =>
          child("writer", { url, schema, name: `w${index}`, callers: 8, mode, times: 40 })
        )
        yield* Effect.forEach(writers, ({ end }) => end, { concurrency: "unbounded" })
        expect(writers.map(({ lines }) => lines.length)).toEqual([321, 321, 321, 321])
        yield* assertSound(store)
        expect(yield* store.version("Pair-left")).toBe(960)
        expect(yield* store.version("Pair-right")).toBe(960)
        expect(yield* store.version("Hot-1")).toBe(320)
        expect(yield* deadlocks).toBe(before)
      }),
    60_000
  )

  it.live.each(["repeatable read", "serializable"])("Any does not conflict either where %s is the default", (level) =>
    Effect.gen(function* () {
      const { join } = yield* arena
      const pool = { startupParameters: { default_transaction_isolation: level } }
      const processes = [yield* join({ pool }), yield* join({ pool }), yield* join({ pool })]
      yield* Effect.forEach(
        Array.from({ length: 150 }),
        (_, n) => (processes[n % 3] ?? expect.unreachable()).store.append("Hot-1", [event()]),
        { concurrency: 12 }
      )
      expect(yield* assertSound((processes[0] ?? expect.unreachable()).store)).toHaveLength(150)
    })
  )

  it.live("two processes that expect the same versions: one winner a version", () =>
    Effect.gen(function* () {
      const { join } = yield* arena
      const processes = [yield* join(), yield* join()]
      const wins = yield* Effect.forEach(
        processes,
        ({ store }, index) =>
          Effect.gen(function* () {
            let won = 0
            for (let version = 0; version < 60; version++) {
              const exit = yield* Effect.exit(store.append("Race-1", [event(`${index}-${version}`)], { expected: version }))
              if (Exit.isSuccess(exit)) won++
              else expect(outcomeTag(exit)).toBe("OptimisticLockError")
            }
            return won
          }),
        { concurrency: "unbounded" }
      )
      expect((wins[0] ?? 0) + (wins[1] ?? 0)).toBe(60)
      const events = yield* assertSound((yield* join()).store)
      expect(events).toHaveLength(60)
    })
  )

  it.live("transactions that lock rows and append in opposite orders: the loser may run again, and both succeed", () =>
    Effect.gen(function* () {
      const { admin, join, schema } = yield* arena
      const [one, two] = [yield* join(), yield* join()]
      yield* admin.unsafe(`create table "${schema}".stock (id int primary key, n int not null)`)
      yield* admin.unsafe(`insert into "${schema}".stock values (1, 0)`)
      const change = `update "${schema}".stock set n = n + 1 where id = 1`
      const [rowLocked, headLocked] = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
      const tags: Array<string> = []
      const note = <A, E extends { readonly _tag: string }, R>(effect: Effect.Effect<A, E, R>) =>
        Effect.tapError(effect, (error) => Effect.sync(() => void tags.push(error._tag)))

      // Of the two, one has the row and wants the head, the other has the head and wants the row.
      const rowFirst = one.sql
        .unsafe(change)
        .pipe(
          Effect.andThen(Deferred.succeed(rowLocked, undefined)),
          Effect.andThen(Deferred.await(headLocked)),
          Effect.andThen(one.store.append("Stock-1", [event("row-first")])),
          one.units.transact,
          note,
          UnitOfWork.retryConflicts({ times: 3 })
        )
      const headFirst = Deferred.await(rowLocked).pipe(
        Effect.andThen(two.store.append("Stock-1", [event("head-first")])),
        Effect.andThen(Deferred.succeed(headLocked, undefined)),
        Effect.andThen(two.sql.unsafe(change)),
        two.units.transact,
        note,
        UnitOfWork.retryConflicts({ times: 3 })
      )
      yield* Effect.all([rowFirst, headFirst], { concurrency: "unbounded" })
      expect(tags).toHaveLength(1)
      expect(["EventStoreError", "SqlError"]).toContain(tags[0])
      expect(yield* admin.unsafe(`select n from "${schema}".stock`)).toEqual([{ n: 2 }])
      expect(yield* assertSound(one.store)).toHaveLength(2)
    })
  )
})

const outcomeTag = (exit: Exit.Exit<unknown, EventStore.AppendError>) =>
  Exit.isFailure(exit) ? exit.cause.reasons.find((reason) => reason._tag === "Fail")?.error._tag : undefined

describe("isolation of units of work", () => {
  const levels = ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"] as const
  const at = (level: string) => Effect.provideService(SqlClient.BeginTransaction, `BEGIN ISOLATION LEVEL ${level}`)

  /** Two units of work that have both looked before either writes. The first wins; this is how the second ends. */
  const doubleBooking = Effect.fnUntraced(function* (
    level: string,
    book: (
      opened: { readonly store: EventStore.EventStore["Service"] },
      id: string,
      looked: Effect.Effect<void>
    ) => Effect.Effect<unknown, EventStore.AppendError>
  ) {
    const { join } = yield* arena
    const [one, two] = [yield* join(), yield* join()]
    const [twoLooked, oneBooked] = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
    const late = yield* book(two, "late", Effect.andThen(Deferred.succeed(twoLooked, undefined), Deferred.await(oneBooked))).pipe(
      two.sql.withTransaction,
      at(level),
      reasonOf,
      Effect.forkScoped
    )
    yield* Deferred.await(twoLooked)
    yield* book(one, "early", Effect.void).pipe(one.sql.withTransaction, at(level))
    yield* Deferred.succeed(oneBooked, undefined)
    const reason = yield* Fiber.join(late)
    const events = yield* assertSound(one.store)
    expect(events.map(({ id }) => id)).toEqual(["early"])
    return reason
  })

  it.live.each(levels)("%s: an append condition is never double-booked", (level) =>
    Effect.map(
      doubleBooking(
        level,
        Effect.fnUntraced(function* ({ store }, id, looked) {
          const filter = { tags: ["seat:1"] }
          expect(yield* Stream.runCollect(store.readAll({ filter }))).toEqual([])
          yield* looked
          yield* store.appendAll([{ stream: `Booking-${id}`, events: [{ ...event(id), tags: ["seat:1"] }] }], {
            unless: { filter, after: 0 }
          })
        })
      ),
      (reason) => expect(reason).toBe(level === "READ COMMITTED" ? "AppendConditionError" : "TransactionConflict")
    )
  )

  it.live.each(levels)("%s: an expected version is never double-booked", (level) =>
    Effect.map(
      doubleBooking(
        level,
        Effect.fnUntraced(function* ({ store }, id, looked) {
          expect(yield* store.version("Seat-1")).toBe(0)
          yield* looked
          yield* store.append("Seat-1", [event(id)], { expected: 0 })
        })
      ),
      (reason) => expect(reason).toBe(level === "READ COMMITTED" ? "OptimisticLockError" : "TransactionConflict")
    )
  )

  it.live("the conflict is retryable, and says so", () =>
    Effect.gen(function* () {
      const { join } = yield* arena
      const [one, two] = [yield* join(), yield* join()]
      const error = yield* two.store.head.pipe(
        Effect.andThen(one.store.append("A-1", [event()])),
        Effect.andThen(two.store.append("A-1", [event()])),
        two.sql.withTransaction,
        at("REPEATABLE READ"),
        Effect.flip
      )
      expect(error).toMatchObject({ _tag: "EventStoreError", isRetryable: true, reason: { _tag: "TransactionConflict" } })
    })
  )

  it.live.each(["REPEATABLE READ", "SERIALIZABLE"])(
    "%s: units of work that race are run again until each has booked one seat, and rows agree with events",
    (level) =>
      Effect.gen(function* () {
        const { admin, join, schema } = yield* arena
        const processes = [yield* join(), yield* join()]
        yield* admin.unsafe(`create table "${schema}".seat (n int not null)`)
        const tried = yield* Effect.forEach(
          Array.from({ length: 8 }),
          (_, index) => {
            const { sql, store, units } = processes[index % 2] ?? expect.unreachable()
            let tries = 0
            return Effect.gen(function* () {
              tries++
              const [row] = yield* sql.unsafe<{ next: number }>(`select count(*)::int + 1 as next from "${schema}".seat`)
              const next = row?.next ?? 0
              yield* sql.unsafe(`insert into "${schema}".seat values (${next})`)
              yield* UnitOfWork.stage("Seats-1", [event(`seat-${next}`)], { expected: yield* store.version("Seats-1") })
            }).pipe(
              units.transact,
              at(level),
              UnitOfWork.retryConflicts({ times: 50 }),
              Effect.map(() => tries)
            )
          },
          { concurrency: "unbounded" }
        )
        expect(Math.max(...tried)).toBeGreaterThan(1)
        const events = yield* assertSound((processes[0] ?? expect.unreachable()).store)
        expect(events.map(({ id }) => id)).toEqual(Array.from({ length: 8 }, (_, n) => `seat-${n + 1}`))
        expect(yield* admin.unsafe(`select n from "${schema}".seat order by n`)).toEqual(
          Array.from({ length: 8 }, (_, n) => ({ n: n + 1 }))
        )
      })
  )
})

describe("decisions and transactions that are open elsewhere", () => {
  const from = Tag.make("from")
  const to = Tag.make("to")
  const Moved = Event.make(
    "Moved",
    { from: Schema.String, to: Schema.String },
    { tags: (event) => [from(event.from), to(event.to)] }
  )
  const counted = { events: [Moved], initial: 0, evolve: { Moved: (count: number) => count + 1 } }
  const Out = Decision.make("Out", { tags: { from }, ...counted })
  const In = Decision.make("In", { tags: { to }, ...counted })
  const move = Decision.execute(Out({ from: "a" }), "Moves", () => Moved.make({ from: "a", to: "b" }))

  it.live("an optimistic cache shows nobody a part of what is not committed, and the rest without it", () =>
    Effect.gen(function* () {
      const { join } = yield* arena
      const { sql, store } = yield* join()
      const units = yield* Layer.build(
        UnitOfWork.layerSql.pipe(
          Layer.provide(Layer.succeed(SqlClient.SqlClient, sql)),
          Layer.provideMerge(Layer.succeed(EventStore.EventStore, store)),
          Layer.provideMerge(Decision.layerCacheWith({ optimistic: true }))
        )
      )
      const [appended, finish] = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
      const moving = yield* UnitOfWork.transact(move).pipe(
        Effect.andThen(Deferred.succeed(appended, undefined)),
        Effect.andThen(Deferred.await(finish)),
        sql.withTransaction,
        Effect.provideContext(units),
        Effect.forkScoped
      )
      yield* Deferred.await(appended)
      // Who writes nothing is shown what it has seen once that has been found true: which it is by then, of the one half.
      const looking = Effect.gen(function* () {
        const seen = [yield* Decision.load(Out({ from: "a" })), yield* Decision.load(In({ to: "b" }))]
        yield* Deferred.succeed(finish, undefined)
        yield* Fiber.join(moving)
        return seen
      })
      const [out, into] = yield* Effect.provideContext(UnitOfWork.transact(looking), units)
      expect(out).toBe(into)
    }).pipe(Effect.scoped)
  )
})

describe("the user's own transactions", () => {
  it.live("a transaction that appends twice commits both, and wakes a subscriber once they are visible", () =>
    Effect.gen(function* () {
      const { join } = yield* arena
      const { sql, store } = yield* join()
      const subscriber = yield* store.subscribe().pipe(Stream.take(3), Stream.runCollect, Effect.forkScoped)
      const inside = yield* sql.withTransaction(
        Effect.gen(function* () {
          const first = yield* store.append("A-1", [event("a1")])
          const second = yield* store.append("A-1", [event("a2"), event("a3")], { expected: 1 })
          const again = yield* store.append("A-1", [event("a1")])
          return [first, second, again, yield* store.version("A-1")]
        })
      )
      expect(inside).toEqual([
        { stream: "A-1", version: 1, position: 1, deduplicated: false },
        { stream: "A-1", version: 3, position: 3, deduplicated: false },
        { stream: "A-1", version: 1, position: 1, deduplicated: true },
        3
      ])
      expect((yield* Fiber.join(subscriber)).map(({ id }) => id)).toEqual(["a1", "a2", "a3"])
    })
  )

  it.live.each(["commits", "rolls back"])(
    "a transaction that asks for the head it has made, and then %s, misleads no subscriber",
    (end) =>
      Effect.gen(function* () {
        const { join } = yield* arena
        const { sql, store } = yield* join(pollQuickly)
        const seen: Array<string> = []
        yield* store.subscribe().pipe(
          Stream.runForEach(({ id }) => Effect.sync(() => void seen.push(id))),
          Effect.forkScoped
        )
        yield* store.append("A-1", [event("first")])
        yield* until(
          "it follows",
          Effect.sync(() => seen.length === 1)
        )
        yield* Effect.gen(function* () {
          yield* store.append("A-1", [event("inside"), event("inside too")])
          expect(yield* store.head).toBe(3)
          yield* everything(store)
          // Time enough for a subscriber that has been woken to look, in vain.
          yield* Effect.repeat(store.version("A-1"), { times: 20 })
          if (end === "rolls back") yield* Effect.fail("on purpose")
        }).pipe(sql.withTransaction, Effect.ignore)
        yield* store.append("A-1", [event("last")])
        const ids = end === "commits" ? ["first", "inside", "inside too", "last"] : ["first", "last"]
        yield* until(
          "all is seen",
          Effect.sync(() => seen.length >= ids.length)
        )
        expect(seen).toEqual(ids)
      })
  )

  it.live("a conflict inside of a transaction leaves it usable", () =>
    Effect.gen(function* () {
      const { join } = yield* arena
      const { sql, store } = yield* join()
      yield* sql.withTransaction(
        Effect.gen(function* () {
          yield* store.append("A-1", [event()])
          expect(yield* reasonOf(store.append("A-1", [event()], { expected: 0 }))).toBe("OptimisticLockError")
          yield* store.append("A-1", [event()])
        })
      )
      expect(yield* assertSound(store)).toHaveLength(2)
    })
  )

  it.live("a transaction whose later statement fails writes neither events nor rows, and the next position is dense", () =>
    Effect.gen(function* () {
      const { admin, join, schema } = yield* arena
      const { sql, store, units } = yield* join()
      yield* admin.unsafe(`create table "${schema}".stock (id int primary key)`)
      const insert = sql.unsafe(`insert into "${schema}".stock values (1)`)
      const error = yield* units
        .transact(
          Effect.gen(function* () {
            yield* insert
            yield* store.append("A-1", [event()])
            yield* insert
          })
        )
        .pipe(Effect.flip)
      expect(error).toMatchObject({ _tag: "SqlError", reason: { _tag: "UniqueViolation" } })
      expect(yield* admin.unsafe(`select * from "${schema}".stock`)).toEqual([])
      expect(yield* store.append("A-1", [event()])).toMatchObject({ version: 1, position: 1 })
    })
  )

  it.live("events that are refused take the rows of their unit of work with them", () =>
    Effect.gen(function* () {
      const { admin, join, schema } = yield* arena
      const { sql, store, units } = yield* join()
      yield* admin.unsafe(`create table "${schema}".stock (id int primary key)`)
      yield* store.append("A-1", [event()])
      const reason = yield* sql
        .unsafe(`insert into "${schema}".stock values (1)`)
        .pipe(Effect.andThen(UnitOfWork.stage("A-1", [event()], { expected: 0 })), units.transact, reasonOf)
      expect(reason).toBe("OptimisticLockError")
      expect(yield* admin.unsafe(`select * from "${schema}".stock`)).toEqual([])
    })
  )

  it.live("events are durable once acknowledged, also where the server's default trades that for speed", () =>
    Effect.gen(function* () {
      const { join } = yield* arena
      const { sql, store } = yield* join({ pool: { startupParameters: { synchronous_commit: "off" } } })
      const setting = Effect.map(sql.unsafe("select current_setting('synchronous_commit') as setting"), ([row]) => row)
      expect(yield* setting).toEqual({ setting: "off" })
      expect(yield* sql.withTransaction(Effect.andThen(store.append("A-1", [event()]), setting))).toEqual({ setting: "on" })
      expect(yield* setting).toEqual({ setting: "off" })
    })
  )

  it.live("one connection is enough: a pool of one appends, reads and subscribes beside a transaction", () =>
    Effect.gen(function* () {
      const { url, schema } = yield* arena
      const { sql, store } = yield* open({ url, schema, pool: { maxConnections: 1 } })
      const subscriber = yield* store.subscribe().pipe(Stream.take(3), Stream.runCollect, Effect.forkScoped)
      yield* Effect.all(
        [
          store.append("A-1", [event()]),
          sql.withTransaction(Effect.andThen(store.append("A-2", [event()]), everything(store))),
          Effect.andThen(store.append("A-3", [event()]), everything(store))
        ],
        { concurrency: "unbounded" }
      )
      expect(yield* Fiber.join(subscriber)).toHaveLength(3)
    })
  )

  it.live("listening on the only connection is refused, because nothing could be done beside it", () =>
    Effect.gen(function* () {
      const { url, schema } = yield* arena
      const reason = yield* reasonOf(Effect.scoped(open({ url, schema, listen: true, pool: { maxConnections: 1 } })))
      expect(reason).toBe("StoreFailure")
    })
  )

  it.live("a client that shares connections between statements keeps transactions apart all the same", () =>
    Effect.gen(function* () {
      const { url, schema } = yield* arena
      const { sql, store } = yield* open({ url, schema, pool: { multiplex: true, maxConnections: 3 } })
      yield* Effect.forEach(
        Array.from({ length: 40 }),
        (_, n) =>
          n % 2 === 0
            ? store.append(`Plain-${n}`, [event()])
            : Effect.ignore(
                sql.withTransaction(
                  Effect.andThen(store.append(`Unit-${n}`, [event()]), n % 3 === 0 ? Effect.fail("no") : Effect.void)
                )
              ),
        { concurrency: "unbounded" }
      )
      const events = yield* assertSound(store)
      expect(events).toHaveLength(20 + Array.from({ length: 40 }).filter((_, n) => n % 2 === 1 && n % 3 !== 0).length)
    })
  )
})
