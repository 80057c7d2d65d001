import { describe, expect, it } from "@effect/vitest"
import { Context, Effect, Fiber, Layer, Option, Stream } from "effect"
import { type SqlClient, Statement } from "effect/sql"
import { Checkpoints, Projection } from "eventfold"
import { PgCheckpoints } from "eventfold/postgres"
import { inject } from "vitest"
import { makeSql } from "../../src/postgres/sql.ts"
import { assertConverted, old, rows } from "../support/first-release.ts"
import { assertSound, child, connect, event, open, reasonOf, until } from "./harness.ts"
import { client, freshSchema } from "./support.ts"

const url = () => inject("postgresUrl")

/** What stands in a schema, without its own name. */
const contents = (admin: SqlClient.SqlClient, schema: string) =>
  Effect.map(
    admin<{ item: string }>`
      select 'table ' || relname as item from pg_class where relnamespace = (select oid from pg_namespace where nspname = ${schema}) and relkind = 'r'
      union all
      select 'index ' || relname from pg_class where relnamespace = (select oid from pg_namespace where nspname = ${schema}) and relkind = 'i'
      union all
      select 'function ' || proname from pg_proc where pronamespace = (select oid from pg_namespace where nspname = ${schema})
      union all
      select 'trigger ' || tgname || ' on ' || relname from pg_trigger t join pg_class c on c.oid = t.tgrelid
       where relnamespace = (select oid from pg_namespace where nspname = ${schema}) and not tgisinternal
      union all
      select 'constraint ' || conname from pg_constraint where connamespace = (select oid from pg_namespace where nspname = ${schema}) and contype in ('p', 'u', 'c')
      union all
      select 'column ' || table_name || '.' || column_name || ' ' || data_type || case is_nullable when 'NO' then '' else ' null' end
        from information_schema.columns where table_schema = ${schema}`,
    (rows) => rows.map(({ item }) => item).sort()
  )

const expected = (prefix: string) =>
  [
    ...["event", "tag", "checkpoint", "projection_version", "deadline", "operation", "chain", "migration"].map(
      (name) => `table ${prefix}${name}`
    ),
    ...[
      "event_pkey",
      "event_stream_version_key",
      "event_id_key",
      "tag_pkey",
      "checkpoint_pkey",
      "projection_version_pkey",
      "deadline_pkey",
      "operation_pkey",
      "chain_pkey"
    ].flatMap((name) => [`index ${prefix}${name}`, `constraint ${prefix}${name}`]),
    `index ${prefix}projection_version_active_key`,
    `index ${prefix}deadline_due_key`,
    `index ${prefix}operation_alone`,
    `index ${prefix}event_tombstone`,
    `constraint ${prefix}projection_version_mode_check`,
    ...[
      "add_link",
      "append",
      "append_batch",
      "append_event",
      "append_lock",
      "append_one",
      "event_digest",
      "events_stand",
      "flush_commits",
      "head_position",
      "newest_match",
      "newest_position",
      "refuse_change",
      "refuse_old_program",
      "refuse_old_watch",
      "tombstone",
      "update_head"
    ].map((name) => `function ${prefix}${name}`),
    `trigger update_head on ${prefix}head`,
    `trigger refuse_old_program on ${prefix}checkpoint`,
    `trigger refuse_old_watch on ${prefix}checkpoint`,
    ...["event", "tag"].flatMap((name) => [
      `trigger refuse_change on ${prefix}${name}`,
      `trigger refuse_truncate on ${prefix}${name}`
    ])
  ].sort()

const migrations = (admin: SqlClient.SqlClient, schema: string) =>
  Effect.map(admin.unsafe<{ name: string }>(`select name from "${schema}".migration order by migration_id`), (rows) =>
    rows.map(({ name }) => name)
  )

