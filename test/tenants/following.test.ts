import { describe, expect, it } from "@effect/vitest"
import { Context, Effect, Layer, Logger } from "effect"
import { TestClock } from "effect/testing"
import { Checkpoints, EventStore, ParkedEvents, Subscription, Tenants } from "eventfold"
import { logs } from "../support/logs.ts"
import { eventually } from "../support/words.ts"

class Shop extends Context.Service<
  Shop,
  Tenants.Stores<EventStore.EventStore | Checkpoints.Checkpoints | ParkedEvents.ParkedEvents, never>
>()("test/Shop") {}

/** Tenants whose data is in memory, and outlives whoever opens it: one of each for a place. */
const world = Effect.sync(() => {
  const places = new Map<string, EventStore.EventStore["Service"]>()
  const store = ({ id, place }: Tenants.TenantEntry) =>
    Layer.effect(
      EventStore.EventStore,
      Effect.map(EventStore.makeMemory, (made) => {
        const key = `${id}/${place}`
        places.set(key, places.get(key) ?? made)
        return places.get(key) ?? made
      })
    )
  const options = { store, beside: Layer.merge(Checkpoints.layerMemory, ParkedEvents.layerMemory) }
  const layer = Layer.provideMerge(Tenants.layerMapOf(Shop, { ...options, freshness: 0 }), Tenants.layerRegistryMemory)
  return { options, layer }
})

const append = (id: string, type: string) =>
  EventStore.append("Order-1", [{ type, payload: {} }]).pipe(Tenants.provideFrom(Shop, id))

describe("Tenants.follow", () => {
  it.live("each tenant has its own follower, which comes, goes and moves with it, and fails alone", () =>
    Effect.gen(function* () {
      logs(/what follows the tenant "broken" has failed and is begun again/)
      const { layer, options } = yield* world
      yield* Effect.gen(function* () {
        const seen: Array<string> = []
        const alive = new Set<string>()
        let failures = 0
        const handler = ({ type }: { readonly type: string }) =>
          Effect.map(Tenants.Tenant, ({ id }) => {
            if (!type.startsWith("$")) seen.push(`${id} ${type}`)
          })
        const failing = Layer.effectDiscard(
          Effect.flatMap(Tenants.Tenant, ({ id }) =>
            Effect.andThen(
              Effect.acquireRelease(
                Effect.sync(() => alive.add(id)),
                () => Effect.sync(() => alive.delete(id))
              ),
              Effect.suspend(() => (id === "broken" && failures++ < 2 ? Effect.fail("no" as const) : Effect.void))
            )
          )
        )
        const follower = Layer.merge(Subscription.layer({ name: "mailer", handler }), failing)
        for (const id of ["acme", "broken"]) {
          yield* Tenants.add(id, "one")
          yield* append(id, "Placed")
        }
        yield* Effect.forkScoped(Tenants.follow(Shop, follower, { interval: "5 millis" }))
        const has = (what: string) =>
          eventually(
            what,
            Effect.sync(() => seen.includes(what))
          )
        yield* has("acme Placed")
        yield* has("broken Placed")
        // One that comes later.
        yield* Tenants.add("globex", "one")
        yield* append("globex", "Placed")
        yield* has("globex Placed")
        // One that is suspended, and comes back.
        yield* Tenants.suspend("globex")
        yield* eventually(
          "it is left",
          Effect.sync(() => !alive.has("globex"))
        )
        yield* Tenants.resume("globex")
        yield* append("globex", "Paid")
        yield* has("globex Paid")
        // One that moves.
        yield* Tenants.move("acme", "two", options)
        yield* append("acme", "Shipped")
        yield* has("acme Shipped")
        expect(seen.filter((one) => one.startsWith("acme Ship"))).toEqual(["acme Shipped"])
        expect(seen.some((one) => one === "broken Shipped" || one === "globex Shipped")).toBe(false)
      }).pipe(Effect.provide(layer), Effect.scoped)
    })
  )

  it.effect("of a tenant whose follower never starts the log is told once, then ever less often, and once when it does", () =>
    Effect.gen(function* () {
      const { layer } = yield* world
      const lines: Array<string> = []
      const logger = Logger.make<unknown, void>(({ cause, logLevel, message }) => {
        lines.push(`${logLevel} ${String(message)}${cause.reasons.length === 0 ? "" : " with its cause"}`)
      })
      let tries = 0
      let isBroken = true
      const failing = Layer.effectDiscard(
        Effect.suspend(() => {
          tries++
          return isBroken ? Effect.fail(new Error("permission denied")) : Effect.void
        })
      )
      yield* Effect.gen(function* () {
        yield* Tenants.add("acme", "one")
        yield* Effect.forkScoped(Tenants.follow(Shop, failing))
        yield* TestClock.adjust("10 minutes")
        const what = 'what follows the tenant "acme"'
        expect(lines).toHaveLength(4)
        expect(lines[0]).toBe(`Warn eventfold: ${what} has failed and is begun again (permission denied)`)
        expect(lines[3]).toMatch(/ \d+ times in 7m/)
        // Every 10 seconds at last.
        expect(tries).toBeGreaterThan(55)
        expect(tries).toBeLessThan(75)
        isBroken = false
        yield* TestClock.adjust("10 seconds")
        expect(lines).toHaveLength(5)
        expect(lines[4]).toMatch(new RegExp(`^Info eventfold: ${what} goes on, after`))
      }).pipe(Effect.provide(layer), Effect.scoped, Effect.provide(Logger.layer([logger])))
    })
  )
})
