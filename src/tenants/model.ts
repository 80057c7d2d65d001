import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import type { EventStore, EventStoreError } from "../store/EventStore.ts"

/**
 * The store of a tenant is not to be had.
 *
 * - `"unknown"`: the registry has no such tenant;
 * - `"suspended"`: nobody gets its store until {@link resume};
 * - `"moving"`: it is on its way to another place, which takes moments: try again;
 * - `"erased"`: its data is gone for good.
 *
 * @category errors
 * @since 0.2.0
 */
export class TenantError extends Schema.TaggedError<TenantError>("eventfold/Tenants/TenantError")("TenantError", {
  tenant: Schema.String,
  reason: Schema.Literals(["unknown", "suspended", "moving", "erased"])
}) {
  override get message(): string {
    const tenant = JSON.stringify(this.tenant.slice(0, 80))
    switch (this.reason) {
      case "unknown":
        return `There is no tenant ${tenant}: Tenants.add registers one`
      case "suspended":
        return `The tenant ${tenant} is suspended: Tenants.resume lets it go on`
      case "moving":
        return `The tenant ${tenant} is being moved to another place: try again in a moment`
      case "erased":
        return `The tenant ${tenant} has been erased: its id is not used again`
    }
  }
}

/**
 * The registry of tenants did not do what it was asked for, or refused it.
 *
 * @category errors
 * @since 0.2.0
 */
export class TenantRegistryError extends Schema.TaggedError<TenantRegistryError>("eventfold/Tenants/TenantRegistryError")(
  "TenantRegistryError",
  {
    /** What was being done: `add`, `get`, `move`, … */
    operation: Schema.String,
    tenant: Schema.String,
    detail: Schema.String,
    cause: Schema.optional(Schema.Defect())
  }
) {
  override get message(): string {
    return `The registry failed to ${this.operation} the tenant ${JSON.stringify(this.tenant.slice(0, 80))}: ${this.detail}`
  }
}

/**
 * Gives each tenant what it alone may use: its store, and what stands beside it.
 *
 * **Details**: it is not an `EventStore`, so it cannot be taken for one, and every way out of it names a tenant.
 *
 * @category models
 * @since 0.2.0
 */
export interface Stores<I, E = EventStoreError> {
  /** The services of one tenant, held until the scope closes. What is held stays open, and is not moved away from under its holder. */
  readonly of: (tenant: string) => Effect.Effect<Context.Context<I>, TenantError | TenantRegistryError | E, Scope.Scope>
  /** Forgets what is known of a tenant, so that it is looked up anew: what others hold of it stays as it is. */
  readonly invalidate: (tenant: string) => Effect.Effect<void>
}

/**
 * The stores of all tenants, where a tenant has a store and nothing beside it. For more services make a key of your own.
 *
 * ```ts
 * import { Context } from "effect"
 * import { type Checkpoints, type EventStore, type Tenants, type UnitOfWork } from "eventfold"
 *
 * class Shop extends Context.Service<
 *   Shop,
 *   Tenants.Stores<EventStore.EventStore | UnitOfWork.UnitOfWork | Checkpoints.Checkpoints>
 * >()("app/Shop") {}
 *
 * Shop.key // => "app/Shop"
 * ```
 *
 * @category services
 * @since 0.2.0
 */
export class TenantStores extends Context.Service<TenantStores, Stores<EventStore>>()("eventfold/TenantStores") {}