describe("migrations", () => {
  it.live.each([
    ["a new schema", "", ""],
    ["a name with capitals", "Capitals_", ""],
    ["a prefix", "", "shop_"],
    ["a prefix with capitals that begins with a digit", "", "2Shop"]
  ] as const)("make exactly these tables, indexes, functions and triggers (%s)", ([, capitals, tablePrefix]) =>
    Effect.gen(function* () {
      const admin = yield* connect(url())
      const schema = capitals + freshSchema()
      const { store } = yield* open({ url: url(), schema, tablePrefix })
      const found = yield* contents(admin, schema)
      const named = found.filter((item) => !item.startsWith("column ") && !/ \w*migration_\w+$/.test(item))
      expect(named).toEqual(expected(tablePrefix))
      // Everything that the store does works under these names.
      yield* store.append("A-1", [{ ...event("a"), tags: ["seat:1"] }], { expected: 0 })
      yield* store.appendAll([{ stream: "A-1", events: [event("b")] }], { unless: { filter: { tags: ["none"] } } })
      expect(yield* Stream.runCollect(store.readAll({ filter: { tags: ["seat:1"] } }))).toHaveLength(1)
      expect(yield* Stream.runCollect(store.streams())).toHaveLength(1)
      yield* assertSound(store)
    })
  )

  it.live("run once, however often the store is opened", () =>
    Effect.gen(function* () {
      const admin = yield* connect(url())
      const schema = freshSchema()
      const first = yield* open({ url: url(), schema })
      yield* first.store.append("A-1", [event()])
      const [made, names] = [yield* contents(admin, schema), yield* migrations(admin, schema)]
      expect(names.length).toBeGreaterThan(0)
      for (let n = 0; n < 3; n++) expect(yield* (yield* open({ url: url(), schema })).store.head).toBe(1)
      expect(yield* contents(admin, schema)).toEqual(made)
      expect(yield* migrations(admin, schema)).toEqual(names)
    })
  )

  it.live("of a new store look at no other of its database, of which there may be thousands", () =>
    Effect.gen(function* () {
      const [other, schema] = [freshSchema(), freshSchema()]
      yield* open({ url: url(), schema: other })
      const texts: Array<string> = []
      yield* Effect.provideService(open({ url: url(), schema }), Statement.CurrentTransformer, (statement) =>
        Effect.sync(() => {
          texts.push(statement.compile()[0])
          return statement
        })
      )
      const about = (name: string) => texts.filter((text) => text.includes(`"${name}"`))
      expect(about(schema).length).toBeGreaterThan(20)
      expect(about(other)).toEqual([])
    })
  )

  it.live("run once, when several processes and several stores of each open it at the same time", () =>
    Effect.gen(function* () {
      const admin = yield* connect(url())
      for (let round = 0; round < 3; round++) {
        const schema = freshSchema()
        yield* Effect.forEach(Array.from({ length: 6 }), () => open({ url: url(), schema, pool: { maxConnections: 2 } }), {
          concurrency: "unbounded"
        })
        expect(new Set(yield* migrations(admin, schema)).size).toBe((yield* migrations(admin, schema)).length)
      }
      const schema = freshSchema()
      const processes = yield* Effect.forEach(Array.from({ length: 4 }), () => child("migrate", { url: url(), schema }))
      yield* Effect.forEach(processes, ({ says }) => says("ready"))
      yield* Effect.forEach(processes, ({ end }) => end, { concurrency: "unbounded" })
      const { store } = yield* open({ url: url(), schema })
      expect(yield* assertSound(store)).toHaveLength(4)
    })
  )

  it.live("that are killed half way leave nothing, and the next opening does them all", () =>
    Effect.gen(function* () {
      const admin = yield* connect(url())
      const schema = freshSchema()
      // The last table of the migrations is there already, so they fail after having made others.
      yield* admin.unsafe(`create schema "${schema}"`)
      yield* admin.unsafe(`create table "${schema}".projection_version (n int)`)
      expect(yield* reasonOf(Effect.scoped(open({ url: url(), schema })))).toBe("StoreFailure")
      const left = (yield* contents(admin, schema)).filter((item) => item.startsWith("table "))
      expect(left).toEqual(["table migration", "table projection_version"])
      yield* admin.unsafe(`drop table "${schema}".projection_version`)
      const { store } = yield* open({ url: url(), schema })
      expect(yield* store.append("A-1", [event()])).toMatchObject({ position: 1 })
    })
  )

  it.live("schemas and prefixes side by side know nothing of each other", () =>
    Effect.gen(function* () {
      const [one, two] = [freshSchema(), freshSchema()]
      const places = [{ schema: one }, { schema: two }, { schema: one, tablePrefix: "a_" }, { schema: one, tablePrefix: "b_" }]
      const stores = yield* Effect.forEach(places, (place) => open({ url: url(), ...place, pollInterval: "20 millis" }))
      const seen = yield* Effect.forEach(stores, ({ store }) =>
        store.subscribe().pipe(Stream.take(2), Stream.runCollect, Effect.forkScoped)
      )
      yield* Effect.forEach(stores, ({ store }, n) => store.append("A-1", [event("same"), event(`${n}`)], { expected: 0 }), {
        concurrency: "unbounded"
      })
      for (const [n, fiber] of seen.entries()) {
        const ids = Effect.map(Fiber.join(fiber), (events) => events.map(({ id }) => id))
        expect(yield* ids).toEqual(["same", `${n}`])
      }
      yield* Effect.forEach(stores, ({ store }) => assertSound(store))
    })
  )

  it.live("turned off, a schema that has no tables is a typed error that says what to do, and one that has them works", () =>
    Effect.gen(function* () {
      const admin = yield* connect(url())
      const schema = freshSchema()
      const opening = Effect.flip(Effect.scoped(open({ url: url(), schema, migrate: false })))
      expect(yield* opening).toMatchObject({
        _tag: "EventStoreError",
        reason: { _tag: "StoreFailure", operation: "open", detail: expect.stringContaining("have the migrations run?") }
      })
      yield* admin.unsafe(`create schema "${schema}"`)
      expect((yield* opening).message).toContain("is it the right schema")
      yield* Effect.scoped(open({ url: url(), schema }))
      const { store } = yield* open({ url: url(), schema, migrate: false })
      expect(yield* store.append("A-1", [event()])).toMatchObject({ position: 1 })
    })
  )

  it.live.each([
    [{ schema: "" }, "schema"],
    [{ schema: "1st" }, "schema"],
    [{ schema: 'a"b' }, "schema"],
    [{ schema: "a.b" }, "schema"],
    [{ schema: "a-b" }, "schema"],
    [{ schema: "ä" }, "schema"],
    [{ schema: "x".repeat(31) }, "schema"],
    [{ tablePrefix: "a b" }, "tablePrefix"],
    [{ tablePrefix: "a;drop" }, "tablePrefix"],
    [{ tablePrefix: "x".repeat(21) }, "tablePrefix"]
  ] as const)("the name %j is refused before anything is sent", ([names, which]) =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(Effect.scoped(open({ url: url(), ...names })))
      expect(error).toMatchObject({ reason: { _tag: "StoreFailure", operation: "open" } })
      expect((error as Error).message).toContain(`${which} `)
    })
  )

  it.live("the longest names still make names that the database does not cut, and a channel that is heard", () =>
    Effect.gen(function* () {
      const admin = yield* connect(url())
      const [schema, tablePrefix] = [`L${freshSchema().padEnd(29, "x").slice(-29)}`, "p".repeat(20)]
      const { store } = yield* open({ url: url(), schema, tablePrefix, pollInterval: "1 hour" })
      const other = yield* open({ url: url(), schema, tablePrefix, listen: false })
      yield* until(
        "it listens",
        Effect.map(admin`select 1 from pg_stat_activity where query like ${`LISTEN%${schema}%`}`, (rows) => rows.length === 1)
      )
      const seen = yield* store.subscribe().pipe(Stream.take(1), Stream.runCollect, Effect.forkScoped)
      yield* other.store.append("A-1", [event("heard")])
      expect(yield* Fiber.join(seen)).toMatchObject([{ id: "heard" }])
    })
  )
})

