/** Stores that are built when their tenant is asked for, and released when nobody has used them for a while. */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as LayerMap from "effect/LayerMap"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import { Tenant } from "../definitions/tenant.ts"
import { lasting } from "../internal/lasting.ts"
import { EventStore, type EventStoreError } from "../store/EventStore.ts"
import { bound } from "./bound.ts"
import { type Stores, TenantError, type TenantRegistryError, TenantStores } from "./model.ts"
import { type TenantEntry, TenantRegistry } from "./registry.ts"

/** A Layer of whatever kind that has these services. */
export type Having<I> = Layer.Layer<I, unknown, unknown>

/**
 * How the services of a tenant are made.
 *
 * @category models
 * @since 0.2.0
 */
export interface LayerMapOptions<S extends Having<EventStore>, B extends Having<never> = Layer.Layer<never>> {
  /** The store of a tenant at its place, and whatever comes with it, such as a client. */
  readonly store: (tenant: TenantEntry) => S
  /**
   * What stands beside the store: units of work, checkpoints, snapshots. It is built for each tenant over the tenant's store. Default:
   * nothing.
   */
  readonly beside?: B | undefined
  /** How long a store that nobody holds stays open. Default: 5 minutes. */
  readonly idleTimeToLive?: Duration.Input | undefined
  /** How old what is known of the registry may be: how late a process hears that a tenant was suspended or moved. Default: 1 second. */
  readonly freshness?: Duration.Input | undefined
}

/** What a tenant has: its store, and what stands beside it. */
export type Services<S extends Having<EventStore>, B extends Having<never>> = Layer.Success<S> | Layer.Success<B>

/** What is asked for besides where the Layers do not give what the key promises, or fail otherwise. */
type Gives<I, E, S extends Having<EventStore>, B extends Having<never>> = [I] extends [Services<S, B>]
  ? [Layer.Error<S> | Layer.Error<B>] extends [E]
    ? unknown
    : { readonly store: (tenant: TenantEntry) => Layer.Layer<EventStore, E, unknown> }
  : { readonly beside: Layer.Layer<Exclude<I, Services<S, B>>, E, unknown> }

/** What all tenants need alike. */
export type Needs<S extends Having<EventStore>, B extends Having<never>> =
  | Layer.Services<S>
  | Exclude<Layer.Services<B>, Layer.Success<S> | Tenant>

/** What a tenant's store is built for: as one key, so that another epoch is another store, and another try after one that failed. */
const keyOf = (entry: TenantEntry, failures = 0): string => JSON.stringify([entry.id, entry.place, entry.epoch, failures])

const entryOfKey = (key: string): TenantEntry => {
  const [id, place, epoch] = JSON.parse(key) as [string, string, number]
  return { id, place, epoch, state: "active" }
}

/** What a process has heard of a tenant, and when. */
interface Known {
  readonly entry: TenantEntry
  readonly at: number
  /** How often its store could not be built before, and its key then. */
  readonly tries: number
  readonly key: string
}

const usable = (found: Known): Effect.Effect<Known, TenantError> => {
  const { id, state } = found.entry
  return state === "active" ? Effect.succeed(found) : Effect.fail(new TenantError({ tenant: id, reason: state }))
}

/** The Layer of one tenant. */
const layerOfEntry = <S extends Having<EventStore>, B extends Having<never>>(
  { beside, store }: LayerMapOptions<S, B>,
  entry: TenantEntry,
  left: Effect.Effect<void>
): Layer.Layer<Services<S, B>, Layer.Error<S> | Layer.Error<B>, Needs<S, B>> => {
  const own = Layer.effect(
    EventStore,
    EventStore.useSync((one) => bound(one, entry, left))
  ).pipe(Layer.provideMerge(store(entry) as Having<EventStore>), Layer.merge(Layer.succeed(Tenant, { id: entry.id })))
  const all = beside === undefined ? own : Layer.provideMerge(beside as Having<never>, own)
  // A Layer that is a constant would be built once for all tenants.
  return Layer.fresh(all) as Layer.Layer<Services<S, B>, Layer.Error<S> | Layer.Error<B>, Needs<S, B>>
}

/**
 * {@link layerMap} for a key of your own, whose tenants have more than a store.
 *
 * @category layers
 * @since 0.2.0
 */
