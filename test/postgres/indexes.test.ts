/** The option `indexes` of the store: how indexes come about, and that what is rare is found by them and by nothing else. */
import { describe, expect, it } from "@effect/vitest"
import { Context, Effect, Fiber, Layer, Logger, Stream } from "effect"
import type { SqlClient } from "effect/sql"
import { AuditTrail, EventStore } from "eventfold"
import { PgEventStore } from "eventfold/postgres"
import { inject } from "vitest"
import { database } from "./databases.ts"
import { begin, connect, event, open, type Opened, type OpenOptions, terminate, until } from "./harness.ts"
import { freshSchema, pgLiteOfFile } from "./support.ts"

type Store = Opened["store"]

const url = () => inject("postgresUrl")

const all = ["type", "category", "correlation"] as const

/** Says nothing of what it makes. */
const opened = (options: OpenOptions & { readonly url: string }) => Effect.provide(open(options), Logger.layer([]))

/** The indexes of a schema that are beyond those of the keys, and whether they can be used. */
const indexesOf = (admin: SqlClient.SqlClient, schema: string) =>
  Effect.map(
    admin<{ name: string; valid: boolean }>`
      select c.relname as name, i.indisvalid as valid from pg_index i join pg_class c on c.oid = i.indexrelid
       where c.relnamespace = ${schema}::regnamespace and c.relname like '%event%idx' order by c.relname`,
    (rows) => rows.map(({ name, valid }) => (valid ? name : `${name} (invalid)`))
  )

const some = (n: number): EventStore.NewEvent => ({
  type: `T${n % 3}`,
  payload: n,
  published: n % 2 === 0,
  tags: n % 4 === 0 ? ["four"] : [],
  metadata: n % 5 === 0 ? {} : { correlationId: `c"${n % 7}` }
})

/** Filters in every shape that an index has a part in. */
const filters: ReadonlyArray<EventStore.Filter> = [
  { types: ["T1"] },
  { types: ["T1", "T2", "T1", "None"] },
  { types: Array.from({ length: 20 }, (_, n) => `T${n}`) },
  { types: [] },
  { types: ["None"] },
  { categories: ["A"] },
  { categories: ["A", "B", "None"] },
  { categories: [] },
  { correlationId: 'c"3' },
  { correlationId: "none" },
  { types: ["T1"], categories: ["A"], published: true },
  { types: ["T1"], correlationId: 'c"3', categories: ["A", "C"] },
  { tags: ["four"], types: ["T1"], correlationId: 'c"3' },
  [{ types: ["T1"] }, { correlationId: 'c"3' }, { tags: ["four"] }, { published: true, categories: ["B"] }],
  [{ categories: ["A"] }, { categories: ["C"], types: ["T2"] }]
]

const reads = (store: Store) =>
  Effect.forEach(filters, (filter) =>
    Effect.all([
      Stream.runCollect(store.readAll({ filter })),
      Stream.runCollect(store.readAll({ filter, direction: "backward", limit: 7 })),
      Stream.runCollect(store.readAll({ filter, after: 20, upTo: 45 })),
      Effect.map(store.readPage({ filter, after: 20, size: 5 }), ({ events, position }) => [events, position]),
      Effect.map(store.readBoundary([{ filter }, { filter, newest: true }], { size: 9 }), ({ answers }) => answers)
    ])
  )

const fillSome = (store: Store) =>
  Effect.forEach(
    Array.from({ length: 60 }).keys(),
    (n) => store.append(`${["A", "B", "AB", "A.", "C"][n % 5]}${n % 11 === 0 ? "" : `-${n % 3}`}`, [some(n)]),
    { discard: true }
  )

