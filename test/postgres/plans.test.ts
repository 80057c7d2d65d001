/**
 * The plans of every statement that the store sends, and of every statement inside of its functions: on empty tables, on small
 * ones, on large ones, and when the tables grow under a connection whose statements are prepared.
 *
 * A plan is judged by what it does when the store runs it: the statistics tell how many rows sequential scans have read, and how
 * many entries index scans. What EXPLAIN says of a copy of the text would not tell of cached plans, nor of those in functions.
 */
import { assert, describe, expect, it } from "@effect/vitest"
import { DateTime, Effect, Layer, Stream } from "effect"
import { RpcTest } from "effect/rpc"
import type { SqlClient } from "effect/sql"
import { Checkpoints, EventStore } from "eventfold"
import { Operate, Operations } from "eventfold/operate"
import { inject } from "vitest"
import { PgClient } from "@effect/sql-pg"
import { PgEventStore } from "eventfold/postgres"
import { connect, event, open, type Opened } from "./harness.ts"
import { freshSchema } from "./support.ts"

type Store = Opened["store"]

const all = (options: EventStore.ReadAllOptions) => (store: Store) => Stream.runDrain(store.readAll({ limit: 5, ...options }))
let appended = 0
const one = (tags: ReadonlyArray<string> = []) => [{ ...event(), tags }]

