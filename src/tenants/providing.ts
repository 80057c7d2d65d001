/** How a program says whose store it is to run on. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import { Tenant } from "../definitions/tenant.ts"
import { type EventStore, type EventStoreError } from "../store/EventStore.ts"
import { type Stores, type TenantError, type TenantRegistryError, TenantStores } from "./model.ts"

/** What a tenant has, in the context of whoever last ran something on it: mostly many do so with one context. */
const lately = new WeakMap<
  Context.Context<never>,
  { readonly id: string; readonly base: Context.Context<never>; readonly within: Context.Context<never> }
>()

/** The services of a tenant within a context. The same context as before where both are the same, so that what is known of it is known still. */
const servicesWithin = (base: Context.Context<never>, services: Context.Context<never>, id: string): Context.Context<never> => {
  const last = lately.get(services)
  if (last?.base === base && last.id === id) return last.within
  const within = Context.merge(base, Context.add(services, Tenant, { id }))
  lately.set(services, { id, base, within })
  return within
}

/**
 * {@link provide} for a key of your own.
 *
 * @category providing
 * @since 0.2.0
 */
export const provideFrom =
  <Self, I, E>(stores: Context.Key<Self, Stores<I, E>>, id: string) =>
  <A, E1, R>(
    effect: Effect.Effect<A, E1, R>
  ): Effect.Effect<A, E1 | E | TenantError | TenantRegistryError, Exclude<R, I | Tenant> | Self> =>
    Effect.flatMap(stores, ({ of }) =>
      Effect.scopedWith((scope) =>
        Effect.flatMap(Scope.provide(of(id), scope), (services) =>
          Effect.updateContext(effect, (base: Context.Context<never>) => servicesWithin(base, services, id) as Context.Context<R>)
        )
      )
    ) as Effect.Effect<A, E1 | E | TenantError | TenantRegistryError, Exclude<R, I | Tenant> | Self>

/**
 * Runs a program on the store of one tenant, which it holds as long as it runs.
 *
 * **Details**: what reads or appends without it does not compile, for there is no store to fall back to.
 *
 * @category providing
 * @since 0.2.0
 */
export const provide = (
  id: string
): (<A, E, R>(
  effect: Effect.Effect<A, E, R>
) => Effect.Effect<A, E | EventStoreError | TenantError | TenantRegistryError, Exclude<R, EventStore | Tenant> | TenantStores>) =>
  provideFrom(TenantStores, id)

/**
 * {@link layerOfTenant} for a key of your own: all services of the {@link Tenant} that is provided.
 *
 * @category layers
 * @since 0.2.0
 */
export const layerOfTenantFrom = <Self, I, E>(
  stores: Context.Key<Self, Stores<I, E>>
): Layer.Layer<I, E | TenantError | TenantRegistryError, Tenant | Self> =>
  // It is one constant for all tenants: where Layers are shared, the first one's store would be everybody's.
  Layer.fresh(Layer.effectContext(Effect.flatMap(Tenant, ({ id }) => Effect.flatMap(stores, ({ of }) => of(id)))))

/**
 * The store of the {@link Tenant} that is provided, held as long as the Layer. Where none is provided it does not compile.
 *
 * @category layers
 * @since 0.2.0
 */
export const layerOfTenant: Layer.Layer<EventStore, EventStoreError | TenantError | TenantRegistryError, Tenant | TenantStores> =
  layerOfTenantFrom(TenantStores)