/** A schema as 0.1.0 left it: its tables, and in them what it kept as checkpoints. */
const firstRelease = Effect.gen(function* () {
  const admin = yield* connect(url())
  const schema = freshSchema()
  for (const statement of [
    `create schema "${schema}"`,
    `create table "${schema}".migration (migration_id integer primary key, created_at timestamptz not null default now(), name text not null)`,
    `insert into "${schema}".migration (migration_id, name) values (1, 'events'), (2, 'checkpoints')`,
    ...makeSql({ schema, prefix: "" }).createTables,
    `create table "${schema}".head (only_row boolean primary key default true check (only_row), position bigint not null) with (fillfactor = 10)`,
    `insert into "${schema}".head (position) values (0)`,
    `create table "${schema}".checkpoint (
       name text collate "C" primary key,
       position bigint not null,
       epoch bigint not null,
       owner text,
       expires_at timestamptz not null,
       updated_at timestamptz not null
     ) with (fillfactor = 50)`
  ]) {
    yield* admin.unsafe(statement)
  }
  for (const { epoch, name, owner, position } of rows) {
    yield* admin.unsafe(
      `insert into "${schema}".checkpoint values ($1, $2::bigint, $3::bigint, $4, $5::timestamptz, $6::timestamptz)`,
      [name, String(position), String(epoch), owner, new Date(old.expiresAt).toISOString(), new Date(old.updatedAt).toISOString()]
    )
  }
  const checkpoints = () => Layer.fresh(PgCheckpoints.layerWith({ schema }).pipe(Layer.provideMerge(client())))
  return { admin, schema, checkpoints }
})

