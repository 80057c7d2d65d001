/** Followers of all tenants: each tenant has its own, which begins and ends with it. */
import type * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FiberMap from "effect/FiberMap"
import * as Layer from "effect/Layer"
import type { Tenant } from "../definitions/tenant.ts"
import { makeEpisodes } from "../internal/episodes.ts"
import { pausing } from "../internal/lasting.ts"
import { defaultRestart, restarting } from "../internal/lifecycle.ts"
import { inBackground, reasonOf } from "../sql/reasons.ts"
import type { Stores } from "./model.ts"
import { provideFrom } from "./providing.ts"
import { type TenantEntry, TenantRegistry } from "./registry.ts"

/**
 * Which tenants are followed, and how soon it is noticed that there are others.
 *
 * @category models
 * @since 0.2.0
 */
export interface FollowOptions {
  /** The ids of those to follow. Default: all that the registry knows. */
  readonly tenants?: ReadonlyArray<string> | undefined
  /** How often the registry is asked. Default: 1 second. */
  readonly interval?: Duration.Input | undefined
}

/** As one key, so that a tenant that has moved is followed anew. */
const keyOf = ({ epoch, id, place }: TenantEntry): string => JSON.stringify([id, place, epoch])

/**
 * Runs a follower for each tenant: a `Subscription.layer`, `Projection.layer`, `Relay.layer`, or several together, over the tenant's own store and
 * what stands beside it.
 *
 * **Details**: what comes to the registry is followed within `interval`, what is suspended, moved or erased is left within it, and followed
 * anew where it has moved to. A follower that fails is logged and begun again, after 100 milliseconds at first and 10 seconds at last; those of other
 * tenants go on. Each holds its tenant's store open.
 *
 * ```ts
 * import { Context, Deferred, Effect, Layer } from "effect"
 * import { Checkpoints, EventStore, ParkedEvents, Subscription, Tenants } from "eventfold"
 *
 * class Shop extends Context.Service<
 *   Shop,
 *   Tenants.Stores<EventStore.EventStore | Checkpoints.Checkpoints | ParkedEvents.ParkedEvents, never>
 * >()("app/Shop") {}
 *
 * const program = Effect.gen(function* () {
 *   const seen = yield* Deferred.make<string>()
 *   const mailer = Subscription.layer({
 *     name: "mailer",
 *     handler: () => Effect.flatMap(Tenants.Tenant, ({ id }) => Deferred.succeed(seen, id))
 *   })
 *   yield* Tenants.add("acme", "memory")
 *   yield* EventStore.append("Order-1", [{ type: "Placed", payload: {} }]).pipe(Tenants.provideFrom(Shop, "acme"))
 *   yield* Effect.forkScoped(Tenants.follow(Shop, mailer))
 *   return yield* Deferred.await(seen)
 * })
 *
 * const Live = Tenants.layerMapOf(Shop, {
 *   store: () => EventStore.layerMemory,
 *   beside: Layer.merge(Checkpoints.layerMemory, ParkedEvents.layerMemory)
 * }).pipe(Layer.provideMerge(Tenants.layerRegistryMemory))
 *
 * await Effect.runPromise(Effect.provide(Effect.scoped(program), Live)) // => "acme"
 * ```
 *
 * @category following
 * @since 0.2.0
 */
export const follow = <Self, I, E, A, E2, R>(
  stores: Context.Key<Self, Stores<I, E>>,
  follower: Layer.Layer<A, E2, R>,
  options: FollowOptions = {}
): Effect.Effect<never, never, Self | TenantRegistry | Exclude<R, I | Tenant>> =>
  Effect.scoped(
    Effect.gen(function* () {
      const registry = yield* TenantRegistry
      const interval = pausing("Tenants.follow: interval", options.interval ?? "1 second")
      const running = yield* FiberMap.make<string>()
      const one = (id: string) => {
        const who = `what follows the tenant ${JSON.stringify(id)}`
        const episodes = makeEpisodes(who)
        const attempt = Layer.build(Layer.fresh(follower)).pipe(
          Effect.andThen(episodes.recovered(episodes)),
          Effect.andThen(Effect.never),
          Effect.scoped,
          provideFrom(stores, id)
        )
        return restarting(() => attempt, {
          schedule: defaultRestart,
          onFailure: (cause) =>
            episodes.failed(episodes, { what: `eventfold: ${who} has failed and is begun again`, why: reasonOf(cause), cause }),
          onEnd: Effect.void
        })
      }
      const look = Effect.gen(function* () {
        const all = yield* registry.list
        const wanted = new Map<string, TenantEntry>()
        for (const entry of all) {
          if (entry.state === "active" && options.tenants?.includes(entry.id) !== false) wanted.set(keyOf(entry), entry)
        }
        for (const [key] of running) if (!wanted.has(key)) yield* FiberMap.remove(running, key)
        for (const [key, { id }] of wanted) yield* FiberMap.run(running, key, one(id), { onlyIfMissing: true })
      }).pipe(
        inBackground(
          makeEpisodes("the look at the registry of tenants"),
          "eventfold: the registry of tenants did not answer, what runs goes on"
        )
      )
      return yield* Effect.forever(Effect.andThen(look, Effect.sleep(interval)))
    })
  ) as Effect.Effect<never, never, Self | TenantRegistry | Exclude<R, I | Tenant>>