describe("indexes", () => {
  it.live.each([
    ["", ""],
    ["Capitals", "2Shop"]
  ] as const)(
    "are made within the schema, %s and with the prefix %s, once, and what is read is the same with and without",
    ([capitals, tablePrefix]) =>
      Effect.gen(function* () {
        const admin = yield* connect(url())
        const place = { url: url(), schema: `${capitals}${freshSchema()}`, tablePrefix }
        const plain = yield* open(place)
        yield* fillSome(plain.store)
        expect(yield* indexesOf(admin, `"${place.schema}"`)).toEqual([])
        const expected = yield* reads(plain.store)
        for (const indexes of [["type"], ["correlation", "correlation"], all, [...all].reverse()] as const) {
          expect(yield* reads((yield* opened({ ...place, indexes })).store)).toEqual(expected)
        }
        const names = ["category", "correlation", "type"].map((index) => `${tablePrefix}event_${index}_idx`)
        expect(yield* indexesOf(admin, `"${place.schema}"`)).toEqual(names)
        // Who does not ask for them leaves them alone.
        expect(yield* reads((yield* open(place)).store)).toEqual(expected)
        expect(yield* indexesOf(admin, `"${place.schema}"`)).toEqual(names)
      })
  )

  it.live("are made once by many that open the store at the same time", () =>
    Effect.gen(function* () {
      const admin = yield* connect(url())
      const schema = freshSchema()
      const stores = yield* Effect.forEach(
        Array.from({ length: 6 }),
        (_, n) => opened({ url: url(), schema, indexes: all, pool: { maxConnections: n === 0 ? 1 : 2 } }),
        { concurrency: "unbounded" }
      )
      for (const { store } of stores) yield* store.append("A-1", [event()])
      expect(yield* indexesOf(admin, schema)).toEqual(["event_category_idx", "event_correlation_idx", "event_type_idx"])
    })
  )

  it.live("appends go on while an index is made, and one that a killed process has left is made anew", () =>
    Effect.gen(function* () {
      const admin = yield* connect(url())
      const schema = freshSchema()
      const { store } = yield* open({ url: url(), schema })
      yield* store.append("A-1", [event("a")])
      // Who makes an index waits for whoever may see what was before it.
      const older = yield* begin(admin, "set transaction isolation level repeatable read", `select 1 from "${schema}".event`)
      const opening = opened({ url: url(), schema, indexes: ["type"] })
      const making = Effect.map(
        admin<{ pid: number }>`select pid from pg_stat_activity
          where query like ${`create index concurrently%"${schema}"%`} and wait_event_type = 'Lock'`,
        (rows) => rows.map(({ pid }) => pid)
      )
      const killed = yield* Effect.forkScoped(Effect.flip(Effect.scoped(opening)))
      yield* until(
        "the index is being made",
        Effect.map(making, (pids) => pids.length === 1)
      )
      yield* store.append("A-1", [event("b")])
      yield* terminate(admin, yield* making)
      expect(yield* Fiber.join(killed)).toMatchObject({ reason: { _tag: "StoreUnavailable", operation: "migrate" } })
      expect(yield* indexesOf(admin, schema)).toEqual(["event_type_idx (invalid)"])

      // What is unfinished is not taken for an index, and whoever may make none says what to do.
      const refused = yield* Effect.flip(Effect.scoped(opened({ url: url(), schema, indexes: ["type"], migrate: false })))
      expect(refused.message).toContain(
        `drop index concurrently if exists "${schema}"."event_type_idx"; create index concurrently`
      )

      const others = yield* Effect.forEach([1, 2, 3], () => Effect.forkScoped(opening))
      yield* store.append("A-1", [event("c")])
      yield* older.commit
      for (const other of others) {
        const { store } = yield* Fiber.join(other)
        expect(yield* Stream.runCollect(store.readAll({ filter: { types: ["Counted"] } }))).toHaveLength(3)
      }
      expect(yield* indexesOf(admin, schema)).toEqual(["event_type_idx"])
    })
  )

  it.live("that another process is making are waited for, which is said, and no longer than is allowed", () =>
    Effect.gen(function* () {
      // Whoever makes an index waits for all transactions of its database that are older.
      const own = Object.assign(new URL(url()), { pathname: yield* database }).href
      const admin = yield* connect(own)
      const schema = freshSchema()
      yield* open({ url: own, schema })
      const said: Array<string> = []
      const logger = Logger.make(({ message }) => void said.push(String(message)))
      const opening = Effect.provide(
        Effect.scoped(open({ url: own, schema, indexes: ["type"], indexTimeout: "700 millis" })),
        Logger.layer([logger])
      )
      // Whoever is at it has stopped: it makes nothing, and lets nobody else.
      const other = yield* begin(admin, `select pg_advisory_xact_lock(hashtextextended('eventfold indexes ${schema}.', 0))`)
      const error = yield* Effect.flip(opening)
      expect(error).toMatchObject({ _tag: "EventStoreError", reason: { _tag: "StoreUnavailable", operation: "migrate" } })
      expect(error.message).toContain("the indexes were not there within 700ms (event_type_idx)")
      expect(said).toEqual([
        "eventfold: another process is making an index; the store opens once it is there, in 700ms at most: event_type_idx"
      ])
      yield* other.rollback

      // One that is at it takes too long: it waits for an older transaction. What it leaves is made by the next.
      const older = yield* begin(admin, "set transaction isolation level repeatable read", `select 1 from "${schema}".event`)
      expect(yield* Effect.flip(opening)).toMatchObject({ reason: { _tag: "StoreUnavailable", operation: "migrate" } })
      expect(yield* indexesOf(admin, schema)).toEqual(["event_type_idx (invalid)"])
      yield* older.rollback
      yield* Effect.retry(opening, { times: 20 })
      expect(yield* indexesOf(admin, schema)).toEqual(["event_type_idx"])
    })
  )

  it.live("with migrations turned off, what is missing is an error with the statement that makes it", () =>
    Effect.gen(function* () {
      const admin = yield* connect(url())
      const place = { url: url(), schema: freshSchema(), tablePrefix: "shop_" }
      yield* open(place)
      const opening = open({ ...place, migrate: false, indexes: all })
      const error = yield* Effect.flip(Effect.scoped(opening))
      expect(error).toMatchObject({ _tag: "EventStoreError", reason: { _tag: "StoreFailure", operation: "open" } })
      const [, statements = ""] = error.message.split(": run ")
      expect(statements.split("; ")).toHaveLength(3)
      for (const statement of statements.split("; ")) yield* admin.unsafe(statement)
      yield* (yield* opening).store.append("A-1", [event()])
    })
  )

  it.live("one that there is not is an error that says so", () =>
    Effect.gen(function* () {
      const indexes = ["tag"] as unknown as PgEventStore.Options["indexes"]
      const error = yield* Effect.flip(Effect.scoped(open({ url: url(), schema: freshSchema(), indexes })))
      expect(error.message).toContain('indexes has "tag", which is none of correlation, type, category')
    })
  )

  describe("in PGlite", () => {
    const database = pgLiteOfFile()

    it.live("are made by several stores on one connection, and found by", () =>
      Effect.gen(function* () {
        const schema = freshSchema()
        const make = (indexes: PgEventStore.Options["indexes"]) =>
          Effect.map(Layer.build(Layer.fresh(PgEventStore.layerWith({ schema, indexes }))), Context.get(EventStore.EventStore))
        const plain = yield* make([])
        yield* fillSome(plain)
        const expected = yield* reads(plain)
        const stores = yield* Effect.forEach([1, 2], () => make(all), { concurrency: "unbounded" })
        for (const store of stores) expect(yield* reads(store)).toEqual(expected)
      }).pipe(Effect.provide(database))
    )
  })
})

