/** What follows all tenants of shared tables: in a role of its own, with a checkpoint of its own, and told whose each event is. */
import assert from "node:assert/strict"
import { it } from "@effect/vitest"
import { Effect, Layer, Schema } from "effect"
import { Checkpoints, Event, EventStore, ParkedEvents, Retention, Subscription } from "eventfold"
import { PgCheckpoints, PgTenants } from "eventfold/postgres"
import { describe } from "vitest"
import { logs } from "../support/logs.ts"
import { eventually } from "../support/words.ts"
import { besideTenant, preparedTables } from "./shared.ts"

const prepared = preparedTables()
const Placed = Event.make("Placed", { total: Schema.Int })

describe("a follower of all tenants of shared tables", () => {
  it.live(
    "sees the events of all, each with its tenant; parks by stream, goes on where it was, and is waited for by retention",
    () =>
      Effect.gen(function* () {
        logs(/has parked the event/)
        const { all, kept } = yield* prepared
        const tables = yield* Layer.build(kept)
        const place = (tenant: string, total: number) =>
          Effect.scoped(
            Effect.flatMap(PgTenants.make(tenant), ({ store }) =>
              store.append("Order-1", [{ id: `e-${total}`, type: "Placed", payload: { total }, tags: ["order:1"] }])
            )
          ).pipe(Effect.provideContext(tables))
        const seen: Array<string> = []
        const report = Subscription.layer({
          name: "report",
          events: [Placed],
          onFailure: "park-stream",
          handlers: {
            Placed: ({ total }, { event: recorded }) => {
              const { event, tenant } = PgTenants.ofEvent(recorded)
              if (total < 0) return Effect.fail("a total below nothing")
              return Effect.sync(() => void seen.push(`${tenant} ${event.stream} ${event.id} ${event.tags.join()} ${total}`))
            }
          }
        })
        const Live = Layer.merge(PgCheckpoints.layer, ParkedEvents.layerSql).pipe(Layer.provideMerge(all), Layer.fresh)
        const context = yield* Layer.build(Live)
        const running = Effect.provideContext(Layer.build(Layer.fresh(report)), context).pipe(
          Effect.provideService(Subscription.Registry, new Map())
        )
        const seenAll = (count: number) =>
          eventually(
            `${count} are seen`,
            Effect.sync(() => seen.length === count)
          )
        for (const [tenant, total] of [
          ["acme", 1],
          ["a-b", 2],
          ["acme", -3],
          ["globex", 4],
          ["acme", 5]
        ] as const) {
          yield* place(tenant, total)
        }
        yield* Effect.scoped(Effect.andThen(running, seenAll(3)))
        // The poison of one tenant keeps back what is behind it in its stream, and nothing of others.
        assert.deepEqual(seen, ["acme Order-1 e-1 order:1 1", "a-b Order-1 e-2 order:1 2", "globex Order-1 e-4 order:1 4"])
        // Stopped, it is behind, which a tenant that removes something is told.
        yield* place("globex", 6)
        const keeping = Retention.tombstone("Order-1", { reason: "over" }).pipe(
          Effect.provide(besideTenant.pipe(Layer.provideMerge(PgTenants.layerOf({ id: "globex" })), Layer.fresh)),
          Effect.provideContext(tables)
        )
        const refused = yield* Effect.flip(keeping)
        assert.match(refused.message, /subscription:report follows all tenants, and has not yet seen/)
        yield* Effect.scoped(Effect.andThen(running, seenAll(4)))
        const head = yield* Effect.provideContext(EventStore.head, context)
        yield* eventually(
          "it has come up",
          Effect.map(
            Checkpoints.Checkpoints.use(({ list }) => list).pipe(Effect.provideContext(context)),
            ([one]) => one?.position === head
          )
        )
        assert.equal(yield* keeping, 2)
        // Of the checkpoints of all no tenant knows, and the role of all writes no event.
        const names = Checkpoints.Checkpoints.use(({ list }) => list).pipe(
          Effect.provide(besideTenant.pipe(Layer.provideMerge(PgTenants.layerOf({ id: "acme" })), Layer.fresh)),
          Effect.provideContext(tables)
        )
        assert.deepEqual(yield* names, [])
        const denied = yield* Effect.flip(
          Effect.provideContext(EventStore.append("acme/Order-2", [{ type: "Placed", payload: {} }]), context)
        )
        assert.match(denied.message, /permission denied/)
      }).pipe(Effect.scoped),
    60_000
  )

  it.live("in a role that was not prepared for it is refused by its name", () =>
    Effect.gen(function* () {
      const { notAll } = yield* prepared
      const error = yield* Effect.flip(Layer.build(notAll))
      assert.match(String(error), /the role "app_.*" does not follow all tenants of/)
    }).pipe(Effect.scoped)
  )
})