/** Every operation in every shape that has a statement of its own, each of which needs a handful of rows, wherever they stand. */
const operations: Readonly<Record<string, (store: Store) => Effect.Effect<unknown, EventStore.AppendError>>> = {
  version: (store) => store.version("Acc-7"),
  "version of no stream": (store) => store.version("None-1"),
  head: (store) => store.head,
  read: (store) => Stream.runDrain(store.read("Acc-7")),
  "read backward": (store) => Stream.runDrain(store.read("Acc-7", { direction: "backward", limit: 2 })),
  "read a range": (store) => Stream.runDrain(store.read("Acc-7", { from: 2, to: 4 })),
  "read streams at once": (store) =>
    Effect.forEach([6, 7, 8, 9], (n) => Stream.runDrain(store.read(`Acc-${n}`)), { concurrency: "unbounded" }),
  "read until": (store) => Stream.runDrain(store.read("Acc-7", { until: DateTime.makeUnsafe(86_400_000) })),
  "read all": all({}),
  "read all beyond": all({ after: 700 }),
  "read all backward": all({ direction: "backward" }),
  "read all by tag": all({ filter: { tags: ["acc:7"] } }),
  "read all by tag backward": all({ filter: { tags: ["acc:7"] }, direction: "backward" }),
  "read all by rare tag": all({ filter: { tags: ["rare"] } }),
  "read all by tags": all({ filter: { tags: ["acc:7", "every"] } }),
  "read all by tag and type": all({ filter: { tags: ["acc:7"], types: ["T1", "T2", "T3"] } }),
  "read all by tag and the rest": all({
    filter: { tags: ["acc:7"], categories: ["Acc"], published: false, correlationId: "c7" }
  }),
  "read all by either tag": all({ filter: [{ tags: ["acc:7"] }, { tags: ["acc:8"] }] }),
  "read a boundary of a tag": (store) => store.readBoundary([{ filter: { tags: ["acc:7"] } }], { size: 5 }),
  "read a boundary of tags, types and the newest": (store) =>
    store.readBoundary(
      [
        { filter: { tags: ["acc:7", "every"] } },
        { filter: [{ tags: ["acc:8"], types: ["T1", "T2"] }, { tags: ["rare"] }] },
        { filter: { tags: ["every"], types: ["T1"] }, newest: true },
        { filter: { tags: ["every"] }, after: 700 },
        { filter: { tags: ["none"] } }
      ],
      { size: 5 }
    ),
  "read boundaries at once": (store) =>
    Effect.forEach([7, 8, 9, 10], (n) => store.readBoundary([{ filter: { tags: [`acc:${n}`, "every"] } }], { size: 5 }), {
      concurrency: "unbounded"
    }),
  "read all by nothing": all({ filter: [] }),
  streams: (store) => Stream.runDrain(store.streams({ limit: 3 })),
  "streams of a category": (store) => Stream.runDrain(store.streams({ limit: 3, category: "Acc" })),
  "append to a new stream": (store) => store.append(`New-${++appended}`, one()),
  "append to an old stream": (store) => store.append("Acc-7", one()),
  "append at a version": (store) =>
    Effect.flatMap(store.version("Acc-8"), (expected) => store.append("Acc-8", one(), { expected })),
  "append with tags": (store) => store.append("Acc-7", one(["new"])),
  "append with tags at a version": (store) =>
    Effect.flatMap(store.version("Acc-8"), (expected) => store.append("Acc-8", one(["new", "every"]), { expected })),
  "append with a given id and tags": (store) => store.append("Acc-7", [{ ...event(`given-${++appended}`), tags: ["new"] }]),
  "append beside guards": (store) =>
    Effect.flatMap(store.version("Acc-8"), (expected) =>
      store.appendAll([
        { stream: "Acc-8", expected, events: [] },
        { stream: "None-1", expected: "no-stream", events: [] },
        { stream: "Acc-7", events: one() }
      ])
    ),
  "append several beside a guard": (store) =>
    store.appendAll([
      { stream: "Acc-8", expected: "exists", events: [] },
      { stream: "Acc-7", events: [event(), event()] }
    ]),
  "append several": (store) => store.append("Acc-7", [event(), event(), event()]),
  "append to several": (store) =>
    store.appendAll(["Acc-7", "Acc-8", `New-${++appended}`].map((stream) => ({ stream, events: one() }))),
  "append with ids": (store) => store.append("Acc-9", [event(`given-${++appended}`), event(`given-${++appended}`)]),
  "append again": (store) => Effect.ignore(store.append("Acc-7", [event("id-9"), event("id-10")])),
  "append unless a tag": (store) => unless(store, { tags: ["none"] }),
  "append unless a rare tag": (store) => Effect.ignore(unless(store, { tags: ["rare"], types: ["None"] })),
  "append unless two tags": (store) => unless(store, { tags: ["none", "every"] }),
  "append unless any of many": (store) =>
    unless(store, [{ tags: ["none"] }, { tags: ["rare", "none"] }, { tags: ["none"], types: ["T1"] }]),
  "append at once, unless tags": (store) =>
    Effect.forEach(
      Array.from({ length: 4 }).keys(),
      (n) => unless(store, [{ tags: [`none-${n}`] }, { tags: ["rare", `none-${n}`] }]),
      {
        concurrency: "unbounded"
      }
    ),
  "append unless a tag, since an event": (store) =>
    Effect.flatMap(known(store), (since) => unless(store, { tags: ["none"] }, since)),
  "append at once, unless tags, since an event": (store) =>
    Effect.flatMap(known(store), (since) =>
      Effect.forEach(Array.from({ length: 4 }).keys(), (n) => unless(store, { tags: [`none-${n}`], types: ["T1"] }, since), {
        concurrency: "unbounded"
      })
    )
}

/** A new event, as a condition says that it was made on it. */
const known = (store: Store) => {
  const afterId = `known-${++appended}`
  return Effect.map(store.append(`New-${appended}`, [event(afterId)]), ({ position }) => ({ after: position, afterId }))
}

/** Scans the log in its order, as far as it is asked to: fine for a few positions, and what a filter without tags comes down to. */
const walks: Readonly<Record<string, (store: Store) => Effect.Effect<unknown, EventStore.AppendError>>> = {
  "read all by type": all({ filter: { types: ["T1"] } }),
  "read all by category": all({ filter: { categories: ["Acc"] } }),
  "read all published": all({ filter: { published: true } }),
  "read all by tag or type": all({ filter: [{ tags: ["acc:7"] }, { types: ["T1"] }] }),
  "append unless a type, since lately": (store) =>
    Effect.flatMap(store.head, (after) => unless(store, { types: ["T1"] }, { after })),
  "append unless a type and category, since lately": (store) =>
    Effect.flatMap(store.head, (after) =>
      unless(store, { types: ["T1"], categories: ["Acc"], published: true, correlationId: "c1" }, { after })
    )
}