/** Rows up to `last`, without the store: types, categories and correlation ids of which some are rare. */
const fill = (admin: SqlClient.SqlClient, schema: string, last: number) =>
  admin.unsafe(`
    with first as (select position + 1 as low from "${schema}".head), e as (
      insert into "${schema}".event (position, version, recorded_at, schema_version, published, stream, id, type, tags, payload, metadata)
      select p, p + 1000000, to_timestamp(p), 1, false, case when p % (${last} / 4) = ${last} / 4 - 1 then 'Rare-' else 'Acc-' end || p % 50, 'id-' || p,
             case when p % (${last} / 4) = ${last} / 4 - 1 then 'Rare' else 'T' || p % 7 end, '{}', '{}',
             case when p % 3 = 0 then '{}'::json else json_build_object('correlationId', 'c' || p / 6) end
        from first, generate_series(first.low, ${last}) p
    )
    update "${schema}".head set position = ${last}`)

const total = 200_000

const drain = (options: EventStore.ReadAllOptions) => (store: Store) => Stream.runDrain(store.readAll(options))

let appended = 0
const unless = (filter: EventStore.Filter) => (store: Store) =>
  Effect.asVoid(store.appendAll([{ stream: `New-${++appended}`, events: [event()] }], { unless: { filter } }))

const rare: ReadonlyArray<readonly [name: string, filter: EventStore.Filter]> = [
  ["a rare type", { types: ["Rare"] }],
  ["no such type", { types: ["None"] }],
  ["rare types", { types: ["Rare", "None"] }],
  ["a rare category", { categories: ["Rare"] }],
  ["no such category", { categories: ["None"] }],
  ["a correlation id", { correlationId: "c7" }],
  ["no such correlation id", { correlationId: "none" }],
  ["any of them", [{ types: ["Rare"] }, { categories: ["None"] }, { correlationId: "none" }]]
]

const operations: Readonly<Record<string, (store: Store) => Effect.Effect<unknown, EventStore.AppendError>>> = {
  ...Object.fromEntries(
    rare.flatMap(([name, filter]) => [
      [`read ${name}`, drain({ filter })],
      [`read ${name} backward`, drain({ filter, direction: "backward" })],
      [`read a page of ${name}`, (store: Store) => store.readPage({ filter })],
      [`read a boundary of ${name}`, (store: Store) => store.readBoundary([{ filter }, { filter, newest: true }])]
    ])
  ),
  "append unless no such type": unless({ types: ["None"] }),
  "append unless no such category": unless({ categories: ["None"] }),
  "append unless no such correlation id": unless({ correlationId: "none" }),
  "append unless any": unless([{ types: ["None"] }, { categories: ["None"] }, { correlationId: "none" }]),
  "read a frequent type": drain({ filter: { types: ["T1"] }, limit: 5 }),
  "read frequent types backward": drain({ filter: { types: ["T1", "T2"] }, limit: 5, direction: "backward" }),
  "read a frequent category": drain({ filter: { categories: ["Acc"] }, limit: 5 }),
  "follow a rare type": (store) => Stream.runDrain(Stream.take(store.subscribe({ filter: { types: ["Rare"] } }), 4)),
  "follow a rare category": (store) => Stream.runDrain(Stream.take(store.subscribe({ filter: { categories: ["Rare"] } }), 4)),
  "tell a conversation": (store) => Effect.provideService(AuditTrail.conversation("c7"), EventStore.EventStore, store)
}

