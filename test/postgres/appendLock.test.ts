/** The lock of the appends, and the head: what they cost under a long open snapshot, and beside programs of 0.1. */
import { describe, expect, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import type { SqlClient } from "effect/sql"
import { inject } from "vitest"
import { assertSound, begin, connect, event, open, reasonOf, untilWaiting } from "./harness.ts"
import { freshSchema } from "./support.ts"

const arena = Effect.gen(function* () {
  const url = inject("postgresUrl")
  const schema = freshSchema()
  const admin = yield* connect(url)
  return { url, schema, admin, join: open({ url, schema }) }
})

/** How many pages of the database a statement looks at. */
const buffersOf = (admin: SqlClient.SqlClient, text: string) =>
  Effect.map(
    admin.unsafe<{ "QUERY PLAN": ReadonlyArray<{ Plan: { "Shared Hit Blocks": number; "Shared Read Blocks": number } }> }>(
      `explain (analyze, buffers, format json) ${text}`
    ),
    ([row]) => {
      const plan = row?.["QUERY PLAN"][0]?.Plan ?? expect.unreachable()
      return plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
    }
  )

/** One event by `append_one`. */
const appendOne = (schema: string, stream: string, id: string) =>
  `"${schema}".append_one(${stream}, -1, 0, 1, false, ${id}, 'T', '{}', '{}')`

/** The statement by which a program of 0.1 appends one event, which it sent as it is. */
const oldAppend = (schema: string, stream: string, id: string) => `
  with h as (
    update "${schema}"."head" set position = position + 1 returning position
  ), i as (
    insert into "${schema}"."event" (position, version, recorded_at, schema_version, published, stream, id, type, tags, payload, metadata)
    select h.position, 1 + coalesce((select e.version from "${schema}"."event" e where e.stream = '${stream}' order by e.version desc limit 1), 0),
           now(), 1, false, '${stream}', '${id}', 'T', '{}', '{}', '{}'
      from h
    returning position, version
  )
  select i.position::float8, i.version::float8, pg_notify('${schema}.head', i.position::text)::text from i`

const oldHead = (schema: string) => `select position::float8 from "${schema}"."head"`

describe("a snapshot that stays open", () => {
  it.live("makes neither an append nor a read of the head look at more pages, however many events come under it", () =>
    Effect.gen(function* () {
      const { admin, join, schema } = yield* arena
      const { store } = yield* join
      yield* store.append("A-1", [event()])
      const measured = Effect.gen(function* () {
        const head = yield* buffersOf(admin, `select "${schema}".newest_position()`)
        const old = yield* buffersOf(admin, oldHead(schema))
        const stream = "'A-' || random()"
        const append = yield* buffersOf(admin, `select * from ${appendOne(schema, stream, "gen_random_uuid()::text")}`)
        return { head, old, append }
      })
      yield* begin(admin, "set transaction isolation level repeatable read", "select 1")
      // What a session learns when it first runs the functions is not counted.
      yield* measured
      const before = yield* measured
      yield* admin.unsafe(
        `do $$ begin for n in 1..6000 loop perform ${appendOne(schema, "'A-' || n % 100", "'under-' || n")}; commit; end loop; end $$`
      )
      // A session of the pool that has not read the view yet looks at some pages of the catalog first.
      const measures = yield* Effect.forEach(Array.from({ length: 8 }), () => measured)
      const least = (of: "head" | "old" | "append") => Math.min(...measures.map((measure) => measure[of]))
      const after = { head: least("head"), old: least("old"), append: least("append") }
      expect(after.head).toBeLessThanOrEqual(before.head + 4)
      expect(after.old).toBeLessThanOrEqual(before.old + 4)
      expect(after.append).toBeLessThanOrEqual(before.append + 12)
      yield* store.append("A-1", [event()])
      yield* assertSound(store)
    })
  )
})

describe("a program of 0.1 that still runs", () => {
  it.live("is told the head, waits for the appends of today, and they for its own", () =>
    Effect.gen(function* () {
      const { admin, join, schema } = yield* arena
      const { store } = yield* join
      yield* store.append("A-1", [event()])
      expect(yield* admin.unsafe(oldHead(schema))).toEqual([{ position: 1 }])
      const today = yield* begin(admin, `select * from ${appendOne(schema, "'A-1'", "'today'")}`)
      const old = yield* Effect.forkScoped(admin.unsafe(oldAppend(schema, "B-1", "old")))
      yield* untilWaiting(admin, schema, 1, "update")
      yield* today.commit
      expect(yield* Fiber.join(old)).toMatchObject([{ position: 3, version: 1 }])

      const before = yield* begin(admin, oldAppend(schema, "B-1", "older"))
      const append = yield* Effect.forkScoped(store.append("B-1", [event()]))
      yield* untilWaiting(admin, schema)
      yield* before.commit
      expect(yield* Fiber.join(append)).toMatchObject({ position: 5, version: 3 })
      yield* assertSound(store)
    })
  )

  it.live("and waited for the row of the head while the migration replaced it, has the next position all the same", () =>
    Effect.gen(function* () {
      const { admin, join, schema, url } = yield* arena
      yield* Effect.scoped(join)
      // As a store is before the migration: the table, and functions that lock its row.
      for (const statement of [
        `drop view "${schema}".head`,
        `create table "${schema}".head (only_row boolean primary key default true check (only_row), position bigint not null)`,
        `insert into "${schema}".head (position) values (0)`,
        `delete from "${schema}".migration where migration_id >= 9`,
        `create function "${schema}".append_as_before(p_id text) returns bigint language plpgsql as $$
         declare
           v_head bigint;
         begin
           select h.position into v_head from "${schema}".head h for update;
           insert into "${schema}".event (position, version, recorded_at, schema_version, published, stream, id, type, tags, payload, metadata)
           values (v_head + 1, 1, now(), 1, false, 'S-' || p_id, p_id, 'T', '{}', '{}', '{}');
           update "${schema}".head set position = v_head + 1;
           return v_head + 1;
         end $$`
      ]) {
        yield* admin.unsafe(statement)
      }
      const call = (id: string) => `select "${schema}".append_as_before('${id}')`
      const first = yield* begin(admin, call("1"))
      const migrating = yield* Effect.forkScoped(open({ url, schema }))
      yield* untilWaiting(admin, schema, 1, "access exclusive")
      const more = yield* connect(url, { maxConnections: 5 })
      const others = yield* Effect.forEach([2, 3, 4, 5], (n) => Effect.forkScoped(more.unsafe(call(`${n}`))))
      yield* untilWaiting(admin, schema, 4, "append_as_before")
      yield* first.commit
      const { store } = yield* Fiber.join(migrating)
      yield* Fiber.joinAll(others)
      expect((yield* assertSound(store)).length).toBe(5)
    })
  )

  it.live("is not migrated where the log ends before its head: the error says what to do", () =>
    Effect.gen(function* () {
      const { admin, join, schema } = yield* arena
      yield* Effect.scoped(join)
      for (const statement of [
        `drop view "${schema}".head`,
        `create table "${schema}".head (only_row boolean primary key default true check (only_row), position bigint not null)`,
        `insert into "${schema}".head (position) values (7)`,
        `delete from "${schema}".migration where migration_id >= 9`
      ]) {
        yield* admin.unsafe(statement)
      }
      const error = yield* Effect.flip(Effect.scoped(join))
      expect(error).toMatchObject({ reason: { _tag: "StoreCorrupted", operation: "migrate" } })
      expect(error.message).toContain("the head counter says 7, and the newest event has position 0")
      yield* admin.unsafe(/update .*\)/.exec(error.message)?.[0] ?? expect.unreachable())
      const { store } = yield* join
      expect(yield* store.append("A-1", [event()])).toMatchObject({ position: 1 })
    })
  )
})

