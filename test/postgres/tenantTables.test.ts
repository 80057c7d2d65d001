/** Tenants that share tables: what one does no other sees, whoever asks, and however. */
import assert from "node:assert/strict"
import { afterAll, describe, it } from "@effect/vitest"
import { PgClient } from "@effect/sql-pg"
import { Effect, Exit, Layer, Option, Stream } from "effect"
import { SqlClient } from "effect/sql"
import {
  Answers,
  Checkpoints,
  DeadLetters,
  EventStore,
  Inbox,
  ParkedEvents,
  Projection,
  Snapshots,
  Tenants,
  UnitOfWork
} from "eventfold"
import { PgCheckpoints, PgEventStore, PgTenants } from "eventfold/postgres"
import { CheckpointsConformance } from "eventfold/testing"
import { inject } from "vitest"
import { beside, fill, InlineTotals, Totals } from "../support/besideEvents.ts"
import { conforms } from "../support/conformance.ts"
import { assertFollows, assertIsolated } from "../support/isolation.ts"
import { clientOf, execute } from "./databases.ts"
import { freshSchema } from "./support.ts"

const role = `app_${process.pid}_${Date.now().toString(36)}`
const databaseOfRun = new URL(inject("postgresUrl")).pathname.slice(1)
const owner = clientOf(databaseOfRun)
const app = () => clientOf(databaseOfRun, role)

let made: Promise<unknown> | undefined
const roleMade = Effect.promise(
  () => (made ??= Effect.runPromise(execute(owner, `create role ${role} login password '${role}'`)))
)
afterAll(() =>
  made === undefined ? undefined : Effect.runPromise(execute(owner, `drop owned by ${role} cascade`, `drop role ${role}`))
)

/** Shared tables of their own, and the Layer that opens them as the application's role. */
const prepared = (
  more: Pick<Partial<Parameters<typeof PgTenants.prepare<unknown>>[0]>, "beside" | "keeper" | "sharedFlush"> = {}
) =>
  Effect.gen(function* () {
    yield* roleMade
    const schema = freshSchema()
    yield* PgTenants.prepare({ role, keeper: role, schema, ...more }).pipe(Effect.provide(owner))
    return { schema, tables: PgTenants.layerWith({ schema, pollInterval: "50 millis" }).pipe(Layer.provide(app())) }
  })

/** The store of one tenant. That of another, which opens the same tables, has nothing at the end. */
const besideAnother = (tables: Layer.Layer<PgTenants.PgTenants, EventStore.EventStoreError | unknown>) =>
  Layer.effect(
    EventStore.EventStore,
    Effect.gen(function* () {
      const { store: other } = yield* PgTenants.make("a.b")
      const { store } = yield* PgTenants.make("a-b")
      yield* Effect.addFinalizer(() => Effect.orDie(Effect.map(other.head, (head) => assert.equal(head, 0))))
      return store
    })
  ).pipe(Layer.provide(tables))

conforms("a tenant of shared tables", {
  storage: Effect.map(prepared(), ({ tables }) => besideAnother(tables)),
  abilities: { durable: true, shared: true }
})

conforms("a tenant of shared tables, whose units of work share flushes", {
  storage: Effect.map(prepared({ sharedFlush: true }), ({ tables }) => besideAnother(tables)),
  abilities: { durable: true, shared: true }
})

describe("conformance of the checkpoints of a tenant of shared tables", () => {
  const cases = CheckpointsConformance.cases({
    storage: Effect.map(prepared(), ({ tables }) =>
      PgCheckpoints.layer.pipe(Layer.provide(PgTenants.layerOf({ id: "acme" })), Layer.provide(tables))
    ),
    abilities: { clock: "live", durable: true, shared: true, deadlines: true }
  })
  for (const { name, run } of cases) it.effect(name, () => run)
})

it.live("copied out of shared tables, a tenant is refused by a CopyError: its positions would be others", () =>
  Effect.gen(function* () {
    const { tables } = yield* prepared()
    yield* Effect.gen(function* () {
      const [{ store: globex }, { store: acme }] = [yield* PgTenants.make("globex"), yield* PgTenants.make("acme")]
      for (const store of [globex, acme]) yield* store.append("Account-1", [{ type: "Opened", payload: {} }])
      const own = yield* EventStore.makeMemory
      const error = yield* Effect.flip(EventStore.copy(acme, own))
      assert.equal(error._tag, "CopyError")
      assert.match(error.message, /after position 0: behind position 0 comes 2: events of a store that others share/)
      assert.equal(yield* own.head, 0)
    }).pipe(Effect.scoped, Effect.provide(tables))
  })
)

