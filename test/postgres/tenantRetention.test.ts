/** Retention for tenants that share tables: what goes is one tenant's, and who is waited for is that tenant's alone. */
import assert from "node:assert/strict"
import { it } from "@effect/vitest"
import { Context, DateTime, Duration, Effect, Layer, Stream } from "effect"
import { SqlClient } from "effect/sql"
import { Archive, Checkpoints, EventStore, Retention, Snapshots, Tenants } from "eventfold"
import { PgCheckpoints, PgTenants } from "eventfold/postgres"
import { describe } from "vitest"
import { refusesWhatWasRemoved } from "../support/removed.ts"
import { besideTenant, preparedTables } from "./shared.ts"

const prepared = preparedTables()

const ofTenant = (id: string) => besideTenant.pipe(Layer.provideMerge(PgTenants.layerOf({ id })), Layer.fresh)

const event = { type: "Opened", payload: { owner: "Ada" }, tags: ["owner:Ada"] }
const types = (stream: string) =>
  Effect.map(Stream.runCollect(EventStore.read(stream)), (events) => events.map(({ type }) => type))

const retention = (afterwards: "archive" | "tombstone") =>
  Retention.layer({ policies: { Cart: { keep: Duration.zero, afterwards } }, every: "never", pace: 1_000_000 })

describe("retention of a tenant of shared tables", () => {
  it.live("removes what is the tenant's, waits for its followers alone, and is the keeper's", () =>
    Effect.gen(function* () {
      const { kept: opened, schema, tables } = yield* prepared
      const [app, kept] = [yield* Layer.build(tables), yield* Layer.build(opened)]
      const build = (context: Context.Context<PgTenants.PgTenants>, id: string) =>
        Effect.provideContext(Layer.build(ofTenant(id)), context)
      const [acme, globex] = [yield* build(app, "acme"), yield* build(app, "globex")]
      for (const tenant of [globex, acme]) {
        yield* Effect.provideContext(EventStore.append("Cart-1", [event, event]), tenant)
        yield* Effect.provideContext(EventStore.append("Order-1", [event]), tenant)
      }
      // Of the other tenant one has seen nothing: that is no concern of this one's.
      yield* Checkpoints.Checkpoints.use(({ reset }) => reset("subscription:mail", 0)).pipe(Effect.provideContext(globex))
      const run = Retention.run.pipe(Effect.provide(retention("tombstone")))
      const denied = yield* Effect.flip(Effect.provideContext(run, acme))
      assert.match(String(denied.message), /permission denied for function tombstone_own/)
      const acmeKept = yield* build(kept, "acme")
      yield* Checkpoints.Checkpoints.use(({ reset }) => reset("subscription:mail", 4)).pipe(Effect.provideContext(acme))
      const refused = yield* Effect.flip(Effect.provideContext(run, acmeKept))
      assert.ok(refused._tag === "RetentionRefused")
      assert.deepEqual(refused.by, ["subscription:mail"])
      yield* Checkpoints.Checkpoints.use(({ reset }) => reset("subscription:mail", 6)).pipe(Effect.provideContext(acme))
      assert.deepEqual(
        (yield* Effect.provideContext(run, acmeKept)).map(({ category, events }) => [category, events]),
        [["Cart", 2]]
      )
      yield* Effect.gen(function* () {
        assert.deepEqual(yield* types("Cart-1"), ["$Tombstone", "$Tombstone"])
        assert.deepEqual(yield* types("Order-1"), ["Opened"])
        assert.deepEqual(
          yield* Stream.runCollect(EventStore.readAll({ filter: { tags: ["owner:Ada"] } })).pipe(Effect.map((all) => all.length)),
          1
        )
        assert.equal(yield* EventStore.EventStore.use(({ maintenance }) => maintenance?.newestTombstone ?? Effect.succeed(0)), 5)
      }).pipe(Effect.provideContext(acme))
      assert.deepEqual(yield* Effect.provideContext(types("Cart-1"), globex), ["Opened", "Opened"])
      assert.equal(
        yield* EventStore.EventStore.use(({ maintenance }) => maintenance?.newestTombstone ?? Effect.succeed(9)).pipe(
          Effect.provideContext(globex)
        ),
        0
      )
      // Whoever may remove one tenant's events may remove no other's by their places.
      const other = yield* Effect.flip(
        SqlClient.SqlClient.use((sql) =>
          sql.unsafe(
            `select "${schema}".tombstone_own(array[1::bigint], array(select id from "${schema}".event where position = 1), 'x', null, '{}', '{}')`
          )
        ).pipe(Effect.provideContext(acmeKept))
      )
      assert.match(String(other.reason.cause), /an event of another tenant is not removed/)
    }).pipe(Effect.scoped)
  )

  it.live("drops the tenant's snapshots that others have taken the place of, and the newest of no stream", () =>
    Effect.gen(function* () {
      const { tables } = yield* prepared
      const app = yield* Layer.build(tables)
      const of = (id: string) => Effect.provideContext(Layer.build(ofTenant(id)), app)
      const [acme, globex] = [yield* of("acme"), yield* of("globex")]
      const snapshots = Snapshots.Snapshots
      for (const tenant of [acme, globex]) {
        for (const [fingerprint, version] of [
          ["a", 5],
          ["b", 9]
        ] as const) {
          const snapshot = { stream: "Cart-1", fingerprint, version, eventId: "e", state: {} }
          yield* Effect.provideContext(
            snapshots.use(({ save }) => save(snapshot)),
            tenant
          )
        }
      }
      const later = DateTime.makeUnsafe("9000-01-01T00:00:00Z")
      const prune = Effect.provideContext(
        snapshots.use((kept) => kept.prune(later)),
        acme
      )
      assert.deepEqual([yield* prune, yield* prune], [1, 0])
      const kept = Effect.map(
        snapshots.use(({ list }) => list()),
        (all) => all.map(({ fingerprint }) => fingerprint)
      )
      assert.deepEqual(yield* Effect.provideContext(kept, acme), ["b"])
      assert.deepEqual(yield* Effect.provideContext(kept, globex), ["a", "b"])
    }).pipe(Effect.scoped)
  )

  it.live("moves to an archive, which is compared, and read through", () =>
    Effect.gen(function* () {
      const { kept: opened } = yield* prepared
      const kept = yield* Layer.build(opened)
      const acme = yield* Effect.provideContext(Layer.build(ofTenant("acme")), kept)
      const cold = yield* EventStore.makeMemory
      yield* Effect.gen(function* () {
        yield* EventStore.append("Cart-1", [event, { ...event, payload: { n: 1.5, text: "ü" } }])
        const before = yield* Stream.runCollect(EventStore.read("Cart-1"))
        yield* Retention.run.pipe(Effect.provide(retention("archive")), Effect.provide(Archive.layerStore("cold", cold)))
        assert.deepEqual(yield* types("Cart-1"), ["$Tombstone", "$Tombstone"])
        const through = Archive.layer.pipe(
          Layer.provide(Archive.layerStore("cold", cold)),
          Layer.provide(Layer.succeed(EventStore.EventStore, Context.get(acme, EventStore.EventStore)))
        )
        assert.deepEqual(yield* Effect.provide(Stream.runCollect(EventStore.read("Cart-1")), through), before)
      }).pipe(Effect.provideContext(acme))
    }).pipe(Effect.scoped)
  )
})