describe.each(["repeatable read", "serializable"])("in a transaction that is %s", (level) => {
  it.live("whatever is appended after others have appended since its snapshot is a conflict, and nothing else", () =>
    Effect.gen(function* () {
      const { join } = yield* arena
      const { sql, store } = yield* join
      const other = yield* join
      yield* store.append("A-1", [event("known")])
      const appends = {
        "at any version": store.append("B-1", [event()]),
        "at a version that does not stand in the snapshot": store.append("A-1", [event()], { expected: 2 }),
        "at a version that stands in the snapshot alone": store.append("A-1", [event()], { expected: 1 }),
        "at a version that never stood": store.append("A-1", [event()], { expected: 9 }),
        "of what stands already": store.append("A-1", [event("known")]),
        "of several": store.append("A-1", [event(), event()]),
        "unless a tag": store.appendAll([{ stream: "A-1", events: [event()] }], { unless: { filter: { tags: ["none"] } } })
      }
      for (const [name, append] of Object.entries(appends)) {
        const reason = yield* reasonOf(
          sql.withTransaction(
            Effect.gen(function* () {
              yield* sql.unsafe(`set transaction isolation level ${level}`)
              const before = yield* store.head
              yield* other.store.append("A-1", [event()])
              expect(yield* store.head).toBe(before)
              return yield* append
            })
          )
        )
        expect([name, reason]).toEqual([name, "TransactionConflict"])
      }
      // Where nobody was in the way, it is an append like any other.
      const results = yield* sql.withTransaction(
        Effect.andThen(
          sql.unsafe(`set transaction isolation level ${level}`),
          Effect.all([store.append("C-1", [event()]), store.append("C-1", [event(), event()], { expected: 1 })])
        )
      )
      expect(results.map(({ version }) => version)).toEqual([1, 3])
      yield* assertSound(store)
    })
  )
})
