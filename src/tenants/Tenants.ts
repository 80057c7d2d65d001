/**
 * Tenants: the data of several customers, kept apart in one system.
 *
 * A tenant's store is an ordinary `EventStore` that is bound to its tenant, so nothing above it learns of tenants. A program says whose
 * store it runs on ({@link provide}); one that does not, does not compile. There is no default tenant, and no tenant is never "all".
 *
 * `src/guides/tenants.md` says which separation is for whom.
 *
 * @since 0.2.0
 */
export { NoTenantError, Tenant } from "../definitions/tenant.ts"
export { type Stores, TenantError, TenantRegistryError, TenantStores } from "./model.ts"
export { add, layerRegistryMemory, list, resume, suspend, type TenantEntry, TenantRegistry } from "./registry.ts"
export { layerRegistrySql, layerRegistrySqlWith } from "./sqlRegistry.ts"
export { layerMap, layerMapOf, type LayerMapOptions } from "./layerMap.ts"
export { layerOfTenant, layerOfTenantFrom, provide, provideFrom } from "./providing.ts"
export { erase, move } from "./moving.ts"
export { layerTagged, tagged } from "./tagged.ts"
export { follow, type FollowOptions } from "./following.ts"