export const layerMapOf = <Self, I, E, S extends Having<EventStore>, B extends Having<never> = Layer.Layer<never>>(
  key: Context.Key<Self, Stores<I, E>>,
  options: LayerMapOptions<S, B> & Gives<I, E, S, B>
): Layer.Layer<Self, never, TenantRegistry | Needs<S, B>> =>
  Layer.effect(
    key,
    Effect.gen(function* () {
      const registry = yield* TenantRegistry
      const known = new Map<string, Known>()
      /** How often the store of a tenant could not be built: what has failed stands in the map as such. */
      const failures = new Map<string, number>()
      const freshness = Duration.toMillis(lasting("Tenants.layerMap: freshness", options.freshness ?? "1 second"))
      const forget = (tenant: string) => Effect.sync(() => void known.delete(tenant))
      const map = yield* LayerMap.make(
        (key: string) => {
          const entry = entryOfKey(key)
          return layerOfEntry(options, entry, forget(entry.id))
        },
        { idleTimeToLive: lasting("Tenants.layerMap: idleTimeToLive", options.idleTimeToLive ?? "5 minutes") }
      )

      const made = yield* Effect.context<never>()
      /** A store is built with what the map was made with, and not with what one of those who ask has in place of that. */
      const building = (callers: Context.Context<Scope.Scope>) =>
        Context.add(Context.merge(callers, made), Scope.Scope, Context.get(callers, Scope.Scope))

      const drop = (entry: TenantEntry) => map.invalidate(keyOf(entry, failures.get(entry.id)))

      /** The services of a tenant. Whoever fails first sees to it that the next one tries anew. */
      const open = ({ entry, key, tries }: Known) =>
        Effect.tapCause(Effect.updateContext(map.contextEffect(key), building), (cause) =>
          Effect.suspend(() => {
            if (Cause.hasInterruptsOnly(cause) || (failures.get(entry.id) ?? 0) !== tries) return Effect.void
            failures.set(entry.id, tries + 1)
            return map.invalidate(key)
          })
        )

      /** What the registry says of a tenant. Of ids that it does not know nothing is kept. */
      const lookAnew = Effect.fnUntraced(function* (tenant: string, now: number) {
        const last = known.get(tenant)
        const found = Option.getOrUndefined(yield* registry.get(tenant))
        if (found === undefined) {
          known.delete(tenant)
          return yield* new TenantError({ tenant: String(tenant), reason: "unknown" })
        }
        if (last !== undefined && keyOf(last.entry) !== keyOf(found)) yield* drop(last.entry)
        return keep(found, now)
      })

      const keep = (entry: TenantEntry, at: number): Known => {
        const tries = failures.get(entry.id) ?? 0
        const found = { entry, at, tries, key: keyOf(entry, tries) }
        known.set(entry.id, found)
        return found
      }

      /** What is known of a tenant, or what the registry says. */
      const look = (tenant: string): Effect.Effect<Known, TenantError | TenantRegistryError> =>
        Effect.flatMap(Clock.currentTimeMillis, (now) => {
          const last = known.get(tenant)
          if (last === undefined || now - last.at >= freshness) return lookAnew(tenant, now)
          return Effect.succeed(last.tries === (failures.get(tenant) ?? 0) ? last : keep(last.entry, last.at))
        })

      return {
        of: (tenant) => Effect.flatMap(Effect.flatMap(look(tenant), usable), open),
        invalidate: (tenant) =>
          Effect.suspend(() => {
            const last = known.get(tenant)
            known.delete(tenant)
            return last === undefined ? Effect.void : drop(last.entry)
          })
      } as Stores<I, E>
    })
  )

/**
 * A store for each tenant, built when it is first asked for: a database, a schema, a file or a memory of its own.
 *
 * **Details**: two tenants never get one store, though `store` or `beside` be a constant. What nobody holds is closed after
 * `idleTimeToLive`. All schemas of one database share the client that is provided to this Layer: its pool, and one connection that
 * listens for all of them.
 *
 * **Gotchas**: a tenant's name comes from requests. Name schemas and files by `place`, which comes from the registry.
 *
 * ```ts
 * import { Effect, Layer } from "effect"
 * import { EventStore, Tenants } from "eventfold"
 *
 * const Stores = Tenants.layerMap({ store: () => EventStore.layerMemory }).pipe(Layer.provideMerge(Tenants.layerRegistryMemory))
 *
 * const open = EventStore.append("Account-1", [{ type: "AccountOpened", payload: {} }])
 *
 * const program = Effect.gen(function* () {
 *   yield* Tenants.add("acme", "memory")
 *   yield* Tenants.add("globex", "memory")
 *   yield* open.pipe(Tenants.provide("acme"))
 *   return [yield* EventStore.head.pipe(Tenants.provide("acme")), yield* EventStore.head.pipe(Tenants.provide("globex"))]
 * })
 *
 * await Effect.runPromise(Effect.provide(program, Stores)) // => [1, 0]
 * ```
 *
 * @category layers
 * @since 0.2.0
 */
export const layerMap = <R>(
  options: Omit<LayerMapOptions<Layer.Layer<EventStore, EventStoreError, R>>, "beside">
): Layer.Layer<TenantStores, never, TenantRegistry | R> =>
  layerMapOf<TenantStores, EventStore, EventStoreError, Layer.Layer<EventStore, EventStoreError, R>>(TenantStores, options)