refusesWhatWasRemoved(
  "a tenant of shared tables",
  Layer.unwrap(Effect.map(prepared, ({ kept }) => ofTenant("acme").pipe(Layer.provide(kept))))
)

describe("a tenant of shared tables that is erased", () => {
  it.live("goes with all that it has, cut short or not, and with nothing of another's", () =>
    Effect.gen(function* () {
      const { all, kept, schema, tables } = yield* prepared
      const [app, keeper] = [yield* Layer.build(tables), yield* Layer.build(kept)]
      const of = (id: string) => Effect.provideContext(Layer.build(ofTenant(id)), app)
      const [acme, globex] = [yield* of("acme"), yield* of("globex")]
      const counted = (context: typeof acme) =>
        Effect.gen(function* () {
          const sql = yield* SqlClient.SqlClient
          const [row] = yield* sql.unsafe<{ readonly rows: string }>(
            `select concat((select count(*) from "${schema}".checkpoint), ' ', (select count(*) from "${schema}".snapshot)) as rows`
          )
          const events = yield* Stream.runCollect(EventStore.readAll())
          return [row?.rows, ...events.map(({ stream, type }) => `${stream} ${type}`)]
        }).pipe(Effect.provideContext(context))
      const fill = Effect.gen(function* () {
        yield* EventStore.append("Cart-1", [event, event])
        yield* Checkpoints.Checkpoints.use(({ reset }) => reset("subscription:mail", 1))
        const snapshot = { stream: "Cart-1", fingerprint: "f", version: 1, eventId: "e", state: {} }
        yield* Snapshots.Snapshots.use(({ save }) => save(snapshot))
      })
      for (const tenant of [acme, globex]) yield* Effect.provideContext(fill, tenant)
      yield* Tenants.add("acme", "shared")
      // Who follows all tenants has to see what goes.
      const following = yield* Layer.build(Layer.provideMerge(PgCheckpoints.layer, all))
      yield* Checkpoints.Checkpoints.use(({ reset }) => reset("subscription:report", 1)).pipe(Effect.provideContext(following))
      const erase = Effect.provideContext(
        Tenants.erase("acme", { store: PgTenants.layerOf, remove: PgTenants.remove }),
        Context.merge(keeper, yield* Effect.context<Tenants.TenantRegistry>())
      )
      const refused = yield* Effect.flip(erase)
      assert.match(String(refused.message), /subscription:report follows all tenants/)
      yield* Checkpoints.Checkpoints.use(({ reset }) => reset("subscription:report", 5)).pipe(Effect.provideContext(following))
      for (let times = 0; times < 2; times++) {
        yield* erase
        assert.deepEqual(yield* counted(acme), ["0 0", "Cart-1 $Tombstone", "Cart-1 $Tombstone", "$tenant $TenantSealed"])
      }
      assert.deepEqual(yield* counted(globex), ["1 1", "Cart-1 Opened", "Cart-1 Opened"])
      // Whoever would be within another's names is no tenant.
      for (const id of ["globex/x", "$", "", "x".repeat(64)]) {
        const error = yield* Effect.flip(Effect.provideContext(Layer.build(PgTenants.layerOf({ id })), app))
        assert.match(error.message, /there can be no tenant with an id such as/)
        assert.throws(() => Tenants.tagged(Context.get(globex, EventStore.EventStore), id), RangeError)
      }
    }).pipe(Effect.provide(Tenants.layerRegistryMemory), Effect.scoped)
  )
})