const unless = (store: Store, filter: EventStore.Filter, since: Omit<EventStore.AppendCondition, "filter"> = {}) =>
  store.appendAll([{ stream: `New-${++appended}`, events: one() }], { unless: { filter, ...since } })

/** Rows up to `last`, in streams of about 20, without the store: it takes one statement, and notifies nobody. */
const fill = (admin: SqlClient.SqlClient, schema: string, last: number) =>
  admin.unsafe(`
    with first as materialized (select "${schema}".newest_position() + 1 as low), e as (
      insert into "${schema}".event (position, version, recorded_at, schema_version, published, stream, id, type, tags, payload, metadata)
      select p, p + 1000000, to_timestamp(p), 1, p % 10 = 0, 'Acc-' || p % (${last} / 20 + 1), 'id-' || p, 'T' || p % 7,
             array['acc:' || p % (${last} / 20 + 1), 'every'] || case when p % (${last} - 1) = 3 then array['rare'] else '{}' end,
             '{"n":1}', json_build_object('correlationId', 'c' || p % 100)
        from first, generate_series(first.low, ${last}) p
      returning tags, position
    )
    insert into "${schema}".tag select unnest(e.tags), e.position from e`)

interface Work {
  /** Rows that sequential scans of events and tags have read. */
  readonly scanned: number
  /** Entries that were read from indexes of events and tags. */
  readonly looked: number
}

/** What one operation does to the tables: its connection is the only one that works, and tells what it did at once. */
const measure = <E>({ sql, store }: Opened, schema: string, operation: (store: Store) => Effect.Effect<unknown, E>) => {
  const work = sql.unsafe<Work>(`
    select pg_stat_force_next_flush(),
           (select sum(seq_tup_read)::int from pg_stat_user_tables where schemaname = '${schema}' and relname in ('event', 'tag')) as scanned,
           (select sum(idx_tup_read)::int from pg_stat_user_indexes where schemaname = '${schema}' and relname in ('event', 'tag')) as looked`)
  // The statistics of a statement are seen by the second one after it.
  const settled = Effect.map(Effect.andThen(work, work), ([row]) => row ?? expect.unreachable())
  return Effect.gen(function* () {
    const before = yield* settled
    yield* operation(store)
    const after = yield* settled
    return { scanned: after.scanned - before.scanned, looked: after.looked - before.looked }
  })
}

/** A store on one connection, so that all its statements are prepared there. */
const arenaWith = Effect.fnUntraced(function* (indexes: PgEventStore.Options["indexes"]) {
  const url = inject("postgresUrl")
  const schema = freshSchema()
  const opened = yield* open({ url, schema, indexes, listen: false, pollInterval: "1 hour", pool: { maxConnections: 1 } })
  return { url, schema, opened, admin: yield* connect(url) }
})
const arena = arenaWith([])

/** What EXPLAIN says of a node. */
interface Plan {
  readonly "Actual Rows": number
  readonly "Actual Loops": number
  readonly "Rows Removed by Filter"?: number
  readonly Plans?: ReadonlyArray<Plan>
}

/** How many rows the leaves of a plan have read. */
const rowsOf = (plan: Plan | undefined): number =>
  plan === undefined
    ? Infinity
    : (plan.Plans ?? []).reduce(
        (sum, inner) => sum + rowsOf(inner),
        plan.Plans === undefined ? (plan["Actual Rows"] + (plan["Rows Removed by Filter"] ?? 0)) * plan["Actual Loops"] : 0
      )

/** Enough for the few rows that each operation needs, and far below the number of rows. */
const few = 300

/** Runs everything often enough that generic plans are made where the database prefers them, and judges each. */
const judge = Effect.fnUntraced(function* (
  opened: Opened,
  schema: string,
  which: Readonly<Record<string, (store: Store) => Effect.Effect<unknown, EventStore.AppendError>>>
) {
  const excess: Array<readonly [string, number, Work]> = []
  for (const [name, operation] of Object.entries(which)) {
    for (let round = 1; round <= 7; round++) {
      const work = yield* measure(opened, schema, operation)
      if (work.scanned > 0 || work.looked > few) excess.push([name, round, work])
    }
  }
  expect(excess).toEqual([])
})

