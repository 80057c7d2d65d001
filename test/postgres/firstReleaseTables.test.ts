/** What 0.1.0 made without a schema goes to the store that it belongs to. */
import assert from "node:assert/strict"
import { describe, it } from "@effect/vitest"
import { Effect, Layer, Option } from "effect"
import { SqlClient } from "effect/sql"
import { Checkpoints, DeadLetters, EventStore, Inbox, ParkedEvents, Projection, Snapshots } from "eventfold"
import { PgCheckpoints, PgEventStore } from "eventfold/postgres"
import { readTables } from "../fixtures/0.1.0/facts.ts"
import { Total } from "../fixtures/0.1.0/views.ts"
import { pgliteKind } from "../fixtures/opened.ts"
import { AccountOpened, MoneyDeposited } from "../fixtures/0.1.0/domain.ts"
import { assertOwn, fill } from "../support/besideEvents.ts"
import { type Client, clientOf, database, execute, kinds, leave, stack, tablesOf } from "./databases.ts"

const { expected } = pgliteKind

/** Asserts that the store has all that 0.1.0 kept beside its events. */
const assertKept = Effect.gen(function* () {
  const parked = yield* ParkedEvents.ParkedEvents
  for (const [name, events] of Object.entries(expected.facts.parked)) {
    assert.deepEqual(
      (yield* parked.list(name)).map(({ position }) => position),
      events.map(({ position }) => position)
    )
  }
  const letters = yield* DeadLetters.DeadLetters.use(({ list }) => list("mail"))
  assert.deepEqual(
    letters.map(({ message }) => message.id),
    expected.facts.deadLetters.map(({ message }) => message.id)
  )
  assert.ok(letters.length > 0)
  assert.deepEqual(yield* readTables, expected.tables)
  assert.equal(yield* EventStore.head, expected.facts.events)
})

/** What 0.1.0 had of each, so that nothing is lost on the way. */
const counts = (client: Client, schema: string, names: ReadonlyArray<string>) =>
  Effect.provide(
    SqlClient.SqlClient.use((sql) =>
      Effect.forEach(names, (name) =>
        Effect.map(sql.unsafe(`select count(*)::int from "${schema}"."${name}"`).values, ([row]) => row?.[0])
      )
    ),
    client
  )

const sides = ["dead_letter", "inbox", "parked_event", "snapshot"]
const before = sides.map((name) => `eventfold_${name}`)

describe.each(Object.entries(kinds))("what 0.1.0 made in public, on %s,", (_, kind) => {
  it.live.each([{}, { schema: "Shop" }] as const)(
    "is in the schema of the only store from then on, however often it is opened (%j)",
    (options) =>
      Effect.gen(function* () {
        const client = yield* kind
        const schema = (options as { readonly schema?: string }).schema ?? "eventfold"
        yield* leave(client, schema)
        const had = yield* counts(client, "public", before)
        const onServer = (yield* tablesOf(client, "public")).length
        assert.ok(onServer > 10 && had.every((count) => typeof count === "number"))
        yield* execute(client, `create table public.note (text text)`, `create view public.diary as select * from note`)
        for (let time = 0; time < 2; time++) yield* Effect.provide(assertKept, stack(options, client))
        assert.deepEqual(yield* tablesOf(client, "public"), ["diary", "note"])
        assert.deepEqual(yield* counts(client, schema, sides), had)
        // One index each, as a new store has it.
        const indexes = yield* Effect.provide(
          SqlClient.SqlClient.use((sql) =>
            sql.unsafe<{ name: string }>(
              `select c.relname as name from pg_index i join pg_class c on c.oid = i.indexrelid
                where i.indrelid = '"${schema}".inbox'::regclass order by 1`
            )
          ),
          client
        )
        assert.deepEqual(
          indexes.map(({ name }) => name),
          ["inbox_handled_at", "inbox_pkey"]
        )
      }),
    60_000
  )
})

