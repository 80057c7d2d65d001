/** Projections of tenants that share tables: a rebuild is the tenant's own; what would be all tenants' is refused to one by name. */
import assert from "node:assert/strict"
import { describe, it } from "@effect/vitest"
import { Effect, Layer, Stream } from "effect"
import { SqlClient } from "effect/sql"
import { EventStore, ParkedEvents, Projection } from "eventfold"
import { PgCheckpoints, PgTenants } from "eventfold/postgres"
import { Totals, version2 } from "../support/besideEvents.ts"
import { eventually } from "../support/words.ts"
import { preparedTables } from "./shared.ts"

const beside = Layer.merge(ParkedEvents.layerSql, PgCheckpoints.layer)
const prepared = preparedTables({
  beside: Layer.effectDiscard(Effect.andThen(Projection.prepare(Totals), Projection.prepare(version2))).pipe(
    Layer.provideMerge(beside)
  )
})

const count = (n: number) => EventStore.append("Count-1", [{ type: "Counted", payload: { n } }])

describe("projections of tenants of shared tables", () => {
  it.live(
    "are rebuilt one by one; versions that are all tenants' are switched and dropped by none of them",
    () =>
      Effect.gen(function* () {
        const { schema, tables } = yield* prepared
        const shared = yield* Layer.build(tables)
        const of = (id: string) =>
          Layer.build(beside.pipe(Layer.provideMerge(PgTenants.layerOf({ id })), Layer.fresh)).pipe(Effect.provideContext(shared))
        const [acme, globex] = [yield* of("acme"), yield* of("globex")]
        const sums = (table: string) =>
          SqlClient.SqlClient.use((sql) =>
            Effect.map(sql.unsafe(`select id, sum from "${schema}".${table}`).values, (rows) =>
              rows.map(([id, sum]) => [id, Number(sum)])
            )
          )
        for (const [context, n] of [[acme, 3] as const, [globex, 4] as const]) {
          yield* Effect.gen(function* () {
            for (let time = 0; time < n; time++) yield* count(1)
            yield* Effect.scoped(
              Effect.andThen(
                Layer.build(Layer.fresh(Projection.layer(Totals))),
                Projection.whenCaughtUp(Totals, { timeout: "20 seconds" })
              )
            )
            assert.deepEqual(yield* sums("total"), [["all", n]])
          }).pipe(Effect.provideContext(context))
        }
        // A row that is not what the events say goes with a rebuild: that of the one who rebuilds.
        const spoil = SqlClient.SqlClient.use((sql) => sql.unsafe(`update "${schema}".total_v1 set sum = 99`))
        yield* Effect.provideContext(spoil, acme)
        yield* Effect.provideContext(spoil, globex)
        const rebuilt = yield* Effect.scoped(Stream.runCollect(Projection.rebuild(Totals))).pipe(Effect.provideContext(acme))
        assert.ok(rebuilt.length > 0)
        assert.deepEqual(yield* Effect.provideContext(sums("total"), acme), [["all", 3]])
        assert.deepEqual(yield* Effect.provideContext(sums("total"), globex), [["all", 99]])

        // A later version is built beside it by each tenant for itself.
        yield* Effect.gen(function* () {
          yield* Effect.scoped(
            Effect.gen(function* () {
              yield* Layer.build(Layer.fresh(Projection.layer(version2)))
              yield* eventually(
                "the later version is there",
                Effect.map(sums("total_v2"), ([row]) => row?.[1] === 3)
              )
            })
          )
          const switching = yield* Effect.flip(Projection.switchTo(version2, { timeout: "20 seconds" }))
          assert.ok(switching._tag === "EventStoreError" && switching.reason._tag === "StoreFailure", String(switching))
          assert.match(switching.message, /"Totals".*must be owner of view total/)
          const dropping = yield* Effect.flip(Projection.drop(version2))
          assert.ok(dropping._tag === "EventStoreError" && dropping.reason._tag === "StoreFailure", String(dropping))
          assert.match(dropping.message, /"Totals".*must be owner of/)
          // Nothing of that was done.
          assert.deepEqual([yield* sums("total"), yield* sums("total_v2")], [[["all", 3]], [["all", 3]]])
          yield* count(1)
          yield* Effect.scoped(
            Effect.andThen(
              Layer.build(Layer.fresh(Projection.layer(Totals))),
              Projection.whenCaughtUp(Totals, { timeout: "20 seconds" })
            )
          )
          assert.deepEqual(yield* sums("total"), [["all", 4]])
        }).pipe(Effect.provideContext(acme))
        assert.deepEqual(yield* Effect.provideContext(sums("total_v2"), globex), [])
      }).pipe(Effect.scoped),
    60_000
  )
})