/** Pages of the database that an operation reads, and rows of sequential scans; its connection is the only one that works. */
const measure = <E>({ sql, store }: Opened, schema: string, operation: (store: Store) => Effect.Effect<unknown, E>) => {
  const work = sql.unsafe<{ pages: number; scanned: number }>(`
    select pg_stat_force_next_flush(),
           (select sum(heap_blks_hit + heap_blks_read + idx_blks_hit + idx_blks_read)::int from pg_statio_user_tables
             where schemaname = '${schema}' and relname = 'event') as pages,
           (select seq_tup_read::int from pg_stat_user_tables where schemaname = '${schema}' and relname = 'event') as scanned`)
  const settled = Effect.map(Effect.andThen(work, work), ([row]) => row ?? expect.unreachable())
  return Effect.gen(function* () {
    const before = yield* settled
    yield* operation(store)
    const after = yield* settled
    return { pages: after.pages - before.pages, scanned: after.scanned - before.scanned }
  })
}

const arena = (options: PgEventStore.Options) =>
  Effect.gen(function* () {
    const schema = freshSchema()
    const pool = { maxConnections: 1 }
    const store = yield* opened({ url: url(), schema, listen: false, pollInterval: "1 hour", pool, ...options })
    return { schema, opened: store, admin: yield* connect(url()) }
  })

/** Often enough that generic plans are made where the database prefers them. */
const judge = Effect.fnUntraced(function* (
  opened: Opened,
  schema: string,
  which: Readonly<Record<string, (store: Store) => Effect.Effect<unknown, EventStore.AppendError>>>,
  most: number
) {
  const excess: Array<readonly [string, number, number]> = []
  for (const [name, operation] of Object.entries(which)) {
    for (let round = 1; round <= 7; round++) {
      const { pages, scanned } = yield* measure(opened, schema, operation)
      if (scanned > 0 || pages > most) excess.push([name, round, pages])
    }
  }
  expect(excess).toEqual([])
})

const use = (store: Store) =>
  Effect.forEach(
    Object.entries(operations),
    ([name, operation]) => (name.startsWith("follow") ? Effect.void : operation(store)),
    {
      discard: true
    }
  )

describe("plans by indexes", () => {
  it.live.each([
    ["analysed", 0],
    ["prepared on empty tables that nobody has analysed", 1],
    ["prepared on sixty rows that were analysed", 60]
  ] as const)("read a few pages of a long log, wherever the events stand: %s", ([, before]) =>
    Effect.gen(function* () {
      const { admin, opened, schema } = yield* arena({ indexes: all })
      if (before > 1) yield* fill(admin, schema, 60)
      if (before > 1) yield* admin.unsafe(`analyze "${schema}".event`)
      for (let time = 0; time < (before === 0 ? 0 : 8); time++) yield* use(opened.store)
      yield* fill(admin, schema, total)
      if (before === 0) yield* admin.unsafe(`vacuum analyze "${schema}".event`)
      yield* opened.store.append("Other-1", [event()])
      yield* judge(opened, schema, operations, 80)
    })
  )

  it.live("without an index a small category is found by the names of its streams, and a large one is looked through", () =>
    Effect.gen(function* () {
      const { admin, opened, schema } = yield* arena({})
      yield* fill(admin, schema, total)
      yield* admin.unsafe(`vacuum analyze "${schema}".event`)
      yield* opened.store.append("Other-1", [event()])
      const names = ["read a rare category", "read no such category", "follow a rare category", "append unless no such category"]
      const which = Object.fromEntries(Object.entries(operations).filter(([name]) => names.some((one) => name.startsWith(one))))
      expect(Object.keys(which).length).toBeGreaterThanOrEqual(6)
      // The first ten thousand are looked through, for most filters pass something there.
      yield* judge(opened, schema, which, 1_000)
      const read = drain({ filter: { categories: ["Acc"], types: ["None"] } })
      expect((yield* measure(opened, schema, read)).pages).toBeGreaterThan(2_000)
    })
  )
})