describe("what 0.1.0 made in public", () => {
  it.live(
    "is taken over once by many that start at the same time",
    () =>
      Effect.gen(function* () {
        const client = clientOf(yield* database)
        yield* leave(client, "eventfold")
        yield* Effect.forEach([1, 2, 3, 4, 5], () => Effect.provide(assertKept, stack({}, client)), { concurrency: "unbounded" })
        assert.deepEqual(yield* tablesOf(client, "public"), [])
      }),
    60_000
  )

  it.live(
    "is none of a store that a later release has made, whoever comes first",
    () =>
      Effect.gen(function* () {
        const client = clientOf(yield* database)
        yield* leave(client, "eventfold")
        const had = yield* tablesOf(client, "public")
        const places = [{ schema: "fresh" }, { schema: "public" }, { schema: "public", tablePrefix: "p_" }]
        const [, ...inPublic] = places
        for (const [n, place] of places.entries()) {
          yield* Effect.scoped(Effect.provide(fill(`new ${n}`, n + 1), stack(place, client)))
          const found = yield* tablesOf(client, "public")
          assert.deepEqual(
            had.filter((name) => !found.includes(name)),
            []
          )
        }
        yield* Effect.provide(assertKept, stack({}, client))
        for (const [n, place] of places.entries()) {
          yield* Effect.provide(assertOwn(`new ${n}`, n + 1), stack(place, client))
        }
        assert.equal((yield* tablesOf(client, "public")).length, inPublic.length * (yield* tablesOf(client, "fresh")).length)
      }),
    60_000
  )

  it.live(
    "is taken over again where a program of 0.1.0 that still runs has made it anew",
    () =>
      Effect.gen(function* () {
        const client = clientOf(yield* database)
        yield* leave(client, "eventfold")
        yield* Effect.provide(assertKept, stack({}, client))
        yield* execute(
          client,
          `create table public.eventfold_inbox (consumer_group text not null, id text not null, handled_at double precision not null, primary key (consumer_group, id))`,
          `insert into public.eventfold_inbox select 'late', id, handled_at from eventfold.inbox limit 1`,
          `insert into public.eventfold_inbox select * from eventfold.inbox`
        )
        yield* Effect.provide(assertKept, stack({}, client))
        assert.deepEqual(yield* tablesOf(client, "public"), [])
        const late = "select count(*)::int from eventfold.inbox where consumer_group = 'late'"
        const [row] = yield* Effect.provide(
          SqlClient.SqlClient.use((sql) => sql.unsafe(late).values),
          client
        )
        assert.deepEqual(row, [1])
      }),
    60_000
  )

  it.live(
    "is refused by name where two stores could be meant, says what to do, and nothing is lost",
    () =>
      Effect.gen(function* () {
        const client = clientOf(yield* database)
        yield* leave(client, "one")
        yield* leave(client, "two", { second: true })
        const had = yield* tablesOf(client, "public")
        const rows = yield* counts(client, "public", before)
        const open = (layer: Layer.Layer<never, unknown, EventStore.EventStore | SqlClient.SqlClient>, schema: string) =>
          Effect.flip(
            Effect.scoped(
              Layer.build(
                layer.pipe(Layer.provide(PgEventStore.layerWith({ schema, listen: false })), Layer.provide(client), Layer.fresh)
              )
            )
          )
        for (const schema of ["one", "two"]) {
          for (const layer of [ParkedEvents.layerSql, Inbox.layerSql, DeadLetters.layerSql, Snapshots.layerSql]) {
            const { message } = (yield* open(layer as Layer.Layer<never, unknown, SqlClient.SqlClient>, schema)) as Error
            assert.match(
              message,
              /"public"\."eventfold_\w+" was made by eventfold 0\.1\.0 and could belong to any of these stores/
            )
            assert.match(message, /"one\.", "two\."/)
            assert.match(message, /\{ table: "public\.eventfold_\w+" \}/)
            assert.match(message, new RegExp(`alter table "public"\\."eventfold_\\w+" set schema "${schema}"; alter table`))
          }
        }
        assert.deepEqual(yield* tablesOf(client, "public"), had)
        assert.deepEqual(yield* counts(client, "public", before), rows)

        // Told whose it is, it goes on; the other store begins with none.
        for (const name of sides) {
          yield* execute(
            client,
            `alter table "public"."eventfold_${name}" set schema "one"`,
            `alter table "one"."eventfold_${name}" rename to "${name}"`
          )
        }
        const parked = (schema: string) =>
          Effect.provide(
            ParkedEvents.ParkedEvents.use(({ list }) => list("notices")),
            stack({ schema }, client)
          )
        assert.equal((yield* parked("one")).length, expected.facts.parked["notices"]?.length)
        assert.equal((yield* parked("two")).length, 0)

        // A projection that has run is refused as well, and says how it goes on.
        const total = (table: typeof Total) =>
          Projection.make("Totals", {
            version: 1,
            tables: [table],
            events: [AccountOpened, MoneyDeposited],
            batch: () => Effect.void
          })
        const run = (table: typeof Total) =>
          Effect.provide(
            Effect.scoped(Layer.build(Layer.fresh(Projection.layer(total(table))))),
            stack({ schema: "one" }, client)
          )
        const refused = (yield* Effect.flip(run(Total))) as Error
        assert.match(refused.message, /"public"\."fixture_total_v1" was made by eventfold 0\.1\.0/)
        assert.match(refused.message, /define its table as "public\.fixture_total"/)
        yield* run(Projection.table("public.fixture_total", { key: "day", fields: Total.fields }))
      }),
    60_000
  )

  it.live(
    "is left alone where it is empty, whosever it is, and where it is named it is used",
    () =>
      Effect.gen(function* () {
        const client = clientOf(yield* database)
        yield* leave(client, "one")
        yield* leave(client, "two", { second: true })
        yield* execute(client, ...before.slice(0, 2).map((name) => `delete from public.${name}`))
        const named = (
          layer: Layer.Layer<Inbox.Inbox | ParkedEvents.ParkedEvents, unknown, EventStore.EventStore | SqlClient.SqlClient>
        ) =>
          Layer.provide(
            layer,
            PgEventStore.layerWith({ schema: "two", listen: false }).pipe(Layer.provideMerge(client), Layer.fresh)
          )
        const parked = yield* Effect.provide(
          ParkedEvents.ParkedEvents.use(({ list }) => list("notices")),
          named(Layer.merge(Inbox.layerSql, ParkedEvents.layerSqlWith({ table: "public.eventfold_parked_event" })))
        )
        assert.equal(parked.length, expected.facts.parked["notices"]?.length)
        assert.ok((yield* tablesOf(client, "two")).includes("inbox"))
      }),
    60_000
  )

  it.live("of consumers without a store is where a consumer looks for it by default", () =>
    Effect.gen(function* () {
      const client = clientOf(yield* database)
      yield* execute(
        client,
        `create table eventfold_inbox (consumer_group text not null, id text not null, handled_at double precision not null, primary key (consumer_group, id))`,
        `insert into eventfold_inbox values ('mail', '1', ${Date.now()})`
      )
      const inbox = Layer.provide(Inbox.layerSql, client)
      assert.deepEqual(yield* Effect.provide(Inbox.once("mail", "1", Effect.void), inbox), Option.none())
      assert.deepEqual(yield* tablesOf(client, "public"), [])
      assert.deepEqual(yield* tablesOf(client, "eventfold"), ["inbox"])
    })
  )

  it.live("of checkpoints, beside another store than their own, is refused by name until it is said where they are", () =>
    Effect.gen(function* () {
      const client = clientOf(yield* database)
      const store = Layer.provideMerge(PgEventStore.layerWith({ schema: "shop", listen: false }), client)
      const claim = (options: PgCheckpoints.Options = {}) =>
        Effect.provide(
          Checkpoints.Checkpoints.use((checkpoints) => checkpoints.claim("mail", { owner: "me", ttl: "1 minute" })),
          Layer.fresh(Layer.provide(PgCheckpoints.layerWith(options), store))
        )
      yield* claim({ schema: "eventfold" })
      const error = yield* Effect.flip(claim())
      assert.match(
        (error as Error).message,
        /the checkpoints of 0\.1\.0 are in "eventfold"\."checkpoint".*say \{ schema: "eventfold" \}/
      )
      assert.equal((yield* claim({ schema: "eventfold" })).epoch, 2)
      // A store that has its own goes on with them.
      assert.equal((yield* claim({ schema: "shop" })).epoch, 1)
      assert.equal((yield* claim()).epoch, 2)
    })
  )
})
