/** Append conditions that reach far back: what is looked through without the head's lock, and what under it. */
import { PgClient } from "@effect/sql-pg"
import { describe, expect, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import type { SqlClient } from "effect/sql"
import type { EventStore } from "eventfold"
import { PgEventStore } from "eventfold/postgres"
import { inject } from "vitest"
import { begin, connect, event, open, type Opened, type OpenOptions, reasonOf, until, untilWaiting } from "./harness.ts"
import { freshSchema } from "./support.ts"

const total = 30_000

/** Events of one type that all have one tag, and one of another type in the middle: without the store, in one statement. */
const fill = (admin: SqlClient.SqlClient, schema: string, count: number) =>
  admin.unsafe(`
    with first as materialized (select "${schema}".newest_position() + 1 as low), e as (
      insert into "${schema}".event (position, version, recorded_at, schema_version, published, stream, id, type, tags, payload, metadata)
      select p, p, to_timestamp(p), 1, false, 'Log-1', 'id-' || p, case when p = low + ${count} / 2 then 'Rare' else 'Common' end,
             array['busy'], '{}', '{}'
        from first, generate_series(low, low + ${count} - 1) p
      returning tags, position
    )
    insert into "${schema}".tag select unnest(e.tags), e.position from e`)

const arena = Effect.gen(function* () {
  const url = inject("postgresUrl")
  const schema = freshSchema()
  const admin = yield* connect(url)
  const join = (options: OpenOptions = {}) => open({ url, schema, listen: false, pollInterval: "1 hour", ...options })
  const first = yield* join()
  yield* fill(admin, schema, total)
  return { admin, schema, url, join, first }
})

const rare = total / 2 + 1

const busy = (type: string, after = 0): EventStore.AppendCondition => ({ filter: { tags: ["busy"], types: [type] }, after })

/** All kinds of conditions that look through the log. */
const kinds: Readonly<Record<string, (type: string) => EventStore.Filter>> = {
  "a tag that all have, and a type": (type) => ({ tags: ["busy"], types: [type] }),
  "two tags": (type) => (type === "Rare" ? [{ tags: ["busy", "none"] }, { types: ["Rare"] }] : { tags: ["busy", "none"] }),
  "a type": (type) => ({ types: [type] }),
  "a category": (type) => (type === "Rare" ? { categories: ["Log"], types: ["Rare"] } : { categories: ["None"] })
}

const append = (store: Opened["store"], unless: EventStore.AppendCondition, more: Partial<EventStore.StreamAppend> = {}) =>
  store.appendAll([{ stream: "Mine-1", events: [event()], ...more }], { unless })

/** The locks of appends that those have who wait for the table of tags. */
const headLocks = (admin: SqlClient.SqlClient, schema: string) =>
  Effect.map(
    admin.unsafe<{ mode: string }>(
      `select l.mode from pg_locks l
        where l.locktype = 'advisory' and l.granted
          and l.pid in (select pid from pg_locks where relation = '"${schema}".tag'::regclass and not granted)`
    ),
    (rows) => rows.map(({ mode }) => mode)
  )

/** Runs what looks for a tag, and stops it there: then something else, and lets it go on. */
const heldUp = <A, E, B, E2>(
  { admin, schema }: { readonly admin: SqlClient.SqlClient; readonly schema: string },
  looking: Effect.Effect<A, E>,
  meanwhile: Effect.Effect<B, E2>
) =>
  Effect.gen(function* () {
    const lock = yield* begin(admin, `lock table "${schema}".tag in access exclusive mode`)
    const fiber = yield* Effect.forkScoped(looking)
    yield* untilWaiting(admin, schema, 1, '"(tag|append_event)"')
    expect(yield* headLocks(admin, schema)).toEqual([])
    const done = yield* meanwhile
    yield* lock.commit
    return [yield* Fiber.join(fiber), done] as const
  })

describe("a condition that reaches far back", () => {
  it.live(
    "is checked all the same: whatever it asks, wherever the match is, and whoever else is in the batch",
    () =>
      Effect.gen(function* () {
        const { first, join } = yield* arena
        // One knows how long the log is; the other has not heard of it yet, and is told by the database.
        const [knowing, unknowing] = [(yield* join()).store, first.store]
        for (const store of [unknowing, knowing]) {
          for (const [name, filterOf] of Object.entries(kinds)) {
            const found = yield* Effect.flip(append(store, { filter: filterOf("Rare") }))
            expect([name, found]).toMatchObject([name, { _tag: "AppendConditionError", position: rare }])
            yield* append(store, { filter: filterOf("None") })
          }
        }
        const alone = busy("Rare", rare)
        const answers = yield* Effect.forEach(
          [
            append(knowing, busy("Rare")),
            append(knowing, alone),
            knowing.append("Mine-2", [event()]),
            append(knowing, busy("None"))
          ],
          (one: Effect.Effect<unknown, EventStore.AppendError>) => reasonOf(one),
          { concurrency: "unbounded" }
        )
        expect(answers).toEqual(["AppendConditionError", "success", "success", "success"])
      }),
    60_000
  )

  it.live(
    "means what every condition means: ids first, then versions, then the newest match of all",
    () =>
      Effect.gen(function* () {
        const { first, join } = yield* arena
        for (const { store } of [yield* join(), first]) {
          const id = `again-${store === first.store}`
          const again = [event(id)]
          const [written] = yield* append(store, busy("None"), { events: again })
          expect(yield* append(store, busy("Rare"), { events: again })).toEqual([{ ...written, deduplicated: true }])
          const taken = yield* Effect.flip(append(store, busy("Rare"), { expected: 99 }))
          expect(taken).toMatchObject({ _tag: "OptimisticLockError", expected: 99 })
          const duplicate = yield* Effect.flip(append(store, busy("Rare"), { events: [{ ...event(id), type: "Other" }] }))
          expect(duplicate).toMatchObject({ _tag: "DuplicateEventError" })
          const newest = { filter: [{ tags: ["busy"] }], after: 5 }
          const several = store.appendAll([{ stream: "Mine-1", events: [event()] }], {
            unless: [busy("Rare"), newest, busy("None")]
          })
          expect(yield* Effect.flip(several)).toMatchObject({ _tag: "AppendConditionError", position: total, condition: newest })
          // Of an append that writes nothing there is nothing to be in conflict with.
          expect(yield* append(store, busy("Rare"), { events: [] })).toMatchObject([{ stream: "Mine-1" }])
        }
      }),
    60_000
  )

  it.live(
    "holds up nobody while the log is looked through, and sees what came meanwhile",
    () =>
      Effect.gen(function* () {
        const here = yield* arena
        const [store, other] = [(yield* here.join()).store, (yield* here.join()).store]
        // From now on it knows that there are too many events with the tag, and looks first.
        yield* append(store, busy("None"))
        const meanwhile = Effect.all([store.append("Other-1", [event("beside")]), other.append("Other-1", [event()])])
        const [[written]] = yield* heldUp(here, append(store, busy("None")), meanwhile)
        expect(written).toMatchObject({ stream: "Mine-1", position: total + 4 })
        const match = other.append("Other-1", [{ ...event(undefined, "Late") }])
        const filter = [{ tags: ["busy"], types: ["None"] }, { types: ["Late"] }]
        const [error] = yield* heldUp(here, Effect.flip(append(store, { filter })), match)
        expect(error).toMatchObject({ _tag: "AppendConditionError", position: total + 5 })
      }),
    60_000
  )

  it.live(
    "in a transaction of the caller's is looked for before the head is locked",
    () =>
      Effect.gen(function* () {
        const here = yield* arena
        const [knowing, other] = [yield* here.join(), (yield* here.join()).store]
        const within = (opened: Opened, condition: EventStore.AppendCondition) =>
          opened.sql.withTransaction(append(opened.store, condition))
        for (const opened of [knowing, here.first]) {
          const [[written]] = yield* heldUp(here, within(opened, busy("None")), other.append("Other-1", [event()]))
          expect(written).toMatchObject({ stream: "Mine-1", deduplicated: false })
          expect(yield* Effect.flip(within(opened, busy("Rare")))).toMatchObject({ _tag: "AppendConditionError", position: rare })
        }
      }),
    60_000
  )

  it.live.each(["repeatable read", "serializable"])(
    "in a transaction that is %s: what others have appended since it began is a conflict",
    (level) =>
      Effect.gen(function* () {
        const here = yield* arena
        const pool = { startupParameters: { default_transaction_isolation: level } }
        const [{ sql, store }, other] = [yield* here.join({ pool }), (yield* here.join()).store]
        expect(yield* sql.withTransaction(append(store, busy("None")))).toMatchObject([{ position: total + 1 }])
        const found = yield* Effect.flip(sql.withTransaction(append(store, busy("Rare"))))
        expect(found).toMatchObject({ _tag: "AppendConditionError", position: rare })
        const late = sql.withTransaction(
          Effect.gen(function* () {
            yield* sql`select 1`
            yield* other.append("Other-1", [event(undefined, "None")])
            return yield* append(store, busy("None"))
          })
        )
        expect(yield* reasonOf(late)).toBe("TransactionConflict")
        // By itself it begins anew, and is refused for what it has missed.
        yield* other.append("Other-1", [{ ...event(undefined, "None"), tags: ["busy"] }])
        expect(yield* Effect.flip(append(store, busy("None")))).toMatchObject({
          _tag: "AppendConditionError",
          position: total + 3
        })
      }),
    60_000
  )

  it.live(
    "comes through however little time the server gives a statement",
    () =>
      Effect.gen(function* () {
        const { admin, join, schema } = yield* arena
        yield* fill(admin, schema, 170_000)
        // All of it at once takes longer.
        const { sql } = yield* join({ pool: { startupParameters: { statement_timeout: "100" } } })
        const atOnce = sql.unsafe(`select "${schema}".newest_match(0, '[{"tags":["busy","none"]}]')`)
        expect(yield* Effect.flip(atOnce)).toMatchObject({ reason: { _tag: "StatementTimeoutError" } })
        const statements: Array<string> = []
        const client: PgClient.PgClient = Object.assign(Object.create(sql), {
          unsafe: (text: string, parameters: ReadonlyArray<unknown> = []) => {
            statements.push(text)
            // The first statements get no time at all.
            const [after, upTo] = text.includes("order by t.position desc") ? parameters.map(Number) : []
            return sql.unsafe(
              after !== undefined && upTo !== undefined && upTo - after > 3_000 ? "select pg_sleep(1), $1, $2, $3, $4, $5" : text,
              parameters
            )
          }
        })
        const store = yield* Effect.provideService(
          PgEventStore.make({ schema, migrate: false, listen: false, pollInterval: "1 hour" }),
          PgClient.PgClient,
          client
        )
        // On a busy machine the server may have no time for a statement that is short, either.
        yield* append(store, { filter: { tags: ["busy", "none"] }, after: 180_000 }).pipe(
          Effect.retry({
            times: 10,
            while: (error) => error._tag === "EventStoreError" && error.reason._tag === "StoreUnavailable"
          })
        )
        expect(statements.filter((text) => text.includes("desc limit")).length).toBeGreaterThan(7)
      }),
    60_000
  )
})

describe("a condition whose tag few events bear", () => {
  it.live(
    "is checked by the append itself, however far it reaches back, in a batch as well",
    () =>
      Effect.gen(function* () {
        const { first, schema } = yield* arena
        const few = (after: number, type = "None"): EventStore.AppendCondition => ({
          filter: { tags: ["few"], types: [type] },
          after
        })
        const seen = yield* first.store.append("Few-1", [{ ...event("seen", "Seen"), tags: ["few"] }])
        yield* fill(first.sql, schema, 5_000)
        const statements: Array<string> = []
        const client: PgClient.PgClient = Object.assign(Object.create(first.sql), {
          unsafe: (text: string, parameters: ReadonlyArray<unknown> = []) => {
            if (!text.includes("pg_notify")) statements.push(text)
            return first.sql.unsafe(text, parameters)
          }
        })
        const store = yield* Effect.provideService(
          PgEventStore.make({ schema, migrate: false, listen: false, pollInterval: "1 hour" }),
          PgClient.PgClient,
          client
        )
        // So that it knows how long the log is.
        yield* store.head
        statements.length = 0
        yield* append(store, few(0))
        yield* append(store, { ...few(seen.position), afterId: "seen" })
        expect(statements.map((text) => text.includes('"append_event"'))).toEqual([true, true])
        const answers = yield* Effect.forEach(
          [
            append(store, few(0)),
            append(store, few(0, "Seen")),
            append(store, few(seen.position, "Seen")),
            append(store, few(1))
          ],
          (one: Effect.Effect<unknown, EventStore.AppendError>) => reasonOf(one),
          { concurrency: "unbounded" }
        )
        expect(answers).toEqual(["success", "AppendConditionError", "success", "success"])
        expect(statements.filter((text) => !text.includes('"append_'))).toEqual([])
      }),
    60_000
  )
})

describe("a condition that is asked again", () => {
  /** A store, and over how many positions its looks without the lock go. */
  const spanning = Effect.fnUntraced(function* (schema: string, sql: PgClient.PgClient) {
    const seen = { positions: 0 }
    const client: PgClient.PgClient = Object.assign(Object.create(sql), {
      unsafe: (text: string, parameters: ReadonlyArray<unknown> = []) => {
        if (text.includes("desc limit $3")) seen.positions += Number(parameters[1]) - Number(parameters[0])
        return sql.unsafe(text, parameters)
      }
    })
    const store = yield* Effect.provideService(
      PgEventStore.make({ schema, migrate: false, listen: false, pollInterval: "1 hour" }),
      PgClient.PgClient,
      client
    )
    const spanOf = <A, E>(effect: Effect.Effect<A, E>) =>
      Effect.suspend(() => {
        seen.positions = 0
        return Effect.map(effect, (value) => [value, seen.positions] as const)
      })
    return { store, spanOf }
  })

  it.live(
    "is looked for in what has come since",
    () =>
      Effect.gen(function* () {
        const { first, schema } = yield* arena
        const { spanOf, store } = yield* spanning(schema, first.sql)
        const [, whole] = yield* spanOf(append(store, busy("None")))
        expect(whole).toBeGreaterThanOrEqual(total)
        const [[again], rest] = yield* spanOf(append(store, busy("None")))
        expect(again).toMatchObject({ position: total + 2 })
        expect(rest).toBeLessThan(10)
        const [found] = yield* spanOf(Effect.flip(append(store, busy("Rare"))))
        expect(found).toMatchObject({ position: rare })
        const [stillFound, less] = yield* spanOf(Effect.flip(append(store, busy("Rare"))))
        expect([stillFound, less < 10]).toMatchObject([{ position: rare }, true])
        // What lies before the condition is none of its matches.
        const [[beyond], more] = yield* spanOf(append(store, busy("Rare", rare)))
        expect([beyond, more < 10]).toMatchObject([{ position: total + 3 }, true])
        yield* store.append("Other-1", [{ ...event(undefined, "None"), tags: ["busy"] }])
        expect(yield* Effect.flip(append(store, busy("None")))).toMatchObject({ position: total + 4 })
        // Further back than it has been looked through.
        const [, back] = yield* spanOf(append(store, busy("Never", 10_000)))
        const [, further] = yield* spanOf(append(store, busy("Never")))
        expect([back, further].map((span) => span > 10_000)).toEqual([true, true])
      }),
    60_000
  )

  it.live(
    "is looked for in all of the log where that has become another one, and in a transaction, which sees what may be rolled back",
    () =>
      Effect.gen(function* () {
        const { admin, first, schema } = yield* arena
        const { spanOf, store } = yield* spanning(schema, first.sql)
        yield* append(store, busy("None"))
        const rolledBack = first.sql.withTransaction(
          Effect.gen(function* () {
            yield* store.append("Other-1", [{ ...event(undefined, "None"), tags: ["busy"] }])
            const refused = yield* Effect.flip(append(store, busy("None")))
            return yield* Effect.fail(refused)
          })
        )
        expect(yield* Effect.flip(rolledBack)).toMatchObject({ _tag: "AppendConditionError", position: total + 2 })
        yield* append(store, busy("None"))
        // Its tables were written anew from a copy, up to the head: with other events.
        yield* admin.unsafe(`alter table "${schema}".event disable trigger refuse_change`)
        yield* admin.unsafe(
          `update "${schema}".event set id = 'new-' || id, type = case position when 7 then 'None' else type end`
        )
        const [error, span] = yield* spanOf(Effect.flip(append(store, busy("None"))))
        expect(error).toMatchObject({ _tag: "AppendConditionError", position: 7 })
        expect(span).toBeGreaterThanOrEqual(total)
      }),
    60_000
  )
})

describe("under the lock", () => {
  it.live(
    "little is looked through, whatever a condition asks and wherever it begins",
    () =>
      Effect.gen(function* () {
        const { admin, join, schema } = yield* arena
        const looked = Effect.map(
          admin.unsafe<{ looked: number }>(
            `select pg_stat_force_next_flush(), sum(idx_tup_read)::int as looked from pg_stat_user_indexes
              where schemaname = '${schema}' and relname in ('event', 'tag')`
          ),
          ([row]) => row?.looked ?? 0
        )
        // The functions alone, without what looks before they are called.
        const { sql } = yield* join({ pool: { maxConnections: 1 } })
        const calls: Array<readonly [string, ReadonlyArray<unknown>]> = []
        const client: PgClient.PgClient = Object.assign(Object.create(sql), {
          unsafe: (text: string, parameters: ReadonlyArray<unknown> = []) => {
            if (text.includes('"append_')) calls.push([text, parameters])
            return sql.unsafe(text, parameters)
          }
        })
        const recorded = yield* Effect.provideService(
          PgEventStore.make({ schema, migrate: false, listen: false, pollInterval: "1 hour" }),
          PgClient.PgClient,
          client
        )
        const filters: ReadonlyArray<EventStore.Filter> = [
          ...Object.values(kinds).map((filterOf) => filterOf("None")),
          [{ tags: ["busy", "none"] }, { types: ["None"] }, { tags: ["busy"], types: ["None"] }]
        ]
        for (const filter of filters) yield* append(recorded, { filter })
        expect(calls.length).toBeGreaterThanOrEqual(filters.length)
        const settled = Effect.andThen(sql.unsafe("select pg_stat_force_next_flush()"), Effect.andThen(looked, looked))
        const before = yield* settled
        for (const [text, parameters] of calls) yield* Effect.ignore(sql.unsafe(text, parameters))
        yield* until(
          "the statistics are there",
          Effect.map(settled, (after) => after > before)
        )
        expect((yield* settled) - before).toBeLessThan(calls.length * 1_500)
      }),
    60_000
  )
})