const use = (store: Store, times: number) =>
  Effect.repeat(
    Effect.forEach(Object.values({ ...operations, ...walks }), (operation) => operation(store), { discard: true }),
    {
      times: times - 1
    }
  )

describe("plans", () => {
  it.live(
    "on empty tables that nobody has analysed",
    () =>
      Effect.gen(function* () {
        const { opened, schema } = yield* arena
        yield* judge(opened, schema, { ...operations, ...walks })
      }),
    120_000
  )

  it.live(
    "on a thousand rows",
    () =>
      Effect.gen(function* () {
        const { admin, opened, schema } = yield* arena
        yield* fill(admin, schema, 1_000)
        yield* admin.unsafe(`analyze "${schema}".event, "${schema}".tag`)
        yield* judge(opened, schema, { ...operations, ...walks })
      }),
    120_000
  )

  it.live(
    "are made once: the database plans no statement each time that it comes",
    () =>
      Effect.gen(function* () {
        const { admin, opened, schema } = yield* arena
        yield* fill(admin, schema, 1_000)
        yield* admin.unsafe(`analyze "${schema}".event, "${schema}".tag`)
        yield* use(opened.store, 14)
        const prepared = yield* opened.sql<{ statement: string; often: boolean }>`
        select statement, custom_plans > 10 as often from pg_prepared_statements where statement like ${`%"${schema}"%`}`
        assert.ok(prepared.length > 20)
        const often = prepared.filter(({ often }) => often).map(({ statement }) => statement)
        // The lists of streams are for people, who ask seldom.
        assert.deepEqual(
          often.filter((statement) => !statement.startsWith("with recursive found")),
          []
        )
      }),
    120_000
  )

  it.live(
    "on two hundred thousand rows",
    () =>
      Effect.gen(function* () {
        const { admin, opened, schema } = yield* arena
        yield* fill(admin, schema, 200_000)
        yield* admin.unsafe(`analyze "${schema}".event, "${schema}".tag`)
        yield* judge(opened, schema, { ...operations, ...walks })

        // A filter that passes much walks the log once, whatever the number of its pages.
        for (const filter of [{ categories: ["Acc"] }, { types: ["T1", "T2"] }, { published: true }]) {
          const work = yield* measure(opened, schema, (store) => Stream.runDrain(store.readAll({ filter })))
          expect([filter, work.scanned, work.looked < 250_000]).toEqual([filter, 0, true])
        }
      }),
    120_000
  )

  it.live(
    "of a stream of ten thousand events in a long log: each statement reads a few pages of the database",
    () =>
      Effect.gen(function* () {
        const { admin, opened, schema } = yield* arena
        yield* fill(admin, schema, 100_000)
        yield* admin.unsafe(`
        with e as (
          insert into "${schema}".event (position, version, recorded_at, schema_version, published, stream, id, type, tags, payload, metadata)
          select 100000 + p, p, to_timestamp(p), 1, false, 'Long-1', 'long-' || p, 'T1', array['long', 'every'], '{}', '{}'
            from generate_series(1, 10000) p
          returning tags, position
        )
        insert into "${schema}".tag select unnest(e.tags), e.position from e`)
        yield* admin.unsafe(`analyze "${schema}".event, "${schema}".tag`)
        // What autovacuum looks at is counted as well.
        for (const table of ["event", "tag"])
          yield* admin.unsafe(`alter table "${schema}".${table} set (autovacuum_enabled = off)`)
        const long = "Long-1"
        const at = (seconds: number) => DateTime.makeUnsafe(seconds * 1000)
        const ofLong: Readonly<Record<string, (store: Store) => Effect.Effect<unknown, EventStore.AppendError>>> = {
          version: (store) => store.version(long),
          exists: (store) => store.exists(long),
          read: (store) => Stream.runDrain(store.read(long, { limit: 5 })),
          "read backward": (store) => Stream.runDrain(store.read(long, { direction: "backward", limit: 5 })),
          "read from": (store) => Stream.runDrain(store.read(long, { from: 5_000, limit: 5 })),
          "read until": (store) => Stream.runDrain(store.read(long, { until: at(9_990), direction: "backward", limit: 5 })),
          append: (store) => store.append(long, [event()]),
          "append at a version": (store) =>
            Effect.flatMap(store.version(long), (expected) => store.append(long, one(["long"]), { expected })),
          "append beside a guard": (store) =>
            Effect.flatMap(store.version(long), (expected) =>
              store.appendAll([
                { stream: long, expected, events: [] },
                { stream: "Acc-1", events: one() }
              ])
            ),
          "append several": (store) => store.append(long, [event(), event()], { expected: "exists" }),
          "append unless a tag": (store) => Effect.ignore(unless(store, { tags: ["long"] })),
          "read a boundary": (store) => store.readBoundary([{ filter: { tags: ["long"] } }], { size: 5 }),
          streams: (store) => Stream.runDrain(store.streams({ after: "Log", limit: 3 })),
          "read all by tag": all({ filter: { tags: ["long"] } }),
          head: (store) => store.head
        }
        /** Look for what is rare or not there, some of the log at a time. */
        const looks: typeof ofLong = {
          "read until long ago": (store) => Stream.runDrain(store.read(long, { until: at(10), limit: 5 })),
          "append unless a busy tag and a rare type": (store) =>
            unless(store, { tags: ["every"], types: ["None"] }, { after: 100_000 }),
          "append unless a type": (store) => unless(store, { types: ["None"] }, { after: 100_000 }),
          "read a boundary of a rare type": (store) =>
            store.readBoundary([{ filter: { tags: ["every"], types: ["None"] }, after: 100_000 }]),
          "read a boundary of the newest": (store) =>
            store.readBoundary([{ filter: { tags: ["every"], types: ["None"] }, newest: true, after: 100_000 }])
        }
        const pages = opened.sql.unsafe<{ pages: number }>(`
        select pg_stat_force_next_flush(),
               (select sum(heap_blks_hit + heap_blks_read + idx_blks_hit + idx_blks_read)::int from pg_statio_user_tables
                 where schemaname = '${schema}' and relname in ('event', 'tag')) as pages`)
        const settled = Effect.map(Effect.andThen(pages, pages), ([row]) => row?.pages ?? expect.unreachable())
        const excess: Array<readonly [string, number]> = []
        for (const [most, which] of [
          [150, ofLong],
          [45_000, looks]
        ] as const) {
          for (const [name, operation] of Object.entries(which)) {
            for (let round = 1; round <= 7; round++) {
              const before = yield* settled
              yield* operation(opened.store)
              const read = (yield* settled) - before
              if (read > most || read === 0) excess.push([name, read])
            }
          }
        }
        expect(excess).toEqual([])
      }),
    120_000
  )

  it.live(
    "of a filter that nothing passes: each statement looks through a part of the log",
    () =>
      Effect.gen(function* () {
        const { admin, opened, schema } = yield* arena
        const total = 200_000
        yield* fill(admin, schema, total)
        yield* admin.unsafe(`analyze "${schema}".event, "${schema}".tag`)
        const statements: Array<readonly [text: string, parameters: ReadonlyArray<unknown>]> = []
        const client: PgClient.PgClient = Object.assign(Object.create(opened.sql), {
          unsafe: (text: string, parameters: ReadonlyArray<unknown> = []) => {
            // What asks for few events by the names of streams looks at no positions.
            if (text.includes("order by") && !text.includes("as many")) statements.push([text, parameters])
            return opened.sql.unsafe(text, parameters)
          }
        })
        const store = yield* Effect.provideService(
          PgEventStore.make({ schema, migrate: false, listen: false, pollInterval: "1 hour" }),
          PgClient.PgClient,
          client
        )
        for (const filter of [
          { types: ["None"] },
          { categories: ["None"] },
          { correlationId: "none" },
          { published: true, types: ["None"] },
          { tags: ["every"], types: ["None"] },
          [{ types: ["None"] }, { tags: ["every", "none"] }]
        ]) {
          for (const read of [
            store.readAll({ filter }),
            store.readAll({ filter, direction: "backward" }),
            Stream.fromIterableEffect(Effect.map(store.readPage({ filter }), ({ events }) => events))
          ]) {
            statements.length = 0
            expect(yield* Stream.runCollect(read)).toEqual([])
            const [text, parameters] = statements[0] ?? expect.unreachable()
            const [first = 0, ...others] = statements.map(([, [after, upTo]]) => Number(upTo) - Number(after))
            expect([filter, first]).toEqual([filter, 10_000])
            // None looks through more than four times as much as the one before.
            others.reduce((before, width) => (expect(width).toBeLessThanOrEqual(before * 4), width), first)
            const [plan] = yield* admin.unsafe<{ "QUERY PLAN": ReadonlyArray<{ Plan: Plan }> }>(
              `explain (analyze, format json) ${text}`,
              parameters
            )
            expect(rowsOf(plan?.["QUERY PLAN"][0]?.Plan)).toBeLessThan(total / 4)
          }
        }
      }),
    120_000
  )

  it.live(
    "of what operators look at on two hundred thousand rows: a page reads what it shows, wherever that stands",
    () =>
      Effect.gen(function* () {
        const { admin, opened, schema } = yield* arenaWith(["type", "category", "correlation"])
        yield* opened.store.append("Lone-1", [{ ...event(), type: "Rare" }])
        yield* fill(admin, schema, 200_000)
        yield* admin.unsafe(`vacuum analyze "${schema}".event, "${schema}".tag`)
        for (const table of ["event", "tag"])
          yield* admin.unsafe(`alter table "${schema}".${table} set (autovacuum_enabled = off)`)
        const handlers = Operate.layerHandlers({}).pipe(
          Layer.provide(Layer.merge(Layer.succeed(EventStore.EventStore, opened.store), Checkpoints.layerMemory))
        )
        const client = yield* Effect.provide(
          RpcTest.makeClient(Operations.Operations),
          Layer.merge(handlers, Operate.layerOperator({ name: "ada" }))
        )
        const page = 100
        const looks = {
          "the newest events": client.Events({ limit: page }),
          "events of a type": client.Events({ limit: page, filter: { types: ["T3"] } }),
          "events of a rare type": client.Events({ limit: page, filter: { types: ["Rare"] } }),
          "events of a category": client.Events({ limit: page, filter: { categories: ["Acc"] } }),
          "events of no category": client.Events({ limit: page, filter: { categories: ["None"] } }),
          "events of a tag": client.Events({ limit: page, filter: { tags: ["acc:7"] } }),
          "events of a rare tag": client.Events({ limit: page, filter: { tags: ["rare"] } }),
          "events since lately": client.Events({ limit: page, filter: { since: DateTime.makeUnsafe(199_000_000) } }),
          "the newest streams": client.Streams({ limit: 50, order: "newest" }),
          "streams of a prefix": client.Streams({ limit: 50, prefix: "Acc-77" }),
          "an event and its effects": client.Event({ at: 150_000 }),
          "a conversation": client.Trail({ correlationId: "c7", limit: page })
        }
        const excess: Array<readonly [string, Work]> = []
        for (const [name, look] of Object.entries(looks)) {
          const work = yield* measure(opened, schema, () => look)
          // With an event a thousand of its conversation are looked at.
          if (work.scanned > 0 || work.looked > 1000 + page) excess.push([name, work])
        }
        expect(excess).toEqual([])
      }),
    120_000
  )

  it.live.each([
    ["were empty when its statements were prepared", 0],
    ["had sixty rows and were analysed when its statements were prepared", 60]
  ] as const)(
    "of a connection whose tables %s, after two hundred thousand rows have come and nobody analysed them",
    ([, rows]) =>
      Effect.gen(function* () {
        const { admin, opened, schema, url } = yield* arena
        if (rows > 0) {
          yield* fill(admin, schema, rows)
          yield* admin.unsafe(`analyze "${schema}".event, "${schema}".tag`)
        }
        yield* use(opened.store, 8)
        yield* fill(admin, schema, 200_000)
        // Its own next append tells it how far the log has come, as a notification or a poll would.
        yield* (yield* open({ url, schema })).store.append("Other-1", one())
        yield* opened.store.append("Other-1", one())
        yield* judge(opened, schema, operations)
      }),
    120_000
  )
})