const converted = assertConverted({ fences: true })

describe("what 0.1.0 kept of the versions of projections", () => {
  it.live("is in the registry from then on, and all else is as it was", () =>
    Effect.gen(function* () {
      const { checkpoints } = yield* firstRelease
      for (let time = 0; time < 2; time++) yield* Effect.provide(converted, checkpoints())
    })
  )

  it.live("is converted once by several that open the schema at the same time, in tables like those of a new one", () =>
    Effect.gen(function* () {
      const { admin, checkpoints, schema } = yield* firstRelease
      yield* Effect.forEach([1, 2, 3, 4, 5], () => Effect.provide(converted, checkpoints()), { concurrency: "unbounded" })
      const fresh = freshSchema()
      yield* Effect.scoped(Layer.build(PgCheckpoints.layerWith({ schema: fresh }).pipe(Layer.provide(Layer.fresh(client())))))
      const ofCheckpoints = (items: ReadonlyArray<string>) =>
        items.filter((item) => /checkpoint|projection_version|deadline/.test(item))
      expect(ofCheckpoints(yield* contents(admin, schema))).toEqual(ofCheckpoints(yield* contents(admin, fresh)))
    })
  )

  it.live("waits for a transaction of 0.1.0's that has a checkpoint in hand, and takes what that has committed", () =>
    Effect.gen(function* () {
      const { admin, checkpoints, schema } = yield* firstRelease
      const observer = yield* connect(url())
      const version = Effect.gen(function* () {
        const { versions } = yield* Checkpoints.Checkpoints
        return [yield* Projection.active("Balances"), Option.getOrThrow(yield* versions.get("Balances", 2)).heard]
      })
      const migrating = yield* admin.withTransaction(
        Effect.gen(function* () {
          yield* admin.unsafe(`update "${schema}".checkpoint set owner = '2' where name = 'projection:Balances'`)
          yield* admin.unsafe(`update "${schema}".checkpoint set position = 77 where name = 'projection:Balances@2'`)
          const migrating = yield* Effect.forkDetach(Effect.provide(version, checkpoints()))
          const blocked = observer`select 1 from pg_stat_activity where wait_event_type = 'Lock' and query like ${`alter table "${schema}"%`}`
          yield* until(
            "the migration waits",
            Effect.map(blocked, (rows) => rows.length === 1)
          )
          return migrating
        })
      )
      expect(yield* Fiber.join(migrating)).toEqual([Option.some(2), 77])
    })
  )
})