describe("what stands beside the events", () => {
  const projections = Layer.effectDiscard(Effect.andThen(Projection.prepare(Totals), Projection.prepare(InlineTotals)))

  it.live(
    "is the tenant's own, in the same tables and under the same keys",
    () =>
      Effect.gen(function* () {
        const { schema, tables } = yield* prepared({
          beside: projections.pipe(Layer.provideMerge(Layer.merge(beside, PgCheckpoints.layer)))
        })
        yield* Effect.gen(function* () {
          const of = (id: string) =>
            Layer.merge(beside, PgCheckpoints.layer).pipe(Layer.provideMerge(PgTenants.layerOf({ id })), Layer.fresh)
          const [acme, globex] = [yield* Layer.build(of("acme")), yield* Layer.build(of("globex"))]
          yield* Effect.provideContext(fill("ada", 3), acme)
          yield* Effect.provideContext(fill("ben", 4), globex)
          for (const [context, who, times] of [[acme, "ada", 3] as const, [globex, "ben", 4] as const]) {
            yield* Effect.gen(function* () {
              const checkpoints = yield* Checkpoints.Checkpoints
              assert.deepEqual(
                (yield* checkpoints.list).map(({ name }) => name),
                ["subscription:mail", "subscription:projection:Totals@1"]
              )
              const sql = yield* SqlClient.SqlClient
              for (const table of ["total", "inline_total"]) {
                const rows = yield* sql.unsafe(`select id, sum from "${schema}".${table}`).values
                assert.deepEqual(
                  rows.map(([id, sum]) => [id, Number(sum)]),
                  [["all", times]]
                )
              }
              assert.equal((yield* ParkedEvents.ParkedEvents.use(({ list }) => list("mail"))).length, times)
              const letters = yield* DeadLetters.DeadLetters.use(({ list }) => list("mail"))
              assert.deepEqual(
                letters.map(({ cause }) => cause),
                [who]
              )
              const snapshot = yield* Snapshots.Snapshots.use(({ load }) => load("Count-1", "f"))
              assert.deepEqual(
                Option.map(snapshot, ({ state }) => state),
                Option.some(who)
              )
              const answer = yield* Answers.Answers.use(({ find }) => find("c", "1"))
              assert.deepEqual(
                Option.map(answer, ({ value }) => value),
                Option.some(who)
              )
              assert.deepEqual(yield* Inbox.once("mail", "1", Effect.void), Option.none())
            }).pipe(Effect.provideContext(context))
          }
        }).pipe(Effect.provide(tables))
      }).pipe(Effect.scoped),
    120_000
  )
})

describe("the application's role", () => {
  it.live("sees nothing where no tenant is named, and writes nothing but through the functions", () =>
    Effect.gen(function* () {
      const { schema, tables } = yield* prepared()
      yield* Effect.scoped(
        Effect.flatMap(PgTenants.make("acme"), ({ store }) =>
          store.append("A-1", [{ type: "T", payload: {}, tags: ["t"] }])
        ).pipe(Effect.provide(tables))
      )
      yield* Effect.gen(function* () {
        const sql = yield* PgClient.PgClient
        for (const table of ["event", "tag", "checkpoint", "projection_version", "deadline", "operation"]) {
          const rows = yield* sql.unsafe(`select * from "${schema}".${table}`)
          assert.equal(rows.length, 0, table)
        }
        for (const statement of [
          `insert into "${schema}".tag (tag, position) values ('globex/t', 1)`,
          `update "${schema}".event set type = 'x'`,
          `delete from "${schema}".event`,
          `truncate "${schema}".event`,
          `truncate "${schema}".checkpoint`,
          `alter table "${schema}".event disable row level security`
        ]) {
          const error = yield* Effect.flip(sql.unsafe(statement))
          assert.match(String(error.reason.cause), /permission denied|must be owner/, statement)
        }
        // A tenant that is named is named to the end of the transaction, and no longer.
        const count = `select count(*)::int from "${schema}".event`
        const seen = yield* sql.withTransaction(
          Effect.andThen(sql`select set_config('eventfold.tenant', 'acme', true)`, sql.unsafe(count).values)
        )
        assert.deepEqual(seen, [[1]])
        assert.deepEqual(yield* sql.unsafe(count).values, [[0]])
      }).pipe(Effect.provide(app()))
    })
  )

  it.live("that owns the tables, or may pass by their policies, is refused by its name", () =>
    Effect.gen(function* () {
      const { schema } = yield* prepared()
      const error = yield* Effect.flip(Effect.scoped(Layer.build(PgTenants.layerWith({ schema }).pipe(Layer.provide(owner)))))
      assert.match(String(error), /sees the rows of all tenants in .*event: row-level security is not active/)
      // A table that has come since the last time is found, too.
      yield* execute(owner, `create table "${schema}".later (a int)`, `grant select on "${schema}".later to ${role}`)
      const later = yield* Effect.flip(Effect.scoped(Layer.build(PgTenants.layerWith({ schema }).pipe(Layer.provide(app())))))
      assert.match(String(later), /later: row-level security is not active/)
    })
  )
})