describe("a program of 0.1.0 that still runs", () => {
  it.live(
    "is refused by name where it runs projections, which are fenced, and watches over deadlines, and goes on with all else",
    () =>
      Effect.gen(function* () {
        const { admin, checkpoints, schema } = yield* firstRelease
        const kept = Context.get(yield* Layer.build(checkpoints()), Checkpoints.Checkpoints)
        const { advance: move, claim: take, get, reset, versions } = kept
        // Its statements.
        const claim = (name: string) =>
          admin.unsafe(
            `insert into "${schema}".checkpoint as c (name, position, epoch, owner, expires_at, updated_at)
           values ($1, $4::bigint, 1, $2, clock_timestamp() + make_interval(secs => $3), clock_timestamp())
           on conflict (name) do update
              set epoch = c.epoch + 1, owner = excluded.owner, expires_at = excluded.expires_at, updated_at = excluded.updated_at
            where c.owner is null or c.owner = excluded.owner or c.expires_at <= clock_timestamp()
           returning epoch::float8, position::float8`,
            [name, "another process", 15, "0"]
          )
        const advance = (name: string, epoch: number, from: number) =>
          admin.unsafe(
            `update "${schema}".checkpoint
              set position = $5::bigint, expires_at = clock_timestamp() + make_interval(secs => $3), updated_at = clock_timestamp()
            where name = $1 and epoch = $2::bigint and owner is not null and position = $4::bigint and ($5::bigint >= $4::bigint or $5::bigint = 0) returning 1`,
            [name, String(epoch), 15, String(from), String(from + 1)]
          )
        const subscription = "subscription:projection:Balances@1"
        expect(yield* advance(subscription, 4, 58)).toHaveLength(0)
        for (const name of [subscription, "subscription:projection:New@1", "projection:Balances", "projection:New@1"]) {
          const error = yield* Effect.flip(claim(name))
          expect(String(error.reason.cause)).toContain(`${name} is refused`)
          expect(String(error.reason.cause)).toContain("end the programs of eventfold 0.1 that run projections")
        }
        expect(yield* advance("relay:shop", 2, 29)).toHaveLength(1)
        const refused = String((yield* Effect.flip(claim("deadlines:Payment"))).reason.cause)
        expect(refused).toContain("deadlines:Payment is refused")
        expect(refused).toContain("end the programs of eventfold 0.1 that run process managers")
        for (const name of ["relay:shop", "subscription:new"]) expect(yield* claim(name)).toHaveLength(1)
        expect(Option.getOrThrow(yield* get("subscription:new")).owner).toEqual(Option.some("another process"))
        expect(yield* versions.list()).toHaveLength(8)
        // It does not say what it has seen: that is unknown from then on.
        const seen = Effect.map(get("relay:shop"), (found) => Option.getOrThrow(found).seen)
        yield* reset("relay:shop", 29)
        const next = yield* move(yield* take("relay:shop", { owner: "a new program", ttl: "1 minute" }), 30, {
          position: 30,
          id: "30"
        })
        expect(yield* seen).toEqual({ position: 30, id: "30" })
        expect(yield* advance("relay:shop", next.epoch, 30)).toHaveLength(1)
        expect(yield* seen).toBeUndefined()
      })
  )
})