describe("tenants of shared tables", () => {
  it.live("are handed out by a map of Layers, each with its client", () =>
    Effect.gen(function* () {
      const { tables } = yield* prepared()
      const stores = Tenants.layerMap({ store: PgTenants.layerOf }).pipe(Layer.provide(tables))
      yield* Effect.gen(function* () {
        yield* Tenants.add("acme", "shared")
        yield* Tenants.add("globex", "shared")
        yield* EventStore.append("A-1", [{ id: "x", type: "T", payload: {} }]).pipe(Tenants.provide("acme"))
        assert.equal(yield* EventStore.version("A-1").pipe(Tenants.provide("globex")), 0)
      }).pipe(Effect.provide(stores), Effect.provide(Tenants.layerRegistryMemory))
    })
  )

  for (const seed of [1, 2, 3]) {
    it.live(
      `who act at random and at once see nothing of each other (${seed})`,
      () =>
        Effect.gen(function* () {
          const { tables } = yield* prepared()
          yield* Effect.gen(function* () {
            const [one, other] = [yield* PgTenants.make("a-b"), yield* PgTenants.make("a.b")]
            yield* assertIsolated({ "a-b": one.store, "a.b": other.store }, { seed, steps: 200 })
          }).pipe(Effect.scoped, Effect.provide(tables))
        }),
      60_000
    )
  }

  it.live("are followed, while others append, by who starts again", () =>
    Effect.gen(function* () {
      const { tables } = yield* prepared()
      yield* Effect.gen(function* () {
        yield* assertFollows((yield* PgTenants.make("acme")).store, (yield* PgTenants.make("globex")).store)
      }).pipe(Effect.scoped, Effect.provide(tables))
    })
  )

  it.live("share flushes where the owner has said so, with the rights that it has given", () =>
    Effect.gen(function* () {
      const { schema, tables } = yield* prepared({ sharedFlush: true })
      const rights = yield* Effect.provide(
        SqlClient.SqlClient.use((sql) =>
          sql.unsafe(`select has_function_privilege('${role}', '"${schema}".flush_commits()', 'execute') as own,
            exists (select from pg_proc p cross join lateral aclexplode(p.proacl) a
              where p.oid = '"${schema}".flush_commits()'::regprocedure and a.grantee = 0) as everybodys`)
        ),
        owner
      )
      assert.deepEqual(rights, [{ own: true, everybodys: false }])
      yield* Effect.gen(function* () {
        const heads = yield* Effect.forEach(
          ["acme", "globex"],
          Effect.fnUntraced(function* (id) {
            const { client, store } = yield* PgTenants.make(id)
            assert.ok(store.late !== undefined)
            const own = Layer.mergeAll(Layer.succeed(EventStore.EventStore, store), Layer.succeed(SqlClient.SqlClient, client))
            yield* Effect.forEach(
              [1, 2, 3, 4],
              (nth) => UnitOfWork.transact(UnitOfWork.stage(`A-${nth}`, [{ type: "T", payload: {} }], { expected: 0 })),
              { concurrency: "unbounded" }
            ).pipe(Effect.provide(Layer.provide(UnitOfWork.layerSql, own)))
            return yield* Stream.runCount(store.readAll())
          }),
          { concurrency: 2 }
        )
        assert.deepEqual(heads, [4, 4])
      }).pipe(Effect.scoped, Effect.provide(tables))
    })
  )

  it.live("append as before where a migration has made the functions anew, before anybody prepares the tables again", () =>
    Effect.gen(function* () {
      const { schema, tables } = yield* prepared()
      const asEarlier = [`drop function "${schema}".events_stand`, `delete from "${schema}".migration where migration_id >= 17`]
      yield* Effect.promise(() => Effect.runPromise(execute(owner, ...asEarlier)))
      yield* Effect.scoped(Layer.build(PgEventStore.layerWith({ schema, listen: false }).pipe(Layer.provide(owner), Layer.fresh)))
      yield* Effect.gen(function* () {
        const { store } = yield* PgTenants.make("acme")
        const event = { type: "T", payload: {}, tags: ["t:1"] }
        const { position } = yield* store.append("A-1", [{ ...event, id: "first" }])
        const on = (afterId: string) => ({ unless: [{ filter: { tags: ["t:1"], types: ["T"] }, after: position, afterId }] })
        const one = { stream: "A-2", events: [event] }
        assert.equal((yield* Effect.flip(store.appendAll([one], on("another"))))._tag, "AppendConditionError")
        const at = [store.appendAll([one], on("first")), store.appendAll([{ ...one, events: [event, event] }], on("first"))]
        const exits = yield* Effect.forEach(at, Effect.exit, { concurrency: "unbounded" })
        assert.deepEqual(exits.map(Exit.isSuccess).toSorted(), [false, true])
      }).pipe(Effect.scoped, Effect.provide(tables))
    })
  )

  it.live("have transactions of their own: what one has begun holds nothing of another's", () =>
    Effect.gen(function* () {
      const { tables } = yield* prepared()
      yield* Effect.gen(function* () {
        const [one, other] = [yield* PgTenants.make("acme"), yield* PgTenants.make("globex")]
        const event = { type: "T", payload: {} }
        const inside = Effect.gen(function* () {
          yield* one.store.append("A-1", [event])
          // The other's store is asked in the transaction of the one, and takes no part in it.
          assert.equal(yield* other.store.version("A-1"), 0)
          assert.equal(yield* one.store.version("A-1"), 1)
          return yield* Effect.fail("no" as const)
        })
        assert.equal(yield* Effect.flip(one.client.withTransaction(inside)), "no")
        assert.equal(yield* one.store.version("A-1"), 0)
        yield* one.client.withTransaction(one.store.append("A-1", [event]))
        assert.deepEqual([yield* one.store.version("A-1"), yield* other.store.head], [1, 0])
      }).pipe(Effect.scoped, Effect.provide(tables))
    })
  )

  it.live("stream what a statement writes: it stands at the end of the stream, which fails where it does not", () =>
    Effect.gen(function* () {
      const { tables } = yield* prepared()
      const elsewhere = freshSchema()
      const seats = `"${elsewhere}".seat`
      yield* Effect.promise(() =>
        Effect.runPromise(
          execute(
            owner,
            `create schema "${elsewhere}"`,
            `grant usage on schema "${elsewhere}" to ${role}`,
            `create table ${seats} (n int unique deferrable initially deferred)`,
            `grant select, insert on ${seats} to ${role}`
          )
        )
      )
      yield* Effect.gen(function* () {
        const { client } = yield* PgTenants.make("acme")
        const insert = (...all: ReadonlyArray<number>) =>
          client.unsafe<{ readonly n: number }>(`insert into ${seats} values ${all.map((n) => `(${n})`).join()} returning n`)
            .stream
        const taken = client.unsafe(`select n from ${seats} order by n`).values
        yield* Stream.runDrain(insert(1, 2))
        assert.deepEqual(yield* taken, [[1], [2]])
        // Only COMMIT sees that two have one seat.
        assert.match(String((yield* Effect.flip(Stream.runDrain(insert(3, 3)))).reason.cause), /duplicate key/)
        const early = yield* Effect.exit(Stream.runDrain(Stream.take(insert(4, 4), 1)))
        assert.ok(Exit.isFailure(early))
        yield* Stream.runDrain(Stream.take(insert(5, 6), 1))
        assert.deepEqual(yield* taken, [[1], [2], [5], [6]])
      }).pipe(Effect.scoped, Effect.provide(tables))
    })
  )
})
